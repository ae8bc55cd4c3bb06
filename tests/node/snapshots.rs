//! Snapshots of files by the node and by hand: recorded, found out if changed, kept by a rule, restored.

use std::fs;
use std::path::Path;
use std::process::Output;

use serde_json::Value;

use crate::support::{Ledger, show, text};

const SET: &str = "[snapshots.configs]\nroot = \"../app\"\nfiles = [\"conf/**/*.toml\"]\n";

fn json(output: &Output) -> Value {
    assert!(output.status.success(), "{}", text(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn write(ledger: &Ledger, path: &str, content: &str) {
    let path = ledger.path("app").join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, content).unwrap();
}

/// Where a snapshot's manifest is.
fn manifest(ledger: &Ledger, name: &Value) -> std::path::PathBuf {
    let sets = ledger.dir.join("snapshots/sets/configs");
    sets.join(name.as_str().unwrap())
}

fn damage(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(path, bytes).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_copies_at_its_start_and_what_was_lost_comes_back() {
    let ledger = Ledger::configured(SET);
    write(&ledger, "conf/a.toml", "a = 1");
    write(&ledger, "conf/x/b.toml", "b = 1");
    let node = ledger.up().await;
    let first = node.event(|e| e.kind == "snapshot.created").await;
    assert_eq!((&*first.of, &first.data["files"]), ("configs", &2.into()));
    let listed = json(&ledger.cli(&["--json", "snapshot", "list"]));
    assert_eq!(listed[0]["standing"], "recorded", "{listed}");
    assert_eq!(listed[0]["manifest"], first.data["manifest"]);
    // By hand, with the node, once something has changed.
    let run = || json(&ledger.cli(&["--json", "snapshot", "run"]))[0].clone();
    let same = run();
    assert_eq!(
        (&same["result"], &same["snapshot"]),
        (&"unchanged".into(), &first.data["snapshot"])
    );
    write(&ledger, "conf/a.toml", "a = 2");
    let second = run();
    assert_eq!(
        (&second["result"], &second["written"]),
        (&"made".into(), &5.into())
    );
    let seen = node
        .event(|e| e.data["snapshot"] == second["snapshot"])
        .await;
    assert_eq!(seen.data["manifest"], second["manifest"]);
    // Lost, and back; what is replaced is said before.
    fs::remove_file(ledger.path("app/conf/x/b.toml")).unwrap();
    let name = first.data["snapshot"].as_str().unwrap();
    let asked = ledger.cli(&["snapshot", "restore", "configs", name]);
    assert_eq!(asked.status.code(), Some(2), "{asked:?}");
    let said = text(&asked.stderr);
    assert!(
        said.contains("replaces conf/a.toml") && said.contains("--yes"),
        "{said}"
    );
    assert!(!ledger.path("app/conf/x/b.toml").exists());
    let back = json(&ledger.cli(&["--json", "snapshot", "restore", "configs", name, "--yes"]));
    assert_eq!(
        (&back["written"], &back["replaced"]),
        (&2.into(), &1.into()),
        "{back}"
    );
    assert_eq!(
        fs::read_to_string(ledger.path("app/conf/a.toml")).unwrap(),
        "a = 1"
    );
    assert_eq!(
        fs::read_to_string(ledger.path("app/conf/x/b.toml")).unwrap(),
        "b = 1"
    );
    let restored = node.event(|e| e.kind == "snapshot.restored").await;
    assert_eq!(restored.data["replaced"], 1);
    let status = json(&ledger.cli(&["--json", "status"]));
    let facts = &status["report"]["snapshots"]["configs"];
    assert_eq!(
        (&facts["restored"], facts["kept"].as_object().unwrap().len()),
        (&1.into(), 2)
    );
    node.stop_well();
    ledger.assert_sound();
    // The next life finds nothing new: a = 1 is not what the latest holds, though.
    let node = ledger.up().await;
    let third = node
        .event(|e| e.kind == "snapshot.created" && e.seq > restored.seq)
        .await;
    assert_eq!(third.data["written"], 0, "that content is still there");
    node.stop_well();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_changed_is_found_out_from_the_ledger() {
    let ledger = Ledger::configured(SET);
    write(&ledger, "conf/a.toml", "a = 1");
    let node = ledger.up().await;
    let first = node.event(|e| e.kind == "snapshot.created").await;
    node.stop_well();
    let verify = || ledger.cli(&["snapshot", "verify"]);
    assert!(verify().status.success());
    // A manifest that is well formed and says something else.
    let path = manifest(&ledger, &first.data["snapshot"]);
    let kept = fs::read_to_string(&path).unwrap();
    fs::write(&path, kept.replace("conf/a.toml", "conf/z.toml")).unwrap();
    assert_ne!(fs::read_to_string(&path).unwrap(), kept);
    let changed = verify();
    assert_eq!(changed.status.code(), Some(3), "{changed:?}");
    assert!(text(&changed.stdout).contains("was changed"), "{changed:?}");
    let into = ledger.path("back");
    let restore = || ledger.cli(&["snapshot", "restore", "configs", "--into", show(&into)]);
    assert_eq!(restore().status.code(), Some(3));
    fs::write(&path, kept).unwrap();
    // Content that is not what it was.
    let shelves = fs::read_dir(ledger.dir.join("snapshots/blobs")).unwrap();
    let shelf = shelves
        .map(|e| e.unwrap().path())
        .find(|p| !p.ends_with("incoming"));
    let content = fs::read_dir(shelf.unwrap())
        .unwrap()
        .next()
        .unwrap()
        .unwrap();
    damage(&content.path());
    let damaged = verify();
    assert_eq!(damaged.status.code(), Some(3), "{damaged:?}");
    assert!(text(&damaged.stdout).contains("conf/a.toml"), "{damaged:?}");
    assert_eq!(restore().status.code(), Some(3));
    assert!(!into.exists(), "nothing was restored");
    // The next start heals it, since the file is what it was.
    let node = ledger.up().await;
    let run = json(&ledger.cli(&["--json", "snapshot", "run", "configs"]));
    assert_eq!(run[0]["result"], "unchanged");
    node.stop_well();
    assert!(verify().status.success());
    assert!(restore().status.success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_set_that_fails_is_said_to_until_it_works_again() {
    let ledger = Ledger::configured(SET);
    let node = ledger.up().await;
    let failed = node.event(|e| e.kind == "snapshot.failed").await;
    let reason = failed.data["reason"].as_str().unwrap();
    assert!(reason.contains("app"), "{reason}");
    let status = ledger.cli(&["status"]);
    let status = text(&status.stdout);
    assert!(
        status.contains("the last snapshot of configs failed"),
        "{status}"
    );
    write(&ledger, "conf/a.toml", "a = 1");
    let made = ledger.cli(&["snapshot", "run"]);
    assert!(made.status.success(), "{made:?}");
    node.event(|e| e.kind == "snapshot.created").await;
    let status = text(&ledger.cli(&["status"]).stdout);
    assert!(
        !status.contains("snapshot of configs") && status.contains("1 snapshot of 1 set"),
        "{status}"
    );
    node.stop_well();
    ledger.assert_sound();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_clock_copies_and_lets_old_ones_go() {
    let ledger = Ledger::configured(&format!("{SET}every = \"1s\"\nkeep = 2\n"));
    write(&ledger, "conf/a.toml", "a = 0");
    let node = ledger.up().await;
    let mut last = node.event(|e| e.kind == "snapshot.created").await.seq;
    for n in 1..3 {
        write(&ledger, "conf/a.toml", &format!("a = {n}"));
        last = node
            .event(|e| e.kind == "snapshot.created" && e.seq > last)
            .await
            .seq;
    }
    let pruned = node.event(|e| e.kind == "snapshot.pruned").await;
    assert_eq!(pruned.data["snapshots"].as_array().unwrap().len(), 1);
    node.stop_well();
    let listed = json(&ledger.cli(&["--json", "snapshot", "list"]));
    assert_eq!(listed.as_array().unwrap().len(), 2, "{listed}");
    assert_eq!(listed[1]["latest"], true);
    let log = ledger.assert_sound();
    assert_eq!(log.of_kind("snapshot.failed").len(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_node_copies_are_made_and_recorded_by_the_next() {
    let ledger = Ledger::configured(SET);
    write(&ledger, "conf/a.toml", "a = 1");
    let made = ledger.cli(&["snapshot", "run"]);
    assert!(made.status.success(), "{made:?}");
    assert!(text(&made.stderr).contains("not recorded"), "{made:?}");
    let listed = json(&ledger.cli(&["--json", "snapshot", "list"]));
    assert_eq!(listed[0]["standing"], "not_recorded");
    let unsure = ledger.cli(&["snapshot", "restore", "configs", "--dry-run"]);
    assert_eq!(unsure.status.code(), Some(6), "{unsure:?}");
    let dry = [
        "snapshot",
        "restore",
        "configs",
        "--unrecorded",
        "--dry-run",
    ];
    let dry = ledger.cli(&dry);
    assert!(
        dry.status.success() && text(&dry.stdout).contains("0 files would be written"),
        "{dry:?}"
    );
    let node = ledger.up().await;
    let created = node.event(|e| e.kind == "snapshot.created").await;
    assert_eq!(created.data["snapshot"], listed[0]["snapshot"]);
    assert_eq!(created.data["manifest"], listed[0]["manifest"]);
    node.stop_well();
    // Where a set is not configured as it was, a manifest does not say where to write.
    ledger.configure("");
    let unsure = ledger.cli(&["snapshot", "restore", "configs", "--yes"]);
    assert_eq!(unsure.status.code(), Some(2), "{unsure:?}");
    let into = ledger.path("back");
    let back = ledger.cli(&["snapshot", "restore", "configs", "--into", show(&into)]);
    assert!(back.status.success(), "{back:?}");
    assert_eq!(
        fs::read_to_string(into.join("conf/a.toml")).unwrap(),
        "a = 1"
    );
    for (arguments, code) in [
        (&["snapshot", "run"][..], 7),
        (&["snapshot", "run", "other"], 7),
        (&["snapshot", "restore", "other", "--yes"], 7),
        (
            &["snapshot", "verify", "configs", "20200101T000000.000000Z"],
            7,
        ),
    ] {
        let refused = ledger.cli(arguments);
        assert_eq!(refused.status.code(), Some(code), "{refused:?}");
    }
}
