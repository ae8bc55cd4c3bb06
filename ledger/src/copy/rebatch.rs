//! Encoded events, one after the other, as batches of a useful size.

use crate::chain::{Batch, ChainKey, Head};
use crate::ids::LedgerId;
use crate::store::BlockFault;

/// Bytes of events from which on a batch is handed out: an append is one sync, so a copy should
/// make few.
const BATCH_BYTES: usize = 1024 * 1024;

/// Collects events that were written before. After an error it is of no more use.
#[derive(Debug)]
pub struct Rebatch {
    key: ChainKey,
    head: Head,
    /// Per event its length (u32, little endian) and its bytes.
    body: Vec<u8>,
}

impl Rebatch {
    /// What follows `after` in a ledger.
    pub fn new(ledger: LedgerId, after: Head) -> Self {
        Self {
            key: ChainKey::new(ledger),
            head: after,
            body: Vec::new(),
        }
    }

    /// The head of what was handed out.
    pub fn head(&self) -> Head {
        self.head
    }

    /// Takes the next event; hands out a batch once there is enough for one.
    ///
    /// # Errors
    /// [`BlockFault`] if one of the batch's events is malformed or out of place.
    pub fn push(&mut self, event: &[u8]) -> Result<Option<Batch>, BlockFault> {
        let len = u32::try_from(event.len()).map_err(|_| BlockFault::Length(self.body.len()))?;
        self.body.extend_from_slice(&len.to_le_bytes());
        self.body.extend_from_slice(event);
        if self.body.len() < BATCH_BYTES {
            return Ok(None);
        }
        self.flush()
    }

    /// Hands out what is left.
    ///
    /// # Errors
    /// As [`Rebatch::push`].
    pub fn flush(&mut self) -> Result<Option<Batch>, BlockFault> {
        if self.body.is_empty() {
            return Ok(None);
        }
        let batch = Batch::restore(self.key, self.head, &self.body)?;
        self.head = batch.head();
        self.body.clear();
        Ok(Some(batch))
    }
}
