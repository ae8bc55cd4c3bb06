//! What was written by version 1 is read forever: today's code reads the golden fixtures, and
//! would write each event of them byte for byte again.

#![allow(clippy::unwrap_used, reason = "a helper of a test fails the test")]

mod common;

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::BufReader;
use std::num::NonZeroUsize;
use std::ops::ControlFlow;

use common::{JsonEvent, encode_again, repo};
use ledger_core::chain::{BatchBuilder, ChainKey};
use ledger_core::codec::decode;
use ledger_core::event::{APP_PREFIX, Event, JobEvent};
use ledger_core::hash::Hash;
use ledger_core::ids::{LedgerId, Seq};
use ledger_core::store::durable::{DurableStore, OfflineReader};
use ledger_core::store::redb::{HEAD_FILE, STORE_FILE};
use ledger_core::store::{Block, ChainWalk, LogReader, LogWriter, for_each_event, read_block};
use ledger_core::verify::{Verifier, verify_offline};

const THREADS: NonZeroUsize = NonZeroUsize::MIN.saturating_add(1);

fn ledger_id() -> LedgerId {
    "01987654-3210-7abc-8def-0123456789ab".parse().unwrap()
}

fn blocks() -> Vec<Block> {
    let file = File::open(repo("fixtures/v1/events.blocks")).unwrap();
    let mut source = BufReader::new(file);
    let mut blocks = Vec::new();
    while let Some(block) = read_block(&mut source).unwrap() {
        blocks.push(block);
    }
    blocks
}

fn lines() -> Vec<String> {
    let text = fs::read_to_string(repo("fixtures/v1/events.jsonl")).unwrap();
    text.lines().map(str::to_owned).collect()
}

#[test]
fn the_blocks_hold_every_kind_and_every_field_in_both_states() {
    let blocks = blocks();
    let mut kinds = BTreeSet::new();
    let (mut unknown, mut known_later, mut apps) = (0, 0, 0);
    let mut fields: [BTreeSet<bool>; 5] = Default::default();
    for event in blocks.iter().flat_map(Block::events) {
        let event = event.unwrap();
        let h = event.header;
        let present = [
            h.claimed_actor.is_some(),
            h.cause.is_some(),
            h.correlation.is_some(),
            h.traceparent.is_some(),
            h.idempotency_key.is_some(),
        ];
        for (seen, present) in fields.iter_mut().zip(present) {
            seen.insert(present);
        }
        match Event::decode(&event).unwrap() {
            Event::App => apps += 1,
            Event::Unknown if Event::known_kinds().any(|kind| kind == h.kind) => known_later += 1,
            Event::Unknown => unknown += 1,
            known => {
                kinds.insert(h.kind.to_owned());
                let (kind, data) = known.kind_and_data().unwrap();
                assert_eq!(kind, h.kind);
                assert_eq!(data, event.data, "seq {}: the typed payload, again", h.seq);
            }
        }
        assert!(!h.kind.starts_with(APP_PREFIX) || h.family() == "app");
    }
    // Those that came later are golden there.
    let later = [
        "portable/export.jsonl",
        SCHEDULER,
        REAPER,
        RECOVERY,
        "jobs.jsonl",
        "lease.jsonl",
        WATCH,
        CLOCK,
        FORK,
        SNAPSHOT,
    ]
    .map(|file| fs::read_to_string(repo("fixtures/v1").join(file)).unwrap());
    for line in later.iter().flat_map(|text| text.lines()) {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        kinds.extend(line["kind"].as_str().map(str::to_owned));
    }
    let missing: Vec<_> = Event::known_kinds()
        .filter(|k| !kinds.contains(*k))
        .collect();
    assert!(missing.is_empty(), "no golden event of {missing:?}");
    assert!(unknown > 0 && known_later > 0 && apps > 1);
    assert!(fields.iter().all(|seen| seen.len() == 2), "{fields:?}");
}

/// The scheduler's later kinds, and the later fields of its earlier ones.
const SCHEDULER: &str = "scheduler.jsonl";
/// Clocks that were set.
const CLOCK: &str = "clock.jsonl";
/// Snapshots of files.
const SNAPSHOT: &str = "snapshot.jsonl";
/// Made from the beginning of a ledger.
const FORK: &str = "fork.jsonl";
/// Processes that others started.
const WATCH: &str = "watch.jsonl";

/// The reaper's later kinds, and the later fields of its earlier ones.
const REAPER: &str = "reaper.jsonl";
/// Checkpoints' later kinds and fields, and recoveries.
const RECOVERY: &str = "recovery.jsonl";

#[test]
fn later_events_are_read_and_written_again() {
    for file in [SCHEDULER, REAPER, RECOVERY, WATCH, CLOCK, FORK, SNAPSHOT] {
        read_and_written_again(file);
    }
}

fn read_and_written_again(file: &str) {
    let text = fs::read_to_string(repo("fixtures/v1").join(file)).unwrap();
    let key = ChainKey::new(ledger_id());
    let mut head = Hash::ZERO;
    for line in text.lines() {
        let read: JsonEvent = serde_json::from_str(line).unwrap();
        assert_eq!(read.prev_hash, head);
        head = read.hash;
        let (prev, bytes) = (read.prev_hash, read.encode());
        assert_eq!(key.hash(&prev, &bytes), head);
        let event = decode(&bytes).unwrap();
        let (kind, data) = Event::decode(&event).unwrap().kind_and_data().unwrap();
        assert_eq!((kind, data.as_str()), (event.header.kind, event.data));
        assert_eq!(encode_again(&event), bytes);
    }
}

