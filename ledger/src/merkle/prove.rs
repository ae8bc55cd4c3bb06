//! Proofs: which roots of neighboring leaves they consist of, and how those come from tiles.
//!
//! RFC 6962 defines both proofs by taking a tree apart: `D[lo:hi]` is cut at the largest power of
//! two below its length, one half is looked into, and the root over the other becomes part of the
//! proof. So a proof is a list of ranges; each is made of perfect trees, and each of those is a
//! hash in a tile, or the root over some neighbors in a tile.
//!
//! A tile is read once per proof. A proof at size `n` needs at most two tiles of each level: the
//! one above its leaf, and the last one.

use std::error::Error;
use std::ops::Range;

use super::frontier::fold_right;
use super::hash::perfect_root;
use super::{LeafIndex, TILE_HEIGHT, TILE_WIDTH, TreeHash, TreeRoot, TreeSize, TreeSource};

/// Why there is no proof.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProveError<E: Error + 'static> {
    /// The tree has no such leaf.
    #[error("a tree of size {size} has no leaf {index}")]
    Index {
        /// The leaf.
        index: LeafIndex,
        /// The tree's size.
        size: TreeSize,
    },
    /// The first tree is larger than the second.
    #[error("a tree of size {old} can't have grown to size {new}")]
    Sizes {
        /// The first tree's size.
        old: TreeSize,
        /// The second tree's size.
        new: TreeSize,
    },
    /// No tree is so large.
    #[error("a tree of size {0} is beyond the largest, {max}", max = TreeSize::MAX)]
    Size(TreeSize),
    /// A source answered with another number of hashes than asked for.
    #[error("level {level} of the tree has {found} of {expected} hashes from {first} on")]
    Short {
        /// The tile level.
        level: u8,
        /// The first hash that was asked for.
        first: u64,
        /// How many were.
        expected: usize,
        /// How many there were.
        found: usize,
    },
    /// The source failed.
    #[error("the tree could not be read: {0}")]
    Source(#[source] E),
}

/// Proves that a leaf is in the tree of a size: the hashes to be joined with it, from its sibling
/// up (RFC 6962, 2.1.1).
///
/// # Errors
/// [`ProveError`]
pub fn inclusion<S: TreeSource>(
    source: &S,
    index: LeafIndex,
    size: TreeSize,
) -> Result<Vec<TreeHash>, ProveError<S::Error>> {
    if index.0 >= size.0 {
        return Err(ProveError::Index { index, size });
    }
    let mut ranges = Vec::new();
    let (mut lo, mut hi) = (0, size.0);
    while hi - lo > 1 {
        let middle = lo + split(hi - lo);
        if index.0 < middle {
            ranges.push(middle..hi);
            hi = middle;
        } else {
            ranges.push(lo..middle);
            lo = middle;
        }
    }
    Tiles::new(source, size)?.roots(ranges.into_iter().rev())
}

/// Proves that the tree of the first size is the beginning of the tree of the second (RFC 6962,
/// 2.1.2). The proof is empty if they are of one size, or the first has no leaves.
///
/// # Errors
/// [`ProveError`]
pub fn consistency<S: TreeSource>(
    source: &S,
    old: TreeSize,
    new: TreeSize,
) -> Result<Vec<TreeHash>, ProveError<S::Error>> {
    if old > new {
        return Err(ProveError::Sizes { old, new });
    }
    if old == TreeSize::ZERO {
        return Ok(Vec::new());
    }
    let mut ranges = Vec::new();
    let (mut lo, mut hi) = (0, new.0);
    while old.0 < hi {
        let middle = lo + split(hi - lo);
        if old.0 <= middle {
            ranges.push(middle..hi);
            hi = middle;
        } else {
            ranges.push(lo..middle);
            lo = middle;
        }
    }
    // What is left ends with the old tree. If it is the old tree, its root is known.
    if lo > 0 {
        ranges.push(lo..hi);
    }
    Tiles::new(source, new)?.roots(ranges.into_iter().rev())
}

/// The tree as it was at a size.
///
/// # Errors
/// [`ProveError`]
pub fn root_at<S: TreeSource>(
    source: &S,
    size: TreeSize,
) -> Result<TreeRoot, ProveError<S::Error>> {
    let hash = fold_right(&edge_at(source, size)?);
    Ok(TreeRoot { size, hash })
}

/// The edge of the tree as it was at a size; see [`super::Frontier::edge`].
pub(super) fn edge_at<S: TreeSource>(
    source: &S,
    size: TreeSize,
) -> Result<Vec<TreeHash>, ProveError<S::Error>> {
    Tiles::new(source, size)?.edge(0..size.0)
}

/// Where RFC 6962 cuts a tree of two leaves or more: the largest power of two below its size.
fn split(size: u64) -> u64 {
    1 << (size - 1).ilog2()
}

