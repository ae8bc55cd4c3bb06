//! The journal: what makes an append durable at the price of one write and one sync.
//!
//! ```text
//! append ──> current segment (a file of zeros, written front to back) ──> sync ──> acknowledged
//!                 full: the next free one          sealed elsewhere: free again
//! ```
//! - **One frame, one batch**: a batch is there as a whole or not at all, by its frame's CRC.
//! - A segment is used again once all that is in it stands in the sealed store; each use has a
//!   generation of its own, so that old frames are never taken for new ones (`frame.rs`).
//! - Whoever opens a journal begins a new segment. What was not known to be acknowledged is written
//!   into it once more: after a sync that failed, the kernel may show bytes that the disk never
//!   got (the fsync findings of PostgreSQL, 2018).
//! - After a failure nothing more is written.
//!
//! The shape is that of the write-ahead logs of PostgreSQL and etcd: preallocated segments, recycled.

mod direct;
mod disk;
mod frame;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzz;
mod pool;
mod recover;

#[cfg(test)]
mod tests;

pub(crate) use disk::{Access, Files, SegmentDir, SegmentFile, segment_name};
pub(crate) use frame::{FRAME_HEADER, SegmentHeader};
pub(crate) use pool::Pool;
pub(crate) use recover::{Recovered, recover};

use std::io;
use std::sync::Arc;

use self::frame::{Generation, SEGMENT_HEADER};
use self::pool::Slot;
use crate::chain::Batch;
use crate::ids::{LedgerId, Seq};

/// Length of a segment, unless one batch alone needs more.
pub(crate) const SEGMENT_BYTES: u64 = 4 * 1024 * 1024;

/// The writing end.
#[derive(Debug)]
pub(crate) struct Journal {
    ledger_id: LedgerId,
    pool: Arc<Pool>,
    current: Option<Current>,
    generation: Generation,
    /// Reused by every append.
    frame: Vec<u8>,
    failed: Option<String>,
}

/// The segment that is being written.
#[derive(Debug)]
struct Current {
    slot: Slot,
    at: u64,
    last: Seq,
}

impl Journal {
    /// Goes on behind what was recovered, in a new segment.
    pub(crate) fn resume(ledger_id: LedgerId, pool: Arc<Pool>, recovered: &Recovered) -> Self {
        Self {
            ledger_id,
            pool,
            current: None,
            generation: recovered.generation(),
            frame: Vec::new(),
            failed: None,
        }
    }

    /// Appends a batch; when this returns, it is on disk.
    ///
    /// # Errors
    /// What the disk says. The batch is then taken back as far as that is still possible, and
    /// nothing more is written.
    pub(crate) fn append(&mut self, batch: &Batch) -> io::Result<()> {
        if let Some(earlier) = &self.failed {
            return Err(io::Error::other(format!(
                "an earlier append failed ({earlier}); the store must be opened anew"
            )));
        }
        self.write(batch)
            .inspect_err(|error| self.failed = Some(error.to_string()))
    }

    fn write(&mut self, batch: &Batch) -> io::Result<()> {
        let need = frame::len(batch);
        let mut current = match self.current.take() {
            Some(current) if current.slot.len - current.at >= need => current,
            full => self.next(full, need)?,
        };
        frame::encode(batch, self.generation, current.at, &mut self.frame);
        let file = &current.slot.file;
        file.write_at(current.at, &self.frame)
            .and_then(|()| file.sync())
            .inspect_err(|_| {
                // Nobody may find it later and take it for acknowledged. If this fails too, the
                // next opening writes it again before anyone relies on it.
                let _ = file.write_at(current.at, &[0; FRAME_HEADER]);
                let _ = file.sync();
            })?;
        current.at += need;
        current.last = batch.head().seq;
        self.current = Some(current);
        Ok(())
    }

    /// The next segment, with its header on disk before any frame is. A frame whose header a crash
    /// took would come back with the next use of the file, which could get the same generation.
    fn next(&mut self, full: Option<Current>, need: u64) -> io::Result<Current> {
        if let Some(full) = full {
            self.pool.retire(full.slot, full.last);
        }
        let slot = self.pool.take(SEGMENT_HEADER + need)?;
        let generation = self.generation.0.checked_add(1);
        self.generation = Generation(
            generation
                .ok_or_else(|| io::Error::other("the journal has used up its generations"))?,
        );
        let header = SegmentHeader {
            ledger_id: self.ledger_id,
            generation: self.generation,
        };
        slot.file.write_at(0, &header.encode())?;
        slot.file.sync()?;
        Ok(Current {
            slot,
            at: SEGMENT_HEADER,
            last: Seq::ZERO,
        })
    }
}
