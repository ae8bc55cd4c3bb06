//! `ledger verify`: three verdicts, apart from each other. Is the history exactly what was written
//! (intact)? Is it the one that others have seen (anchored)? Has everything that began ended, or is
//! it accounted for (complete)? The checks are libraries ([`ledger_core::verify`],
//! [`projections::lives`]); here they get what to read, once for all three, and their findings
//! become lines.
//!
//! Through a node the raw bytes are hashed here, so a node that lies about its store is found out.
//! What is not intact is judged no further. The exit code is the answer, so a closed pipe does not
//! end it early: 3 not intact, else 4 not anchored, else 5 not complete.

mod heads;
mod show;

use std::num::NonZeroUsize;
use std::path::Path;

use ledger_core::blobs::{BlobReport, in_payload};
use ledger_core::envelope::EventRef;
use ledger_core::store::{Block, LogReader, Offline as _};
use ledger_core::verify::{
    AnchorFold, AnchorNotes, Examine, Report, anchors, examine_intact, examine_reader,
};
use projections::framework::hash_at;
use projections::lives::{Lives, LivesNotes, Outcome};

use self::heads::{HeadArgs, Heads, Judged};
use super::blob;
use super::error::{Exit, Failure};
use super::globals::Globals;
use super::output::progress::Progress;
use super::output::{Buffering, Paging};
use super::source::Source;

/// What the exit codes mean.
pub(crate) const CODES: &str = "Exit codes: 0 intact, anchored (if asked) and complete; 3 not \
    intact; 4 not anchored; 5 not complete.\nOf several, the first that applies. What is not intact \
    is judged no further.";

/// Options.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    heads: HeadArgs,
}

/// Whether the history extends heads from elsewhere.
enum Anchored {
    NotAsked,
    /// It is not intact.
    NotJudged,
    Heads(Vec<Judged>),
}

/// All three verdicts.
struct Verdicts {
    intact: Report,
    /// The blobs that events name; none if the events can't be believed.
    blobs: Option<BlobReport>,
    anchored: Anchored,
    /// None if it could not be judged, because the ledger is not intact.
    complete: Option<Outcome>,
}

impl Verdicts {
    fn exit(&self) -> Exit {
        let anchored = match &self.anchored {
            Anchored::NotAsked | Anchored::NotJudged => true,
            Anchored::Heads(heads) => heads.iter().all(|head| head.fault.is_none()),
        };
        let blobs = self.blobs.as_ref().is_none_or(BlobReport::is_intact);
        if !self.intact.is_intact() || !blobs {
            Exit::TAMPERED
        } else if !anchored {
            Exit::UNANCHORED
        } else if !self.complete.as_ref().is_some_and(Outcome::is_complete) {
            Exit::INCOMPLETE
        } else {
            Exit::OK
        }
    }
}

pub(crate) fn run(globals: &Globals, args: &Args) -> Result<Exit, Failure> {
    let data_dir = globals.data_dir()?;
    let heads = Heads::read(&args.heads)?;
    let verdicts = match Source::try_open(&data_dir)? {
        Ok(source) => verify(&source, &data_dir, heads)?,
        // What can't even be opened because it is damaged is a finding like others.
        Err(error) => match error.damage() {
            Some(what) => Verdicts {
                intact: Report::unopened(&what),
                blobs: None,
                anchored: not_judged(&heads),
                complete: None,
            },
            None => return Err(error.into()),
        },
    };
    let mut out = globals.out(Paging::Never, Buffering::Full);
    let printed = show::print(&mut out, globals, &verdicts).and_then(|()| out.finish());
    match printed {
        Ok(()) | Err(Failure::ClosedPipe) => {}
        Err(failure) => return Err(failure),
    }
    Ok(verdicts.exit())
}

fn not_judged(heads: &Heads) -> Anchored {
    if heads.is_empty() {
        Anchored::NotAsked
    } else {
        Anchored::NotJudged
    }
}

/// Reads the ledger once, for all that is asked.
fn verify(source: &Source, data_dir: &Path, heads: Heads) -> Result<Verdicts, Failure> {
    let threads = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
    let head = match source {
        Source::Node(node) => node.head()?.seq,
        Source::Files(files) => files.end()?.seq,
    };
    let mut anchored = not_judged(&heads);
    let believed = heads.believe(data_dir, source.reader())?;
    let sizes = believed.iter().filter_map(heads::Believed::wants);
    let (anchor_examiner, mut anchor) = anchors(source.reader().ledger_id(), sizes);
    let (lives_examiner, mut lives) = Lives::begin(head);
    let examiner = ((anchor_examiner, lives_examiner), NamesBlobs);
    let mut names_blobs = false;
    let mut fold = |(notes, names)| {
        names_blobs |= names;
        take(&mut anchor, &mut lives, notes);
    };
    let bar = Progress::events("verifying", head.0);
    let progress = |done: u64, _: u64| bar.at(done);
    let intact = match source {
        Source::Node(node) => examine_intact(&**node, &[], threads, &progress, examiner, &mut fold),
        Source::Files(files) => examine_reader(&**files, threads, &progress, examiner, &mut fold)?,
    };
    let judged = intact.is_intact();
    if judged && matches!(anchored, Anchored::NotJudged) {
        let heads = believed.into_iter().map(|head| head.judge(&anchor));
        anchored = Anchored::Heads(heads.collect());
    }
    let complete = if judged {
        Some(look_up(source.reader(), lives)?)
    } else {
        None
    };
    // Most ledgers name none, and are not read again for that.
    let blobs = judged.then(|| match names_blobs {
        true => blob::verify::check(data_dir, source.reader()),
        false => Ok(BlobReport::default()),
    });
    Ok(Verdicts {
        blobs: blobs.transpose()?,
        intact,
        anchored,
        complete,
    })
}

/// Looks whether any event names a blob.
struct NamesBlobs;

impl Examine for NamesBlobs {
    type Notes = bool;

    fn event(&self, event: &EventRef<'_>, names: &mut bool) {
        *names = *names || matches!(in_payload(event.data), Ok(Some(_)));
    }

    fn block(&self, _: &Block, _: &mut bool) {}
}

/// Holds what open lives say of other events against the ledger, and ends the fold.
fn look_up(reader: &dyn LogReader, mut lives: Lives) -> Result<Outcome, Failure> {
    // A claim of what comes later is a finding already.
    for claim in lives.claims().into_iter().filter(|c| c.of < c.begun) {
        let found = hash_at(reader, claim.of)?;
        lives.look_up(claim, found);
    }
    Ok(lives.end())
}

fn take(anchor: &mut AnchorFold, lives: &mut Lives, notes: (AnchorNotes, LivesNotes)) {
    anchor.fold(notes.0);
    lives.fold(notes.1);
}
