//! Copies of a ledger: events that were written before, taken from any reader and put into batches
//! and stores again. Every hash is computed anew on the way, so a copy that was made is the same
//! history, or there is none.

mod build;
mod rebatch;

pub use build::{BuildError, StoreBuilder};
pub use rebatch::Rebatch;

use crate::chain::{Batch, ChainKey, Head};
use crate::ids::Seq;
use crate::store::{LogReader, ReadError};

/// Why a copy stopped.
#[derive(Debug, thiserror::Error)]
pub enum CopyError<E> {
    /// The source can't be read, or is damaged.
    #[error(transparent)]
    Source(ReadError),
    /// Whoever takes the batches refused.
    #[error(transparent)]
    Sink(E),
}

/// Hands the events behind `after`, up to `head`, to `sink`, in batches.
///
/// # Errors
/// [`CopyError`]; a source whose events do not lead from `after` to `head` is damaged.
pub fn copy_events<E>(
    reader: &dyn LogReader,
    after: Head,
    head: Head,
    sink: &mut dyn FnMut(Batch) -> Result<(), E>,
) -> Result<(), CopyError<E>> {
    let mut rebatch = Rebatch::new(reader.ledger_id(), after);
    let next = after.seq.next();
    let fault = |fault| CopyError::Source(ReadError::Block { seq: next, fault });
    if head.seq > after.seq {
        'blocks: for block in reader.blocks(next).map_err(CopyError::Source)? {
            let block = block.map_err(CopyError::Source)?;
            for (event, seq) in block.iter().zip(block.first().0..) {
                if seq <= after.seq.0 {
                    continue;
                }
                if seq > head.seq.0 {
                    break 'blocks;
                }
                if let Some(batch) = rebatch.push(event).map_err(fault)? {
                    sink(batch).map_err(CopyError::Sink)?;
                }
            }
        }
    }
    if let Some(batch) = rebatch.flush().map_err(fault)? {
        sink(batch).map_err(CopyError::Sink)?;
    }
    let found = rebatch.head();
    if (found.seq, found.hash) == (head.seq, head.hash) {
        return Ok(());
    }
    Err(CopyError::Source(ReadError::Damaged(format!(
        "its events lead to seq {} with hash {}, its head is seq {} with hash {}",
        found.seq,
        found.hash.short(),
        head.seq,
        head.hash.short()
    ))))
}

/// Where a ledger stood after the event at `seq`, computed from its block, which is checked; nothing
/// if there is no such event.
///
/// # Errors
/// [`ReadError`] if the block can't be read or is damaged.
pub fn head_at(reader: &dyn LogReader, seq: Seq) -> Result<Option<Head>, ReadError> {
    let key = ChainKey::new(reader.ledger_id());
    let Some(block) = reader.blocks(seq)?.next().transpose()? else {
        return Ok(None);
    };
    let mut edge = None;
    let checked = block.check_each(&key, |event| {
        if event.header.seq == seq {
            edge = Some((event.header.term, event.header.recorded_at));
        }
    });
    checked.map_err(|fault| ReadError::Block {
        seq: block.first(),
        fault,
    })?;
    let hash = block.hash_at(&key, seq);
    Ok(edge.zip(hash).map(|((term, recorded_at), hash)| Head {
        seq,
        hash,
        term,
        recorded_at,
    }))
}

#[cfg(test)]
mod tests;
