//! Backups and exports of a ledger that is at work: whole as of one moment, found out if damaged,
//! made by the clock, kept by a rule; and no key is ever in one.

use std::fs;
use std::path::Path;
use std::process::Output;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use opsledger::api::wire::{AppendEvent, AppendRequest};
use opsledger::client::Client;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::support::{Ledger, exec, named, show, text};

fn json(output: &Output) -> Value {
    assert!(output.status.success(), "{}", text(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn appends(count: usize) -> AppendRequest {
    let event = |n: usize| AppendEvent {
        kind: "app.x".parse().unwrap(),
        subject: None,
        expected_version: None,
        data: RawValue::from_string(format!("{{\"n\":{n},\"x\":\"{}\"}}", "x".repeat(300)))
            .unwrap(),
    };
    AppendRequest {
        events: (0..count).map(event).collect(),
        idempotency_key: None,
        expected_head: None,
        claimed_actor: None,
        correlation: None,
        cause: None,
        traceparent: None,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_backup_under_load_is_whole_as_of_a_head() {
    let ledger = Ledger::new();
    let node = ledger.up().await;
    let (stop, written) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicU64::new(0)),
    );
    let producers: Vec<_> = (0..8)
        .map(|_| {
            let (socket, stop, written) =
                (node.socket.clone(), Arc::clone(&stop), Arc::clone(&written));
            tokio::spawn(async move {
                let client = Client::connect(&socket).await.unwrap();
                while !stop.load(Ordering::Relaxed) {
                    client.append(&appends(20)).await.unwrap();
                    written.fetch_add(20, Ordering::Relaxed);
                }
            })
        })
        .collect();
    let backups = ledger.path("backups");
    let mut heads = Vec::new();
    for _ in 0..4 {
        let mut command = ledger.command(&["--json", "backup", "--to", show(&backups)]);
        let made = tokio::task::spawn_blocking(move || command.output().unwrap());
        let made = json(&made.await.unwrap());
        heads.push((made["seq"].as_u64().unwrap(), made["hash"].clone()));
    }
    stop.store(true, Ordering::Relaxed);
    for producer in producers {
        producer.await.unwrap();
    }
    assert!(
        heads.windows(2).all(|pair| pair[0].0 < pair[1].0),
        "{heads:?}"
    );
    node.stop_well();
    let log = ledger.assert_sound();
    assert_eq!(log.of_kind("ledger.backed_up").len(), 4);
    let appended = log.of_kind("app.x").len() as u64;
    assert_eq!(appended, written.load(Ordering::Relaxed));
    for (seq, hash) in &heads {
        assert_eq!(
            log.0[*seq as usize - 1].hash.to_string(),
            hash.as_str().unwrap()
        );
    }
    let checked = ledger.cli(&["backup", "verify", "all", "--dir", show(&backups)]);
    assert!(checked.status.success(), "{checked:?}");
    assert_eq!(text(&checked.stdout).matches("good: ").count(), 4);
    // The oldest is as whole as the newest.
    let listed = json(&ledger.cli(&["--json", "backup", "list", "--dir", show(&backups)]));
    let into = ledger.path("restored");
    let oldest = listed[0]["path"].as_str().unwrap();
    let done = json(&ledger.cli(&["--json", "restore", oldest, "--into", show(&into)]));
    assert_eq!(
        (done["from_seq"].as_u64().unwrap(), &done["from_hash"]),
        (heads[0].0, &heads[0].1)
    );
}

fn files(dir: &Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    let mut dirs = vec![dir.to_path_buf()];
    while let Some(next) = dirs.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                dirs.push(path);
            } else {
                found.push(path);
            }
        }
    }
    found
}

