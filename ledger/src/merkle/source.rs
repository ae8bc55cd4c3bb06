//! What proofs are made from: the hashes that a store keeps, and those it computes from events.

use std::error::Error;
use std::ops::Range;

use super::{TreeHash, TreeSize};

/// Reads the hashes that tiles consist of.
///
/// Every range that is asked for is not empty and lies inside one tile: it has at most 256
/// hashes, none of which is behind the tree's size divided by 256<sup>level</sup>. The answer must
/// have exactly as many hashes as the range.
pub trait TreeSource {
    /// Why something can't be read.
    type Error: Error + 'static;

    /// The hashes of some leaves (of tile level 0): [`super::leaf_hashes`] of their events.
    ///
    /// # Errors
    /// The store's, which the caller gets back.
    fn leaf_hashes(&self, range: Range<u64>) -> Result<Vec<TreeHash>, Self::Error>;

    /// Hashes of tile level 1 or above, from the rows that a [`super::TreeWriter`] handed out: hash
    /// `i` is in the row of index `i / 256` of the level, at place `i % 256`.
    ///
    /// # Errors
    /// The store's, which the caller gets back.
    fn stored_hashes(&self, level: u8, range: Range<u64>) -> Result<Vec<TreeHash>, Self::Error>;

    /// The right edge of the tree of a size (see [`super::Frontier::edge`]), if it is known without
    /// reading or hashing anything.
    fn known_edge(&self, size: TreeSize) -> Option<&[TreeHash]> {
        let _ = size;
        None
    }
}

impl<S: TreeSource + ?Sized> TreeSource for &S {
    type Error = S::Error;

    fn leaf_hashes(&self, range: Range<u64>) -> Result<Vec<TreeHash>, Self::Error> {
        (**self).leaf_hashes(range)
    }

    fn stored_hashes(&self, level: u8, range: Range<u64>) -> Result<Vec<TreeHash>, Self::Error> {
        (**self).stored_hashes(level, range)
    }

    fn known_edge(&self, size: TreeSize) -> Option<&[TreeHash]> {
        (**self).known_edge(size)
    }
}