/// The tiles of one tree, each read at most once.
struct Tiles<'a, S> {
    source: &'a S,
    size: TreeSize,
    read: Vec<Tile>,
}

struct Tile {
    level: u8,
    index: u64,
    hashes: Vec<TreeHash>,
}

impl<'a, S: TreeSource> Tiles<'a, S> {
    fn new(source: &'a S, size: TreeSize) -> Result<Self, ProveError<S::Error>> {
        if size > TreeSize::MAX {
            return Err(ProveError::Size(size));
        }
        let read = Vec::new();
        Ok(Self { source, size, read })
    }

    /// The roots over some ranges that RFC 6962 cuts the tree into.
    fn roots(
        &mut self,
        ranges: impl Iterator<Item = Range<u64>>,
    ) -> Result<Vec<TreeHash>, ProveError<S::Error>> {
        ranges
            .map(|range| Ok(fold_right(&self.edge(range)?)))
            .collect()
    }

    /// The roots of the perfect trees that a range consists of, the largest first.
    fn edge(&mut self, range: Range<u64>) -> Result<Vec<TreeHash>, ProveError<S::Error>> {
        if let Some(known) = self.known(&range) {
            return Ok(known.to_vec());
        }
        let mut edge = Vec::new();
        let mut lo = range.start;
        while lo < range.end {
            let height = (range.end - lo).ilog2();
            edge.push(self.node(height, lo >> height)?);
            lo += 1 << height;
        }
        Ok(edge)
    }

    /// The same, if the range is an end of the tree at which one of its perfect trees begins, and
    /// the source knows its edge.
    fn known(&self, range: &Range<u64>) -> Option<&'a [TreeHash]> {
        if range.end != self.size.0 {
            return None;
        }
        let edge = self.source.known_edge(self.size)?;
        let length = range.end - range.start;
        // The last perfect trees have the sizes that the lowest bits of the tree's size stand for.
        let count = length.count_ones();
        let low = (0..count).try_fold(0, |low, _| {
            let rest = self.size.0 & !low;
            (rest > 0).then(|| low | (rest & rest.wrapping_neg()))
        });
        (low == Some(length)).then(|| &edge[edge.len().saturating_sub(count as usize)..])
    }

    /// The node at a height and a position among those of the height.
    fn node(&mut self, height: u32, index: u64) -> Result<TreeHash, ProveError<S::Error>> {
        let level = (height / TILE_HEIGHT) as u8;
        // The node's leaves in the tile: 1, 2, 4 … 128 neighbors.
        let below = height % TILE_HEIGHT;
        let first = index << below;
        let width = TILE_WIDTH as u64;
        let at = (first % width) as usize;
        let hashes = self.tile(level, first / width)?;
        let mut nodes = [TreeHash([0; 32]); TILE_WIDTH / 2];
        let nodes = &mut nodes[..1 << below];
        nodes.copy_from_slice(&hashes[at..at + nodes.len()]);
        Ok(perfect_root(nodes))
    }

    /// All of a tile that the tree has.
    fn tile(&mut self, level: u8, index: u64) -> Result<&[TreeHash], ProveError<S::Error>> {
        let is_it = |tile: &Tile| (tile.level, tile.index) == (level, index);
        let place = match self.read.iter().position(is_it) {
            Some(place) => place,
            None => {
                let hashes = read_tile(self.source, self.size, level, index)?;
                self.read.push(Tile {
                    level,
                    index,
                    hashes,
                });
                self.read.len() - 1
            }
        };
        Ok(&self.read[place].hashes)
    }
}

/// All of a tile that a tree of this size has.
pub(super) fn read_tile<S: TreeSource>(
    source: &S,
    size: TreeSize,
    level: u8,
    index: u64,
) -> Result<Vec<TreeHash>, ProveError<S::Error>> {
    let all = size.0 >> (u32::from(level) * TILE_HEIGHT);
    let first = index * TILE_WIDTH as u64;
    let range = first..all.min(first + TILE_WIDTH as u64);
    read_range(source, level, range)
}

/// Some hashes of one tile.
pub(super) fn read_range<S: TreeSource>(
    source: &S,
    level: u8,
    range: Range<u64>,
) -> Result<Vec<TreeHash>, ProveError<S::Error>> {
    let first = range.start;
    let expected = (range.end - range.start) as usize;
    let hashes = match level {
        0 => source.leaf_hashes(range),
        _ => source.stored_hashes(level, range),
    };
    let hashes = hashes.map_err(ProveError::Source)?;
    if hashes.len() != expected {
        let found = hashes.len();
        return Err(ProveError::Short {
            level,
            first,
            expected,
            found,
        });
    }
    Ok(hashes)
}