#[test]
fn damage_is_found_and_keys_are_nowhere() {
    let ledger = Ledger::new();
    let made = ledger.cli(&["backup"]);
    assert!(text(&made.stderr).contains("not recorded"), "{made:?}");
    for (format, to) in [("jsonl", "e.jsonl"), ("csv", "e.csv"), ("tiles", "tiles")] {
        let to = ledger.path(to);
        let done = ledger.cli(&["export", "--format", format, "--to", show(&to)]);
        assert!(done.status.success(), "{done:?}");
        assert!(text(&done.stderr).contains("not recorded"), "{done:?}");
    }
    let key = fs::read_to_string(ledger.dir.join("keys/ledger.key")).unwrap();
    // PRIVATE+KEY+NAME+ID+base64, which may have a plus sign of its own.
    let secret = key.trim().splitn(5, '+').last().unwrap().to_owned();
    assert_eq!(secret.len(), 44, "33 bytes");
    let mut seen = 0;
    let exports = ["e.jsonl", "e.csv", "tiles"].map(|name| ledger.path(name));
    let exported = exports.iter().flat_map(|path| match path.is_dir() {
        true => files(path),
        false => vec![path.clone()],
    });
    for file in files(&ledger.dir.join("backups"))
        .into_iter()
        .chain(exported)
    {
        let bytes = fs::read(&file).unwrap();
        assert!(!text(&bytes).contains(&secret), "{file:?}");
        seen += 1;
    }
    assert!(seen >= 7, "{seen}");

    assert_eq!(ledger.cli(&["backup", "verify"]).status.code(), Some(0));
    for file in files(&ledger.dir.join("backups")) {
        let sound = fs::read(&file).unwrap();
        let mut bytes = sound.clone();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 4;
        fs::write(&file, &bytes).unwrap();
        let found = ledger.cli(&["backup", "verify", "latest"]);
        assert_eq!(found.status.code(), Some(3), "{found:?}");
        let name = file.file_name().unwrap().to_str().unwrap();
        assert!(text(&found.stdout).contains(name), "{found:?}");
        let into = ledger.path("from-damaged");
        let refused = ledger.cli(&["restore", "latest", "--into", show(&into)]);
        assert_eq!(refused.status.code(), Some(3), "{refused:?}");
        assert!(!into.exists());
        fs::write(&file, sound).unwrap();
    }
    assert_eq!(
        ledger.cli(&["backup", "verify", "none"]).status.code(),
        Some(7)
    );
}

#[tokio::test]
async fn a_part_of_a_ledger_says_that_it_is_one() {
    let ledger = Ledger::new();
    let node = ledger.up().await;
    node.run(named("t", exec(&["true"]))).await;
    let part = ledger.path("part.jsonl");
    let done = ledger.cli(&[
        "export",
        "--format",
        "jsonl",
        "-k",
        "task.*",
        "--to",
        show(&part),
    ]);
    assert!(
        text(&done.stderr).contains("a filtered export can't be imported"),
        "{done:?}"
    );
    let lines = fs::read_to_string(&part).unwrap();
    assert_eq!(lines.lines().count(), 4);
    let refused = ledger.cli(&["import", show(&part), "--into", show(&ledger.path("new"))]);
    assert_eq!(refused.status.code(), Some(3), "{refused:?}");
    assert!(!ledger.path("new").exists());
    let again = ledger.cli(&["export", "--format", "jsonl", "--to", show(&part)]);
    assert_eq!(
        again.status.code(),
        Some(8),
        "what is there is kept: {again:?}"
    );
    assert_eq!(fs::read_to_string(&part).unwrap(), lines);
    let tiles = ledger.cli(&[
        "export",
        "--format",
        "tiles",
        "-k",
        "task.*",
        "--to",
        "/nowhere/x",
    ]);
    assert_eq!(tiles.status.code(), Some(2), "{tiles:?}");
    // Through the node and from the files: the same lines, but for the record of the first.
    let whole = ledger.cli(&["export", "--format", "jsonl"]);
    let recorded = node
        .event(|e| e.kind == "ledger.exported" && e.data["complete"] == true)
        .await;
    node.stop_well();
    let offline = text(&ledger.cli(&["export", "--format", "jsonl"]).stdout);
    let upto = recorded.data["seq"].as_u64().unwrap() as usize;
    let whole = text(&whole.stdout);
    assert!(whole.lines().take(upto).eq(offline.lines().take(upto)));
}

