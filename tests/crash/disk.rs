//! A disk that is full, that fails, or that may not be written to: the node says so and goes, records
//! why if it can, what it acknowledged is there, and with room again everything goes on.

use std::path::Path;

use ledger_core::blobs::MediaType;
use opsledger::api::wire::{AppendEvent, AppendRequest, ErrorCode, Receipt};
use opsledger::client::Client;
use serde_json::{json, value::RawValue};

use crate::support::small_disk::SmallDisk;
use crate::support::{
    Ended, Ledger, Log, Node, fails_to_start, identity, is_gone, named, script, show, text,
    wait_gone,
};

/// Length of the reserve where nothing else is set.
const RESERVE: u64 = 2 << 20;

/// A ledger on a disk of its own.
fn on_disk(mib: u64) -> Option<(SmallDisk, Ledger)> {
    let room = tempfile::tempdir().unwrap();
    let disk = SmallDisk::mount(room.path(), "disk", mib)?;
    let ledger = disk.ledger(room);
    Some((disk, ledger))
}

fn sized(n: usize, size: usize) -> AppendRequest {
    let data = format!(r#"{{"n":{n},"fill":"{}"}}"#, "x".repeat(size));
    AppendRequest {
        events: vec![AppendEvent {
            kind: "app.large".parse().unwrap(),
            subject: None,
            expected_version: None,
            data: RawValue::from_string(data).unwrap(),
        }],
        idempotency_key: None,
        expected_head: None,
        claimed_actor: None,
        correlation: None,
        cause: None,
        traceparent: None,
    }
}

/// Appends until an append fails, and returns what was acknowledged and what was said then.
async fn until_refused(client: &Client) -> (Vec<Receipt>, String) {
    let mut acknowledged = Vec::new();
    loop {
        let n = acknowledged.len();
        assert!(n < 4000, "the disk does not fill up");
        match client.append(&sized(n, 50_000)).await {
            Ok(receipt) => acknowledged.push(receipt),
            Err(refused) => {
                assert_eq!(refused.code, ErrorCode::NotLeader, "{refused}");
                return (acknowledged, refused.message);
            }
        }
    }
}

fn assert_there(log: &Log, acknowledged: &[Receipt]) {
    for (n, receipt) in acknowledged.iter().enumerate() {
        let event = &log.0[usize::try_from(receipt.seq.0).unwrap() - 1];
        assert_eq!((event.hash, &event.data["n"]), (receipt.hash, &json!(n)));
    }
}

/// The node has said what is the matter, where, and what to do.
fn assert_says_full(ended: &Ended, dir: &Path) {
    assert_eq!(ended.status.code(), Some(1), "{ended:?}");
    for said in ["the disk is full", show(dir), "are free", "make room"] {
        assert!(ended.stderr.contains(said), "{said}: {ended:?}");
    }
}

fn reserve(ledger: &Ledger) -> Option<u64> {
    let meta = std::fs::metadata(ledger.dir.join("reserve")).ok()?;
    Some(meta.len())
}

/// The log, no node running, ends with the node's own word for why it stopped.
fn assert_recorded(ledger: &Ledger) {
    let log = ledger.log();
    let [.., stopped, released] = &log.0[..] else {
        panic!("an empty log")
    };
    assert_eq!(stopped.kind, "node.stopped");
    assert_eq!(stopped.data["reason"], "disk_full");
    assert_eq!(released.kind, "lease.released");
    assert_eq!(released.data["reason"], "disk_full");
    assert_eq!(reserve(ledger), None, "it was given up");
    let status = text(&ledger.cli(&["status"]).stdout);
    assert!(status.contains("the disk was full"), "{status}");
}

#[tokio::test]
async fn a_full_disk_stops_the_node_which_records_why_and_loses_nothing() {
    let Some((disk, ledger)) = on_disk(50) else {
        return;
    };
    assert_eq!(reserve(&ledger), Some(RESERVE));
    // What is freed in the end has to take the reserve, a segment of the journal and what is sealed.
    disk.take("ballast", 20);
    let (mut told, gate) = (ledger.fifo("told"), ledger.fifo("gate"));
    let mut node = ledger.up().await;
    let wait = format!(
        "echo $$ > {}; read x < {}; exit 4",
        told.show(),
        gate.show()
    );
    node.submit(named("runs", script(&wait))).await;
    let process = identity(told.pid());
    node.registered("runs", 1).await;
    let (acknowledged, refused) = until_refused(&node.client).await;
    assert!(!acknowledged.is_empty(), "there was room at first");
    assert!(refused.contains("the disk is full"), "{refused}");
    assert_says_full(&node.wait(), &ledger.dir);
    assert_recorded(&ledger);

    // Still full: reading needs no room, and the next node says what it lacks.
    disk.fill("rest", 0);
    assert_there(&ledger.log(), &acknowledged);
    let verified = ledger.cli(&["verify"]);
    assert!(verified.status.success(), "{verified:?}");
    let ended = fails_to_start(&mut ledger.command(&["up"]));
    assert_says_full(&ended, &ledger.dir);
    assert!(ended.stderr.contains("the reserve: 2.00 MiB"), "{ended:?}");
    assert!(!is_gone(&process), "the task outlives the node");
    gate.tell("end");

    disk.free("rest");
    disk.free("ballast");
    let node = ledger.up().await;
    assert_eq!(reserve(&ledger), Some(RESERVE), "it is made again");
    assert_eq!(node.end_of("runs").await.exit_code, Some(4));
    node.client.append(&sized(9999, 100)).await.unwrap();
    node.stop_well();
    let log = ledger.assert_sound();
    assert_there(&log, &acknowledged);
    assert_eq!(log.last().data["reason"], "shutdown");
    assert_eq!(log.count("lease.lost"), 0, "every term was given back");
}

#[tokio::test]
async fn a_disk_that_is_full_when_events_are_sealed_is_no_different() {
    let Some((disk, ledger)) = on_disk(64) else {
        return;
    };
    let mut node = ledger.up().await;
    // So many that segments of the journal are free again.
    let mut before = Vec::new();
    for n in 0..160 {
        before.push(node.client.append(&sized(n, 50_000)).await.unwrap());
    }
    disk.fill("ballast", 0);
    // None at all if the sealer runs out of room before the first of them.
    let (acknowledged, refused) = until_refused(&node.client).await;
    assert!(refused.contains("the disk is full"), "{refused}");
    assert!(refused.contains("sealing failed"), "{refused}");
    assert_says_full(&node.wait(), &ledger.dir);
    assert_recorded(&ledger);
    disk.free("ballast");
    let node = ledger.up().await;
    node.client.append(&sized(9999, 100)).await.unwrap();
    node.stop_well();
    let log = ledger.assert_sound();
    assert_there(&log, &before);
    assert_there(&log, &acknowledged);
}

#[tokio::test]
async fn a_node_does_not_come_up_on_a_full_disk_without_saying_why() {
    let Some((disk, ledger)) = on_disk(16) else {
        return;
    };
    ledger.up().await.stop_well();
    let before = ledger.log().0.len();
    disk.fill("ballast", 0);
    // Each life uses up what room is left inside the store, until there is none to begin one.
    let mut lives = 0;
    let said = loop {
        assert!(lives < 100, "the disk does not fill up");
        lives += 1;
        match Node::try_start(&mut ledger.command(&["up"])).await {
            Err(ended) => break ended,
            Ok(mut node) => {
                until_refused(&node.client).await;
                assert_says_full(&node.wait(), &ledger.dir);
            }
        }
        disk.fill("more", 0);
    };
    assert_says_full(&said, &ledger.dir);
    assert!(ledger.log().0.len() >= before);
    disk.free("ballast");
    ledger.up().await.stop_well();
    assert_eq!(reserve(&ledger), Some(RESERVE));
    ledger.assert_sound();
}

#[tokio::test]
async fn without_a_reserve_nothing_is_recorded_and_nothing_is_lost() {
    let Some((disk, ledger)) = on_disk(24) else {
        return;
    };
    ledger.configure("[disk]\nreserve = \"0B\"\n");
    let mut node = ledger.up().await;
    assert_eq!(reserve(&ledger), None);
    disk.fill("ballast", 5000);
    let (acknowledged, _) = until_refused(&node.client).await;
    assert!(!acknowledged.is_empty(), "there was room at first");
    disk.fill("rest", 0);
    assert_says_full(&node.wait(), &ledger.dir);
    assert_there(&ledger.log(), &acknowledged);
    disk.free("ballast");
    ledger.up().await.stop_well();
    assert_there(&ledger.assert_sound(), &acknowledged);
}

#[tokio::test]
async fn a_blob_that_finds_no_room_is_refused_and_the_node_goes_on() {
    let Some((disk, ledger)) = on_disk(32) else {
        return;
    };
    let warn = "[disk]\nwarn_below = \"16MiB\"\n";
    ledger.configure(warn);
    let node = ledger.up().await;
    // A segment is ready before there is no room to make one.
    node.client.append(&sized(0, 1000)).await.unwrap();
    let status = node.status().await;
    assert!(!status.disk.unwrap().is_low(), "{status:?}");
    disk.fill("ballast", 3 << 10);
    let large = std::io::Cursor::new(vec![5; 8 << 20]);
    let refused = node.client.upload_blob(large, &MediaType::unknown()).await;
    let refused = refused.unwrap_err();
    assert_eq!(refused.code, ErrorCode::Failed, "{refused:?}");
    assert!(refused.message.contains("the disk is full"), "{refused}");
    let left = ledger.dir.join("blobs/incoming");
    assert_eq!(std::fs::read_dir(left).unwrap().count(), 0);
    node.client.append(&sized(1, 1000)).await.unwrap();
    let said = text(&ledger.cli(&["status"]).stdout);
    assert!(said.contains("the disk is nearly full"), "{said}");
    node.stop_well();
    let said = text(&ledger.cli(&["status"]).stdout);
    assert!(said.contains("the disk is nearly full"), "{said}");
    ledger.assert_sound();
}

#[tokio::test]
async fn a_device_that_is_full_below_its_file_system_is_no_different() {
    let room = tempfile::tempdir().unwrap();
    let Some(below) = SmallDisk::memory(room.path(), "below", 24) else {
        return;
    };
    let Some(disk) = SmallDisk::thin(room.path(), "disk", 96, &below) else {
        return;
    };
    let ledger = disk.ledger(room);
    let mut node = ledger.up().await;
    let spawner = identity(node.spawner());
    below.fill("ballast", 6 << 10);
    let (acknowledged, refused) = until_refused(&node.client).await;
    assert!(refused.contains("could not be written"), "{refused}");
    // Whether the reserve helps, nobody can know.
    assert_eq!(node.wait().status.code(), Some(1));
    wait_gone(&spawner);
    // Its client holds the directory of the socket open.
    drop(node);
    below.free("ballast");
    below.remount("size=256m");
    disk.mend(&below.path("image"));
    ledger.up().await.stop_well();
    assert_there(&ledger.assert_sound(), &acknowledged);
}

#[tokio::test]
async fn a_disk_that_is_pulled_stops_the_node_and_loses_nothing() {
    let room = tempfile::tempdir().unwrap();
    let Some((disk, image)) = SmallDisk::ext4(room.path(), "disk", 64) else {
        return;
    };
    let ledger = disk.ledger(room);
    let mut node = ledger.up().await;
    let spawner = identity(node.spawner());
    let mut acknowledged = Vec::new();
    // So many that some are sealed and some are not.
    for n in 0..50 {
        acknowledged.push(node.client.append(&sized(n, 50_000)).await.unwrap());
    }
    let content = std::io::Cursor::new(b"content".to_vec());
    let stored = node
        .client
        .upload_blob(content, &MediaType::unknown())
        .await;
    let mut naming = sized(0, 0);
    naming.events[0].data = RawValue::from_string(stored.unwrap().to_payload()).unwrap();
    node.client.append(&naming).await.unwrap();
    disk.pull();
    let refused = node.client.append(&sized(50, 1000)).await.unwrap_err();
    assert_eq!(refused.code, ErrorCode::NotLeader, "{refused}");
    assert!(
        refused.message.contains("could not be written"),
        "{refused}"
    );
    let ended = node.wait();
    assert_eq!(ended.status.code(), Some(1), "{ended:?}");
    assert!(ended.stderr.contains("Input/output error"), "{ended:?}");
    wait_gone(&spawner);
    // Its client holds the directory of the socket open.
    drop(node);
    disk.mend(&image);
    assert_eq!(reserve(&ledger), Some(RESERVE), "it is not for this");
    ledger.up().await.stop_well();
    let log = ledger.assert_sound();
    assert_there(&log, &acknowledged);
    assert_eq!(log.count("app.large"), 51, "what was refused is not there");
    assert_eq!(log.count("lease.lost"), 1);
}

#[tokio::test]
async fn a_file_system_that_may_only_be_read_is_read() {
    let Some((disk, ledger)) = on_disk(16) else {
        return;
    };
    ledger.up().await.stop_well();
    disk.remount("ro");
    let refused = fails_to_start(&mut ledger.command(&["up"]));
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    assert!(
        refused.stderr.contains("Read-only file system"),
        "{refused:?}"
    );
    let read = ledger.cli(&["tail"]);
    assert!(text(&read.stdout).contains("lease.released"), "{read:?}");
    disk.remount("rw");
    ledger.up().await.stop_well();
    ledger.assert_sound();
}
