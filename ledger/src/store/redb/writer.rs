//! Appending: one batch, one redb transaction, one sync.
//!
//! A small batch is joined to the last block, which is then written again; so blocks don't stay
//! at one event when events come one by one. How far: joined blocks stay just under 16 KiB, a
//! size that redb's pages hold without waste. Measured with 345-byte events: at one event per
//! commit this writes 37 kB to disk per commit where no joining writes 32 kB and joining up to
//! 64 KiB 69 kB, at the same number of commits per second; blocks then hold 46 events.

use std::fs::File;
use std::io;
use std::sync::Arc;

use ::redb::{CommitError, Database, StorageError, TableError, TransactionError};

use super::contain::contain;
use super::head_file::HeadFile;
use super::meta::{
    BLOCKS, Extent, HEAD_ROW, LAYOUT, LAYOUT_ROW, LEDGER_ROW, META, StoreHead, TREE,
};
use super::reader::Shared;
use crate::chain::{Batch, ChainKey, Head};
use crate::ids::LedgerId;
use crate::merkle::{TileRow, TreeHash, TreeWriter, leaf_hashes};
use crate::store::block::BlockPlan;
use crate::store::memory::admit;
use crate::store::{AppendError, Block, pack};

/// Largest block that a batch is joined to, with the batch in it. Under 16 KiB by what a redb
/// leaf page needs for itself.
const JOIN_CAP: usize = 16 * 1024 - 512;

/// The writing half of a store.
#[derive(Debug)]
pub(super) struct Writer {
    pub(super) shared: Arc<Shared>,
    key: ChainKey,
    /// None if somebody else keeps it.
    head_file: Option<File>,
    /// The last block while it is small enough to be joined.
    pub(super) tail: Option<Block>,
    tree: TreeWriter,
    /// What the failed append said; nothing more is written after it.
    failed: Option<String>,
}

impl Writer {
    pub(super) fn new(
        shared: Arc<Shared>,
        head_file: Option<File>,
        tail: Option<Block>,
        tree: TreeWriter,
    ) -> Self {
        shared.set_edge(tree.frontier());
        Self {
            key: ChainKey::new(shared.ledger_id),
            shared,
            head_file,
            tail,
            tree,
            failed: None,
        }
    }

    pub(super) fn head(&self) -> Head {
        self.shared.head().head
    }

    pub(super) fn append(&mut self, batch: &Batch) -> Result<Head, AppendError> {
        if let Some(earlier) = &self.failed {
            return Err(AppendError::Io(io::Error::other(format!(
                "an earlier append failed ({earlier}); the store must be opened anew"
            ))));
        }
        let head = self.shared.head();
        admit(self.key, head.head, batch)?;
        if batch.is_empty() {
            return Ok(head.head);
        }
        let next = StoreHead {
            head: batch.head(),
            event_bytes: head.event_bytes + batch.byte_len() as u64,
        };
        let written = batch.byte_len() + 4 * batch.len();
        let tail = self
            .tail
            .take_if(|tail| tail.as_bytes().len() + written <= JOIN_CAP);
        let blocks = pack(batch, tail.as_ref());
        let mut leaves = Vec::new();
        leaf_hashes(batch.events().map(|(bytes, _)| bytes), &mut leaves);
        let change = Change {
            ledger: None,
            blocks: Blocks::Made(&blocks),
            rows: self.tree.append(&leaves),
            head: next,
        };
        self.commit(change, Repair::Full)?;
        self.tail = blocks
            .into_iter()
            .next_back()
            .filter(|block| block.as_bytes().len() < JOIN_CAP);
        // The batch is durable whatever becomes of this: the file is only a lower bound.
        if let Some(file) = &self.head_file {
            let _ = self.head_file().write(file);
        }
        Ok(next.head)
    }

    /// Adds whole blocks that follow the last one, with the leaves of their events, and the head
    /// they lead to.
    pub(super) fn seal(
        &mut self,
        blocks: &[BlockPlan<'_>],
        leaves: &[TreeHash],
        next: StoreHead,
    ) -> Result<(), AppendError> {
        if let Some(earlier) = &self.failed {
            return Err(AppendError::Io(io::Error::other(earlier.clone())));
        }
        let change = Change {
            ledger: None,
            blocks: Blocks::Planned(blocks, leaves),
            rows: Vec::new(),
            head: next,
        };
        self.commit(change, Repair::Quick)?;
        self.tail = None;
        Ok(())
    }

    fn commit(&mut self, change: Change<'_>, repair: Repair) -> Result<(), AppendError> {
        match apply(&self.shared, change, &mut self.tree, repair) {
            Ok(()) => Ok(()),
            Err(error) => {
                self.failed = Some(error.to_string());
                Err(match is_full(&error) {
                    true => AppendError::Full(error),
                    false => AppendError::Io(error),
                })
            }
        }
    }

    /// Writes the tree of a store that has none yet.
    pub(super) fn plant(
        shared: &Shared,
        tree: &mut TreeWriter,
        rows: Vec<TileRow>,
    ) -> io::Result<()> {
        let change = Change {
            ledger: None,
            blocks: Blocks::Made(&[]),
            rows,
            head: shared.head(),
        };
        apply(shared, change, tree, Repair::Quick)
    }

    fn head_file(&self) -> HeadFile {
        let head = self.head();
        HeadFile {
            ledger_id: self.shared.ledger_id,
            seq: head.seq,
            hash: head.hash,
        }
    }

    /// Writes and syncs the head file, then closes the store.
    pub(super) fn close(&mut self) -> io::Result<()> {
        let synced = match &self.head_file {
            Some(file) if self.failed.is_none() => {
                self.head_file().write(file).and_then(|()| file.sync_all())
            }
            _ => Ok(()),
        };
        self.shared.close();
        synced
    }
}

pub(super) fn ledger_id(writer: &Writer) -> LedgerId {
    writer.shared.ledger_id
}

/// What one transaction writes.
pub(super) struct Change<'a> {
    /// Which ledger it is, in the first change.
    pub(super) ledger: Option<LedgerId>,
    pub(super) blocks: Blocks<'a>,
    /// Those that the tree got from blocks that were made.
    pub(super) rows: Vec<TileRow>,
    pub(super) head: StoreHead,
}

