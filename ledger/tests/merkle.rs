//! The tree against RFC 6962 as it is defined: roots, proofs and rows, for every small size and
//! for drawn larger ones; and every proof that is not exactly right is refused.

#![allow(clippy::unwrap_used, reason = "a helper of a test fails the test")]

mod common;

use common::tree::{
    Kept, event, leaf, naive_consistency, naive_inclusion, naive_root, naive_tree, size,
};
use ledger_core::ids::Seq;
use ledger_core::merkle::{
    Frontier, FrontierError, LeafIndex, ProofFault, ProveError, TILE_WIDTH, TailTree, TileRow,
    TreeHash, TreeRoot, TreeSize, TreeWriter, check_consistency, check_inclusion, consistency,
    inclusion, root_at,
};
use proptest::prelude::*;

/// All sizes up to here are tried; it is beyond 64, where a proof has seven hashes.
const SMALL: usize = 70;

#[test]
fn every_small_tree_has_the_root_of_the_definition() {
    let kept = Kept::of(SMALL);
    let leaves = kept.leaves();
    let mut one_by_one = Frontier::new();
    for n in 0..=SMALL {
        let expected = naive_tree(&leaves[..n]);
        let mut at_once = Frontier::new();
        at_once.extend(&leaves[..n], &mut |_| ());
        assert_eq!(at_once.root(), expected, "{n}");
        assert_eq!(one_by_one.root(), expected, "{n}");
        assert_eq!(one_by_one, at_once);
        assert_eq!(root_at(&kept, size(n)), Ok(expected), "{n}");
        if n < SMALL {
            one_by_one.extend(&leaves[n..=n], &mut |_| ());
        }
    }
}

#[test]
fn every_inclusion_proof_of_every_small_tree() {
    let kept = Kept::of(SMALL);
    let leaves = kept.leaves();
    for n in 1..=SMALL {
        let tree = naive_tree(&leaves[..n]);
        for m in 0..n {
            let proof = inclusion(&kept, leaf(m), size(n)).unwrap();
            assert_eq!(proof, naive_inclusion(m, &leaves[..n]), "{m} of {n}");
            assert_eq!(check_inclusion(&leaves[m], leaf(m), &tree, &proof), Ok(()));
            for other in (0..n + 2).filter(|&other| other != m) {
                let found = check_inclusion(&leaves[m], leaf(other), &tree, &proof);
                assert!(found.is_err(), "{m} as {other} of {n}");
            }
        }
    }
}

#[test]
fn every_consistency_proof_between_small_trees() {
    let kept = Kept::of(SMALL);
    let leaves = kept.leaves();
    let trees: Vec<TreeRoot> = (0..=SMALL).map(|n| naive_tree(&leaves[..n])).collect();
    for n in 0..=SMALL {
        for m in 0..=n {
            let proof = consistency(&kept, size(m), size(n)).unwrap();
            let expected = match m {
                0 => Vec::new(),
                _ => naive_consistency(m, &leaves[..n], true),
            };
            assert_eq!(proof, expected, "{m} to {n}");
            assert_eq!(check_consistency(&trees[m], &trees[n], &proof), Ok(()));
            // With another tree at either end it is no proof.
            for (at, other) in trees.iter().enumerate() {
                if at != m {
                    let found = check_consistency(other, &trees[n], &proof);
                    let same = at == 0 && proof.is_empty() || at == n && proof.is_empty();
                    assert_eq!(found.is_ok(), same, "{m} as {at} to {n}");
                }
                if at != n && m > 0 {
                    let found = check_consistency(&trees[m], other, &proof);
                    assert_eq!(found.is_ok(), at == m && proof.is_empty(), "{m} to {at}");
                }
            }
        }
    }
}

/// Every way to change one byte, to leave out a hash, to double or swap one.
fn corruptions(proof: &[TreeHash]) -> Vec<Vec<TreeHash>> {
    let mut all = Vec::new();
    for at in 0..proof.len() {
        for byte in 0..32 {
            let mut bad = proof.to_vec();
            bad[at].0[byte] ^= 1 << (byte % 8);
            all.push(bad);
        }
        all.push([&proof[..at], &proof[at + 1..]].concat());
        all.push([&proof[..=at], &proof[at..]].concat());
        if at > 0 {
            let mut bad = proof.to_vec();
            bad.swap(at - 1, at);
            all.push(bad);
        }
    }
    all.push([proof, &[TreeHash([0; 32])]].concat());
    all
}

