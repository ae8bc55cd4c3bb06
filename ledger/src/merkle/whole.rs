//! Roots over whole tiles of leaves, made ahead.
//!
//! Most of the work of adding leaves to a tree is to join those of whole tiles. Where leaves are
//! known long before they are added, and are added more than once (to the tree of every proof, then
//! to the stored one), that work is done once.

use super::TreeHash;

/// The roots over some whole tiles of leaves, one behind the other.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WholeTiles {
    first: u64,
    roots: Vec<TreeHash>,
}

impl WholeTiles {
    /// The root over the leaves of the tile at `index` of level 0, if it is here.
    pub fn root(&self, index: u64) -> Option<TreeHash> {
        let place = usize::try_from(index.checked_sub(self.first)?).ok()?;
        self.roots.get(place).copied()
    }

    /// Index of the tile behind the last of these.
    pub fn end(&self) -> u64 {
        self.first + self.roots.len() as u64
    }

    /// Adds the root of the tile at `index`. If it does not follow, the others are forgotten.
    pub fn push(&mut self, index: u64, root: TreeHash) {
        if index != self.end() {
            self.roots.clear();
            self.first = index;
        }
        self.roots.push(root);
    }

    /// Forgets the tiles before the one at `index`.
    pub fn forget_before(&mut self, index: u64) {
        let count = index
            .saturating_sub(self.first)
            .min(self.roots.len() as u64);
        self.roots
            .drain(..usize::try_from(count).unwrap_or(usize::MAX));
        self.first += count;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root(n: u8) -> TreeHash {
        TreeHash([n; 32])
    }

    #[test]
    fn roots_are_found_by_the_index_of_their_tile() {
        let mut tiles = WholeTiles::default();
        tiles.push(7, root(7));
        tiles.push(8, root(8));
        tiles.push(9, root(9));
        let found = |tiles: &WholeTiles| [6, 7, 8, 9, 10].map(|index| tiles.root(index));
        let all = [None, Some(root(7)), Some(root(8)), Some(root(9)), None];
        assert_eq!(found(&tiles), all);
        tiles.forget_before(8);
        assert_eq!(found(&tiles)[..2], [None, None]);
        assert_eq!(found(&tiles)[2..], all[2..]);
        assert_eq!(tiles.end(), 10);
        tiles.forget_before(3);
        assert_eq!(tiles.root(8), Some(root(8)));
        tiles.push(12, root(12));
        assert_eq!((tiles.root(9), tiles.root(12)), (None, Some(root(12))));
        tiles.forget_before(u64::MAX);
        assert_eq!(tiles.root(12), None);
    }
}
