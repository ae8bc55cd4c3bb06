//! A tree whose last leaves are not in a store yet.
//!
//! Events are durable before they are in the store's blocks, and heads and proofs should cover
//! them at once. A [`TailTree`] adds the leaves of those events, in memory, to what the store has,
//! and is a [`TreeSource`] for all of it.

use std::ops::Range;

use super::{Frontier, StoredHash, TreeHash, TreeRoot, TreeSize, TreeSource};

/// A source, and leaves behind its last.
#[derive(Clone, Debug)]
pub struct TailTree<S> {
    base: S,
    /// How many leaves come from the base.
    sealed: TreeSize,
    frontier: Frontier,
    leaves: Vec<TreeHash>,
    /// For the levels from 1: the hashes that the base does not have.
    stored: Vec<Vec<TreeHash>>,
}

impl<S> TailTree<S> {
    /// The tree of `frontier`, all of which the source has.
    pub fn new(base: S, frontier: Frontier) -> Self {
        Self {
            base,
            sealed: frontier.size(),
            frontier,
            leaves: Vec::new(),
            stored: Vec::new(),
        }
    }

    /// Appends leaves.
    pub fn append(&mut self, leaves: &[TreeHash]) {
        self.leaves.extend_from_slice(leaves);
        let stored = &mut self.stored;
        self.frontier.extend(leaves, &mut |hash: StoredHash| {
            // A hash of a level comes only with the last of those below it.
            let place = usize::from(hash.level) - 1;
            if stored.len() <= place {
                stored.resize_with(place + 1, Vec::new);
            }
            stored[place].push(hash.hash);
        });
    }

    /// The tree with all its leaves.
    pub fn root(&self) -> TreeRoot {
        self.frontier.root()
    }

    /// How many leaves come from the source.
    pub fn sealed(&self) -> TreeSize {
        self.sealed
    }
}

/// Answers a range from what the base has, up to `sealed`, and from `tail`, which begins there.
fn join<E>(
    sealed: u64,
    tail: &[TreeHash],
    range: Range<u64>,
    base: impl FnOnce(Range<u64>) -> Result<Vec<TreeHash>, E>,
) -> Result<Vec<TreeHash>, E> {
    let below = range.start..range.end.min(sealed);
    let mut hashes = if below.is_empty() {
        Vec::new()
    } else {
        base(below)?
    };
    let above = range.start.max(sealed) - sealed..range.end.saturating_sub(sealed);
    let above = usize::try_from(above.start).unwrap_or(usize::MAX)
        ..usize::try_from(above.end).unwrap_or(usize::MAX);
    // What is not there shows in the number of hashes.
    hashes.extend_from_slice(tail.get(above).unwrap_or_default());
    Ok(hashes)
}

impl<S: TreeSource> TreeSource for TailTree<S> {
    type Error = S::Error;

    fn leaf_hashes(&self, range: Range<u64>) -> Result<Vec<TreeHash>, Self::Error> {
        join(self.sealed.0, &self.leaves, range, |below| {
            self.base.leaf_hashes(below)
        })
    }

    fn stored_hashes(&self, level: u8, range: Range<u64>) -> Result<Vec<TreeHash>, Self::Error> {
        let shift = u32::from(level) * super::TILE_HEIGHT;
        let sealed = self.sealed.0.checked_shr(shift).unwrap_or(0);
        let tail = usize::from(level).checked_sub(1);
        let tail = tail.and_then(|place| self.stored.get(place));
        join(sealed, tail.map_or(&[], Vec::as_slice), range, |below| {
            self.base.stored_hashes(level, below)
        })
    }

    fn known_edge(&self, size: TreeSize) -> Option<&[TreeHash]> {
        (size == self.frontier.size()).then(|| self.frontier.edge())
    }
}
