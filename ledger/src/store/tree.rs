//! A ledger's Merkle tree as a reader sees it: what the store keeps of it, and the events behind.
//!
//! ```text
//! rows in the store ──┐
//! sealed events ──────┴─> sealed part ─┐
//! events of the journal ──leaf hashes──┴─> LogTree: any root, any proof
//! ```
//! - A [`LogTree`] is of one moment; the store may grow behind it. Rows only ever get longer, and
//!   only hashes of the tree's own size are taken from them.
//! - It reads when it is asked, and trusts nothing that it reads: a proof from damaged rows does
//!   not check.

use std::fmt;
use std::ops::Range;

use super::{Block, Blocks, LogReader, ReadError};
use crate::chain::Head;
use crate::hash::Hash;
use crate::ids::{LedgerId, Seq};
use crate::merkle::{
    self, Frontier, LeafIndex, ProveError, TILE_WIDTH, TailTree, TileRow, TreeHash, TreeRoot,
    TreeSize, TreeSource, TreeWriter,
};
use crate::tree_head::TreeHead;

/// Reads the rows that a store keeps of its tree.
pub(super) trait TreeRows: Send {
    /// The bytes of a row; nothing if there is none.
    fn row(&self, level: u8, index: u64) -> Result<Option<Vec<u8>>, ReadError>;
}

/// The tree over a ledger's events at one moment; see [`LogReader::tree`].
pub struct LogTree<'a> {
    tree: TailTree<Sealed<'a>>,
    /// The chain's hash of its last event.
    chain: Hash,
}

impl fmt::Debug for LogTree<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("LogTree").field(&self.root()).finish()
    }
}

impl<'a> LogTree<'a> {
    /// The tree over all events of some blocks, which begin at seq 1. Keeps 33 bytes for each.
    ///
    /// # Errors
    /// [`ReadError`] if a block can't be read.
    pub fn of_blocks(blocks: Blocks<'_>) -> Result<Self, ReadError> {
        let mut tree = Self {
            tree: TailTree::new(Sealed(None), Frontier::new()),
            chain: Hash::ZERO,
        };
        for block in blocks {
            let block = block?;
            tree.append(block.iter(), block.last_hash());
        }
        Ok(tree)
    }

    /// The tree over the events up to a head of a store that has its rows. Its edge is made from
    /// those, unless it is known.
    pub(super) fn stored(
        log: &'a dyn LogReader,
        rows: Box<dyn TreeRows + 'a>,
        upto: Head,
        edge: Option<Frontier>,
    ) -> Result<Self, ReadError> {
        let size = TreeSize::of(upto.seq);
        let sealed = Sealed(Some(Stored { log, rows }));
        let edge = match edge.filter(|edge| edge.size() == size) {
            Some(edge) => edge,
            None => {
                let writer = TreeWriter::resume(&sealed, size).map_err(from_prove)?;
                writer.frontier().clone()
            }
        };
        Ok(Self {
            tree: TailTree::new(sealed, edge),
            chain: upto.hash,
        })
    }

