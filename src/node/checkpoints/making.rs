//! Making one checkpoint: folding the log up to its durable end, writing, reading back and comparing.

use ledger_core::event::{CheckpointCause, CheckpointCreated, Event, LedgerEvent};
use ledger_core::hash::sha256_hex;
use ledger_core::ids::{Id, Seq};
use ledger_core::store::{LogReader, for_each_event};
use ledger_core::time::Timestamp;
use projections::framework::{Health, ReplayError};
use serde_json::Value;

use super::dir::CheckpointFile;
use super::file::{self, CheckpointError, FORMAT, Header, MAX_EXTRA};
use super::files::Files;
use super::fold::{Recovered, file_of, fold_upto};
use crate::node::boot::software;
use crate::node::ports::Stopwatch;

/// What is wanted of a checkpoint.
#[derive(Debug, Clone)]
pub struct Wish {
    /// Why it is made.
    pub cause: CheckpointCause,
    /// Its name; made from time and cause without one.
    pub name: Option<Id>,
    /// What is kept with it.
    pub extra: Option<Value>,
}

/// Why there is no checkpoint.
#[derive(Debug, thiserror::Error)]
pub enum MakeError {
    /// There is one of this name.
    #[error("there is a checkpoint {0} already")]
    Exists(Id),
    /// What is to be kept with it is too long.
    #[error("extra state of {0} bytes; at most {MAX_EXTRA} are kept with a checkpoint")]
    Extra(usize),
    /// The log does not fold.
    #[error("the ledger can't be folded: {0}")]
    Fold(String),
    /// It can't be written, or what was written is not what it should be.
    #[error(transparent)]
    File(#[from] CheckpointError),
    /// What is known of checkpoints lags behind the ledger.
    #[error("what is known of checkpoints can't be told: {0}")]
    View(String),
    /// The node stops, or has stopped leading.
    #[error("the node stops")]
    Stopping,
}

impl From<ReplayError> for MakeError {
    fn from(error: ReplayError) -> Self {
        Self::Fold(error.to_string())
    }
}

/// Folds, writes, reads back and compares; the file has its name when this returns. Nothing uses it until
/// what is returned is recorded.
///
/// # Errors
/// [`MakeError`].
pub fn make_file(
    files: &dyn Files,
    reader: &dyn LogReader,
    wish: &Wish,
    name: &Id,
    now: Timestamp,
) -> Result<(CheckpointFile, CheckpointCreated), MakeError> {
    let begun = Stopwatch::start();
    let head = reader.head().map_err(|_| MakeError::Stopping)?;
    let Recovered { fold, .. } = fold_upto(files, reader, Some(head.seq))?;
    if let Health::Poisoned { seq, reason } = fold.health() {
        return Err(MakeError::Fold(format!("at seq {seq}: {reason}")));
    }
    if let Some((seq, kind, _)) = fold.state().unknown() {
        return Err(MakeError::Fold(format!(
            "seq {seq} is of unknown kind {kind}"
        )));
    }
    let state = fold.into_state();
    let header = Header {
        format: FORMAT,
        name: name.clone(),
        ledger_id: reader.ledger_id(),
        system: system_name(reader),
        made_at: now,
        cause: wish.cause,
        software: software(),
        seq: head.seq,
        hash: head.hash,
        term: head.term,
        tasks: state.tasks.counts(),
        extra: wish.extra.clone(),
        parts: Vec::new(),
    };
    let io = CheckpointError::from;
    let mut new = files.create().map_err(io)?;
    let header = file::write(&mut *new, header, &state).map_err(io)?;
    new.finish().map_err(io)?;
    // One state at a time: what was written is restored after what it was written of is gone.
    drop(state);
    let sha256 = sha256_and_check(files, &header)?;
    let file = file_of(name, head.seq);
    files.publish(&file).map_err(io)?;
    let facts = CheckpointCreated {
        seq: head.seq,
        hash: head.hash,
        sha256: sha256.0,
        bytes: sha256.1,
        term: Some(head.term),
        cause: Some(wish.cause),
        made_at: Some(now),
        took_us: Some(begun.elapsed()),
        system: Some(header.system),
        parts: header.parts.into_iter().map(|part| part.of).collect(),
        tasks: header.tasks,
        extra: wish.extra.clone(),
    };
    Ok((file, facts))
}

/// SHA-256 and size of what was written, read back from the disk, once it has restored to what it was
/// written of.
fn sha256_and_check(files: &dyn Files, header: &Header) -> Result<(String, u64), MakeError> {
    let bytes = files.read_new()?;
    let (read, fold) = file::restore(&bytes)?;
    if read != *header {
        let differs = "its first line is not what was written";
        return Err(CheckpointError::Damaged(differs.into()).into());
    }
    file::check_digests(header, fold.state())?;
    drop(fold);
    Ok((sha256_hex(&bytes), bytes.len() as u64))
}

/// The ledger's name, from its first event.
fn system_name(reader: &dyn LogReader) -> String {
    let first = for_each_event(reader, Seq::FIRST, |chained| {
        std::ops::ControlFlow::Break(match Event::decode(&chained.event) {
            Ok(Event::Ledger(LedgerEvent::Created(created))) => created.name.to_string(),
            _ => String::new(),
        })
    });
    match first {
        Ok(std::ops::ControlFlow::Break(name)) => name,
        Ok(std::ops::ControlFlow::Continue(())) | Err(_) => String::new(),
    }
}
