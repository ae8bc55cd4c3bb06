//! Anchors: is this history the one that somebody else has seen? A tree head that is known from
//! elsewhere says so, and finds what the chain alone can't: a store that was rolled back or replaced
//! as a whole.
//!
//! ```text
//! workers: leaf hashes of each block ──> fold: the tree's right edge, and at each wanted size
//!          chain hash at wanted sizes          its root ──> held against the heads
//! ```
//! The tree is computed from the events that are being verified, not taken from what the store keeps
//! of it, and only its right edge is kept: memory does not grow with the ledger. Nothing is hashed
//! behind the largest size that is wanted.
//!
//! Whether a head is to be believed is not judged here; that is [`crate::tree_head::Trust`]'s.

use std::collections::BTreeMap;

use super::examine::Examine;
use crate::chain::ChainKey;
use crate::envelope::EventRef;
use crate::hash::Hash;
use crate::ids::{LedgerId, Seq};
use crate::merkle::{Frontier, TreeHash, TreeSize, leaf_hashes};
use crate::store::Block;
use crate::tree_head::TreeHead;

/// Why a ledger is not the one that a head was made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AnchorFault {
    /// The head is of another ledger.
    #[error("the head is of ledger {head}, this is ledger {ledger}")]
    OtherLedger {
        /// The head's.
        head: LedgerId,
        /// This one.
        ledger: LedgerId,
    },
    /// The ledger ends before the head: events are missing at its end.
    #[error("the ledger ends at seq {end}, but had reached seq {head} when the head was made")]
    RolledBack {
        /// Where the head stands.
        head: Seq,
        /// Where the ledger ends.
        end: Seq,
    },
    /// The events up to the head are others.
    #[error("the tree over the events up to seq {seq} has root {found}, the head says {head}")]
    Replaced {
        /// Where the head stands.
        seq: Seq,
        /// The root that the head says.
        head: TreeHash,
        /// The root over the ledger's events.
        found: TreeHash,
    },
    /// Tree and chain of the head are not of one history: whoever signed it has lied.
    #[error("the event at seq {seq} has hash {found} in the chain, the head says {head}")]
    Chain {
        /// Where the head stands.
        seq: Seq,
        /// The hash that the head says.
        head: Hash,
        /// The ledger's.
        found: Hash,
    },
}

/// Begins to look for heads of these sizes in a ledger: what examines its blocks, and what folds the
/// notes.
pub fn anchors(
    ledger: LedgerId,
    sizes: impl IntoIterator<Item = TreeSize>,
) -> (AnchorExaminer, AnchorFold) {
    let mut found = BTreeMap::new();
    for size in sizes {
        found.insert(size, None);
    }
    if let Some(nothing) = found.get_mut(&TreeSize::ZERO) {
        *nothing = Some((TreeHash::EMPTY_ROOT, Hash::ZERO));
    }
    let examiner = AnchorExaminer {
        key: ChainKey::new(ledger),
        sizes: found.keys().copied().collect(),
    };
    let fold = AnchorFold {
        ledger,
        frontier: Frontier::new(),
        end: Seq::ZERO,
        found,
    };
    (examiner, fold)
}

/// Hashes leaves, in any order of blocks.
#[derive(Debug, Clone)]
pub struct AnchorExaminer {
    key: ChainKey,
    /// Sorted.
    sizes: Vec<TreeSize>,
}

/// What is kept of a block.
#[derive(Debug, Default)]
pub struct AnchorNotes {
    last: Option<Seq>,
    /// Those of its first events, as far as they are wanted.
    leaves: Vec<TreeHash>,
    /// The chain's hashes at wanted sizes.
    chain: Vec<(TreeSize, Hash)>,
}

impl Examine for AnchorExaminer {
    type Notes = AnchorNotes;

    fn event(&self, _: &EventRef<'_>, _: &mut AnchorNotes) {}

    fn block(&self, block: &Block, notes: &mut AnchorNotes) {
        notes.last = Some(block.last());
        let Some(largest) = self.sizes.last() else {
            return;
        };
        let wanted = (largest.0 + 1).saturating_sub(block.first().0);
        if wanted == 0 {
            return;
        }
        let wanted = usize::try_from(wanted).unwrap_or(usize::MAX);
        leaf_hashes(block.iter().take(wanted), &mut notes.leaves);
        let inside = TreeSize::of(block.first())..=TreeSize::of(block.last());
        let inside = self.sizes.iter().filter(|size| inside.contains(size));
        notes.chain.extend(inside.filter_map(|&size| {
            let hash = block.hash_at(&self.key, size.last())?;
            Some((size, hash))
        }));
    }
}

/// The tree's right edge, and what it was at the wanted sizes.
#[derive(Debug)]
pub struct AnchorFold {
    ledger: LedgerId,
    frontier: Frontier,
    end: Seq,
    found: BTreeMap<TreeSize, Option<(TreeHash, Hash)>>,
}

impl AnchorFold {
    /// Takes the notes of the next block.
    pub fn fold(&mut self, notes: AnchorNotes) {
        self.end = notes.last.unwrap_or(self.end);
        let mut leaves = notes.leaves.as_slice();
        for (size, chain) in notes.chain {
            let until = size.0.saturating_sub(self.frontier.size().0);
            let until = usize::try_from(until).unwrap_or(usize::MAX);
            let Some((before, behind)) = leaves.split_at_checked(until) else {
                return;
            };
            self.frontier.extend(before, &mut |_| {});
            leaves = behind;
            self.found
                .insert(size, Some((self.frontier.root().hash, chain)));
        }
        self.frontier.extend(leaves, &mut |_| {});
    }

    /// Where the events ended that were folded.
    pub fn end(&self) -> Seq {
        self.end
    }

    /// Holds a head, whose size was among those wanted, against the ledger that was folded.
    ///
    /// # Errors
    /// [`AnchorFault`] if the ledger is not the one that the head was made of, or has not got as far.
    pub fn check(&self, head: &TreeHead) -> Result<(), AnchorFault> {
        if head.ledger != self.ledger {
            return Err(AnchorFault::OtherLedger {
                head: head.ledger,
                ledger: self.ledger,
            });
        }
        let seq = head.seq();
        let Some((root, chain)) = self.found.get(&head.tree.size).copied().flatten() else {
            return Err(AnchorFault::RolledBack {
                head: seq,
                end: self.end,
            });
        };
        if root != head.tree.hash {
            return Err(AnchorFault::Replaced {
                seq,
                head: head.tree.hash,
                found: root,
            });
        }
        if chain != head.chain {
            return Err(AnchorFault::Chain {
                seq,
                head: head.chain,
                found: chain,
            });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
