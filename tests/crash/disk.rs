//! A disk that is full or may not be written to: the node says so and goes, what it acknowledged
//! is there, and with room again everything goes on. On file systems of their own, which takes
//! root; without it there is nothing to test, except in CI, where that is a failure.

use std::path::{Path, PathBuf};
use std::process::Command;

use opsledger::api::wire::{AppendEvent, AppendRequest, ErrorCode};
use serde_json::value::RawValue;

use crate::support::{
    Ledger, Node, fails_to_start, identity, is_ci, is_gone, named, script, show, text,
};

/// A small file system in memory, gone when dropped.
struct SmallDisk {
    at: PathBuf,
}

impl SmallDisk {
    /// Nothing if this machine does not let us.
    fn mount(at: &Path, options: &str) -> Option<Self> {
        std::fs::create_dir_all(at).unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", options, "small-disk"])
            .arg(at)
            .output()
            .unwrap();
        if mounted.status.success() {
            return Some(Self { at: at.to_owned() });
        }
        assert!(
            !is_ci(),
            "CI must be able to mount: {}",
            text(&mounted.stderr)
        );
        None
    }

    fn remount(&self, options: &str) {
        let done = Command::new("mount")
            .args(["-o", &format!("remount,{options}")])
            .arg(&self.at)
            .status()
            .unwrap();
        assert!(done.success());
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily, for shims that are just ending hold it open.
        let _ = Command::new("umount").arg("-l").arg(&self.at).status();
    }
}

/// A ledger on a disk of its own.
fn on_disk(options: &str) -> Option<(SmallDisk, Ledger)> {
    let room = tempfile::tempdir().unwrap();
    let at = room.path().join("disk");
    let disk = SmallDisk::mount(&at, options)?;
    let ledger = Ledger {
        dir: at.join("data"),
        room,
    };
    let made = ledger.cli(&["init"]);
    assert!(made.status.success(), "{made:?}");
    Some((disk, ledger))
}

fn large(n: u64) -> AppendRequest {
    sized(n, 50_000)
}

fn sized(n: u64, size: usize) -> AppendRequest {
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

#[tokio::test]
async fn a_full_disk_stops_the_node_and_loses_nothing() {
    let Some((_disk, ledger)) = on_disk("size=12m,mode=700") else {
        return;
    };
    let ballast = ledger.dir.join("ballast");
    std::fs::write(&ballast, vec![1; 2 * 1024 * 1024]).unwrap();
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

    let mut acknowledged = Vec::new();
    let refused = loop {
        let n = u64::try_from(acknowledged.len()).unwrap();
        assert!(n < 1000, "the disk does not fill up");
        match node.client.append(&large(n)).await {
            Ok(receipt) => acknowledged.push(receipt),
            Err(refused) => break refused,
        }
    };
    assert_eq!(refused.code, ErrorCode::NotLeader, "{refused}");
    assert!(refused.message.contains("the disk is full"), "{refused}");
    let ended = node.wait();
    assert_eq!(ended.status.code(), Some(1), "{ended:?}");
    assert!(ended.stderr.contains("the disk is full"), "{ended:?}");
    assert!(!acknowledged.is_empty());

    // Still full: the next one may not come up, and says why.
    let again = ledger.cli(&["tail"]);
    assert!(
        again.status.success(),
        "reading needs no room: {}",
        text(&again.stderr)
    );
    assert!(!is_gone(&process), "the task outlives the node");
    gate.tell("end");

    std::fs::remove_file(&ballast).unwrap();
    let node = ledger.up().await;
    assert_eq!(node.end_of("runs").await.exit_code, Some(4));
    node.client.append(&large(9999)).await.unwrap();
    node.stop_well();
    let log = ledger.assert_sound();
    for (n, receipt) in acknowledged.iter().enumerate() {
        let event = &log.0[usize::try_from(receipt.seq.0).unwrap() - 1];
        assert_eq!(
            (event.hash, &event.data["n"]),
            (receipt.hash, &serde_json::json!(n))
        );
    }
    assert_eq!(log.last().kind, "lease.released");
}

#[tokio::test]
async fn a_node_does_not_come_up_on_a_full_disk_without_saying_why() {
    let Some((_disk, ledger)) = on_disk("size=3m,mode=700") else {
        return;
    };
    let ballast = ledger.dir.join("ballast");
    // As much as there is.
    let filled = Command::new("dd")
        .args(["if=/dev/zero", &format!("of={}", show(&ballast)), "bs=4k"])
        .output()
        .unwrap();
    assert!(!filled.status.success(), "the disk has an end");
    // Each life uses up what room is left inside the store, until there is none to begin one.
    let mut lives = 0;
    let said = loop {
        assert!(lives < 100, "the disk does not fill up");
        lives += 1;
        match Node::try_start(&mut ledger.command(&["up"])).await {
            Err(ended) => break ended.stderr,
            Ok(mut node) => {
                while node
                    .client
                    .append(&sized(0, 20_000 >> lives.min(7)))
                    .await
                    .is_ok()
                {}
                let ended = node.wait();
                assert_eq!(ended.status.code(), Some(1), "{ended:?}");
                assert!(ended.stderr.contains("the disk is full"), "{ended:?}");
            }
        }
    };
    assert!(said.contains("full") || said.contains("No space"), "{said}");
    std::fs::remove_file(&ballast).unwrap();
    let node = ledger.up().await;
    node.stop_well();
    ledger.assert_sound();
}

#[tokio::test]
async fn a_file_system_that_may_only_be_read_is_read() {
    let Some((disk, ledger)) = on_disk("size=8m,mode=700") else {
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