#[test]
fn every_byte_of_a_proof_counts() {
    let kept = Kept::of(700);
    let leaves = kept.leaves();
    for (m, n) in [(0, 1), (5, 6), (0, 700), (511, 513), (512, 700), (699, 700)] {
        let tree = naive_tree(&leaves[..n]);
        let proof = inclusion(&kept, leaf(m), size(n)).unwrap();
        for bad in corruptions(&proof) {
            let found = check_inclusion(&leaves[m], leaf(m), &tree, &bad);
            assert!(found.is_err(), "{m} of {n}");
        }
        let other = TreeHash::leaf(b"another");
        let found = check_inclusion(&other, leaf(m), &tree, &proof);
        assert_eq!(found, Err(ProofFault::Root));
    }
    for (m, n) in [(1, 2), (3, 7), (6, 700), (256, 700), (511, 700), (512, 699)] {
        let (old, new) = (naive_tree(&leaves[..m]), naive_tree(&leaves[..n]));
        let proof = consistency(&kept, size(m), size(n)).unwrap();
        assert!(!proof.is_empty());
        for bad in corruptions(&proof) {
            assert!(check_consistency(&old, &new, &bad).is_err(), "{m} to {n}");
        }
    }
}

#[test]
fn what_is_wrong_is_named() {
    let kept = Kept::of(8);
    let leaves = kept.leaves();
    let tree = |n: usize| naive_tree(&leaves[..n]);
    let other = TreeRoot {
        hash: TreeHash([1; 32]),
        ..tree(8)
    };
    let index = ProofFault::Index {
        index: leaf(8),
        size: size(8),
    };
    assert_eq!(
        check_inclusion(&leaves[0], leaf(8), &tree(8), &[]),
        Err(index)
    );
    let length = ProofFault::Length {
        expected: 3,
        found: 0,
    };
    assert_eq!(
        check_inclusion(&leaves[0], leaf(0), &tree(8), &[]),
        Err(length)
    );
    let shrunk = ProofFault::Shrunk {
        old: size(8),
        new: size(7),
    };
    assert_eq!(check_consistency(&tree(8), &tree(7), &[]), Err(shrunk));
    let forked = Err(ProofFault::Forked(size(8)));
    assert_eq!(check_consistency(&tree(8), &other, &[]), forked);
    let proof = consistency(&kept, size(3), size(8)).unwrap();
    let found = check_consistency(&tree(3), &other, &proof);
    assert_eq!(found, Err(ProofFault::NewRoot));
    let old = TreeRoot {
        hash: TreeHash([1; 32]),
        ..tree(3)
    };
    let found = check_consistency(&old, &tree(8), &proof);
    assert_eq!(found, Err(ProofFault::OldRoot));
    let nothing = TreeRoot {
        hash: TreeHash([1; 32]),
        ..tree(0)
    };
    let found = check_consistency(&nothing, &tree(8), &[]);
    assert_eq!(found, Err(ProofFault::OldRoot));
}

#[test]
fn what_the_tree_has_not_cannot_be_proven() {
    let kept = Kept::of(8);
    let index = ProveError::Index {
        index: leaf(8),
        size: size(8),
    };
    assert_eq!(inclusion(&kept, leaf(8), size(8)), Err(index));
    let sizes = ProveError::Sizes {
        old: size(8),
        new: size(7),
    };
    assert_eq!(consistency(&kept, size(8), size(7)), Err(sizes));
    let huge = TreeSize(u64::MAX);
    assert_eq!(root_at(&kept, huge), Err(ProveError::Size(huge)));
    assert_eq!(
        Frontier::resume(huge, Vec::new()),
        Err(FrontierError::Size(huge))
    );
    assert_eq!(LeafIndex::of(Seq::ZERO), None);
    assert_eq!(LeafIndex::of(Seq(1)), Some(leaf(0)));
    assert_eq!(leaf(0).seq(), Seq(1));
}

#[test]
fn rows_are_whole_tiles_of_the_definition() {
    // Two full rows of level 1 and a begun one of level 2.
    let count = 2 * 65_536 + 3 * 256 + 17;
    let kept = Kept::of(count);
    let leaves = kept.leaves();
    let level_1: Vec<TreeHash> = leaves.chunks_exact(TILE_WIDTH).map(naive_root).collect();
    let level_2: Vec<TreeHash> = level_1.chunks_exact(TILE_WIDTH).map(naive_root).collect();
    let rows: Vec<_> = kept.rows.keys().copied().collect();
    assert_eq!(rows, [(1, 0), (1, 1), (1, 2), (2, 0)]);
    let row = |key| TileRow::parse(&kept.rows[&key]).unwrap();
    assert_eq!(row((1, 0)), level_1[..256]);
    assert_eq!(row((1, 1)), level_1[256..512]);
    assert_eq!(row((1, 2)), level_1[512..]);
    assert_eq!(row((2, 0)), level_2);
    let root = naive_tree(&leaves);
    assert_eq!(kept.writer.root(), root);
    assert_eq!(root_at(&kept, size(count)), Ok(root));

    // It goes on from any size, as if it had never been larger.
    for n in [0, 255, 256, 40_000, 65_535, 65_536, 65_537, 131_072, count] {
        let mut writer = TreeWriter::new();
        writer.append(&leaves[..n]);
        assert_eq!(TreeWriter::resume(&kept, size(n)), Ok(writer), "{n}");
    }
    for m in [0, 255, 256, 65_535, 65_536, count - 18, count - 1] {
        kept.reads.set(0);
        let proof = inclusion(&kept, leaf(m), size(count)).unwrap();
        assert_eq!(check_inclusion(&leaves[m], leaf(m), &root, &proof), Ok(()));
        // The tile of the leaf, and the last one, where the tree's edge is.
        assert!(kept.reads.get() <= 2 * TILE_WIDTH, "{m}: {:?}", kept.reads);
    }
}

