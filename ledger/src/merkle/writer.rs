//! Growing a tree and the rows that a store keeps of it.
//!
//! A batch of events is appended like this, in the transaction that writes their block:
//!
//! ```text
//! leaf_hashes(events) ──> TreeWriter::append ──> rows: put each under (level, index)
//!                                           '──> TreeWriter::root: kept with the head
//! ```
//!
//! A row is a tile of level 1 or above, full or the last of its level; it grows under its key until
//! it has 256 hashes and is then never written again. A store that has the rows and the events of
//! the first `n` events has all of the tree of size `n`: [`TreeWriter::resume`] needs no more.

use super::prove::{edge_at, read_range};
use super::{
    Frontier, ProveError, StoredHash, TILE_HEIGHT, TILE_WIDTH, TreeHash, TreeRoot, TreeSize,
    TreeSource, WholeTiles,
};

/// A tile as a store keeps it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TileRow {
    /// The tile level, from 1.
    pub level: u8,
    /// Position of the tile in its level.
    pub index: u64,
    /// Its hashes, 1 to 256.
    pub hashes: Vec<TreeHash>,
}

/// Why bytes are not a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a row of the tree has 1 to 256 hashes of 32 bytes, not {0} bytes")]
pub struct TileRowError(pub usize);

impl TileRow {
    /// Whether it will never change.
    pub fn is_full(&self) -> bool {
        self.hashes.len() == TILE_WIDTH
    }

    /// The row's bytes: its hashes one behind the other, which is also what a tile of C2SP
    /// tlog-tiles is.
    pub fn to_bytes(&self) -> Vec<u8> {
        concat(&self.hashes)
    }

    /// The hashes in a row's bytes.
    ///
    /// # Errors
    /// [`TileRowError`] unless they are 1 to 256.
    pub fn parse(bytes: &[u8]) -> Result<Vec<TreeHash>, TileRowError> {
        let (hashes, rest) = bytes.as_chunks();
        if !rest.is_empty() || !(1..=TILE_WIDTH).contains(&hashes.len()) {
            return Err(TileRowError(bytes.len()));
        }
        Ok(hashes.iter().map(|hash| TreeHash(*hash)).collect())
    }
}

/// Hashes one behind the other.
pub(super) fn concat(hashes: &[TreeHash]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(hashes.len() * 32);
    for hash in hashes {
        bytes.extend_from_slice(&hash.0);
    }
    bytes
}

/// A growing tree: its right edge and the last row of each level.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct TreeWriter {
    frontier: Frontier,
    /// For the levels from 1: the hashes behind the last full row.
    last: Vec<Vec<TreeHash>>,
}

impl TreeWriter {
    /// The tree without leaves.
    pub fn new() -> Self {
        Self::default()
    }

    /// Goes on with the tree of the first `size` events of a store. Reads at most 255 leaves and a
    /// row of each level.
    ///
    /// Compare [`TreeWriter::root`] with the root that the store keeps before you trust it.
    ///
    /// # Errors
    /// [`ProveError`] if the store can't be read, or has not all of the tree.
    pub fn resume<S: TreeSource>(source: &S, size: TreeSize) -> Result<Self, ProveError<S::Error>> {
        let frontier = Frontier::of_edge(size, edge_at(source, size)?);
        let mut last = Vec::new();
        for level in 1.. {
            let all = size.0.checked_shr(u32::from(level) * TILE_HEIGHT);
            let Some(all) = all.filter(|&all| all > 0) else {
                break;
            };
            let first = all - all % TILE_WIDTH as u64;
            last.push(if first == all {
                Vec::new()
            } else {
                read_range(source, level, first..all)?
            });
        }
        Ok(Self { frontier, last })
    }

    /// How many leaves the tree has.
    pub fn size(&self) -> TreeSize {
        self.frontier.size()
    }

    /// The tree as it is now.
    pub fn root(&self) -> TreeRoot {
        self.frontier.root()
    }

    /// Its right edge.
    pub fn frontier(&self) -> &Frontier {
        &self.frontier
    }

    /// Appends leaves. Returns the rows that are new or have grown, by level and index; the store
    /// puts each over what it has under (level, index).
    pub fn append(&mut self, leaves: &[TreeHash]) -> Vec<TileRow> {
        self.append_over(leaves, &WholeTiles::default())
    }

    /// As [`TreeWriter::append`], where the roots over some of the leaves are known.
    pub fn append_over(&mut self, leaves: &[TreeHash], tiles: &WholeTiles) -> Vec<TileRow> {
        let mut rows = Vec::new();
        let last = &mut self.last;
        // A level can only be new if all levels below it have got a hash: they come in order.
        let mut grown: Vec<Option<u64>> = vec![None; last.len()];
        self.frontier
            .extend_over(leaves, tiles, &mut |stored: StoredHash| {
                let place = usize::from(stored.level) - 1;
                if place == last.len() {
                    last.push(Vec::new());
                    grown.push(None);
                }
                let hashes = &mut last[place];
                hashes.push(stored.hash);
                let index = stored.index / TILE_WIDTH as u64;
                grown[place] = Some(index);
                if hashes.len() == TILE_WIDTH {
                    rows.push(TileRow {
                        level: stored.level,
                        index,
                        hashes: std::mem::take(hashes),
                    });
                }
            });
        for (level, (hashes, index)) in (1..).zip(self.last.iter().zip(grown)) {
            if let (Some(index), false) = (index, hashes.is_empty()) {
                rows.push(TileRow {
                    level,
                    index,
                    hashes: hashes.clone(),
                });
            }
        }
        rows.sort_by_key(|row| (row.level, row.index));
        rows
    }
}
