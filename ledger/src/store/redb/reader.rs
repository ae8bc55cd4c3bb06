//! Reading a store: any number of readers, on any thread, beside the writer.
//!
//! Each [`LogReader::blocks`] walks one redb snapshot, so that it never sees half a batch, nor
//! anything that is not durable yet.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use ::redb::{
    Database, Range, ReadOnlyTable, ReadableDatabase, StorageError, TableError, TransactionError,
};

use super::contain::{contain, discard};
use super::meta::{self, BLOCKS, Extent, StoreHead};
use super::tree::tree_of;
use crate::chain::Head;
use crate::ids::{LedgerId, Seq};
use crate::merkle::Frontier;
use crate::store::{Block, BlockFault, Blocks, LogReader, LogTree, OpenError, ReadError};

/// What the two halves of an open store share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) ledger_id: LedgerId,
    /// Taken out when the store is closed; readers that are left over get an error.
    db: RwLock<Option<Database>>,
    extent: Mutex<Extent>,
    /// The edge of the tree as of some extent, so that a proof need not read and hash for it.
    edge: Mutex<Option<Frontier>>,
    /// Whether closing may write: only once a writer has accepted the store.
    accepted: AtomicBool,
}

impl Shared {
    /// Loads what the store says of itself.
    pub(super) fn load(db: Database) -> Result<Self, OpenError> {
        let loaded = contain(|| meta::load(&db)).unwrap_or_else(|e| Err(OpenError::Damaged(e)));
        match loaded {
            Ok((ledger_id, extent)) => Ok(Self {
                ledger_id,
                db: RwLock::new(Some(db)),
                extent: Mutex::new(extent),
                edge: Mutex::new(None),
                accepted: AtomicBool::new(false),
            }),
            Err(error) => {
                discard(db);
                Err(error)
            }
        }
    }

    /// Closing commits from now on.
    pub(super) fn accept(&self) {
        self.accepted.store(true, Ordering::Relaxed);
    }

    /// Closing writes nothing from now on.
    pub(super) fn distrust(&self) {
        self.accepted.store(false, Ordering::Relaxed);
    }

    pub(super) fn head(&self) -> StoreHead {
        self.extent().head
    }

    pub(super) fn extent(&self) -> Extent {
        *self.extent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn set_extent(&self, extent: Extent) {
        *self.extent.lock().unwrap_or_else(PoisonError::into_inner) = extent;
    }

    /// The edge of the tree when that was last told.
    pub(super) fn edge(&self) -> Option<Frontier> {
        let edge = self.edge.lock().unwrap_or_else(PoisonError::into_inner);
        edge.clone()
    }

    pub(super) fn set_edge(&self, edge: &Frontier) {
        let mut slot = self.edge.lock().unwrap_or_else(PoisonError::into_inner);
        *slot = Some(edge.clone());
    }

    /// Runs `f` on the open database; `None` once it is closed.
    pub(super) fn with<T>(&self, f: impl FnOnce(&Database) -> T) -> Option<T> {
        let db = self.db.read().unwrap_or_else(PoisonError::into_inner);
        db.as_ref().map(f)
    }

    pub(super) fn close(&self) {
        let db = self
            .db
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if self.accepted.load(Ordering::Relaxed) {
            // redb reports nothing here; at worst the next opening has to repair.
            let _ = contain(|| drop(db));
        } else {
            discard(db);
        }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.close();
    }
}

/// Reads a redb store; clones share it.
#[derive(Debug, Clone)]
pub struct RedbReader {
    pub(super) shared: Arc<Shared>,
}

impl RedbReader {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// Bytes of all encoded events together.
    pub fn event_bytes(&self) -> u64 {
        self.shared.head().event_bytes
    }

    /// The head, and the bytes of all events up to it.
    pub(in crate::store) fn sealed(&self) -> StoreHead {
        self.shared.head()
    }

    /// The tree over the events up to a head that is sealed.
    pub(in crate::store) fn tree_of(&self, upto: Head) -> Result<LogTree<'_>, ReadError> {
        tree_of(self, upto)
    }

