//! `ledger restore --at`: a ledger as of then in a directory of its own, and the ledger itself as it was.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use insta::assert_snapshot;
use serde_json::Value;

use crate::sample::{Ran, Sample, bare};
use crate::support::{Ledger, named, script, show, text};

fn tree(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(tree(&path));
        }
        found.insert(path.clone(), fs::read(&path).unwrap_or_default());
    }
    found
}

fn json(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).unwrap()
}

/// Runs a command on another directory of the room.
fn run_on(sample: &Sample, dir: &str, arguments: &[&str]) -> Ran {
    let mut command = bare(sample.room.path());
    command.args(["--data-dir", dir]).args(arguments);
    sample.ran(command.output().unwrap())
}

/// What one prints that works.
fn on(sample: &Sample, dir: &str, arguments: &[&str]) -> String {
    let ran = run_on(sample, dir, arguments);
    assert_eq!(
        (ran.code, &*ran.stderr),
        (Some(0), ""),
        "{dir} {arguments:?}"
    );
    ran.stdout
}

#[test]
fn every_beginning_of_a_ledger_is_a_ledger() {
    let sample = Sample::with_process();
    let before = tree(&sample.dir);
    let lines = sample.shows(&["query", "-o", "jsonl"]);
    let lines: Vec<&str> = lines.lines().collect();
    for seq in 1..=lines.len() {
        let into = format!("as-of-{seq}");
        let at = seq.to_string();
        let done = sample.shows(&["--json", "restore", "--at", &at, "--into", &into]);
        let done = json(done.as_bytes());
        assert_eq!(done["from_seq"], seq);
        assert_eq!(done["tree"]["size"], seq);
        assert_eq!(done["source"]["size"], lines.len());
        let last = json(lines[seq - 1].as_bytes());
        assert_eq!(done["from_hash"], last["hash"]);
        assert_eq!(done["as_of"], last["recorded_at"]);
        // The same events, hash for hash; then what says where they came from.
        let copied = on(&sample, &into, &["query", "-o", "jsonl"]);
        let copied: Vec<&str> = copied.lines().collect();
        assert_eq!(copied[..seq], lines[..seq]);
        let forked = json(copied[copied.len() - 2].as_bytes());
        assert_eq!(forked["kind"], "ledger.forked");
        assert_eq!(forked["data"]["source_seq"], lines.len());
        assert!(copied.len() <= seq + 4, "{copied:?}");
        let verified = run_on(&sample, &into, &["--json", "verify"]);
        let report = json(verified.stdout.as_bytes());
        assert_eq!(report["intact"]["verdict"], "intact", "{report}");
        // Where a decision was recorded in several events, a part of it is a part.
        let whole = verified.code == Some(0);
        assert!(
            whole || (verified.code, seq) == (Some(5), 9),
            "{seq}: {report}"
        );
        on(&sample, &into, &["rebuild", "--check"]);
        let status = json(on(&sample, &into, &["--json", "status"]).as_bytes());
        assert_eq!(status["report"]["paused"]["by"], "restore");
        // Its tasks are those of the ledger as of then.
        let then = sample.shows(&["--json", "task", "list", "--at", &at]);
        let tasks = on(&sample, &into, &["--json", "task", "list"]);
        assert_eq!(json(tasks.as_bytes()), json(then.as_bytes()), "seq {seq}");
    }
    assert_eq!(tree(&sample.dir), before, "every byte");
}

#[test]
fn a_time_is_the_last_event_until_then() {
    let sample = Sample::new();
    let time = "2024-01-31T08:00:05Z";
    assert_snapshot!(
        "restore_at",
        sample.shows(&["restore", "--at", time, "--into", "then"])
    );
    assert_eq!(
        on(&sample, "then", &["query", "--until", "2024-02-01"])
            .lines()
            .count(),
        6
    );
    let between = ["--json", "restore", "--at", "2024-01-31T08:00:04.9Z"];
    let done = sample.shows(&[&between[..], &["--into", "before"]].concat());
    assert_eq!(json(done.as_bytes())["from_seq"], 5);
}

#[test]
fn what_is_not_there_or_in_the_way_is_said() {
    let sample = Sample::new();
    let refused = |arguments: &[&str], code: i32| {
        let ran = sample.run(arguments);
        assert_eq!((ran.code, &*ran.stdout), (Some(code), ""), "{ran:?}");
        format!("$ ledger {}\n{}", arguments.join(" "), ran.stderr)
    };
    fs::create_dir(sample.room.path().join("taken")).unwrap();
    fs::write(sample.room.path().join("taken/x"), "x").unwrap();
    std::os::unix::fs::symlink("nowhere", sample.room.path().join("dangling")).unwrap();
    let mut said = vec![
        refused(&["restore", "--at", "14", "--into", "new"], 7),
        refused(&["restore", "--at", "0", "--into", "new"], 7),
        refused(&["restore", "--at", "2020-01-01", "--into", "new"], 7),
        refused(&["restore", "--at", "soon", "--into", "new"], 2),
        refused(&["restore", "--at", "3", "--into", "taken"], 8),
        refused(&["restore", "--at", "3", "--into", "data/x"], 2),
        refused(&["restore", "--at", "3", "--into", "dangling"], 8),
        refused(&["restore", "--at", "9999-01-01", "--into", "new"], 7),
        refused(&["restore", "--at", "3"], 2),
        refused(&["restore", "latest", "--at", "3", "--into", "new"], 2),
        refused(&["restore"], 2),
    ];
    let store = sample.dir.join("ledger.redb");
    let kept = fs::read(&store).unwrap();
    fs::write(&store, &kept[..kept.len() / 2]).unwrap();
    said.push(refused(&["restore", "--at", "3", "--into", "new"], 3));
    assert!(!sample.room.path().join("new").exists());
    assert_snapshot!("restore_at_refused", said.join("\n"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ledger_at_work_is_read_and_goes_on_and_blobs_come_along() {
    let ledger = Ledger::new();
    let node = ledger.up().await;
    node.run(named("before", script("true"))).await;
    let file = ledger.path("big");
    fs::write(&file, vec![7; 200_000]).unwrap();
    let put = ledger.cli(&["append", "app.shot", "--blob", show(&file)]);
    assert!(put.status.success(), "{put:?}");
    node.run(named("after", script("true"))).await;
    let shot = node.event(|e| e.kind == "app.shot").await;
    let (at, into) = (shot.seq.to_string(), ledger.path("then"));
    let made = ledger.cli(&["--json", "restore", "--at", &at, "--into", show(&into)]);
    assert!(made.status.success(), "{made:?}");
    let made = json(&made.stdout);
    assert_eq!(made["blobs"]["blobs"], 1, "{made}");
    let then = Ledger {
        room: tempfile::tempdir().unwrap(),
        dir: into,
    };
    let log = then.assert_sound();
    assert!(log.of_kind("task.submitted").len() == 1);
    // Nothing was recorded of it, and nothing is in its way.
    node.run(named("later", script("true"))).await;
    node.stop_well();
    assert!(ledger.assert_sound().of_kind("ledger.forked").is_empty());
    // One that has lost a blob says so of what is made of it.
    for shelf in fs::read_dir(ledger.dir.join("blobs")).unwrap() {
        fs::remove_dir_all(shelf.unwrap().path()).unwrap();
    }
    let lacking = ledger.path("lacking");
    let made = ledger.cli(&["restore", "--at", &at, "--into", show(&lacking)]);
    assert_eq!(made.status.code(), Some(5), "{made:?}");
    assert!(text(&made.stderr).contains("could not be had"), "{made:?}");
}
