//! The tree, heads, proofs and tiles through other hands: Cloudflare's crates for signed notes and
//! tiled logs (after Go's), and Mullvad's for Sigsum, agree with what is written here, and what
//! they write is read here.

#![allow(clippy::unwrap_used, reason = "a helper of a test fails the test")]

mod common;

use std::collections::BTreeMap;

use common::heads::{Ledger, ledger_key, trust, witness_key};
use common::tree::{Kept, leaf, size};
use ledger_core::merkle::{
    TileKind, TreeHash, TreeRoot, TreeSize, check_consistency, check_inclusion, consistency,
    entry_bundle, hash_tile, inclusion, leaf_hashes, root_at, tiles_between,
};
use ledger_core::proof::{CONSISTENCY_HEADER, INCLUSION_HEADER};
use ledger_core::tree_head::{
    Checkpoint, KeyName, SignatureKind, SignedNote, SignerKey, UnixSeconds, VerifierKey,
};
use signed_note::{Note, Signer, StandardSigner, StandardVerifier, VerifierList};
use tlog_tiles::{
    Error, Hash, HashReader, Tile, TileHashReader, TileReader, check_record, check_tree,
    prove_record, prove_tree, record_hash, stored_hash_index, stored_hashes, tree_hash,
};

/// Their tree: all its hashes in the order in which they become known.
struct Theirs(Vec<Hash>);

impl Theirs {
    fn of(events: &[Vec<u8>]) -> Self {
        let mut tree = Self(Vec::new());
        for (n, event) in events.iter().enumerate() {
            let more = stored_hashes(n as u64, event, &tree).unwrap();
            tree.0.extend(more);
        }
        tree
    }
}

impl HashReader for Theirs {
    fn read_hashes(&self, indexes: &[u64]) -> Result<Vec<Hash>, Error> {
        Ok(indexes.iter().map(|&at| self.0[at as usize]).collect())
    }
}

fn theirs(hash: &TreeHash) -> Hash {
    Hash(hash.0)
}

fn all_theirs(hashes: &[TreeHash]) -> Vec<Hash> {
    hashes.iter().map(theirs).collect()
}

#[test]
fn roots_and_proofs_are_the_same_and_each_believes_the_other() {
    let kept = Kept::of(600);
    let tree = Theirs::of(&kept.events);
    for n in (1..70).chain([255, 256, 257, 511, 512, 513, 600]) {
        let root = root_at(&kept, size(n)).unwrap();
        assert_eq!(tree_hash(n as u64, &tree).unwrap(), theirs(&root.hash));
        for m in [0, 1, n / 3, n / 2, n - 1] {
            if m >= n {
                continue;
            }
            let (t, m64) = (n as u64, m as u64);
            let event = record_hash(&kept.events[m]);
            let proof = inclusion(&kept, leaf(m), size(n)).unwrap();
            let other = prove_record(t, m64, &tree).unwrap();
            assert_eq!(other, all_theirs(&proof), "{m} of {n}");
            check_record(&all_theirs(&proof), t, theirs(&root.hash), m64, event).unwrap();
            let other: Vec<TreeHash> = other.iter().map(|hash| TreeHash(hash.0)).collect();
            assert_eq!(
                check_inclusion(&TreeHash(event.0), leaf(m), &root, &other),
                Ok(())
            );

            let old = root_at(&kept, size(m + 1)).unwrap();
            let proof = consistency(&kept, old.size, size(n)).unwrap();
            let other = prove_tree(t, m64 + 1, &tree).unwrap();
            assert_eq!(other, all_theirs(&proof), "{} to {n}", m + 1);
            let (new_hash, old_hash) = (theirs(&root.hash), theirs(&old.hash));
            check_tree(&all_theirs(&proof), t, new_hash, m64 + 1, old_hash).unwrap();
            let other: Vec<TreeHash> = other.iter().map(|hash| TreeHash(hash.0)).collect();
            assert_eq!(check_consistency(&old, &root, &other), Ok(()));
        }
    }
}