/// The blocks of a change.
pub(super) enum Blocks<'a> {
    /// The first may replace the last one there. Their new events are in the tree already.
    Made(&'a [Block]),
    /// They are made right in redb's pages; with the leaves of their events.
    Planned(&'a [BlockPlan<'a>], &'a [TreeHash]),
}

fn apply(
    shared: &Shared,
    change: Change<'_>,
    tree: &mut TreeWriter,
    repair: Repair,
) -> io::Result<()> {
    match shared.with(|db| contain(|| write(db, change, &mut *tree, repair))) {
        Some(Ok(Ok(extent))) => {
            shared.set_extent(extent);
            shared.set_edge(tree.frontier());
            Ok(())
        }
        Some(Ok(Err(Failure(error)))) => Err(error),
        Some(Err(panic)) => Err(io::Error::other(panic)),
        None => Err(io::Error::other("the store was closed")),
    }
}

/// One transaction.
///
/// Blocks are inserted one by one: redb's cursor at the end of a table would do for all of them, but
/// writes the leaf before them again, where `insert` leaves one that holds a single large value alone.
pub(super) fn write(
    db: &Database,
    change: Change<'_>,
    tree: &mut TreeWriter,
    repair: Repair,
) -> Result<Extent, Failure> {
    let Change { mut rows, head, .. } = change;
    let mut txn = db.begin_write()?;
    txn.set_quick_repair(repair == Repair::Quick);
    let root = {
        let mut table = txn.open_table(BLOCKS)?;
        match change.blocks {
            Blocks::Made(blocks) => {
                for block in blocks {
                    table.insert(block.first().0, block.as_bytes())?;
                }
            }
            Blocks::Planned(blocks, leaves) => {
                for block in blocks {
                    let mut place = table.insert_reserve(block.first().0, block.len())?;
                    block.write(place.as_mut());
                    // Whoever waits for an append goes first, and not only when all blocks are made.
                    std::thread::yield_now();
                }
                rows.extend(tree.append(leaves));
            }
        }
        let mut stored = txn.open_table(TREE)?;
        for row in rows {
            stored.insert((row.level, row.index), &row.to_bytes()[..])?;
        }
        let root = tree.root();
        if root.size.last() != head.head.seq {
            let (leaves, events) = (root.size, head.head.seq);
            let why = format!("the tree has {leaves} leaves, the ledger {events} events");
            return Err(Failure(io::Error::other(why)));
        }
        let mut meta = txn.open_table(META)?;
        if let Some(ledger) = change.ledger {
            meta.insert(LEDGER_ROW, &ledger.0.as_bytes()[..])?;
        }
        meta.insert(HEAD_ROW, &head.encode(root.hash)[..])?;
        meta.insert(LAYOUT_ROW, &LAYOUT.0.to_le_bytes()[..])?;
        root.hash
    };
    txn.commit()?;
    let root = Some(root);
    Ok(Extent { head, root })
}

/// What opening after a crash may cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Repair {
    /// A walk over the whole tree: the commit itself is cheap.
    Full,
    /// Next to nothing: the commit writes down what a repair would have to find out, and syncs
    /// twice. For few and large transactions.
    Quick,
}

/// Whether an error says that there is no room left.
fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge
    )
}

/// What stopped a transaction.
#[derive(Debug)]
pub(super) struct Failure(pub(super) io::Error);

impl From<StorageError> for Failure {
    fn from(error: StorageError) -> Self {
        match error {
            StorageError::Io(error) => Self(error),
            other => Self(io::Error::other(other.to_string())),
        }
    }
}

macro_rules! failure_from {
    ($($error:ident),+) => {$(
        impl From<$error> for Failure {
            fn from(error: $error) -> Self {
                match error {
                    $error::Storage(error) => error.into(),
                    other => Self(io::Error::other(other.to_string())),
                }
            }
        }
    )+};
}
failure_from!(CommitError, TableError, TransactionError);
