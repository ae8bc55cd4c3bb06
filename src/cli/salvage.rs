//! `ledger salvage --into DIR`: copies what is provably good of a damaged ledger into a new
//! directory, and keeps the rest beside it as evidence. The damaged one keeps every byte.
//!
//! It works on the files alone: through a node there is nothing to salvage. A ledger that is not
//! damaged is refused, because a copy of it is what `ledger backup` is for.

use std::cell::RefCell;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use ledger_core::blobs::BlobFinding;
use ledger_core::chain::Head;
use ledger_core::event::LedgerSalvaged;
use ledger_core::hash::Hash;
use ledger_core::ids::{LedgerId, Seq};
use ledger_core::salvage::{Chained, Claim, LEFT_BEHIND, Range, Salvage, SalvageError, Stage};
use serde::Serialize;

use super::error::{Exit, Failure, of_io};
use super::globals::Globals;
use super::output::escape::escape;
use super::output::progress::Progress;
use super::output::{Buffering, Out, Paging};
use super::restore::of_found;
use crate::api::wire::{ApiError, ErrorCode};
use crate::lease::lock::LockError;
use crate::node::salvage::{Failed, look};
use crate::units::{count_of, format_count, format_size};

/// Lines of ranges that are shown to people; the manifest has all.
const SHOWN: usize = 10;

/// Options.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The new directory; it must be empty or not there
    #[arg(long, value_name = "DIR", required_unless_present = "dry_run")]
    into: Option<PathBuf>,
    /// Only say what could be salvaged
    #[arg(long)]
    dry_run: bool,
}

/// What was found and done, for programs.
#[derive(Serialize)]
struct Report<'a> {
    ledger_id: LedgerId,
    source: String,
    /// The last event that is proven.
    good: Claim,
    /// Where the damaged ledger says it ends.
    claimed: Option<Claim>,
    first_fault: String,
    left_behind: LeftBehind<'a>,
    unreadable_bytes: u64,
    /// Blobs that proven events name and that are missing or damaged.
    lost_blobs: &'a [BlobFinding],
    /// Absent after a dry run.
    #[serde(skip_serializing_if = "Option::is_none")]
    written: Option<Written>,
}

#[derive(Serialize)]
struct LeftBehind<'a> {
    events: u64,
    pieces: usize,
    bytes: u64,
    missing: &'a [Range],
    chained: &'a [Chained],
}

#[derive(Serialize)]
struct Written {
    into: String,
    seq: Seq,
    hash: Hash,
    incarnation: String,
}

pub(crate) fn run(globals: &Globals, args: &Args) -> Result<Exit, Failure> {
    let dir = globals.data_dir()?;
    let absolute = |into: &PathBuf| {
        std::path::absolute(into).map_err(|e| {
            ApiError::new(ErrorCode::Failed, "the current directory can't be told").because(e)
        })
    };
    let into = args.into.as_ref().map(absolute).transpose()?;
    let threads = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
    let shown = Shown::default();
    let watch = |stage, done, of| shown.at(stage, done, of);
    let looked = look(&dir, into.as_deref(), threads, &watch)?;
    let written = match into.filter(|_| !args.dry_run) {
        None => None,
        Some(into) => {
            let (head, event) = looked.write(&into, threads, &watch)?;
            Some((into, head, event))
        }
    };
    drop(shown);
    let mut out = globals.out(Paging::Never, Buffering::Full);
    if globals.json {
        out.json(&report(&looked.found, written))?;
    } else {
        print(&mut out, &looked.found, written.as_ref())?;
    }
    out.finish()?;
    Ok(Exit::OK)
}

type Made = (PathBuf, Head, LedgerSalvaged);

fn report(found: &Salvage, written: Option<Made>) -> Report<'_> {
    Report {
        ledger_id: found.ledger_id,
        source: found.source.display().to_string(),
        good: Claim {
            seq: found.good.seq,
            hash: found.good.hash,
        },
        claimed: found.claimed,
        first_fault: found.first_fault(),
        left_behind: LeftBehind {
            events: found.left.events,
            pieces: found.left.pieces.len(),
            bytes: found.left.bytes,
            missing: &found.left.missing,
            chained: &found.left.chained,
        },
        unreadable_bytes: found.unreadable,
        lost_blobs: &found.blobs,
        written: written.map(|(into, head, event)| Written {
            into: into.display().to_string(),
            seq: head.seq,
            hash: head.hash,
            incarnation: event.incarnation,
        }),
    }
}