fn verifiers(key: &VerifierKey) -> VerifierList {
    let key = StandardVerifier::new(&key.to_string()).unwrap();
    VerifierList::new(vec![Box::new(key)])
}

/// A note's text, if they find it signed by the key and nobody else they know.
fn opened(note: &[u8], key: &VerifierKey) -> Vec<u8> {
    let note = Note::from_bytes(note).unwrap();
    let (verified, _) = note.verify(&verifiers(key)).unwrap();
    assert_eq!(verified.len(), 1);
    assert_eq!(verified[0].name(), key.name().as_str());
    assert_eq!(verified[0].id(), key.id().0);
    note.text().to_vec()
}

#[test]
fn they_open_our_heads() {
    let ledger = Ledger::of(300);
    let head = ledger.head(300);
    let mut note = ledger.signed(300);
    let checkpoint = Checkpoint::parse(note.text()).unwrap();
    note.add(witness_key(1).cosign(&checkpoint, UnixSeconds(1_767_225_600)))
        .unwrap();
    let text = opened(note.to_string().as_bytes(), &ledger_key().verifier());
    let read = tlog_tiles::Checkpoint::from_bytes(&text).unwrap();
    assert_eq!(read.origin(), checkpoint.origin());
    assert_eq!(read.size(), 300);
    assert_eq!(*read.hash(), theirs(&head.tree.hash));
    assert_eq!(read.extension(), format!("chain {}\n", head.chain));

    let bad = note.to_string().replacen("\n300\n", "\n301\n", 1);
    let bad = Note::from_bytes(bad.as_bytes()).unwrap();
    assert!(bad.verify(&verifiers(&ledger_key().verifier())).is_err());
}

#[test]
fn we_open_theirs_and_both_read_the_same_keys() {
    let key = ledger_key();
    let signer = StandardSigner::new(&key.to_text()).unwrap();
    assert_eq!(signer.name(), key.name().as_str());
    assert_eq!(signer.key_id(), key.verifier().id().0);
    let ledger = Ledger::of(5);
    let text = ledger.head(5).checkpoint().to_string();
    let mut note = Note::new(text.as_bytes(), &[]).unwrap();
    note.add_sigs(&[&signer]).unwrap();
    let read = SignedNote::parse(&note.to_bytes()).unwrap();
    assert_eq!(trust().open(&read).unwrap().head, ledger.head(5));
    // Ed25519 has no chance in it: both sign alike, to the byte.
    assert_eq!(note.to_bytes(), ledger.signed(5).to_string().as_bytes());
}

/// The index of a tlog-proof, its hashes and the head, read without our code.
fn read_proof(text: &str) -> (u64, Vec<Hash>, &str) {
    let (proof, note) = text.split_once("\n\n").unwrap();
    let mut lines = proof.lines();
    assert_eq!(lines.next(), Some(INCLUSION_HEADER));
    assert!(lines.next().unwrap().starts_with("extra "));
    let index = lines.next().unwrap().strip_prefix("index ").unwrap();
    let hashes = lines.map(|line| Hash::parse_hash(line).unwrap()).collect();
    (index.parse().unwrap(), hashes, note)
}

#[test]
fn they_believe_our_proof_files() {
    let ledger = Ledger::of(300);
    let key = ledger_key().verifier();
    let text = ledger.inclusion(42, 300).to_string();
    let (index, hashes, note) = read_proof(&text);
    let head = opened(note.as_bytes(), &key);
    let head = tlog_tiles::Checkpoint::from_bytes(&head).unwrap();
    let event = record_hash(&ledger.tree.events[41]);
    check_record(&hashes, head.size(), *head.hash(), index, event).unwrap();

    let text = ledger.consistency(100, 300).to_string();
    let parts: Vec<&str> = text.split("\n\n").collect();
    let [hashes, old, old_signed, new, new_signed] = parts[..] else {
        panic!("{text}")
    };
    let hashes = hashes.strip_prefix(CONSISTENCY_HEADER).unwrap();
    let hashes = hashes.trim_start().lines();
    let hashes = hashes.map(|line| Hash::parse_hash(line).unwrap()).collect();
    let open = |text: &str, signed: &str| {
        let note = format!("{text}\n\n{}\n", signed.trim_end());
        tlog_tiles::Checkpoint::from_bytes(&opened(note.as_bytes(), &key)).unwrap()
    };
    let (old, new) = (open(old, old_signed), open(new, new_signed));
    check_tree(&hashes, new.size(), *new.hash(), old.size(), *old.hash()).unwrap();
}

