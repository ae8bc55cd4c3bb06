//! Reading the durable store: redb's blocks, then those of the tail.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use super::tail::{Snapshot, Tail};
use crate::chain::Head;
use crate::ids::{LedgerId, Seq};
use crate::store::block::pack_after;
use crate::store::redb::RedbReader;
use crate::store::{BLOCK_CAP, Block, Blocks, LogReader, LogTree, ReadError};

/// Reads a durable store; clones share it.
#[derive(Debug, Clone)]
pub struct DurableReader {
    redb: RedbReader,
    tail: Arc<Tail>,
}

impl DurableReader {
    pub(super) fn new(redb: RedbReader, tail: Arc<Tail>) -> Self {
        Self { redb, tail }
    }

    /// Bytes of all encoded events together.
    pub fn event_bytes(&self) -> u64 {
        self.tail.bounds().head.event_bytes
    }

    /// Waits until redb's record of its pages was checked, where that is done beside other work, which begins
    /// with the first append.
    ///
    /// # Errors
    /// What is wrong with it, or why sealing can't go on: nothing more can be appended for long.
    pub fn wait_until_checked(&self) -> io::Result<()> {
        match self.tail.wait_until_checked() {
            true => Ok(()),
            false => self.tail.failure(),
        }
    }

    /// How far the ledger is sealed in redb; what is behind stands in the journal.
    pub fn sealed(&self) -> Seq {
        self.tail.bounds().sealed.head.seq
    }
}

impl LogReader for DurableReader {
    fn ledger_id(&self) -> LedgerId {
        self.redb.ledger_id()
    }

    fn head(&self) -> Result<Head, ReadError> {
        // Says whether the store is still open.
        self.redb.head()?;
        Ok(self.tail.head())
    }

    fn blocks(&self, from: Seq) -> Result<Blocks<'_>, ReadError> {
        let (snapshot, sealed) = self.tail.snapshot(|_| self.redb.blocks(from));
        Ok(join(sealed?, snapshot, from))
    }

    fn tree(&self) -> Result<LogTree<'_>, ReadError> {
        let (snapshot, ()) = self.tail.snapshot(|_| ());
        let mut tree = self.redb.tree_of(snapshot.sealed.head)?;
        snapshot.grow(&mut tree);
        Ok(tree)
    }
}

/// The sealed blocks, then those of the tail that hold `from` or what is behind it.
pub(super) fn join(sealed: Blocks<'_>, snapshot: Snapshot, from: Seq) -> Blocks<'_> {
    let after = snapshot.sealed.head.seq.max(Seq(from.0.saturating_sub(1)));
    Box::new(Joined {
        sealed: Some(sealed),
        snapshot: Some(snapshot),
        after,
        tail: VecDeque::new(),
    })
}

struct Joined<'a> {
    sealed: Option<Blocks<'a>>,
    snapshot: Option<Snapshot>,
    /// The tail's blocks begin behind this one. More may have been sealed than the tail knew of.
    after: Seq,
    tail: VecDeque<Block>,
}

impl Iterator for Joined<'_> {
    type Item = Result<Block, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(sealed) = &mut self.sealed {
            match sealed.next() {
                Some(item) => {
                    if let Ok(block) = &item {
                        self.after = self.after.max(block.last());
                    }
                    return Some(item);
                }
                None => self.sealed = None,
            }
        }
        if let Some(snapshot) = self.snapshot.take() {
            self.tail = pack_after(&snapshot.batches, self.after, BLOCK_CAP).into();
        }
        self.tail.pop_front().map(Ok)
    }
}