#[test]
fn each_event_is_written_byte_for_byte_again() {
    for block in blocks() {
        for (bytes, event) in block.iter().zip(block.events()) {
            assert_eq!(encode_again(&event.unwrap()), bytes);
        }
    }
}

#[test]
fn blocks_and_json_lines_say_the_same_in_the_same_bytes() {
    let mut lines = lines().into_iter();
    let mut walk = ChainWalk::new(ledger_id());
    for block in blocks() {
        let events = walk.check(&block, Seq::ZERO).unwrap();
        for (event, bytes) in events.iter().zip(block.iter()) {
            let line = lines.next().unwrap();
            assert_eq!(serde_json::to_string(event).unwrap(), line);
            let read: JsonEvent = serde_json::from_str(&line).unwrap();
            assert_eq!((read.prev_hash, read.hash), (event.prev_hash, event.hash));
            assert_eq!(
                read.encode(),
                bytes,
                "what JSON carries makes the same bytes"
            );
        }
    }
    assert!(lines.next().is_none());
}

#[test]
fn the_events_of_jobs_are_written_byte_for_byte_again() {
    let lines = fs::read_to_string(repo("fixtures/v1/jobs.jsonl")).unwrap();
    let (mut prev, mut kinds) = (Hash::ZERO, BTreeSet::new());
    for line in lines.lines() {
        let read: JsonEvent = serde_json::from_str(line).unwrap();
        let (told_prev, told) = (read.prev_hash, read.hash);
        assert_eq!(told_prev, prev);
        let bytes = read.encode();
        let event = decode(&bytes).unwrap();
        let id = "01987654-3210-7abc-8def-0123456789ad".parse().unwrap();
        let hash = ChainKey::new(id).hash(&prev, &bytes);
        assert_eq!(hash, told);
        let (kind, data) = Event::decode(&event).unwrap().kind_and_data().unwrap();
        assert_eq!((kind, &*data), (event.header.kind, event.data));
        kinds.insert(kind);
        prev = hash;
    }
    for kind in JobEvent::KINDS {
        assert!(kinds.contains(kind), "no golden event of {kind}");
    }
}

#[test]
fn the_blocks_verify() {
    let mut verifier = Verifier::new(ledger_id(), THREADS, Vec::new());
    let blocks = blocks();
    let mut walk = ChainWalk::new(ledger_id());
    let mut head = None;
    for block in blocks {
        walk.check(&block, Seq::ZERO).unwrap();
        let last = block.events().last().unwrap().unwrap().header;
        head = Some(ledger_core::chain::Head {
            seq: last.seq,
            hash: block.last_hash(),
            term: last.term,
            recorded_at: last.recorded_at,
        });
        verifier.push(block);
    }
    let report = verifier.finish(head.unwrap());
    assert!(report.is_intact(), "{:?}", report.findings);
    assert_eq!(report.events, lines().len() as u64);
}

#[test]
fn the_golden_store_is_read_verified_and_written_to() {
    let dir = tempfile::tempdir().unwrap();
    for file in [STORE_FILE, HEAD_FILE] {
        let from = repo("fixtures/v1/store").join(file);
        fs::copy(from, dir.path().join(file)).unwrap();
    }
    let report = verify_offline(dir.path(), THREADS, &|_, _| {}).unwrap();
    assert!(report.is_intact(), "{:?}", report.findings);
    let offline = OfflineReader::open(dir.path()).unwrap();
    offline.check_head().unwrap();
    assert_eq!(offline.ledger_id(), ledger_id());
    let mut lines = lines().into_iter();
    let walk = for_each_event(&offline, Seq::FIRST, |event| -> ControlFlow<()> {
        assert_eq!(lines.next(), serde_json::to_string(&event).ok());
        ControlFlow::Continue(())
    });
    assert!(walk.is_ok() && lines.next().is_none());
    let head = offline.head().unwrap();
    drop(offline);

    let mut store = DurableStore::open(dir.path()).unwrap();
    assert_eq!(LogWriter::head(&store), head);
    let mut builder = BatchBuilder::new(ChainKey::new(ledger_id()), head, head.term);
    let draft = ledger_core::envelope::Draft {
        event_id: "01987654-3210-7abc-8def-000000000001".parse().unwrap(),
        kind: "app.more".parse().unwrap(),
        version: 1,
        subject: "app/x".parse().unwrap(),
        origin: ledger_core::envelope::Origin::of("uid/0".parse().unwrap()),
        idempotency_key: None,
        data: "{}".into(),
    };
    builder.push(&[draft], head.recorded_at).unwrap();
    let after = store.append(&builder.take()).unwrap();
    assert_eq!(after.seq, head.seq.next());
    store.close().unwrap();
    let report = verify_offline(dir.path(), THREADS, &|_, _| {}).unwrap();
    assert!(report.is_intact(), "{:?}", report.findings);
}