/// Our tiles, by their paths.
struct Exported(BTreeMap<String, Vec<u8>>);

impl TileReader for Exported {
    fn height(&self) -> u8 {
        8
    }

    fn read_tiles(&self, tiles: &[Tile]) -> Result<Vec<Vec<u8>>, Error> {
        let paths = tiles.iter().map(our_path);
        Ok(paths.map(|path| self.0[&path].clone()).collect())
    }

    fn save_tiles(&self, _: &[Tile], _: &[Vec<u8>]) {}
}

/// Theirs have the height in them, which C2SP fixed, and `data` where C2SP has `entries`.
fn our_path(tile: &Tile) -> String {
    let path = tile.path().replacen("tile/8/", "tile/", 1);
    path.replacen("tile/data/", "tile/entries/", 1)
}

fn export(kept: &Kept, n: TreeSize) -> Exported {
    let mut files = BTreeMap::new();
    for tile in tiles_between(TreeSize::ZERO, n) {
        let range = tile.range();
        let bytes = match tile.kind() {
            TileKind::Hashes(level) => hash_tile(kept, level, range).unwrap(),
            TileKind::Entries => {
                let events = &kept.events[range.start as usize..range.end as usize];
                entry_bundle(events.iter().map(Vec::as_slice)).unwrap()
            }
        };
        files.insert(tile.to_string(), bytes);
    }
    Exported(files)
}

#[test]
fn our_tiles_prove_themselves_to_them() {
    // A size whose bits that are one lie in tiles of their own: otherwise their reader takes as
    // many of the tiles below unchecked.
    let count = 65_536 + 256 + 1;
    let kept = Kept::of(count);
    let root = kept.writer.root();
    let mut tiles = export(&kept, root.size);
    let reader = TileHashReader::new(count as u64, theirs(&root.hash), &tiles);
    let leaves = [0, 255, 256, 65_535, 65_536, 65_792];
    let places = leaves.map(|n| stored_hash_index(0, n));
    let read = reader.read_hashes(&places).unwrap();
    for (n, hash) in leaves.into_iter().zip(read) {
        assert_eq!(hash, record_hash(&kept.events[n as usize]));
        let proof = prove_record(count as u64, n, &reader).unwrap();
        let ours = inclusion(&kept, leaf(n as usize), root.size).unwrap();
        assert_eq!(proof, all_theirs(&ours));
    }
    let names = tiles_between(TreeSize::ZERO, root.size);
    let names: Vec<String> = names.map(|tile| tile.to_string()).collect();
    let new = Tile::new_tiles(8, 0, count as u64);
    for tile in &new {
        assert!(names.contains(&our_path(tile)), "{}", our_path(tile));
    }
    let hashes = names.iter().filter(|name| !name.contains("entries"));
    assert_eq!(hashes.count(), new.len());

    for path in ["tile/0/000", "tile/1/000", "tile/2/000.p/1"] {
        tiles.0.get_mut(path).unwrap()[9] ^= 1;
        let reader = TileHashReader::new(count as u64, theirs(&root.hash), &tiles);
        assert!(reader.read_hashes(&places).is_err(), "{path}");
        tiles.0.get_mut(path).unwrap()[9] ^= 1;
    }
}

#[test]
fn our_bundles_hash_to_our_tiles() {
    let kept = Kept::of(700);
    let tiles = export(&kept, size(700)).0;
    let bundles = tiles.keys().filter(|path| path.contains("entries"));
    let mut seen = 0;
    for path in bundles {
        let hashes = &tiles[&path.replace("entries", "0")];
        let mut rest = tiles[path].as_slice();
        for hash in hashes.chunks_exact(32) {
            let (len, more) = rest.split_first_chunk().unwrap();
            let (event, more) = more.split_at(u16::from_be_bytes(*len).into());
            assert_eq!(record_hash(event).0, hash);
            (rest, seen) = (more, seen + 1);
        }
        assert!(rest.is_empty());
    }
    assert_eq!(seen, 700);
}

