//! The tables of layouts 1 to 3, and what the store says of itself.
//!
//! | table | key | value |
//! |---|---|---|
//! | `blocks` | u64, seq of the block's first event | a block ([`crate::store::Block`]) |
//! | `tree` | u8 level, u64 index | a row of the Merkle tree ([`crate::merkle::TileRow`]) |
//! | `meta` | `layout` | u32, the layout's version |
//! | `meta` | `ledger` | 16 bytes, the ledger id |
//! | `meta` | `head` | u64 seq, 32 bytes hash, u64 term, u64 recorded_at, u64 bytes of all events, 32 bytes root of the tree |
//!
//! Little endian. `head` is written in the same transaction as the blocks and rows it stands for.
//! Layouts 1 and 2 have no tree: neither the table nor the root in `head`. From layout 2 on there may
//! be a journal with events behind the blocks; in layout 1 there is none.

use ::redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};
use uuid::Uuid;

use super::reader::{from_storage, from_table, from_transaction};
use crate::chain::Head;
use crate::hash::Hash;
use crate::ids::{LedgerId, Seq, Term};
use crate::merkle::TreeHash;
use crate::store::{Block, OpenError};
use crate::time::Timestamp;

/// Version of what stands in redb and how; apart from the event encoding, which never changes.
pub const LAYOUT: Layout = Layout(3);
/// The first layout, which this code still reads; opening for writing makes it the newest.
const OLDEST: Layout = Layout(1);
/// The first layout with a tree.
const WITH_TREE: Layout = Layout(3);

/// A version of the store's layout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Layout(pub u32);

pub(super) const BLOCKS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("blocks");
/// By tile level and index in it.
pub(super) const TREE: TableDefinition<'_, (u8, u64), &[u8]> = TableDefinition::new("tree");
pub(super) const META: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("meta");
pub(super) const LAYOUT_ROW: &str = "layout";
pub(super) const LEDGER_ROW: &str = "ledger";
pub(super) const HEAD_ROW: &str = "head";

/// Bytes of a head without a tree.
const PLAIN_LEN: usize = 64;
const HEAD_LEN: usize = PLAIN_LEN + 32;

/// The head as stored: with the bytes of all events up to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::store) struct StoreHead {
    pub(in crate::store) head: Head,
    pub(in crate::store) event_bytes: u64,
}

/// How far a store reaches, and the root of the tree over its events, if it keeps one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Extent {
    pub(super) head: StoreHead,
    pub(super) root: Option<TreeHash>,
}

impl StoreHead {
    /// The `head` row.
    pub(super) fn encode(&self, root: TreeHash) -> [u8; HEAD_LEN] {
        let mut out = [0; HEAD_LEN];
        out[..8].copy_from_slice(&self.head.seq.0.to_le_bytes());
        out[8..40].copy_from_slice(&self.head.hash.0);
        out[40..48].copy_from_slice(&self.head.term.0.to_le_bytes());
        out[48..56].copy_from_slice(&self.head.recorded_at.0.to_le_bytes());
        out[56..PLAIN_LEN].copy_from_slice(&self.event_bytes.to_le_bytes());
        out[PLAIN_LEN..].copy_from_slice(&root.0);
        out
    }

    fn decode(bytes: &[u8; PLAIN_LEN]) -> Self {
        let u64_at = |at: usize| {
            let field: [u8; 8] = bytes[at..at + 8].try_into().expect("inside 64 bytes");
            u64::from_le_bytes(field)
        };
        Self {
            head: Head {
                seq: Seq(u64_at(0)),
                hash: Hash(bytes[8..40].try_into().expect("32 bytes")),
                term: Term(u64_at(40)),
                recorded_at: Timestamp(u64_at(48)),
            },
            event_bytes: u64_at(56),
        }
    }
}

impl Extent {
    /// The `head` row of a layout.
    fn decode(layout: Layout, row: &[u8]) -> Option<Self> {
        let (plain, root) = row.split_first_chunk()?;
        let root = match (layout >= WITH_TREE, root) {
            (false, []) => None,
            (true, root) => Some(TreeHash(root.try_into().ok()?)),
            (false, _) => return None,
        };
        Some(Self {
            head: StoreHead::decode(plain),
            root,
        })
    }
}

fn damaged(error: impl std::fmt::Display) -> OpenError {
    OpenError::Damaged(error.to_string())
}

/// Reads and cross-checks what the store says of itself: the layout, which ledger it is, and that
/// its last block is where its head says it ends.
pub(super) fn load(db: &Database) -> Result<(LedgerId, Extent), OpenError> {
    let txn = db.begin_read();
    let txn = txn.map_err(|e| OpenError::from(from_transaction(e)))?;
    let table = |e| OpenError::from(from_table(e));
    let storage = |e| OpenError::from(from_storage(e));
    let meta = txn.open_table(META).map_err(table)?;
    let row = |name: &str| -> Result<Vec<u8>, OpenError> {
        let value = meta.get(name).map_err(storage)?;
        let value = value.ok_or_else(|| damaged(format_args!("its `{name}` is missing")))?;
        Ok(value.value().to_vec())
    };
    let malformed = |name: &str| damaged(format_args!("its `{name}` is malformed"));
    let layout: [u8; 4] = row(LAYOUT_ROW)?
        .try_into()
        .map_err(|_| malformed(LAYOUT_ROW))?;
    let layout = Layout(u32::from_le_bytes(layout));
    if layout > LAYOUT {
        return Err(OpenError::Newer {
            found: layout.0,
            known: LAYOUT.0,
        });
    }
    if layout < OLDEST {
        return Err(malformed(LAYOUT_ROW));
    }
    let id: [u8; 16] = row(LEDGER_ROW)?
        .try_into()
        .map_err(|_| malformed(LEDGER_ROW))?;
    let extent = Extent::decode(layout, &row(HEAD_ROW)?).ok_or_else(|| malformed(HEAD_ROW))?;
    let head = extent.head;
    let blocks = txn.open_table(BLOCKS).map_err(table)?;
    let last = blocks.last().map_err(storage)?;
    let last = last.ok_or_else(|| damaged("it has no events"))?;
    let block = Block::parse(last.1.value().to_vec()).map_err(damaged)?;
    if (block.last(), block.last_hash()) != (head.head.seq, head.head.hash) {
        return Err(damaged(format_args!(
            "its events end at seq {} ({}), its head says seq {} ({})",
            block.last(),
            block.last_hash().short(),
            head.head.seq,
            head.head.hash.short(),
        )));
    }
    Ok((LedgerId(Uuid::from_bytes(id)), extent))
}
