//! A witness against random logs: whatever it is shown, in whatever order, it never cosigns two
//! heads that contradict each other, and always cosigns what an honest log shows it.

#![allow(missing_docs)]
#![allow(clippy::unwrap_used)]

use ledger_core::hash::Hash;
use ledger_core::ids::{LedgerId, Uuid};
use ledger_core::merkle::{TailTree, TreeHash, TreeSize, TreeSource, consistency, root_at};
use ledger_core::tree_head::{KeyName, SignerKey, TreeHead, UnixSeconds};
use ledger_core::witness::{Refusal, StateError, WitnessState};
use proptest::prelude::*;

const LEDGER: LedgerId = LedgerId(Uuid::from_u128(7));

/// No store: all leaves are in the tail.
#[derive(Clone)]
struct Empty;

impl TreeSource for Empty {
    type Error = std::io::Error;
    fn leaf_hashes(&self, _: std::ops::Range<u64>) -> Result<Vec<TreeHash>, Self::Error> {
        Ok(Vec::new())
    }
    fn stored_hashes(&self, _: u8, _: std::ops::Range<u64>) -> Result<Vec<TreeHash>, Self::Error> {
        Ok(Vec::new())
    }
}

/// A log whose events from number `fork` on are those of another history.
struct Log {
    tree: TailTree<Empty>,
    fork: u64,
}

impl Log {
    fn new(fork: u64, events: u64) -> Self {
        let mut tree = TailTree::new(Empty, Default::default());
        let leaf = |n: u64| TreeHash::leaf(format!("{n} {}", n >= fork).as_bytes());
        tree.append(&(0..events).map(leaf).collect::<Vec<_>>());
        Self { tree, fork }
    }

    fn head(&self, size: u64) -> TreeHead {
        let other = size > self.fork;
        TreeHead {
            ledger: LEDGER,
            tree: root_at(&self.tree, TreeSize(size)).unwrap(),
            chain: Hash::of(format!("{size} {other}").as_bytes()),
        }
    }

    fn proof(&self, old: TreeSize, new: u64) -> Vec<TreeHash> {
        consistency(&self.tree, old, TreeSize(new)).unwrap_or_default()
    }
}

fn log_key() -> SignerKey {
    SignerKey::from_seed(TreeHead::key_name(LEDGER), &[1; 32])
}

fn witness_key() -> SignerKey {
    SignerKey::from_seed(KeyName::new("witness.example/w").unwrap(), &[2; 32])
}

fn fresh() -> WitnessState {
    WitnessState::new(log_key().verifier(), witness_key().witness_verifier()).unwrap()
}

const EVENTS: u64 = 40;

proptest! {
    #[test]
    fn it_never_contradicts_itself_and_follows_an_honest_log(
        fork in 0..EVENTS,
        shown in prop::collection::vec((any::<bool>(), 1..=EVENTS, 0_u64..100), 1..20),
    ) {
        let (honest, forked) = (Log::new(u64::MAX, EVENTS), Log::new(fork, EVENTS));
        let mut state = fresh();
        let mut signed: Vec<(bool, u64)> = Vec::new();
        for (lies, size, now) in shown {
            let log = if lies { &forked } else { &honest };
            let head = log.head(size);
            let old = state.last().map_or(TreeSize::ZERO, |last| last.head.tree.size);
            let before = state.clone();
            let note = head.sign(&log_key());
            let cosigned = state.cosign(note, &log.proof(old, size), &witness_key(), UnixSeconds(now));
            // It follows if and only if everything that was signed is a beginning of this.
            let follows = signed.iter().all(|&(other, last)| {
                last <= size && (other == lies || last <= fork)
            });
            match cosigned {
                Ok(next) => {
                    prop_assert!(follows, "{signed:?} then {lies} {size}, fork at {fork}");
                    signed.push((lies, size));
                    let last = next.last().unwrap();
                    prop_assert_eq!(last.head, head);
                    let time = |state: &WitnessState| state.last().map(|l| l.cosigned[0].at);
                    prop_assert!(time(&next) >= time(&before));
                    // It is the same after a restart.
                    prop_assert_eq!(&WitnessState::parse(&next.to_string()).unwrap(), &next);
                    state = next;
                }
                Err(refusal) => {
                    prop_assert!(!follows, "{refusal}: {signed:?} then {lies} {size}");
                    prop_assert_eq!(&state, &before);
                }
            }
        }
    }

    #[test]
    fn a_changed_state_is_refused(at in any::<prop::sample::Index>(), to in any::<u8>()) {
        let log = Log::new(u64::MAX, EVENTS);
        let note = log.head(9).sign(&log_key());
        let state = fresh().cosign(note, &[], &witness_key(), UnixSeconds(5)).unwrap();
        let mut bytes = state.to_string().into_bytes();
        let at = at.index(bytes.len());
        prop_assume!(bytes[at] != to);
        bytes[at] = to;
        if let Ok(text) = String::from_utf8(bytes) {
            prop_assert!(WitnessState::parse(&text).is_err(), "{text}");
        }
    }
}

#[test]
fn each_refusal_has_its_name() {
    let log = Log::new(u64::MAX, EVENTS);
    let sign = |state: &WitnessState, head: TreeHead, proof: &[TreeHash]| {
        state.cosign(head.sign(&log_key()), proof, &witness_key(), UnixSeconds(1))
    };
    let state = sign(&fresh(), log.head(10), &[]).unwrap();
    let proof = log.proof(TreeSize(10), 20);
    assert!(sign(&state, log.head(20), &proof).is_ok());
    let refusal = sign(&state, log.head(20), &proof[1..]).unwrap_err();
    assert!(matches!(refusal, Refusal::Inconsistent(_)), "{refusal}");
    let refusal = sign(&state, log.head(9), &[]).unwrap_err();
    assert!(matches!(refusal, Refusal::Smaller { .. }), "{refusal}");
    // The same tree under another chain is another history too.
    let mut other = log.head(10);
    other.chain = Hash::ZERO;
    assert_eq!(
        sign(&state, other, &[]).unwrap_err(),
        Refusal::Forked(TreeSize(10))
    );
    let mut other = log.head(20);
    other.ledger = LedgerId(Uuid::from_u128(8));
    let refusal = sign(&state, other, &proof).unwrap_err();
    assert!(matches!(refusal, Refusal::Untrusted(_)), "{refusal}");
    let stranger = SignerKey::from_seed(log_key().name().clone(), &[3; 32]);
    let note = log.head(20).sign(&stranger);
    let refusal = state.cosign(note, &proof, &witness_key(), UnixSeconds(1));
    assert!(matches!(refusal.unwrap_err(), Refusal::Untrusted(_)));
    let note = log.head(20).sign(&log_key());
    let refusal = state.cosign(note, &proof, &stranger, UnixSeconds(1));
    assert!(matches!(refusal.unwrap_err(), Refusal::Key { .. }));
    // Keys of the wrong kind.
    let (log, witness) = (log_key(), witness_key());
    let wrong = WitnessState::new(log.witness_verifier(), witness.witness_verifier());
    assert!(matches!(wrong, Err(StateError::Kind(_))));
    assert!(WitnessState::new(log.verifier(), witness.verifier()).is_err());
}