    /// Adds the events that follow, the last of which has this hash in the chain.
    pub(super) fn append<'e>(&mut self, events: impl IntoIterator<Item = &'e [u8]>, chain: Hash) {
        let mut leaves = Vec::new();
        merkle::leaf_hashes(events, &mut leaves);
        self.append_leaves(&leaves, chain);
    }

    /// As [`LogTree::append`], for events whose leaves are known.
    pub(super) fn append_leaves(&mut self, leaves: &[TreeHash], chain: Hash) {
        self.tree.append(leaves);
        self.chain = chain;
    }

    /// What the ledger is committed to by the tree.
    pub fn head(&self, ledger: LedgerId) -> TreeHead {
        TreeHead {
            ledger,
            tree: self.root(),
            chain: self.chain,
        }
    }

    /// How many events it has, and the hash at its top.
    pub fn root(&self) -> TreeRoot {
        self.tree.root()
    }

    /// The tree as it was when it had `size` events.
    ///
    /// # Errors
    /// [`ProveError`] if it never had, or can't be read.
    pub fn root_at(&self, size: TreeSize) -> Result<TreeRoot, ProveError<ReadError>> {
        merkle::root_at(self, self.within(size)?)
    }

    /// Proves that an event is in the tree of a size.
    ///
    /// # Errors
    /// [`ProveError`]
    pub fn inclusion(
        &self,
        index: LeafIndex,
        size: TreeSize,
    ) -> Result<Vec<TreeHash>, ProveError<ReadError>> {
        merkle::inclusion(self, index, self.within(size)?)
    }

    /// Proves that the tree of one size has grown into that of another.
    ///
    /// # Errors
    /// [`ProveError`]
    pub fn consistency(
        &self,
        old: TreeSize,
        new: TreeSize,
    ) -> Result<Vec<TreeHash>, ProveError<ReadError>> {
        merkle::consistency(self, old, self.within(new)?)
    }

    fn within(&self, size: TreeSize) -> Result<TreeSize, ProveError<ReadError>> {
        let all = self.root().size;
        if size > all {
            return Err(ProveError::Sizes {
                old: size,
                new: all,
            });
        }
        Ok(size)
    }
}

impl TreeSource for LogTree<'_> {
    type Error = ReadError;

    fn leaf_hashes(&self, range: Range<u64>) -> Result<Vec<TreeHash>, ReadError> {
        self.tree.leaf_hashes(range)
    }

    fn stored_hashes(&self, level: u8, range: Range<u64>) -> Result<Vec<TreeHash>, ReadError> {
        self.tree.stored_hashes(level, range)
    }

    fn known_edge(&self, size: TreeSize) -> Option<&[TreeHash]> {
        self.tree.known_edge(size)
    }
}

/// The part that a store has, if there is any.
struct Sealed<'a>(Option<Stored<'a>>);

struct Stored<'a> {
    log: &'a dyn LogReader,
    rows: Box<dyn TreeRows + 'a>,
}

impl TreeSource for Sealed<'_> {
    type Error = ReadError;

    fn leaf_hashes(&self, range: Range<u64>) -> Result<Vec<TreeHash>, ReadError> {
        match &self.0 {
            None => Ok(Vec::new()),
            Some(stored) => leaves_of(stored.log.blocks(Seq(range.start + 1))?, range),
        }
    }

    fn stored_hashes(&self, level: u8, range: Range<u64>) -> Result<Vec<TreeHash>, ReadError> {
        let width = TILE_WIDTH as u64;
        let Some(stored) = &self.0 else {
            return Ok(Vec::new());
        };
        let Some(row) = stored.rows.row(level, range.start / width)? else {
            return Ok(Vec::new());
        };
        let hashes = TileRow::parse(&row)
            .map_err(|e| ReadError::Damaged(format!("level {level}, hash {}: {e}", range.start)))?;
        let from = usize::try_from(range.start % width).unwrap_or(usize::MAX);
        let count = usize::try_from(range.end - range.start).unwrap_or(usize::MAX);
        // What is not there shows in the number of hashes.
        let found = hashes.iter().skip(from).take(count);
        Ok(found.copied().collect())
    }
}

/// Hashes the events of some leaves, from blocks that hold the first of them and what follows.
fn leaves_of(blocks: Blocks<'_>, range: Range<u64>) -> Result<Vec<TreeHash>, ReadError> {
    let mut leaves = Vec::new();
    for block in blocks {
        let block: Block = block?;
        let first = block.first().0.saturating_sub(1);
        let skip = usize::try_from(range.start.saturating_sub(first)).unwrap_or(usize::MAX);
        let wanted = usize::try_from(range.end.saturating_sub(first)).unwrap_or(usize::MAX);
        let events = block.iter().take(wanted).skip(skip);
        merkle::leaf_hashes(events, &mut leaves);
        if block.last().0 >= range.end {
            break;
        }
    }
    Ok(leaves)
}

/// A tree that can't be read, as a reader says it.
pub(super) fn from_prove(error: ProveError<ReadError>) -> ReadError {
    match error {
        ProveError::Source(error) => error,
        other => ReadError::Damaged(other.to_string()),
    }
}
