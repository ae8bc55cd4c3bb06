//! Leaves of events that are not sealed yet, and the roots over the whole tiles among them: made ahead,
//! a little at a time, by the sealer.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::ids::Seq;
use crate::merkle::{TILE_WIDTH, TreeHash, WholeTiles, perfect_root};

/// The leaves of consecutive events.
#[derive(Debug, Clone)]
pub(super) struct Leaves {
    /// The event before the first of them.
    pub(super) after: Seq,
    /// Bytes of the events.
    pub(super) bytes: u64,
    pub(super) hashes: Arc<[TreeHash]>,
}

impl Leaves {
    /// The last of their events.
    pub(super) fn last(&self) -> Seq {
        Seq(self.after.0 + self.hashes.len() as u64)
    }

    /// Those of the events behind `after`.
    fn behind(&self, after: Seq) -> &[TreeHash] {
        let skip = usize::try_from(after.0.saturating_sub(self.after.0));
        let skip = skip.unwrap_or(usize::MAX).min(self.hashes.len());
        &self.hashes[skip..]
    }
}

/// What was made of the events that are not sealed: a run of leaves without a gap. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(super) struct Known {
    /// Those of the sealed events may be among them.
    leaves: VecDeque<Leaves>,
    tiles: WholeTiles,
}

/// The leaves of a whole tile whose root is not known yet.
#[derive(Debug)]
pub(super) struct OpenTile {
    index: u64,
    leaves: Vec<TreeHash>,
}

impl OpenTile {
    /// Joins them.
    pub(super) fn root(mut self) -> (u64, TreeHash) {
        (self.index, perfect_root(&mut self.leaves))
    }
}

impl Known {
    pub(super) fn tiles(&self) -> &WholeTiles {
        &self.tiles
    }

    /// Adds leaves that follow.
    pub(super) fn push(&mut self, leaves: Leaves) {
        if self.leaves.back().map(Leaves::last) != Some(leaves.after) {
            self.leaves.clear();
        }
        self.leaves.push_back(leaves);
    }

    /// Adds the root of the tile that [`Known::open_tile`] gave.
    pub(super) fn close_tile(&mut self, (index, root): (u64, TreeHash)) {
        self.tiles.push(index, root);
    }

    /// The first whole tile whose root is not known.
    pub(super) fn open_tile(&self) -> Option<OpenTile> {
        let width = TILE_WIDTH as u64;
        // A leaf's index is the seq of the event before.
        let first = self.leaves.front()?.after.0.div_ceil(width);
        let index = first.max(self.tiles.end());
        let (from, to) = (Seq(index * width), Seq((index + 1) * width));
        if self.leaves.back()?.last() < to {
            return None;
        }
        let mut leaves = Vec::with_capacity(TILE_WIDTH);
        self.add_behind(from, &mut leaves);
        leaves.truncate(TILE_WIDTH);
        Some(OpenTile { index, leaves })
    }

    /// Adds the leaves behind an event to `out`, and returns the last event of them, if there are any.
    pub(super) fn add_behind(&self, after: Seq, out: &mut Vec<TreeHash>) -> Option<Seq> {
        let begun = out.len();
        let from = self.leaves.partition_point(|leaves| leaves.last() <= after);
        for leaves in self.leaves.range(from..) {
            out.extend_from_slice(leaves.behind(after));
        }
        let last = self.leaves.back().map(Leaves::last);
        last.filter(|_| out.len() > begun)
    }

    /// Forgets what is not needed for the events behind this one.
    pub(super) fn forget_upto(&mut self, sealed: Seq) {
        while let Some(first) = self.leaves.front()
            && first.last() <= sealed
        {
            self.leaves.pop_front();
        }
        self.tiles.forget_before(sealed.0 / TILE_WIDTH as u64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leaf(index: u64) -> TreeHash {
        TreeHash::leaf(&index.to_le_bytes())
    }

    fn leaves(after: u64, count: u64) -> Leaves {
        Leaves {
            after: Seq(after),
            bytes: count,
            hashes: (after..after + count).map(leaf).collect(),
        }
    }

    /// Closes all tiles that can be.
    fn close(known: &mut Known) {
        while let Some(open) = known.open_tile() {
            known.close_tile(open.root());
        }
    }

    fn root(index: u64) -> TreeHash {
        let mut leaves: Vec<TreeHash> = (index * 256..(index + 1) * 256).map(leaf).collect();
        perfect_root(&mut leaves)
    }

    #[test]
    fn tiles_are_closed_when_all_their_leaves_are_there() {
        for step in [1, 100, 255, 256, 257, 1000] {
            let mut known = Known::default();
            let (begin, end) = (300, 2000);
            let mut at = begin;
            while at < end {
                let count = step.min(end - at);
                known.push(leaves(at, count));
                at += count;
                close(&mut known);
                let closed = (0..10).filter(|index| known.tiles().root(*index).is_some());
                let whole: Vec<u64> = (2..10).filter(|tile| (tile + 1) * 256 <= at).collect();
                assert_eq!(closed.collect::<Vec<_>>(), whole, "step {step}, at {at}");
            }
            for tile in 2..7 {
                assert_eq!(known.tiles().root(tile), Some(root(tile)));
            }
            known.forget_upto(Seq(1000));
            assert_eq!(known.tiles().root(2), None);
            assert_eq!(known.tiles().root(3), Some(root(3)));
            let mut behind = Vec::new();
            assert_eq!(known.add_behind(Seq(1500), &mut behind), Some(Seq(2000)));
            assert_eq!(behind, (1500..2000).map(leaf).collect::<Vec<_>>());
            assert_eq!(known.add_behind(Seq(2000), &mut behind), None);
        }
    }

    #[test]
    fn a_gap_begins_anew() {
        let mut known = Known::default();
        known.push(leaves(0, 600));
        close(&mut known);
        assert_eq!(known.tiles().root(1), Some(root(1)));
        known.push(leaves(1000, 600));
        close(&mut known);
        assert_eq!(known.tiles().root(1), None);
        assert_eq!(known.tiles().root(4), Some(root(4)));
        let mut behind = Vec::new();
        known.add_behind(Seq(1000), &mut behind);
        assert_eq!(behind.len(), 600);
    }
}
