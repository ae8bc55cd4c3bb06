//! FORMAT.md says what the code does: its vectors are read from the document and tried.

#![allow(clippy::unwrap_used, reason = "a helper of a test fails the test")]

mod common;

use common::doc::{document, events, field, ledger_id, unhex, vectors};
use common::{JsonEvent, encode_again};
use ledger_core::blobs::{BlobStore, KEY, Limits, MediaType, in_payload};
use ledger_core::chain::{CHAIN_CONTEXT, ChainKey};
use ledger_core::codec::{ENCODING, MAX_DEPTH, MAX_EVENT, decode, minify_object};
use ledger_core::envelope::ChainedEvent;
use ledger_core::event::Event;
use ledger_core::hash::Hash;
use ledger_core::ids::Seq;
use ledger_core::store::redb::{HEAD_FILE_LEN, HeadFile, LAYOUT};
use ledger_core::store::{BLOCK_CAP, BLOCK_HEADER, Block, ChainWalk, MAX_BLOCK};
use ledger_core::time::Timestamp;

#[test]
fn the_key_is_derived_as_said() {
    assert!(document().contains(&format!("\"{CHAIN_CONTEXT}\"")));
    let key = field(&vectors("key")[0], "key").to_owned();
    let derived = blake3::derive_key(CHAIN_CONTEXT, ledger_id().0.as_bytes());
    assert_eq!(derived.to_vec(), unhex(&key));
    let hash = blake3::keyed_hash(&derived, &[&[0; 32], &b"x"[..]].concat());
    let ours = ChainKey::new(ledger_id()).hash(&Hash::ZERO, b"x");
    assert_eq!(ours.0, *hash.as_bytes());
}

#[test]
fn the_events_encode_decode_and_hash_as_said() {
    let mut prev = Hash::ZERO;
    for (json, bytes) in events() {
        let read: JsonEvent = serde_json::from_str(&json).unwrap();
        let (prev_hash, hash) = (read.prev_hash, read.hash);
        assert_eq!(read.encode(), bytes);
        assert_eq!(prev_hash, prev);
        assert_eq!(ChainKey::new(ledger_id()).hash(&prev, &bytes), hash);
        let event = decode(&bytes).unwrap();
        assert_eq!(encode_again(&event), bytes);
        let chained = ChainedEvent {
            event,
            prev_hash,
            hash,
        };
        assert_eq!(serde_json::to_string(&chained).unwrap(), json);
        prev = hash;
    }
}

#[test]
fn the_block_and_the_head_file_are_as_said() {
    let block = &vectors("block")[0];
    let mut bytes = unhex(field(block, "header"));
    assert_eq!(bytes.len(), BLOCK_HEADER);
    for (_, event) in events() {
        bytes.extend(u32::try_from(event.len()).unwrap().to_le_bytes());
        bytes.extend(event);
    }
    assert_eq!(bytes.len().to_string(), field(block, "length"));
    assert_eq!(Hash::of(&bytes).to_string(), field(block, "blake3"));
    let parsed = Block::parse(bytes).unwrap();
    let mut walk = ChainWalk::new(ledger_id());
    assert_eq!(walk.check(&parsed, Seq::ZERO).unwrap().len(), 3);

    let bytes = unhex(field(&vectors("head")[0], "bytes"));
    let head = HeadFile {
        ledger_id: ledger_id(),
        seq: parsed.last(),
        hash: parsed.last_hash(),
    };
    assert_eq!(bytes, head.encode());
    assert_eq!(HeadFile::decode(&bytes), Ok(head));
}

#[test]
fn payloads_are_taken_in_as_said() {
    let fields = vectors("payload").concat();
    let mut refused = 0;
    for (n, (_, sent)) in fields.iter().enumerate().filter(|(_, (k, _))| k == "in") {
        match fields.get(n + 1).filter(|(key, _)| key == "out") {
            Some((_, out)) => assert_eq!(minify_object(sent).as_ref(), Ok(out)),
            None => {
                assert!(minify_object(sent).is_err(), "{sent}");
                refused += 1;
            }
        }
    }
    assert!(refused > 3);
}

#[test]
fn every_kind_is_listed_and_no_other() {
    let text = document();
    let table = text.split("## 5. Kinds").nth(1).unwrap();
    let table = table.split("\n## ").next().unwrap();
    let mut listed: Vec<&str> = table
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split('`').next())
        .filter(|kind| *kind != "app.*")
        .collect();
    let mut known: Vec<&str> = Event::known_kinds().collect();
    listed.sort_unstable();
    known.sort_unstable();
    assert_eq!(listed, known);
}

#[test]
fn the_blob_is_named_and_placed_as_said() {
    let blob = &vectors("blob")[0];
    let dir = tempfile::tempdir().unwrap();
    let store = BlobStore::open(dir.path(), Limits::default()).unwrap();
    let content = field(blob, "content").as_bytes();
    let media_type = MediaType::new("text/plain").unwrap();
    let stored = store.put(content, media_type).unwrap();
    assert_eq!(stored.reference.to_payload(), field(blob, "payload"));
    assert_eq!(
        in_payload(field(blob, "payload")),
        Ok(Some(stored.reference))
    );
    let path = dir.path().join(field(blob, "path"));
    assert_eq!(std::fs::read(path).unwrap(), content);
    let said = format!("| `app.*` | any | any object; the key `{KEY}` is reserved");
    assert!(document().contains(&said));
}

#[test]
fn the_limits_are_as_said() {
    let text = document();
    for said in [
        "65,535 bytes long, payload included".to_owned(),
        format!("at most {}", Timestamp::MAX.0),
        format!("more than {MAX_DEPTH} arrays"),
        "65,024 bytes long".to_owned(),
        "above 65,619".to_owned(),
        "(76 bytes)".to_owned(),
        format!("| store layout | {} |", LAYOUT.0),
        format!("| event encoding | {ENCODING} |"),
    ] {
        assert!(text.contains(&said), "{said}");
    }
    assert_eq!(
        (MAX_EVENT, BLOCK_CAP, MAX_BLOCK, HEAD_FILE_LEN),
        (65_535, 65_024, 65_619, 76)
    );
}