fn print(out: &mut Out, found: &Salvage, written: Option<&Made>) -> Result<(), Failure> {
    let good = found.good;
    out.line(format_args!("fault: {}", escape(&found.first_fault())))?;
    let claimed = found.claimed.map_or_else(String::new, |claim| {
        format!(" of the {} that it says it has", format_count(claim.seq.0))
    });
    let proven = count_of(good.seq.0, "event");
    out.line(format_args!("proven: {proven}{claimed}"))?;
    out.wrapped(format_args!("seq {} has hash {}", good.seq, good.hash))?;
    if found.unreadable > 0 {
        let size = format_size(found.unreadable);
        out.line(format_args!("the disk did not give {size}"))?;
    }
    print_blobs(out, found)?;
    let left = &found.left;
    for range in left.missing.iter().take(SHOWN) {
        let (first, last) = (range.first, range.last);
        out.line(format_args!("missing: {}", seqs(first, last)))?;
    }
    for chained in left.chained.iter().take(SHOWN) {
        out.line(format_args!(
            "behind a gap, but sound in itself: {}",
            seqs(chained.first, chained.last)
        ))?;
    }
    let more = left.missing.len().saturating_sub(SHOWN) + left.chained.len().saturating_sub(SHOWN);
    if more > 0 {
        out.line(format_args!(
            "and {} more ranges",
            format_count(more as u64)
        ))?;
    }
    let kept = format!(
        "{} in {}, {}",
        count_of(left.events, "event"),
        count_of(left.pieces.len() as u64, "piece"),
        format_size(left.bytes)
    );
    let Some((into, head, _)) = written else {
        return out.line(format_args!("would be left behind: {kept}"));
    };
    let shown = |path: &Path| escape(&path.display().to_string()).into_owned();
    if left.events > 0 {
        let place = shown(&into.join(LEFT_BEHIND));
        out.line(format_args!("left behind: {kept}, kept in {place}"))?;
    }
    let salvaged = out.paint.good("salvaged");
    out.line(format_args!(
        "{salvaged} into {}, which ends at seq {} and says so",
        shown(into),
        head.seq
    ))?;
    out.wrapped("it is paused: `ledger up` leads it, `ledger resume` lets its tasks run; settings, keys and outputs were not copied")
}

fn print_blobs(out: &mut Out, found: &Salvage) -> Result<(), Failure> {
    for blob in found.blobs.iter().take(SHOWN) {
        let blob = blob.to_string();
        out.line(format_args!("lost: {}", escape(&blob)))?;
    }
    let more = found.blobs.len().saturating_sub(SHOWN);
    if more > 0 {
        let more = count_of(more as u64, "more blob");
        out.line(format_args!("and {more} that proven events name"))?;
    }
    Ok(())
}

fn seqs(first: Seq, last: Seq) -> String {
    if first == last {
        format!("seq {first}")
    } else {
        format!("seq {first} to {last}")
    }
}

/// The progress of one stage after the other.
#[derive(Default)]
struct Shown(RefCell<Option<(Stage, u64, Progress)>>);

impl Shown {
    fn at(&self, stage: Stage, done: u64, of: u64) {
        let mut shown = self.0.borrow_mut();
        if !matches!(&*shown, Some((now, total, _)) if (*now, *total) == (stage, of)) {
            // The bar before goes first.
            *shown = None;
            *shown = Some((stage, of, Progress::events(name(stage), of)));
        }
        if let Some((_, _, bar)) = &*shown {
            bar.at(done);
        }
    }
}

fn name(stage: Stage) -> &'static str {
    match stage {
        Stage::Verifying => "verifying",
        Stage::Scanning => "looking through bytes",
        Stage::Proving => "proving",
        Stage::Writing => "writing",
        Stage::Checking => "checking",
    }
}

impl From<Failed> for Failure {
    fn from(failed: Failed) -> Self {
        let message = failed.to_string();
        match failed {
            Failed::Lock(LockError::Held(_)) => ApiError::new(ErrorCode::Refused, message)
                .hint("stop the node first; what it holds open is no salvage case yet"),
            Failed::Lock(LockError::Io { error, .. }) => of_io(message, &error),
            Failed::Settle(error) => return of_found(error),
            Failed::Salvage(SalvageError::Open(error)) => return error.into(),
            Failed::Salvage(error) => of_salvage(&error, message),
        }
        .into()
    }
}

fn of_salvage(error: &SalvageError, message: String) -> ApiError {
    match error {
        SalvageError::Intact(_) => ApiError::new(ErrorCode::Refused, message)
            .hint("for a copy, make a backup or copy the directory while no node runs"),
        SalvageError::Nothing { .. } => ApiError::new(ErrorCode::Tampered, message)
            .hint("keep the directory as it is, and restore a backup"),
        SalvageError::Occupied(_) => ApiError::new(ErrorCode::Conflict, message)
            .hint("name a directory that is not there yet"),
        SalvageError::Inside(_) => ApiError::new(ErrorCode::Usage, message)
            .hint("name a directory outside, best on another disk"),
        SalvageError::Busy(_) => ApiError::new(ErrorCode::Refused, message)
            .hint("wait for it to end, or name another directory"),
        SalvageError::Io { error, .. } => of_io(message, error),
        SalvageError::Open(_) | SalvageError::Unsound(_) => {
            ApiError::new(ErrorCode::Failed, message)
        }
    }
}
