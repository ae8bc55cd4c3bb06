//! Positions and sizes of the tree as types of their own: leaves count from 0, events from 1.

use std::fmt;

use super::TreeHash;
use crate::ids::Seq;

/// Position of a leaf, from 0: seq `n` is leaf `n - 1`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct LeafIndex(pub u64);

impl LeafIndex {
    /// The leaf of an event; none for [`Seq::ZERO`], which no event has.
    pub fn of(seq: Seq) -> Option<Self> {
        seq.0.checked_sub(1).map(Self)
    }

    /// The event of this leaf.
    pub fn seq(self) -> Seq {
        Seq(self.0.saturating_add(1))
    }
}

/// How many leaves a tree has, which is the seq of its last event.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct TreeSize(pub u64);

impl TreeSize {
    /// The tree without leaves.
    pub const ZERO: Self = Self(0);
    /// No tree is larger; others' software keeps sizes in signed numbers.
    pub const MAX: Self = Self(u64::MAX >> 1);

    /// The tree that ends with this event.
    pub fn of(last: Seq) -> Self {
        Self(last.0)
    }

    /// Its last event; [`Seq::ZERO`] if it has none.
    pub fn last(self) -> Seq {
        Seq(self.0)
    }
}

impl fmt::Display for LeafIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Display for TreeSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// A tree, by its size and the hash at its top.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TreeRoot {
    /// How many leaves it has.
    pub size: TreeSize,
    /// The RFC 6962 Merkle tree hash over them.
    pub hash: TreeHash,
}
