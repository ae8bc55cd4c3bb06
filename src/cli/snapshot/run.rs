//! `ledger snapshot run`: copies the files of sets now, as the node does by the clock. A set that fails
//! keeps no other from being copied; the exit code says so (1), or that a file is missing (5).

use std::path::Path;

use ledger_core::clock;
use ledger_core::event::{SnapshotFailed, SnapshotPruned};
use ledger_core::hash::Hash;
use ledger_core::ids::{Id, LedgerId};
use projections::status::SetFacts;
use serde::Serialize;

use super::{configured, facts, lock, remarks, tell};
use crate::api::wire::{ApiError, ErrorCode, SnapshotNote};
use crate::cli::error::{Exit, Failure};
use crate::cli::globals::Globals;
use crate::cli::output::escape::escape;
use crate::cli::output::{Buffering, Out, Paging, note};
use crate::cli::source::Source;
use crate::config::{Config, SnapshotConfig};
use crate::node::boot::software;
use crate::node::snapshots::created;
use crate::snapshots::{Locked, Outcome, Request, Skipped, SnapshotError, Snapshots};
use crate::units::{count_of, format_size};

/// Options.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Which sets [default: all that are configured]
    #[arg(value_name = "SET")]
    sets: Vec<Id>,
}

/// What came of a set.
#[derive(Serialize)]
struct Done {
    set: Id,
    #[serde(flatten)]
    result: Came,
}

#[derive(Serialize)]
#[serde(tag = "result", rename_all = "snake_case")]
enum Came {
    /// There is a new snapshot.
    Made(Shown),
    /// The latest holds the same.
    Unchanged(Shown),
    Failed {
        reason: String,
    },
}

#[derive(Serialize)]
struct Shown {
    snapshot: Id,
    manifest: Hash,
    files: u64,
    bytes: u64,
    written: u64,
    lost: u64,
    changing: u64,
    skipped: Vec<Skipped>,
    pruned: Vec<Id>,
}

pub(crate) fn run(globals: &Globals, args: &Args) -> Result<Exit, Failure> {
    let data_dir = globals.data_dir()?;
    let config = Config::load(&data_dir, globals.config.as_deref())?;
    let sets: Vec<Id> = match args.sets.is_empty() {
        true => config.snapshots.keys().cloned().collect(),
        false => args.sets.clone(),
    };
    if sets.is_empty() {
        return Err(ApiError::new(ErrorCode::NotFound, "no set of files is configured")
            .hint("write one into ledger.toml: [snapshots.NAME] with files = [\"conf/**/*.toml\"]")
            .into());
    }
    for set in &sets {
        configured(&config.snapshots, set)?;
    }
    let source = Source::open(&data_dir)?;
    let locked = lock(&Snapshots::of(&data_dir))?;
    // Under the lock: whoever had it before has told what it did.
    let known = facts(&source)?;
    let mut done = Vec::new();
    for set in sets {
        let of_set = known.get(&set).cloned().unwrap_or_default();
        let copy = Copy {
            data_dir: &data_dir,
            source: &source,
            locked: &locked,
            ledger: source.reader().ledger_id(),
            set: &set,
            config: configured(&config.snapshots, &set)?,
            known: &of_set,
        };
        let result = copy.run()?;
        done.push(Done { set, result });
    }
    let mut out = globals.out(Paging::Never, Buffering::Full);
    if globals.json {
        out.json(&done)?;
    } else {
        print(&mut out, &done)?;
    }
    out.finish()?;
    Ok(exit_of(&done))
}

fn exit_of(done: &[Done]) -> Exit {
    let mut exit = Exit::OK;
    for done in done {
        match &done.result {
            Came::Failed { .. } => return Exit::FAILED,
            Came::Made(shown) | Came::Unchanged(shown) if shown.lost + shown.changing > 0 => {
                exit = Exit::INCOMPLETE;
            }
            Came::Made(_) | Came::Unchanged(_) => {}
        }
    }
    exit
}

struct Copy<'a> {
    data_dir: &'a Path,
    source: &'a Source,
    locked: &'a Locked,
    ledger: LedgerId,
    set: &'a Id,
    config: &'a SnapshotConfig,
    known: &'a SetFacts,
}

impl Copy<'_> {
    fn run(&self) -> Result<Came, Failure> {
        let locked = self.locked;
        let files = self.config.file_set(self.set, self.data_dir);
        let now = clock::now();
        let request = Request {
            ledger: self.ledger,
            now,
            software: &software(),
            recorded: &self.known.kept,
        };
        let outcome = match locked.make(&files, request) {
            Ok(outcome) => outcome,
            Err(error) => return self.failed(&error),
        };
        let latest = outcome.latest();
        remarks(&latest.manifest);
        let is_known = self.known.kept.get(&latest.manifest.snapshot) == Some(&latest.hash);
        let is_new = matches!(outcome, Outcome::Made(_));
        if is_new || !is_known || self.known.failing.is_some() {
            self.tell(SnapshotNote::Created(created(latest)))?;
        }
        let gone = locked.expendable(self.set, files.keep, now)?;
        if !gone.is_empty() {
            let snapshots = gone.clone();
            self.tell(SnapshotNote::Pruned(SnapshotPruned { snapshots }))?;
            locked.remove(self.set, &gone)?;
        }
        locked.sweep()?;
        let manifest = &latest.manifest;
        let shown = Shown {
            snapshot: manifest.snapshot.clone(),
            manifest: latest.hash,
            files: manifest.files.len() as u64,
            bytes: manifest.bytes(),
            written: latest.written,
            lost: manifest.lost(),
            changing: manifest.changing(),
            skipped: manifest.skipped.clone(),
            pruned: gone,
        };
        Ok(match outcome {
            Outcome::Made(_) => Came::Made(shown),
            Outcome::Unchanged(_) => Came::Unchanged(shown),
        })
    }

    fn failed(&self, error: &SnapshotError) -> Result<Came, Failure> {
        let reason = error.to_string();
        note(format_args!("{}: {}", self.set, escape(&reason)));
        self.tell(SnapshotNote::Failed(SnapshotFailed {
            reason: reason.clone(),
        }))?;
        Ok(Came::Failed { reason })
    }

    fn tell(&self, did: SnapshotNote) -> Result<(), Failure> {
        tell(self.source, self.set, did)
    }
}

fn print(out: &mut Out, done: &[Done]) -> Result<(), Failure> {
    for Done { set, result } in done {
        let (word, shown) = match result {
            Came::Made(shown) => ("copied", shown),
            Came::Unchanged(shown) => ("unchanged since", shown),
            Came::Failed { .. } => {
                out.line(format_args!("{set}: {}", out.paint.bad("failed")))?;
                continue;
            }
        };
        let gone = match shown.pruned.len() {
            0 => String::new(),
            gone => format!("; {} removed", count_of(gone as u64, "old one")),
        };
        out.wrapped(format_args!(
            "{set}: {word} {}: {}, {}, {} written{gone}",
            shown.snapshot,
            count_of(shown.files, "file"),
            format_size(shown.bytes),
            format_size(shown.written)
        ))?;
    }
    Ok(())
}