/// Sigsum's heads are checkpoints whose origin names the log's key, its witnesses cosign as those
/// of C2SP do, and its proofs are RFC 6962's: all of it made here, in Sigsum's own notation.
#[test]
fn sigsum_believes_our_cosignatures() {
    let log = SignerKey::from_seed(KeyName::new("log").unwrap(), &[1; 32]);
    let witness = witness_key(1);
    let submitter = StandardSigner::new(&witness_key(2).to_text()).unwrap();
    let hash = |key: &SignerKey| sigsum::Hash::new(key.verifier().public_key());
    let message = sigsum::Hash::new(b"what is signed");
    let checksum = sigsum::Hash::new(&message);
    let signed = [&b"sigsum.org/v1/tree-leaf\0"[..], checksum.as_ref()].concat();
    let signature = submitter.sign(&signed).unwrap();
    let by = hash(&witness_key(2));
    let entry = [checksum.as_ref(), &signature, by.as_ref()].concat();

    let mut kept = Kept::of(20);
    kept.append(vec![entry]);
    kept.append((21..30).map(common::tree::event).collect());
    let tree = kept.writer.root();
    let origin = format!("sigsum.org/v1/tree/{:x}", hash(&log));
    let checkpoint = Checkpoint::new(origin, tree, Vec::new()).unwrap();
    let text = checkpoint.to_string();
    let time = UnixSeconds(1_767_225_600);
    let cosigned = witness.cosign(&checkpoint, time);
    assert_eq!(
        witness.witness_verifier().kind(),
        SignatureKind::Cosignature
    );
    assert_eq!(cosigned.id(), witness.witness_verifier().id());

    let proof = inclusion(&kept, leaf(20), tree.size).unwrap();
    let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
    let file = |time: u64, root: &TreeRoot| {
        let nodes: String = proof
            .iter()
            .map(|node| format!("node_hash={}\n", hex(&node.0)))
            .collect();
        format!(
            "version=2\nlog={:x}\nleaf={by:x} {}\n\nsize={}\nroot_hash={}\nsignature={}\n\
             cosignature={:x} {time} {}\n\nleaf_index=20\n{nodes}",
            hash(&log),
            hex(&signature),
            root.size,
            hex(&root.hash.0),
            hex(log.sign(&text).bytes()),
            hash(&witness),
            hex(&cosigned.bytes()[8..]),
        )
    };
    let submitters = [sigsum::PublicKey::from(
        witness_key(2).verifier().public_key(),
    )];
    let policy = {
        let mut policy = sigsum::PolicyBuilder::new();
        policy
            .add_log(log.verifier().public_key().into(), None)
            .unwrap();
        let key = witness.verifier().public_key().into();
        policy.add_witness("witness".into(), key, None).unwrap();
        policy.set_quorum("witness".into()).unwrap();
        policy.build()
    };
    let check = |text: &str| {
        let signature = sigsum::SigsumSignature::from_ascii(text).unwrap();
        sigsum::verify(&message, &signature, &submitters, &policy)
    };
    check(&file(time.0, &tree)).unwrap();
    assert!(check(&file(time.0 + 1, &tree)).is_err());
    let mut other = tree;
    other.hash.0[0] ^= 1;
    assert!(check(&file(time.0, &other)).is_err());
}

#[test]
fn leaves_hashed_side_by_side_are_theirs() {
    let events: Vec<Vec<u8>> = (0..200).map(|n| vec![n as u8; n * 3]).collect();
    let mut leaves = Vec::new();
    leaf_hashes(events.iter().map(Vec::as_slice), &mut leaves);
    let others: Vec<Hash> = events.iter().map(|event| record_hash(event)).collect();
    assert_eq!(all_theirs(&leaves), others);
}
