//! The right edge of a growing tree: all that is needed to append to it and to know its root.
//!
//! A tree of 11 leaves is the perfect trees over 8, 2 and 1 of them, one for each bit of its size
//! (11 = 0b1011). The roots of those, largest first, are the edge. A new leaf is a perfect tree of
//! its own, and wherever two of one size meet they become one, as in adding 1 to a binary number.
//!
//! ```text
//!   8       2    1        + 1 leaf:   8       2    1 1
//!   ○       ○    ●                    ○       ○     ○
//!  ╱ ╲     ╱ ╲                       ╱ ╲      └──○──┘          8 + 4: 12 leaves
//! ```

use super::hash::perfect_root;
use super::{TILE_HEIGHT, TILE_WIDTH, TreeHash, TreeRoot, TreeSize, WholeTiles};

/// A hash at a height that tiles are made of, and stores keep: the root over
/// 256<sup>level</sup> leaves.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct StoredHash {
    /// The tile level, from 1.
    pub level: u8,
    /// Its position among the hashes of that level.
    pub index: u64,
    /// The hash.
    pub hash: TreeHash,
}

/// The right edge of a tree, to append to.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Frontier {
    size: u64,
    /// Roots of the perfect trees that the tree consists of, the largest first: as many as the
    /// size has bits that are one.
    edge: Vec<TreeHash>,
}

/// Why hashes are not the edge of a tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrontierError {
    /// Their number is wrong.
    #[error("the edge of a tree of size {size} has {expected} hashes, not {found}")]
    Edge {
        /// The tree's size.
        size: TreeSize,
        /// How many hashes it should have.
        expected: u32,
        /// How many were given.
        found: usize,
    },
    /// No tree is so large.
    #[error("a tree of size {0} is beyond the largest, {max}", max = TreeSize::MAX)]
    Size(TreeSize),
}

impl Frontier {
    /// The edge of the tree without leaves.
    pub fn new() -> Self {
        Self::default()
    }

    /// Goes on from a size and what [`Frontier::edge`] was there.
    ///
    /// # Errors
    /// [`FrontierError`] if they don't fit together. That the hashes are right shows only in the
    /// root.
    pub fn resume(size: TreeSize, edge: Vec<TreeHash>) -> Result<Self, FrontierError> {
        if size > TreeSize::MAX {
            return Err(FrontierError::Size(size));
        }
        let expected = size.0.count_ones();
        if edge.len() != expected as usize {
            return Err(FrontierError::Edge {
                size,
                expected,
                found: edge.len(),
            });
        }
        Ok(Self { size: size.0, edge })
    }

    /// As [`Frontier::resume`], for an edge that was computed for this size.
    pub(super) fn of_edge(size: TreeSize, edge: Vec<TreeHash>) -> Self {
        debug_assert_eq!(edge.len(), size.0.count_ones() as usize);
        Self { size: size.0, edge }
    }

    /// How many leaves the tree has.
    pub fn size(&self) -> TreeSize {
        TreeSize(self.size)
    }

    /// The roots of the perfect trees that it consists of, the largest first.
    pub fn edge(&self) -> &[TreeHash] {
        &self.edge
    }

    /// The tree as it is now.
    pub fn root(&self) -> TreeRoot {
        TreeRoot {
            size: self.size(),
            hash: fold_right(&self.edge),
        }
    }

    /// Appends leaves; tells `sink` each hash that tiles are made of as it becomes known, those of
    /// one level in their order.
    pub fn extend(&mut self, leaves: &[TreeHash], sink: &mut impl FnMut(StoredHash)) {
        self.extend_over(leaves, &WholeTiles::default(), sink);
    }

    /// As [`Frontier::extend`], where the roots over some of the leaves are known.
    pub fn extend_over(
        &mut self,
        leaves: &[TreeHash],
        tiles: &WholeTiles,
        sink: &mut impl FnMut(StoredHash),
    ) {
        let mut scratch = [TreeHash([0; 32]); TILE_WIDTH];
        let mut rest = leaves;
        while !rest.is_empty() {
            // The largest perfect tree that may stand here, up to a whole tile: its nodes can be
            // hashed many at a time.
            let height = self.size.trailing_zeros().min(TILE_HEIGHT);
            let height = height.min(rest.len().ilog2());
            let (leaves, more) = rest.split_at(1 << height);
            let tile = (height == TILE_HEIGHT).then_some(self.size >> TILE_HEIGHT);
            let root = tile.and_then(|tile| tiles.root(tile)).unwrap_or_else(|| {
                let nodes = &mut scratch[..leaves.len()];
                nodes.copy_from_slice(leaves);
                perfect_root(nodes)
            });
            self.push(height, root, sink);
            rest = more;
        }
    }

    /// Appends a perfect tree of this height, which the size must be a multiple of.
    fn push(&mut self, height: u32, root: TreeHash, sink: &mut impl FnMut(StoredHash)) {
        let after = self.size + (1 << height);
        let (mut node, mut height) = (root, height);
        loop {
            if height > 0 && height.is_multiple_of(TILE_HEIGHT) {
                sink(StoredHash {
                    level: (height / TILE_HEIGHT) as u8,
                    index: self.size >> height,
                    hash: node,
                });
            }
            // A bit that is one is a perfect tree of this height, which the new one completes.
            let left = (self.size >> height & 1 == 1).then(|| self.edge.pop());
            let Some(left) = left.flatten() else { break };
            node = TreeHash::node(&left, &node);
            height += 1;
        }
        self.edge.push(node);
        self.size = after;
    }
}

/// The root over neighboring perfect trees, the largest first.
pub(super) fn fold_right(roots: &[TreeHash]) -> TreeHash {
    let mut roots = roots.iter().rev();
    let Some(last) = roots.next() else {
        return TreeHash::EMPTY_ROOT;
    };
    roots.fold(*last, |right, left| TreeHash::node(left, &right))
}
