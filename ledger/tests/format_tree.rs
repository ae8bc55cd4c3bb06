//! FORMAT.md says what tree, heads, keys, proofs and tiles are: its vectors are read from the
//! document and tried.

#![allow(clippy::unwrap_used, reason = "a helper of a test fails the test")]

mod common;

use std::collections::BTreeMap;

use common::doc::{document, events, field, ledger_id, raw_vector, vectors};
use common::tree::{leaf, size};
use ledger_core::chain::ChainKey;
use ledger_core::hash::Hash;
use ledger_core::ids::Seq;
use ledger_core::merkle::{
    Frontier, TILE_WIDTH, TileId, TileKind, TreeHash, check_inclusion, leaf_hashes,
};
use ledger_core::proof::{ConsistencyProof, InclusionProof, MAX_HASHES, MAX_PROOF};
use ledger_core::tree_head::{
    KeyName, MAX_CHECKPOINT, MAX_KEY_NAME, MAX_NOTE, MAX_SIGNATURES, SignedNote, SignerKey,
    TreeHead, Trust, UnixSeconds, VerifierKey,
};

const TIME: UnixSeconds = UnixSeconds(1_767_225_600);

fn tree_of<'a>(leaves: impl IntoIterator<Item = &'a [u8]>) -> Frontier {
    let mut hashes = Vec::new();
    leaf_hashes(leaves, &mut hashes);
    let mut tree = Frontier::new();
    tree.extend(&hashes, &mut |_| ());
    tree
}

/// The head of the document's events up to one.
fn head(n: usize) -> TreeHead {
    let events = events();
    let events = &events[..n];
    let key = ChainKey::new(ledger_id());
    TreeHead {
        ledger: ledger_id(),
        tree: tree_of(events.iter().map(|(_, event)| event.as_slice())).root(),
        chain: events
            .iter()
            .fold(Hash::ZERO, |prev, (_, event)| key.hash(&prev, event)),
    }
}

fn ledger_key() -> SignerKey {
    SignerKey::parse(field(&vectors("keys")[0], "signer")).unwrap()
}

fn witness_key() -> SignerKey {
    SignerKey::parse(field(&vectors("keys")[0], "witness signer")).unwrap()
}

fn trust() -> Trust {
    let keys = &vectors("keys")[0];
    let key = |name: &str| field(keys, name).parse::<VerifierKey>().unwrap();
    Trust::new(vec![key("verifier")], vec![key("witness verifier")], 1).unwrap()
}

#[test]
fn the_tree_is_as_said() {
    let vector = &vectors("tree")[0];
    for (n, (_, event)) in (1..).zip(events()) {
        let leaf = TreeHash::leaf(&event);
        assert_eq!(leaf.to_string(), field(vector, &format!("leaf {n}")));
    }
    for n in 0..=3 {
        let root = head(n).tree.hash;
        assert_eq!(root.to_string(), field(vector, &format!("root {n}")));
    }
    for (n, root) in vectors("decimals").concat() {
        let leaves: Vec<String> = (0..n.parse().unwrap())
            .map(|n: u32| n.to_string())
            .collect();
        let tree = tree_of(leaves.iter().map(String::as_bytes));
        assert_eq!(tree.root().hash.to_string(), root, "{n}");
    }
}

#[test]
fn the_keys_are_as_said() {
    let keys = &vectors("keys")[0];
    let seed = |from: u8| <[u8; 32]>::try_from((from..from + 32).collect::<Vec<u8>>()).unwrap();
    let key = SignerKey::from_seed(TreeHead::key_name(ledger_id()), &seed(0));
    assert_eq!(*key.to_text(), field(keys, "signer"));
    assert_eq!(key.verifier().to_string(), field(keys, "verifier"));
    let fingerprint = key.verifier().fingerprint().to_string();
    assert_eq!(fingerprint, field(keys, "fingerprint"));
    let name = KeyName::new("witness.example/w1").unwrap();
    let witness = SignerKey::from_seed(name, &seed(32));
    assert_eq!(*witness.to_text(), field(keys, "witness signer"));
    let verifier = witness.witness_verifier().to_string();
    assert_eq!(verifier, field(keys, "witness verifier"));
}

#[test]
fn the_head_is_as_said() {
    let mut note = head(3).sign(&ledger_key());
    note.add(witness_key().cosign(&head(3).checkpoint(), TIME))
        .unwrap();
    assert_eq!(note.to_string(), raw_vector("note"));
    let read = SignedNote::parse(raw_vector("note").as_bytes()).unwrap();
    let trusted = trust().open(&read).unwrap();
    assert_eq!(trusted.head, head(3));
    assert_eq!(trusted.cosigned[0].at, TIME);
}

#[test]
fn the_proofs_are_as_said() {
    let text = raw_vector("inclusion");
    let proof = InclusionProof::parse(text.as_bytes()).unwrap();
    assert_eq!(proof.to_string(), text);
    let proven = proof.check(&trust()).unwrap();
    assert_eq!(proven.event.header.seq, Seq(2));
    assert_eq!(proof.event(), Some(events()[1].1.as_slice()));
    let outer = [&events()[0].1, &events()[2].1].map(|event| TreeHash::leaf(event));
    let event = TreeHash::leaf(&events()[1].1);
    assert_eq!(
        check_inclusion(&event, leaf(1), &head(3).tree, &outer),
        Ok(())
    );

    let text = raw_vector("consistency");
    let proof = ConsistencyProof::parse(text.as_bytes()).unwrap();
    assert_eq!(proof.to_string(), text);
    let log = Trust::in_log(ledger_key().verifier()).unwrap();
    let proven = proof.check(&log).unwrap();
    assert_eq!((proven.old.head, proven.new.head), (head(2), head(3)));
}

#[test]
fn the_paths_are_as_said() {
    let paths: BTreeMap<String, String> = vectors("path").concat().into_iter().collect();
    assert_eq!(paths.len(), 3);
    for (path, said) in paths {
        let tile: TileId = path.parse().unwrap();
        let kind = match tile.kind() {
            TileKind::Hashes(level) => format!("level {level}"),
            TileKind::Entries => "entries".to_owned(),
        };
        let is = format!("{kind}, tile {}, {} wide", tile.index(), tile.width());
        assert_eq!(is, said);
    }
}

#[test]
fn the_limits_are_as_said() {
    let text = document();
    for said in [
        "at most 16,384 bytes long",
        "1 to 32 signatures and at most 262,144 bytes",
        "1 to 255 bytes of UTF-8",
        "at most 64 hashes and 655,358 bytes",
        "at most 8,192 bytes",
        "at most 2^63 - 1",
    ] {
        assert!(text.contains(said), "{said}");
    }
    assert_eq!((MAX_CHECKPOINT, MAX_SIGNATURES), (16_384, 32));
    assert_eq!((MAX_NOTE, MAX_KEY_NAME), (262_144, 255));
    assert_eq!((MAX_HASHES, MAX_PROOF), (64, 655_358));
    assert_eq!(TILE_WIDTH * 32, 8192);
    assert_eq!(size(usize::MAX >> 1), ledger_core::merkle::TreeSize::MAX);
}
