//! A ledger in memory, with heads, keys and proofs.

use ledger_core::chain::ChainKey;
use ledger_core::codec::encode;
use ledger_core::envelope::{Draft, Origin};
use ledger_core::hash::Hash;
use ledger_core::ids::{Entity, EventId, Kind, LedgerId, Seq, Term, Uuid};
use ledger_core::merkle::{TreeRoot, consistency, inclusion, root_at};
use ledger_core::proof::{ConsistencyProof, InclusionProof};
use ledger_core::time::Timestamp;
use ledger_core::tree_head::{KeyName, SignedNote, SignerKey, TreeHead, Trust};

use super::tree::{Kept, leaf, size};

/// The ledger of these tests.
pub(crate) const LEDGER: LedgerId =
    LedgerId(Uuid::from_u128(0x0198_0000_0000_7000_8000_0000_0000_0001));

/// Its key.
pub(crate) fn ledger_key() -> SignerKey {
    SignerKey::from_seed(TreeHead::key_name(LEDGER), &[7; 32])
}

/// A witness.
pub(crate) fn witness_key(number: u8) -> SignerKey {
    let name = KeyName::new(&format!("witness.example/{number}")).unwrap();
    SignerKey::from_seed(name, &[100 + number; 32])
}

/// Trust in the ledger's key.
pub(crate) fn trust() -> Trust {
    Trust::in_log(ledger_key().verifier()).unwrap()
}

/// An event of a ledger.
pub(crate) fn ledger_event(seq: u64) -> Vec<u8> {
    let (actor, subject) = ("uid/0", format!("app/n-{seq}"));
    let draft = Draft {
        event_id: EventId(Uuid::from_u128(seq.into())),
        kind: Kind::new("app.x").unwrap(),
        version: 1,
        subject: Entity::new(subject).unwrap(),
        origin: Origin {
            actor: Entity::new(actor).unwrap(),
            claimed_actor: None,
            cause: None,
            correlation: None,
            traceparent: None,
        },
        idempotency_key: None,
        data: format!("{{\"n\":{seq}}}"),
    };
    let mut bytes = Vec::new();
    encode(&draft, Seq(seq), Term(1), Timestamp(seq), &mut bytes).unwrap();
    bytes
}

/// A ledger: its tree, and the chain's hash of every event, from that of none on.
pub(crate) struct Ledger {
    pub(crate) tree: Kept,
    pub(crate) chain: Vec<Hash>,
}

impl Ledger {
    pub(crate) fn of(count: usize) -> Self {
        let mut tree = Kept::default();
        tree.append((1..=count as u64).map(ledger_event).collect());
        let key = ChainKey::new(LEDGER);
        let mut chain = vec![Hash::ZERO];
        for event in &tree.events {
            chain.push(key.hash(&chain[chain.len() - 1], event));
        }
        Self { tree, chain }
    }

    pub(crate) fn head(&self, n: usize) -> TreeHead {
        let tree: TreeRoot = root_at(&self.tree, size(n)).unwrap();
        TreeHead {
            ledger: LEDGER,
            tree,
            chain: self.chain[n],
        }
    }

    pub(crate) fn signed(&self, n: usize) -> SignedNote {
        self.head(n).sign(&ledger_key())
    }

    /// That event `seq` is in the ledger of `n` events.
    pub(crate) fn inclusion(&self, seq: usize, n: usize) -> InclusionProof {
        let index = leaf(seq - 1);
        let hashes = inclusion(&self.tree, index, size(n)).unwrap();
        let event = self.tree.events[seq - 1].clone();
        InclusionProof::new(index, hashes, Some(event), self.signed(n)).unwrap()
    }

    /// That it has grown from `old` events to `new`.
    pub(crate) fn consistency(&self, old: usize, new: usize) -> ConsistencyProof {
        let hashes = consistency(&self.tree, size(old), size(new)).unwrap();
        ConsistencyProof::new(hashes, self.signed(old), self.signed(new)).unwrap()
    }
}
