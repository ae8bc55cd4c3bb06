//! Coming to the state of a ledger's end: from the newest checkpoint that holds, or from the first event.
//!
//! A pure function of the ledger and the files: whichever of them is used, the state is the same.

use std::io;
use std::ops::ControlFlow;

use ledger_core::event::{CheckpointCreated, CheckpointEvent, Event, RecoveredFrom};
use ledger_core::ids::{Id, Seq};
use ledger_core::store::{LogReader, ReadError, for_each_event};
use ledger_core::time::Micros;
use projections::framework::{Fold, ReplayError, catch_up, unwatched};

use super::dir::CheckpointFile;
use super::file::{CheckpointError, load};
use super::files::Files;
use crate::node::decision::Decision;
use crate::node::ports::Stopwatch;

/// State, and how it was come by.
#[derive(Debug)]
pub struct Recovered {
    /// The state at the end of the ledger.
    pub fold: Fold<Decision>,
    /// How it was come by.
    pub report: Report,
}

/// How state was come by.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// The checkpoint that was used, if one was.
    pub checkpoint: Option<RecoveredFrom>,
    /// Events that were folded.
    pub replayed: u64,
    /// Those that were tried before, the first first.
    pub passed_over: Vec<PassedOver>,
    /// How long looking for checkpoints, reading and restoring took.
    pub restore: Micros,
    /// How long the fold took.
    pub replay: Micros,
}

/// A checkpoint that can't be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PassedOver {
    /// Its file.
    pub file: CheckpointFile,
    /// What is wrong with it.
    pub reason: String,
}

/// The state at the end of a ledger: from the newest checkpoint among `files` that holds, and the events
/// behind it; without one, from the first event.
///
/// # Errors
/// [`ReplayError`] if the events can't be read or don't join. A damaged checkpoint is none: see
/// [`Report::passed_over`].
pub fn fold_state(files: &dyn Files, reader: &dyn LogReader) -> Result<Recovered, ReplayError> {
    fold_upto(files, reader, None)
}

/// [`fold_state`] up to a position, from a checkpoint that stands for no later one.
///
/// # Errors
/// The same.
pub fn fold_upto(
    files: &dyn Files,
    reader: &dyn LogReader,
    upto: Option<Seq>,
) -> Result<Recovered, ReplayError> {
    let begun = Stopwatch::start();
    let end = match upto {
        Some(upto) => upto,
        None => reader.head()?.seq,
    };
    let mut report = Report::default();
    // A directory that can't be read is as good as an empty one: everything is in the ledger.
    let there = files.list().unwrap_or_else(|error| {
        tracing::warn!(%error, dir = %files, "checkpoints can't be listed");
        Vec::new()
    });
    for file in there.into_iter().rev() {
        // What is asked for may lie before a sound one.
        if upto.is_some() && file.seq > end {
            continue;
        }
        match from_checkpoint(files, &file, reader, upto, &begun, &mut report) {
            Ok(fold) => return Ok(Recovered { fold, report }),
            Err(Unusable::Checkpoint(error)) => {
                let reason = error.to_string();
                tracing::warn!(checkpoint = %file.name, seq = %file.seq, reason, "a checkpoint is passed over");
                report.passed_over.push(PassedOver { file, reason });
            }
            Err(Unusable::Ledger(error)) => return Err(error),
        }
    }
    report.restore = begun.elapsed();
    let begun = Stopwatch::start();
    let mut fold = Fold::<Decision>::default();
    catch_up(&mut fold, reader, upto, &mut unwatched)?;
    report.replayed = fold.position().seq.0;
    report.replay = begun.elapsed();
    Ok(Recovered { fold, report })
}

enum Unusable {
    Checkpoint(CheckpointError),
    Ledger(ReplayError),
}

impl From<CheckpointError> for Unusable {
    fn from(error: CheckpointError) -> Self {
        Self::Checkpoint(error)
    }
}

fn from_checkpoint(
    files: &dyn Files,
    file: &CheckpointFile,
    reader: &dyn LogReader,
    upto: Option<Seq>,
    begun: &Stopwatch,
    report: &mut Report,
) -> Result<Fold<Decision>, Unusable> {
    let said = recorded(reader, file)?;
    let bytes = files.read(file, said.bytes)?;
    let mut fold = load(&bytes, reader.ledger_id(), &said)?.fold;
    drop(bytes);
    report.restore = begun.elapsed();
    let replay = Stopwatch::start();
    catch_up(&mut fold, reader, upto, &mut unwatched).map_err(|error| match error {
        // The seam: where it stands the chain has another hash, or does not reach.
        ReplayError::Diverged { seq, .. } if seq == said.seq => {
            CheckpointError::OtherHistory(error.to_string()).into()
        }
        other => Unusable::Ledger(other),
    })?;
    report.replay = replay.elapsed();
    report.replayed = fold.position().seq.0.saturating_sub(said.seq.0);
    report.checkpoint = Some(RecoveredFrom {
        name: file.name.clone(),
        seq: said.seq,
    });
    Ok(fold)
}

/// What the ledger says of a checkpoint. It stands behind the checkpoint's own position, mostly next to
/// it, among the events that are folded anyway: so nothing else has to say where.
///
/// # Errors
/// [`CheckpointError::Unrecorded`] if nothing tells of it.
pub(super) fn recorded(
    reader: &dyn LogReader,
    file: &CheckpointFile,
) -> Result<CheckpointCreated, CheckpointError> {
    // Whoever names a file may name it by any number.
    let behind = file.seq.0.checked_add(1).map(Seq);
    let behind = behind.ok_or(CheckpointError::Unrecorded)?;
    let found = for_each_event(reader, behind, |chained| {
        let header = &chained.event.header;
        if header.kind != "checkpoint.created" || header.subject_id() != &*file.name {
            return ControlFlow::Continue(());
        }
        match Event::decode(&chained.event) {
            Ok(Event::Checkpoint(CheckpointEvent::Created(said))) if said.seq == file.seq => {
                ControlFlow::Break(said)
            }
            _ => ControlFlow::Continue(()),
        }
    });
    match found {
        Ok(ControlFlow::Break(said)) => Ok(said),
        Ok(ControlFlow::Continue(())) => Err(CheckpointError::Unrecorded),
        Err(error) => Err(CheckpointError::Io(io::Error::other(unread(&error)))),
    }
}

fn unread(error: &ReadError) -> String {
    format!("the events behind it can't be read: {error}")
}

/// Where a named checkpoint is, by what the ledger says of it.
pub(super) fn file_of(name: &Id, seq: Seq) -> CheckpointFile {
    CheckpointFile {
        seq,
        name: name.clone(),
    }
}
