//! A store in memory, for tests, simulation and benchmarks: the same contract without a disk.

use std::sync::{Arc, RwLock, RwLockReadGuard};

use super::{AppendError, Block, Blocks, LogReader, LogWriter, ReadError, pack};
use crate::chain::{Batch, ChainKey, Head};
use crate::ids::{LedgerId, Seq};

#[derive(Debug)]
struct Inner {
    head: Head,
    blocks: Vec<Block>,
}

/// Both halves of a store in memory; clones share the contents.
#[derive(Debug, Clone)]
pub struct MemoryStore {
    ledger_id: LedgerId,
    key: ChainKey,
    inner: Arc<RwLock<Inner>>,
}

impl MemoryStore {
    /// An empty ledger.
    pub fn new(ledger_id: LedgerId) -> Self {
        let inner = Inner {
            head: Head::EMPTY,
            blocks: Vec::new(),
        };
        Self {
            ledger_id,
            key: ChainKey::new(ledger_id),
            inner: Arc::new(RwLock::new(inner)),
        }
    }

    fn read(&self) -> RwLockReadGuard<'_, Inner> {
        // A writer only pushes finished blocks, so even a poisoned lock guards sound contents.
        self.inner
            .read()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// The checks that every store makes before it writes anything.
///
/// # Errors
/// [`AppendError::OtherLedger`], [`AppendError::Fenced`] or [`AppendError::HeadMismatch`].
pub(super) fn admit(key: ChainKey, head: Head, batch: &Batch) -> Result<(), AppendError> {
    if batch.key() != key {
        return Err(AppendError::OtherLedger);
    }
    if batch.head().term < head.term {
        return Err(AppendError::Fenced {
            store: head.term,
            writer: batch.head().term,
        });
    }
    if (batch.prev().seq, batch.prev().hash) != (head.seq, head.hash) {
        return Err(AppendError::HeadMismatch {
            store: head.seq,
            batch: batch.prev().seq,
        });
    }
    Ok(())
}

impl LogWriter for MemoryStore {
    fn ledger_id(&self) -> LedgerId {
        self.ledger_id
    }

    fn head(&self) -> Head {
        self.read().head
    }

    fn append(&mut self, batch: &Batch) -> Result<Head, AppendError> {
        let mut inner = self
            .inner
            .write()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        admit(self.key, inner.head, batch)?;
        inner.blocks.extend(pack(batch, None));
        if !batch.is_empty() {
            inner.head = batch.head();
        }
        Ok(inner.head)
    }
}

impl LogReader for MemoryStore {
    fn ledger_id(&self) -> LedgerId {
        self.ledger_id
    }

    fn head(&self) -> Result<Head, ReadError> {
        Ok(self.read().head)
    }

    fn blocks(&self, from: Seq) -> Result<Blocks<'_>, ReadError> {
        let inner = self.read();
        let start = inner.blocks.partition_point(|b| b.last() < from);
        let blocks: Vec<_> = inner.blocks[start..].iter().cloned().map(Ok).collect();
        Ok(Box::new(blocks.into_iter()))
    }
}