#[test]
fn a_row_has_1_to_256_hashes() {
    for good in [32, 64, 8192] {
        assert_eq!(TileRow::parse(&vec![0; good]).unwrap().len(), good / 32);
    }
    for bad in [0, 1, 31, 33, 8191, 8193, 8224] {
        assert!(TileRow::parse(&vec![0; bad]).is_err(), "{bad}");
    }
}

/// Cuts of a tree into batches.
fn batches() -> impl Strategy<Value = Vec<usize>> {
    let batch = prop_oneof![Just(0), 1_usize..4, 1_usize..300, 200_usize..1500];
    prop::collection::vec(batch, 1..8)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn batches_leave_no_trace(batches in batches()) {
        let mut kept = Kept::default();
        for &batch in &batches {
            let from = kept.events.len();
            kept.append((from..from + batch).map(event).collect());
            // A writer that starts anew from what was stored goes on as this one does.
            let resumed = TreeWriter::resume(&kept, kept.writer.size());
            prop_assert_eq!(resumed.as_ref(), Ok(&kept.writer));
            let edge = kept.writer.frontier().edge().to_vec();
            let frontier = Frontier::resume(kept.writer.size(), edge.clone());
            prop_assert_eq!(frontier.as_ref(), Ok(kept.writer.frontier()));
            let short = edge.get(1..).unwrap_or(&[TreeHash([0; 32])]).to_vec();
            prop_assert!(Frontier::resume(kept.writer.size(), short).is_err());
        }
        let at_once = Kept::of(kept.events.len());
        prop_assert_eq!(&kept.rows, &at_once.rows);
        prop_assert_eq!(&kept.writer, &at_once.writer);
        prop_assert_eq!(kept.writer.root(), naive_tree(&kept.leaves()));
    }

    #[test]
    fn drawn_proofs_of_drawn_trees(n in 1_usize..5000, at in any::<[prop::sample::Index; 3]>()) {
        let kept = Kept::of(n);
        let leaves = kept.leaves();
        let [m, old, new] = at.map(|index| index.index(n));
        let proof = inclusion(&kept, leaf(m), size(n)).unwrap();
        prop_assert_eq!(&proof, &naive_inclusion(m, &leaves));
        let tree = naive_tree(&leaves);
        prop_assert_eq!(check_inclusion(&leaves[m], leaf(m), &tree, &proof), Ok(()));

        let (old, new) = (1 + old.min(new), 1 + old.max(new));
        let proof = consistency(&kept, size(old), size(new)).unwrap();
        prop_assert_eq!(&proof, &naive_consistency(old, &leaves[..new], true));
        let (old, new) = (naive_tree(&leaves[..old]), naive_tree(&leaves[..new]));
        prop_assert_eq!(check_consistency(&old, &new, &proof), Ok(()));
        prop_assert_eq!(root_at(&kept, old.size), Ok(old));
    }

    #[test]
    fn a_tail_is_as_good_as_a_store(sealed in 0_usize..2000, tails in batches()) {
        let sealed = Kept::of(sealed);
        let first = sealed.events.len();
        let count = first + tails.iter().sum::<usize>();
        let whole = Kept::of(count);
        let leaves = whole.leaves();
        let mut tail = TailTree::new(&sealed, sealed.writer.frontier().clone());
        let mut at = first;
        for batch in tails {
            tail.append(&leaves[at..at + batch]);
            at += batch;
        }
        prop_assert_eq!(tail.sealed(), sealed.writer.size());
        prop_assert_eq!(tail.root(), whole.writer.root());
        prop_assert_eq!(root_at(&tail, size(count)), Ok(tail.root()));
        for m in [0, first.saturating_sub(1), first, count / 2, count.saturating_sub(1)] {
            let expected = inclusion(&whole, leaf(m), size(count));
            prop_assert_eq!(inclusion(&tail, leaf(m), size(count)), expected);
            let expected = consistency(&whole, size(m), size(count));
            prop_assert_eq!(consistency(&tail, size(m), size(count)), expected);
        }
        // Leaves that nobody has.
        let beyond = size(count + 1);
        let missing = matches!(root_at(&tail, beyond), Err(ProveError::Short { .. }));
        prop_assert!(missing);
    }
}
