//! `ledger salvage`: what can be proven of a damaged ledger goes into a new directory, and the
//! damaged one keeps every byte.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use insta::assert_snapshot;
use serde_json::Value;

use crate::sample::{Sample, bare};
use crate::support::{Ledger, named, script, text};

/// Every file with its content and time of change.
fn tree(dir: &Path) -> BTreeMap<PathBuf, (Vec<u8>, SystemTime)> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let modified = path.symlink_metadata().unwrap().modified().unwrap();
        if path.is_dir() {
            found.extend(tree(&path));
        }
        let content = fs::read(&path).unwrap_or_default();
        found.insert(path, (content, modified));
    }
    found
}

/// Damages the first event in the journal that holds `text`.
fn spoil(dir: &Path, text: &str) {
    for entry in fs::read_dir(dir.join("journal")).unwrap() {
        let path = entry.unwrap().path();
        let mut bytes = fs::read(&path).unwrap();
        let at = bytes.windows(text.len()).position(|w| w == text.as_bytes());
        if let Some(at) = at {
            bytes[at] ^= 1;
            return fs::write(&path, bytes).unwrap();
        }
    }
    panic!("{text} is not in the journal");
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

#[test]
fn what_is_proven_is_copied_and_the_rest_is_kept() {
    let sample = Sample::new();
    spoil(&sample.dir, "app.deploy");
    let before = tree(&sample.dir);
    assert_eq!(sample.run(&["verify"]).code, Some(3));
    assert_snapshot!("salvage_dry_run", sample.shows(&["salvage", "--dry-run"]));
    assert_snapshot!("salvage", sample.shows(&["salvage", "--into", "new"]));
    assert_eq!(
        tree(&sample.dir),
        before,
        "every byte and every time of change"
    );

    let new = |arguments: &[&str]| {
        let mut command = bare(sample.room.path());
        let ran = command.args(["--data-dir", "new"]).args(arguments);
        let ran = sample.ran(ran.output().unwrap());
        assert_eq!(ran.code, Some(0), "{arguments:?}: {ran:?}");
        ran.stdout
    };
    assert!(new(&["verify"]).starts_with("intact: "));
    let told = json(&new(&["--json", "query", "-k", "ledger.salvaged"]));
    let told = &told[0];
    assert_eq!(told["kind"], "ledger.salvaged");
    assert!(told["seq"].as_u64() > Some(10), "events 1 to 10 are proven");
    assert_eq!(told["data"]["seq"], 10);
    assert_eq!(told["data"]["claimed_seq"], 13);
    assert_eq!(told["data"]["source"], "[ROOM]/data");
    let copied = new(&["query", "-o", "jsonl", "--seq", "..10"]);
    assert_eq!(copied.lines().count(), 10);

    let left = sample.room.path().join("new/left-behind");
    let manifest = json(&fs::read_to_string(left.join("manifest.json")).unwrap());
    assert_eq!(manifest["good"]["seq"], 10);
    let pieces = fs::read(left.join("pieces")).unwrap();
    let mut held = 0;
    for piece in manifest["pieces"].as_array().unwrap() {
        let number = |name: &str| piece[name].as_u64().unwrap() as usize;
        let original = fs::read(sample.dir.join(piece["file"].as_str().unwrap())).unwrap();
        let (from, at, length) = (number("offset"), number("at"), number("length"));
        assert_eq!(pieces[at..at + length], original[from..from + length]);
        held += length;
    }
    assert_eq!(held, pieces.len());
    assert!(held > 0);
}

#[test]
fn programs_are_told_the_same() {
    let sample = Sample::new();
    spoil(&sample.dir, "app.deploy");
    let said = json(&sample.shows(&["--json", "salvage", "--into", "new"]));
    assert_eq!(said["good"]["seq"], 10);
    assert_eq!(said["claimed"]["seq"], 13);
    assert!(said["written"]["seq"].as_u64() > Some(11));
    assert_eq!(said["written"]["incarnation"].as_str().unwrap().len(), 36);
    let missing = said["left_behind"]["missing"].as_array().unwrap();
    let behind = said["left_behind"]["events"].as_u64().unwrap();
    let missing: u64 = missing
        .iter()
        .map(|r| r["last"].as_u64().unwrap() - r["first"].as_u64().unwrap() + 1)
        .sum();
    assert_eq!(missing + behind, 3);
}

#[test]
fn what_can_not_be_salvaged_is_refused() {
    let sample = Sample::new();
    let refused = |arguments: &[&str], code: i32| {
        let ran = sample.run(arguments);
        assert_eq!(ran.code, Some(code), "{arguments:?}: {ran:?}");
        assert_eq!(ran.stdout, "");
        format!("$ ledger {}\n{}", arguments.join(" "), ran.stderr)
    };
    let mut said = vec![
        refused(&["salvage", "--into", "new"], 6),
        refused(&["salvage"], 2),
    ];
    assert!(!sample.room.path().join("new").exists());
    spoil(&sample.dir, "app.deploy");
    fs::create_dir(sample.room.path().join("taken")).unwrap();
    fs::write(sample.room.path().join("taken/x"), "x").unwrap();
    said.push(refused(&["salvage", "--into", "taken"], 8));
    said.push(refused(&["salvage", "--into", "data/x"], 2));
    fs::remove_file(sample.dir.join("ledger.redb")).unwrap();
    said.push(refused(&["salvage", "--into", "new"], 3));
    assert!(!sample.room.path().join("new").exists());
    assert_snapshot!("salvage_refused", said.join("\n"));
}

#[tokio::test]
async fn a_salvaged_ledger_waits_for_an_operator_and_goes_on() {
    let ledger = Ledger::new();
    let node = ledger.up().await;
    node.run(named("before", script("true"))).await;
    let busy = ledger.cli(&["salvage", "--into", ledger.path("new").to_str().unwrap()]);
    assert_eq!(busy.status.code(), Some(6), "{busy:?}");
    node.stop_well();
    fs::remove_file(ledger.dir.join("head")).unwrap();

    let new = ledger.path("new");
    let into = new.to_str().unwrap();
    let salvaged = ledger.cli(&["salvage", "--into", into]);
    assert!(salvaged.status.success(), "{salvaged:?}");
    let new = Ledger {
        room: tempfile::tempdir().unwrap(),
        dir: new,
    };
    let node = new.up().await;
    let status = json(&text(&new.cli(&["--json", "status"]).stdout));
    assert_eq!(status["report"]["paused"]["by"], "salvage", "{status}");
    assert!(new.cli(&["resume"]).status.success());
    node.run(named("after", script("true"))).await;
    node.stop_well();
    let log = new.assert_sound();
    drop(log);
}
