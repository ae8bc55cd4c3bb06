//! The tree's rows in redb: read for proofs, resumed by the writer, made for a store of an older
//! layout.

use std::collections::BTreeMap;

use ::redb::{Database, ReadableDatabase, TableError};

use super::contain::contain;
use super::meta::TREE;
use super::reader::{RedbReader, Shared, closed, from_storage, from_table, from_transaction};
use crate::chain::{ChainKey, Head};
use crate::hash::Hash;
use crate::ids::Seq;
use crate::merkle::{TileRow, TreeHash, TreeSize, TreeWriter, leaf_hashes};
use crate::store::tree::TreeRows;
use crate::store::{LogReader, LogTree, ReadError};

/// Reads rows as they are at the time of asking.
pub(super) struct Rows<'a>(pub(super) &'a Shared);

impl TreeRows for Rows<'_> {
    fn row(&self, level: u8, index: u64) -> Result<Option<Vec<u8>>, ReadError> {
        let read = |db: &Database| -> Result<Option<Vec<u8>>, ReadError> {
            let txn = db.begin_read().map_err(from_transaction)?;
            let table = match txn.open_table(TREE) {
                // A tree of less than a tile has no rows.
                Err(TableError::TableDoesNotExist(_)) => return Ok(None),
                other => other.map_err(from_table)?,
            };
            let row = table.get((level, index)).map_err(from_storage)?;
            Ok(row.map(|row| row.value().to_vec()))
        };
        self.0
            .with(|db| contain(|| read(db)))
            .ok_or_else(closed)?
            .unwrap_or_else(|panic| Err(ReadError::Damaged(panic)))
    }
}

/// The tree over the events up to a head that the store has reached.
pub(super) fn tree_of(reader: &RedbReader, upto: Head) -> Result<LogTree<'_>, ReadError> {
    let extent = reader.shared.extent();
    let Some(root) = extent.root else {
        return LogTree::of_blocks(reader.blocks(Seq::FIRST)?);
    };
    let rows = Box::new(Rows(&reader.shared));
    let tree = LogTree::stored(reader, rows, upto, reader.shared.edge())?;
    if extent.head.head.seq == upto.seq {
        agree(tree.root().hash, root)?;
    }
    Ok(tree)
}

/// The writing end of the tree, held against the root that the store keeps. `None` if the store
/// has no tree yet.
pub(super) fn resume(reader: &RedbReader) -> Result<Option<TreeWriter>, ReadError> {
    let extent = reader.shared.extent();
    let Some(root) = extent.root else {
        return Ok(None);
    };
    let (head, rows) = (extent.head.head, Rows(&reader.shared));
    let source = LogTree::stored(reader, Box::new(rows), head, None)?;
    let size = TreeSize::of(head.seq);
    let writer = TreeWriter::resume(&source, size).map_err(crate::store::tree::from_prove)?;
    agree(writer.root().hash, root)?;
    Ok(Some(writer))
}

fn agree(found: TreeHash, said: TreeHash) -> Result<(), ReadError> {
    if found == said {
        return Ok(());
    }
    Err(ReadError::Damaged(format!(
        "the root of the Merkle tree is {found}, its head says {said}"
    )))
}

/// The tree of a store that has none, and its rows: from every event, each of which is checked.
/// Takes memory for the rows, an eighth of a byte an event.
pub(super) fn build(reader: &RedbReader) -> Result<(TreeWriter, Vec<TileRow>), ReadError> {
    let key = ChainKey::new(reader.shared.ledger_id);
    let mut writer = TreeWriter::new();
    let mut rows = BTreeMap::new();
    let (mut leaves, mut prev) = (Vec::new(), Hash::ZERO);
    for block in reader.blocks(Seq::FIRST)? {
        let block = block?;
        let damaged = |why: String| ReadError::Damaged(format!("seq {}: {why}", block.first()));
        block.check(&key).map_err(|e| damaged(e.to_string()))?;
        if block.prev_hash() != prev {
            return Err(damaged("it does not follow the event before it".into()));
        }
        prev = block.last_hash();
        leaves.clear();
        leaf_hashes(block.iter(), &mut leaves);
        for row in writer.append(&leaves) {
            rows.insert((row.level, row.index), row);
        }
    }
    Ok((writer, rows.into_values().collect()))
}