#[tokio::test]
async fn the_node_makes_backups_by_the_clock_and_keeps_them_by_the_rule() {
    let ledger = Ledger::configured(
        "[backup]\ndir = \"../kept\"\nevery = \"1s\"\nkeep_for = \"1ms\"\nkeep_at_least = 2\n",
    );
    let node = ledger.up().await;
    let mut log = node.follow(1).await;
    // Where nothing happens there is nothing to back up: each waits for something new.
    for n in 0..4_u64 {
        let made = log.find(|e| e.kind == "ledger.backed_up").await;
        assert_eq!(made.actor, "node/primary");
        node.client.append(&appends(1)).await.unwrap();
        let seq = made.data["seq"].as_u64().unwrap();
        assert!(seq < made.seq && seq > n);
    }
    let pruned = log.find(|e| e.kind == "ledger.backups_pruned").await;
    assert_eq!(pruned.data["backups"].as_array().unwrap().len(), 1);
    let last = node.status().await.report.backups;
    assert!(last.failing.is_none() && last.last.is_some() && last.made >= 4);
    node.stop_well();
    let kept = ledger.room.path().join("kept");
    let left = ledger.cli(&["backup", "list"]);
    assert!(
        text(&left.stdout).contains(show(&kept)) || kept.exists(),
        "{left:?}"
    );
    let listed = json(&ledger.cli(&["--json", "backup", "list"]));
    assert!(
        (2..=4).contains(&listed.as_array().unwrap().len()),
        "{listed}"
    );
    assert!(ledger.cli(&["backup", "verify", "all"]).status.success());
    ledger.assert_sound();
}

#[tokio::test]
async fn a_backup_that_fails_is_an_event_and_a_warning() {
    let ledger = Ledger::configured("[backup]\ndir = \"taken\"\nevery = \"1s\"\n");
    fs::write(ledger.dir.join("taken"), "a file").unwrap();
    let node = ledger.up().await;
    let failed = node.event(|e| e.kind == "ledger.backup_failed").await;
    assert!(
        failed.data["reason"].as_str().unwrap().contains("taken"),
        "{failed:?}"
    );
    let shown = text(&ledger.cli(&["status"]).stdout);
    assert!(shown.contains("the last backup failed: "), "{shown}");
    fs::remove_file(ledger.dir.join("taken")).unwrap();
    node.event(|e| e.kind == "ledger.backed_up").await;
    let shown = text(&ledger.cli(&["status"]).stdout);
    assert!(!shown.contains("the last backup failed"), "{shown}");
    assert!(shown.contains("\nbackup "), "{shown}");
    node.stop_well();
    ledger.assert_sound();
}

#[test]
fn pruning_by_hand_asks_or_is_told() {
    let ledger = Ledger::new();
    for _ in 0..3 {
        assert!(ledger.cli(&["backup"]).status.success());
    }
    let prune = |more: &[&str]| ledger.cli(&[&["backup", "prune"][..], more].concat());
    assert_eq!(prune(&[]).status.code(), Some(2), "there is no rule");
    let rule = ["--keep-for", "1ms", "--keep-at-least", "1"];
    let asked = prune(&rule);
    assert_eq!(asked.status.code(), Some(2), "{asked:?}");
    let dry = prune(&[&rule[..], &["--dry-run"]].concat());
    assert_eq!(text(&dry.stdout).matches("would be removed").count(), 2);
    let count = || {
        let listed = json(&ledger.cli(&["--json", "backup", "list"]));
        listed.as_array().unwrap().len()
    };
    assert_eq!(count(), 3);
    let done = prune(&[&rule[..], &["--yes"]].concat());
    assert!(done.status.success(), "{done:?}");
    assert_eq!(count(), 1);
}
