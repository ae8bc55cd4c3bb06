//! Checks of proofs, from hashes alone: no store, no tiles, nothing but the proof and the roots.
//!
//! A proof's length follows from the sizes, so every hash in it has exactly one meaning and a
//! proof that is too long or too short is refused before anything is hashed. The path of a leaf
//! has an inner part, where it can turn either way, and a border, where the tree is cut off on
//! the right and only left neighbors are joined.

use super::{LeafIndex, TreeHash, TreeRoot, TreeSize};

/// Why a proof proves nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProofFault {
    /// The tree has no such leaf.
    #[error("a tree of size {size} has no leaf {index}")]
    Index {
        /// The leaf.
        index: LeafIndex,
        /// The tree's size.
        size: TreeSize,
    },
    /// The second tree is smaller than the first.
    #[error("the tree has shrunk from size {old} to size {new}")]
    Shrunk {
        /// The first tree's size.
        old: TreeSize,
        /// The second tree's size.
        new: TreeSize,
    },
    /// The proof has too few or too many hashes.
    #[error("the proof has {found} hashes where these sizes need {expected}")]
    Length {
        /// How many it should have.
        expected: usize,
        /// How many it has.
        found: usize,
    },
    /// The leaf and the proof lead to another root.
    #[error("the proof does not lead to the root of the tree")]
    Root,
    /// The proof does not start from the first tree.
    #[error("the proof does not lead to the root of the older tree")]
    OldRoot,
    /// The proof does not lead to the second tree.
    #[error("the proof does not lead to the root of the newer tree")]
    NewRoot,
    /// Two trees of one size have two roots.
    #[error("there are two different trees of size {0}")]
    Forked(TreeSize),
}

/// Checks that `leaf` is in `tree`, at `index`.
///
/// # Errors
/// [`ProofFault`] if the proof does not show it.
pub fn check_inclusion(
    leaf: &TreeHash,
    index: LeafIndex,
    tree: &TreeRoot,
    proof: &[TreeHash],
) -> Result<(), ProofFault> {
    let size = tree.size;
    if index.0 >= size.0 {
        return Err(ProofFault::Index { index, size });
    }
    let (inner, border) = path(index.0, size.0);
    check_length(proof, inner + border)?;
    let (inner, border) = proof.split_at(inner);
    let root = join_left(join_inner(*leaf, index.0, inner), border);
    if root == tree.hash {
        Ok(())
    } else {
        Err(ProofFault::Root)
    }
}

/// Checks that `old` is the beginning of `new`.
///
/// # Errors
/// [`ProofFault`] if the proof does not show it.
pub fn check_consistency(
    old: &TreeRoot,
    new: &TreeRoot,
    proof: &[TreeHash],
) -> Result<(), ProofFault> {
    if old.size > new.size {
        return Err(ProofFault::Shrunk {
            old: old.size,
            new: new.size,
        });
    }
    if old.size == new.size {
        check_length(proof, 0)?;
        return (old.hash == new.hash)
            .then_some(())
            .ok_or(ProofFault::Forked(new.size));
    }
    if old.size == TreeSize::ZERO {
        check_length(proof, 0)?;
        return (old.hash == TreeHash::EMPTY_ROOT)
            .then_some(())
            .ok_or(ProofFault::OldRoot);
    }
    // The path of the old tree's last leaf, from the largest perfect tree that ends with it.
    let last = old.size.0 - 1;
    let (inner, border) = path(last, new.size.0);
    let perfect = old.size.0.trailing_zeros();
    let inner = inner - perfect as usize;
    // If that perfect tree is the whole old tree, its root is known; else the proof begins with it.
    let (seed, rest) = if old.size.0.is_power_of_two() {
        check_length(proof, inner + border)?;
        (old.hash, proof)
    } else {
        check_length(proof, 1 + inner + border)?;
        (proof[0], &proof[1..])
    };
    let (inner, border) = rest.split_at(inner);
    let turns = last >> perfect;
    if join_left(join_old(seed, turns, inner), border) != old.hash {
        return Err(ProofFault::OldRoot);
    }
    if join_left(join_inner(seed, turns, inner), border) != new.hash {
        return Err(ProofFault::NewRoot);
    }
    Ok(())
}

/// How many hashes the inner part and the border of a leaf's path have.
fn path(index: u64, size: u64) -> (usize, usize) {
    let inner = u64::BITS - (index ^ (size - 1)).leading_zeros();
    let border = index.checked_shr(inner).unwrap_or(0).count_ones();
    (inner as usize, border as usize)
}

fn check_length(proof: &[TreeHash], expected: usize) -> Result<(), ProofFault> {
    if proof.len() == expected {
        Ok(())
    } else {
        let found = proof.len();
        Err(ProofFault::Length { expected, found })
    }
}

/// Joins siblings on either side: bit `i` of `turns` says whether number `i` is on the left.
fn join_inner(seed: TreeHash, turns: u64, siblings: &[TreeHash]) -> TreeHash {
    (0..).zip(siblings).fold(seed, |node, (bit, sibling)| {
        if turns >> bit & 1 == 1 {
            TreeHash::node(sibling, &node)
        } else {
            TreeHash::node(&node, sibling)
        }
    })
}

/// Joins those of the same siblings that the old tree had: the ones on the left.
fn join_old(seed: TreeHash, turns: u64, siblings: &[TreeHash]) -> TreeHash {
    let old = (0..).zip(siblings).filter(|(bit, _)| turns >> bit & 1 == 1);
    old.fold(seed, |node, (_, sibling)| TreeHash::node(sibling, &node))
}

fn join_left(seed: TreeHash, siblings: &[TreeHash]) -> TreeHash {
    let join = |node, sibling| TreeHash::node(sibling, &node);
    siblings.iter().fold(seed, join)
}