    fn range(&self, from: Seq) -> Result<Range<'static, u64, &'static [u8]>, ReadError> {
        let open = |db: &Database| -> Result<_, ReadError> {
            let txn = db.begin_read().map_err(from_transaction)?;
            let table = txn.open_table(BLOCKS).map_err(from_table)?;
            let start = first_key(&table, from).map_err(from_storage)?;
            table.range(start..).map_err(from_storage)
        };
        let range = self.shared.with(|db| contain(|| open(db)));
        range
            .ok_or_else(closed)?
            .unwrap_or_else(|e| Err(ReadError::Damaged(e)))
    }
}

/// Key of the block that holds `from`, or would.
fn first_key(table: &ReadOnlyTable<u64, &'static [u8]>, from: Seq) -> Result<u64, StorageError> {
    match table.range(..=from.0)?.next_back() {
        None => Ok(from.0),
        Some(entry) => Ok(entry?.0.value()),
    }
}

impl LogReader for RedbReader {
    fn ledger_id(&self) -> LedgerId {
        self.shared.ledger_id
    }

    fn head(&self) -> Result<Head, ReadError> {
        self.shared.with(|_| ()).ok_or_else(closed)?;
        Ok(self.shared.head().head)
    }

    fn blocks(&self, from: Seq) -> Result<Blocks<'_>, ReadError> {
        Ok(Box::new(RedbBlocks {
            range: Some(self.range(from)?),
            from,
        }))
    }

    fn tree(&self) -> Result<LogTree<'_>, ReadError> {
        self.tree_of(self.shared.head().head)
    }
}

/// Walks the blocks of one snapshot. A block that does not parse is an error and is passed over;
/// an error of the engine ends the walk.
struct RedbBlocks {
    range: Option<Range<'static, u64, &'static [u8]>>,
    from: Seq,
}

impl RedbBlocks {
    fn step(&mut self) -> Option<Result<Block, ReadError>> {
        let range = self.range.as_mut()?;
        let entry = contain(|| {
            let entry = range.next()?;
            Some(entry.map(|(key, value)| (Seq(key.value()), value.value().to_vec())))
        });
        match entry {
            Ok(None) => None,
            Ok(Some(Ok((key, bytes)))) => Some(parse(key, bytes)),
            Ok(Some(Err(error))) => Some(Err(from_storage(error))),
            Err(panic) => Some(Err(ReadError::Damaged(panic))),
        }
    }
}

impl Iterator for RedbBlocks {
    type Item = Result<Block, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let item = self.step();
            match &item {
                Some(Ok(block)) if block.last() < self.from => continue,
                Some(Ok(_) | Err(ReadError::Block { .. })) => {}
                None | Some(Err(_)) => {
                    let range = self.range.take();
                    let _ = contain(|| drop(range));
                }
            }
            return item;
        }
    }
}

fn parse(key: Seq, bytes: Vec<u8>) -> Result<Block, ReadError> {
    let fail = |fault| ReadError::Block { seq: key, fault };
    let block = Block::parse(bytes).map_err(fail)?;
    if block.first() == key {
        Ok(block)
    } else {
        Err(fail(BlockFault::Place {
            expected: key,
            found: block.first(),
        }))
    }
}

pub(super) fn closed() -> ReadError {
    ReadError::Io(std::io::Error::other("the store was closed"))
}

pub(super) fn from_storage(error: StorageError) -> ReadError {
    match error {
        StorageError::Io(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
            ReadError::Damaged("it points past the end of its file".into())
        }
        StorageError::Io(error) => ReadError::Io(error),
        StorageError::DatabaseClosed => closed(),
        StorageError::PreviousIo => ReadError::Io(std::io::Error::other(
            "an earlier write failed; open the store anew",
        )),
        other => ReadError::Damaged(other.to_string()),
    }
}

pub(super) fn from_transaction(error: TransactionError) -> ReadError {
    match error {
        TransactionError::Storage(error) => from_storage(error),
        other => ReadError::Damaged(other.to_string()),
    }
}

pub(super) fn from_table(error: TableError) -> ReadError {
    match error {
        TableError::Storage(error) => from_storage(error),
        other => ReadError::Damaged(other.to_string()),
    }
}
