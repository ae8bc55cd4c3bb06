//! Ledgers that were made from backups and exports: the same history, paused, until somebody
//! resumes it; and what was open in it then is never taken for something of theirs.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use opsledger::api::wire::{AppendEvent, AppendRequest};
use projections::tasks::StateName;
use serde_json::Value;

use crate::support::{
    LEDGER, Ledger, Log, Node, exec, id, identity, is_gone, named, script, show, text,
};

/// Runs `ledger` on a directory, which must work.
fn run(dir: &Path, arguments: &[&str]) -> Output {
    let done = Command::new(LEDGER)
        .arg("--data-dir")
        .arg(dir)
        .args(arguments)
        .output()
        .unwrap();
    assert!(
        done.status.success(),
        "{arguments:?}: {}",
        text(&done.stderr)
    );
    done
}

/// A node on a directory.
async fn up(dir: &Path) -> Node {
    let mut command = Command::new(LEDGER);
    command.arg("--data-dir").arg(dir).arg("up");
    Node::start(&mut command).await
}

/// A ledger made from another's latest backup, as another owner of a directory has it.
fn restored(ledger: &Ledger, name: &str) -> Ledger {
    let dir = ledger.path(name);
    run(&ledger.dir, &["restore", "latest", "--into", show(&dir)]);
    Ledger {
        room: tempfile::tempdir().unwrap(),
        dir,
    }
}

fn append(n: u64) -> AppendRequest {
    let event = AppendEvent {
        kind: "app.x".parse().unwrap(),
        subject: None,
        expected_version: None,
        data: serde_json::value::RawValue::from_string(format!("{{\"n\":{n}}}")).unwrap(),
    };
    AppendRequest {
        events: vec![event],
        idempotency_key: None,
        expected_head: None,
        claimed_actor: None,
        correlation: None,
        cause: None,
        traceparent: None,
    }
}

#[tokio::test]
async fn a_restored_ledger_starts_nothing_until_it_is_resumed() {
    let ledger = Ledger::new();
    let gate = ledger.fifo("gate");
    let mut told = ledger.fifo("told");
    let node = ledger.up().await;
    let text_of = format!("echo $$ > {}; read x < {}", told.show(), gate.show());
    node.submit(named("open", script(&text_of))).await;
    let running = identity(told.pid());
    node.registered("open", 1).await;
    run(&ledger.dir, &["backup"]);
    // What comes later is not in it.
    node.client.append(&append(7)).await.unwrap();

    let copy = restored(&ledger, "copy");
    let status: Value =
        serde_json::from_slice(&run(&copy.dir, &["status", "--json"]).stdout).unwrap();
    assert_eq!(status["report"]["paused"]["by"], "restore");
    let other = up(&copy.dir).await;
    let recovered = other.recovered().await;
    for count in ["reattached", "closed", "lost", "unstarted"] {
        assert_eq!(recovered.data[count], 0, "{count}");
    }
    let receipt = other.submit(named("waits", exec(&["true"]))).await;
    assert!(receipt.paused, "whoever submits is told");
    let shown = text(&run(&copy.dir, &["status"]).stdout);
    assert!(
        shown.starts_with("PAUSED") && shown.contains("ledger resume"),
        "{shown}"
    );
    // It comes up again and is still paused.
    other.stop_well();
    let other = up(&copy.dir).await;
    other.recovered().await;
    assert_eq!(other.task("waits").await.state, StateName::Queued);
    assert_eq!(other.task("open").await.state, StateName::Running);

    let resumed = text(&run(&copy.dir, &["resume", "--reason", "checked"]).stdout);
    assert!(resumed.starts_with("the ledger is resumed"), "{resumed}");
    other.end_of("waits").await;
    assert!(!other.submit(named("later", exec(&["true"]))).await.paused);
    let again = other.registered("open", 2).await;
    let log = other.log().await;
    let seq = |kind: &str| log.of_kind(kind)[0].seq;
    let order = [
        "ledger.restored",
        "ledger.resumed",
        "process.lost",
        "task.lost",
        "task.requeued",
    ];
    assert!(
        order.windows(2).all(|pair| seq(pair[0]) < seq(pair[1])),
        "{log:?}"
    );
    let started = log.of_kind("task.started");
    let after = started.iter().filter(|e| e.seq > seq("ledger.restored"));
    assert!(after.clone().all(|e| e.seq > seq("ledger.resumed")));
    let after: Vec<_> = after.map(|e| e.of.as_str()).collect();
    assert!(
        after.contains(&"open") && after.contains(&"waits"),
        "{after:?}"
    );
    // Whoever ran it first is none of the copy's business.
    assert!(!is_gone(&running));
    assert_ne!(again.data["pid"], running.pid);
    let unchanged = text(&run(&copy.dir, &["resume"]).stdout);
    assert_eq!(unchanged, "the ledger is not paused: nothing changes\n");

    // The first run and that of the copy read the same pipe: a line for each.
    gate.tell("go");
    gate.tell("go");
    node.end_of("open").await;
    node.stop_well();
    ledger.assert_sound();
    other.stop_well();
    copy.assert_sound();
}

