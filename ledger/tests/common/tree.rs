//! A tree kept as a store keeps it, and RFC 6962's definitions written down naively beside it.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::ops::Range;

use ledger_core::merkle::{
    LeafIndex, TILE_WIDTH, TileRow, TreeHash, TreeRoot, TreeSize, TreeSource, TreeWriter,
    leaf_hashes,
};

/// Events, and the rows of the tree over them.
#[derive(Default)]
pub(crate) struct Kept {
    pub(crate) events: Vec<Vec<u8>>,
    pub(crate) rows: BTreeMap<(u8, u64), Vec<u8>>,
    pub(crate) writer: TreeWriter,
    /// How many hashes were read.
    pub(crate) reads: Cell<usize>,
}

impl Kept {
    /// A tree over some events, appended in one batch.
    pub(crate) fn of(count: usize) -> Self {
        let mut kept = Self::default();
        kept.append((0..count).map(event).collect());
        kept
    }

    /// Appends a batch as a store would.
    pub(crate) fn append(&mut self, events: Vec<Vec<u8>>) {
        let mut leaves = Vec::new();
        leaf_hashes(events.iter().map(Vec::as_slice), &mut leaves);
        for row in self.writer.append(&leaves) {
            let key = (row.level, row.index);
            let before = self.rows.insert(key, row.to_bytes()).unwrap_or_default();
            // A row only grows, and a full one is never written again.
            assert!(self.rows[&key].starts_with(&before), "{key:?}");
            assert!(self.rows[&key].len() > before.len(), "{key:?}");
        }
        self.events.extend(events);
    }

    pub(crate) fn leaves(&self) -> Vec<TreeHash> {
        self.events.iter().map(|e| TreeHash::leaf(e)).collect()
    }
}

/// An event of its own for each number, of many lengths.
pub(crate) fn event(number: usize) -> Vec<u8> {
    let text = format!("event {number} ");
    text.repeat(1 + number % 7).into_bytes()
}

impl TreeSource for Kept {
    type Error = Infallible;

    fn leaf_hashes(&self, range: Range<u64>) -> Result<Vec<TreeHash>, Infallible> {
        check_range(&range);
        self.reads
            .set(self.reads.get() + (range.end - range.start) as usize);
        let events = &self.events[range.start as usize..range.end as usize];
        let mut leaves = Vec::new();
        leaf_hashes(events.iter().map(Vec::as_slice), &mut leaves);
        Ok(leaves)
    }

    fn stored_hashes(&self, level: u8, range: Range<u64>) -> Result<Vec<TreeHash>, Infallible> {
        check_range(&range);
        let width = TILE_WIDTH as u64;
        let row = &self.rows[&(level, range.start / width)];
        let row = TileRow::parse(row).unwrap();
        let at = (range.start % width) as usize;
        Ok(row[at..at + (range.end - range.start) as usize].to_vec())
    }
}

/// What every range that is asked for promises.
fn check_range(range: &Range<u64>) {
    let width = TILE_WIDTH as u64;
    assert!(range.start < range.end, "{range:?}");
    assert_eq!(range.start / width, (range.end - 1) / width, "{range:?}");
}

/// RFC 6962, 2.1: the largest power of two below a size of at least two.
fn cut(n: usize) -> usize {
    let mut k = 1;
    while k * 2 < n {
        k *= 2;
    }
    k
}

/// MTH(D[n]).
pub(crate) fn naive_root(leaves: &[TreeHash]) -> TreeHash {
    match leaves {
        [] => TreeHash::EMPTY_ROOT,
        [leaf] => *leaf,
        _ => {
            let (left, right) = leaves.split_at(cut(leaves.len()));
            TreeHash::node(&naive_root(left), &naive_root(right))
        }
    }
}

/// The same as a root with its size.
pub(crate) fn naive_tree(leaves: &[TreeHash]) -> TreeRoot {
    TreeRoot {
        size: TreeSize(leaves.len() as u64),
        hash: naive_root(leaves),
    }
}

/// PATH(m, D[n]).
pub(crate) fn naive_inclusion(m: usize, leaves: &[TreeHash]) -> Vec<TreeHash> {
    if leaves.len() == 1 {
        return Vec::new();
    }
    let k = cut(leaves.len());
    let (left, right) = leaves.split_at(k);
    let (mut path, other) = if m < k {
        (naive_inclusion(m, left), right)
    } else {
        (naive_inclusion(m - k, right), left)
    };
    path.push(naive_root(other));
    path
}

/// PROOF(m, D[n]) for 0 < m < n: SUBPROOF with the complete subtree flag.
pub(crate) fn naive_consistency(m: usize, leaves: &[TreeHash], complete: bool) -> Vec<TreeHash> {
    if m == leaves.len() {
        return if complete {
            Vec::new()
        } else {
            vec![naive_root(leaves)]
        };
    }
    let k = cut(leaves.len());
    let (left, right) = leaves.split_at(k);
    let (mut proof, other) = if m <= k {
        (naive_consistency(m, left, complete), right)
    } else {
        (naive_consistency(m - k, right, false), left)
    };
    proof.push(naive_root(other));
    proof
}

/// The position of a leaf.
pub(crate) fn leaf(index: usize) -> LeafIndex {
    LeafIndex(index as u64)
}

/// A size.
pub(crate) fn size(size: usize) -> TreeSize {
    TreeSize(size as u64)
}
