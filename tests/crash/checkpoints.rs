//! Nodes that are killed while they make a checkpoint, after each step of it.
//!
//! | killed | what is left |
//! |---|---|
//! | with the new file opened, or written and not synced | a file without a name, which nobody looks at |
//! | with it synced and not named | the same |
//! | with its name, and no event | a file that no event tells of: passed over, and set aside |
//! | with the event | a checkpoint |

use std::collections::BTreeSet;

use serde_json::Value;

use crate::support::host::lacks;
use crate::support::node_trap::{Call, Moment, NodeTrap};
use crate::support::{Ledger, exec, named, text};

/// What a crash leaves of a checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Left {
    Unnamed,
    Unrecorded,
    Whole,
}

const NEW: &str = "/checkpoints/.new";
const DIR: &str = "/checkpoints";

fn json(ledger: &Ledger, arguments: &[&str]) -> Value {
    let output = ledger.cli(&[&["--json"], arguments].concat());
    assert!(output.status.success(), "{}", text(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The files of the directory, without their positions.
fn files(ledger: &Ledger) -> BTreeSet<String> {
    let entries = std::fs::read_dir(ledger.dir.join("checkpoints")).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names
        .map(|name| match name.split_once('-') {
            Some((_, name)) => name.to_owned(),
            None => name,
        })
        .collect()
}

fn set<const N: usize>(names: [&str; N]) -> BTreeSet<String> {
    names.map(str::to_owned).into()
}

/// Kills a node while it makes its second checkpoint; the next comes up with what is left, and makes one.
async fn killed_at(moment: Moment, left: Left) {
    let ledger = Ledger::new();
    let mut node = ledger.up().await;
    node.run(named("one", exec(&["true"]))).await;
    json(&ledger, &["checkpoint", "create", "older"]);
    node.run(named("two", exec(&["true"]))).await;
    let Some(trap) = NodeTrap::set(node.pid(), moment) else {
        return lacks("leave to trace processes");
    };
    let mut asked = ledger.command(&["checkpoint", "create", "newer"]);
    let asked = asked.stdout(std::process::Stdio::null());
    let mut asked = asked.stderr(std::process::Stdio::null()).spawn().unwrap();
    trap.caught();
    node.wait();
    assert!(!asked.wait().unwrap().success(), "it was told of nothing");
    let (found, best) = match left {
        Left::Unnamed => (set(["older.checkpoint", ".new"]), "older"),
        Left::Unrecorded => (set(["older.checkpoint", "newer.checkpoint"]), "older"),
        Left::Whole => (set(["older.checkpoint", "newer.checkpoint"]), "newer"),
    };
    assert_eq!(files(&ledger), found);

    let dry = json(&ledger, &["recover", "--dry-run"]);
    assert_eq!(dry["checkpoint"]["name"], best);
    assert_eq!(files(&ledger), found, "nothing was changed");
    let node = ledger.up().await;
    let recovered = node.recovered().await;
    assert_eq!(recovered.data["checkpoint"]["name"], best);
    assert_eq!(recovered.data["replayed"], dry["replayed"]);
    let mut rest = set(["older.checkpoint", "last.checkpoint"]);
    match left {
        Left::Unnamed => {}
        Left::Unrecorded => {
            assert_eq!(recovered.data["rejected"], 1);
            let rejected = node.event(|e| e.kind == "checkpoint.rejected").await;
            assert_eq!(rejected.of, "newer");
            let reason = rejected.data["reason"].as_str().unwrap();
            assert!(reason.contains("no event tells of it"), "{reason}");
            rest.insert("newer.checkpoint.rejected".into());
        }
        Left::Whole => {
            rest.insert("newer.checkpoint".into());
        }
    }
    json(&ledger, &["checkpoint", "create", "last"]);
    assert_eq!(files(&ledger), rest);
    // What is in it was folded from what this recovery has found.
    let checked = ledger.cli(&["rebuild", "--check"]);
    assert!(checked.status.success(), "{}", text(&checked.stdout));
    assert!(ledger.cli(&["checkpoint", "verify"]).status.success());
    for task in ["one", "two"] {
        assert_eq!(node.task(task).await.attempts.len(), 1);
    }
    node.stop_well();
    let log = ledger.assert_sound();
    let created = log.of_kind("checkpoint.created");
    let created: Vec<_> = created.iter().map(|event| &*event.of).collect();
    match left {
        Left::Whole => assert_eq!(created, ["older", "newer", "last"]),
        Left::Unnamed | Left::Unrecorded => assert_eq!(created, ["older", "last"]),
    }
}

#[tokio::test]
async fn with_its_new_file_empty() {
    killed_at(Moment::After(Call::Open(NEW)), Left::Unnamed).await;
}

#[tokio::test]
async fn with_its_new_file_written_and_not_synced() {
    killed_at(Moment::Before(Call::Sync(NEW)), Left::Unnamed).await;
}

#[tokio::test]
async fn with_its_new_file_synced() {
    killed_at(Moment::After(Call::Sync(NEW)), Left::Unnamed).await;
}

#[tokio::test]
async fn with_its_new_file_about_to_have_a_name() {
    killed_at(Moment::Before(Call::Rename(NEW)), Left::Unnamed).await;
}

#[tokio::test]
async fn with_its_file_named_and_the_directory_not_synced() {
    killed_at(Moment::After(Call::Rename(NEW)), Left::Unrecorded).await;
}

#[tokio::test]
async fn with_the_directory_synced_and_nothing_recorded() {
    killed_at(Moment::After(Call::Sync(DIR)), Left::Unrecorded).await;
}

#[tokio::test]
async fn with_the_event_synced_and_nobody_told() {
    // The first that is appended after the trap was set is what tells of it.
    killed_at(Moment::After(Call::Sync(".segment")), Left::Whole).await;
}