/// The events up to where a copy was taken.
fn history(log: &Log, upto: u64) -> Vec<String> {
    let events = log.0.iter().take_while(|e| e.seq <= upto);
    events.map(|e| format!("{} {}", e.seq, e.hash)).collect()
}

#[tokio::test]
async fn an_export_is_imported_with_every_hash_and_forks_are_told_apart() {
    let ledger = Ledger::new();
    let node = ledger.up().await;
    node.run(named("done", exec(&["echo", "ü\"\\"]))).await;
    let lines = ledger.path("export.jsonl");
    run(
        &ledger.dir,
        &["export", "--format", "jsonl", "--to", show(&lines)],
    );
    let exported = node.event(|e| e.kind == "ledger.exported").await;
    assert_eq!(exported.data["complete"], true);
    let upto = exported.data["seq"].as_u64().unwrap();
    node.stop_well();
    let original = ledger.log();

    let mut incarnations = Vec::new();
    for name in ["a", "b"] {
        let dir: PathBuf = ledger.path(name);
        run(&dir, &["import", show(&lines)]);
        let copy = Ledger {
            room: tempfile::tempdir().unwrap(),
            dir,
        };
        let log = copy.assert_sound();
        assert_eq!(history(&log, upto), history(&original, upto));
        let imported = log.of_kind("ledger.imported")[0];
        incarnations.push(imported.data["incarnation"].clone());
        assert_eq!(
            imported.term, 2,
            "another term than what comes after in the original"
        );
        // Once more into the same place: never.
        let refused = copy.cli(&["import", show(&lines)]);
        assert_eq!(refused.status.code(), Some(8), "{}", text(&refused.stderr));
        let refused = copy.cli(&["restore", "x/y"]);
        assert_ne!(refused.status.code(), Some(0));
        assert_eq!(history(&copy.log(), u64::MAX), history(&log, u64::MAX));
    }
    assert_ne!(incarnations[0], incarnations[1]);
    // A copy that was exported unread and imported again is paused once more.
    let second = ledger.path("second.jsonl");
    run(
        &ledger.path("a"),
        &["export", "--format", "jsonl", "--to", show(&second)],
    );
    run(&ledger.path("c"), &["import", show(&second)]);
    let node = up(&ledger.path("c")).await;
    node.client.append(&append(1)).await.unwrap();
    assert_eq!(node.status().await.report.paused.unwrap().by, "import");
    assert_eq!(node.task("done").await.state, StateName::Completed);
    run(&ledger.path("c"), &["resume"]);
    assert!(node.status().await.report.paused.is_none());
    node.run(named("more", exec(&["true"]))).await;
    assert_eq!(node.task(&id("more")).await.state, StateName::Completed);
    node.stop_well();
}
