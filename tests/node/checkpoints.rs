//! Checkpoints of a ledger at work, and recovery from them: through the binary, with real files.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::{Value, json};

use crate::support::{Ledger, exec, named, text};

fn json(output: &Output) -> Value {
    assert!(output.status.success(), "{}", text(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn file(ledger: &Ledger, made: &Value) -> PathBuf {
    let (seq, name) = (made["facts"]["seq"].as_u64().unwrap(), &made["checkpoint"]);
    let name = format!("{seq:020}-{}.checkpoint", name.as_str().unwrap());
    ledger.dir.join("checkpoints").join(name)
}

fn create(ledger: &Ledger, more: &[&str]) -> Value {
    json(&ledger.cli(&[&["--json", "checkpoint", "create"], more].concat()))
}

#[tokio::test]
async fn a_recovery_begins_with_the_newest_checkpoint_and_names_one_that_is_damaged() {
    let ledger = Ledger::new();
    let node = ledger.up().await;
    node.run(named("one", exec(&["true"]))).await;
    let older = create(&ledger, &["older"]);
    node.run(named("two", exec(&["true"]))).await;
    let newer = create(&ledger, &["newer", "--extra", "{\"release\":\"1.2\"}"]);
    assert_eq!(newer["facts"]["tasks"], json!({"completed": 2}));
    assert_eq!(newer["facts"]["extra"]["release"], "1.2");
    let sum = Command::new("sha256sum")
        .arg(file(&ledger, &newer))
        .output();
    let sum = text(&sum.unwrap().stdout);
    assert!(
        sum.starts_with(newer["facts"]["sha256"].as_str().unwrap()),
        "{sum}"
    );
    node.run(named("three", exec(&["true"]))).await;
    node.crash();

    let dry = json(&ledger.cli(&["--json", "recover", "--dry-run"]));
    assert_eq!(dry["checkpoint"]["name"], "newer");
    let node = ledger.up().await;
    let recovered = node.recovered().await;
    assert_eq!(recovered.data["checkpoint"]["name"], "newer");
    assert_eq!(recovered.data["replayed"], dry["replayed"]);
    let upto = recovered.data["upto"].as_u64().unwrap();
    let of = newer["facts"]["seq"].as_u64().unwrap();
    assert_eq!(recovered.data["replayed"], upto - of);
    assert_eq!(node.task("three").await.attempts.len(), 1);
    node.crash();

    let path = file(&ledger, &newer);
    let mut bytes = fs::read(&path).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&path, bytes).unwrap();
    let said = text(&ledger.cli(&["recover", "--dry-run"]).stdout);
    assert!(said.contains("passed over: checkpoint newer"), "{said}");
    let verified = ledger.cli(&["checkpoint", "verify"]);
    assert_eq!(verified.status.code(), Some(3), "{verified:?}");
    let checked = ledger.cli(&["rebuild", "--check"]);
    assert_eq!(checked.status.code(), Some(1), "{checked:?}");

    let node = ledger.up().await;
    let recovered = node.recovered().await;
    assert_eq!(recovered.data["checkpoint"]["name"], "older");
    assert_eq!(recovered.data["checkpoint"]["seq"], older["facts"]["seq"]);
    assert_eq!(recovered.data["rejected"], 1);
    let rejected = node.event(|e| e.kind == "checkpoint.rejected").await;
    assert_eq!(rejected.of, "newer");
    let reason = rejected.data["reason"].as_str().unwrap();
    assert!(reason.contains("SHA-256"), "{reason}");
    let warned = text(&ledger.cli(&["checkpoint", "list"]).stderr);
    assert!(warned.contains("newer was passed over"), "{warned}");
    node.stop_well();
    ledger.assert_sound();
}

/// What the newest is called, what is done to it, whose file is named for it then and why.
type Act<'a> = (&'a str, &'a dyn Fn(&Path), &'a str, &'a str);

#[tokio::test]
async fn whatever_is_done_to_the_newest_file_the_one_before_is_used() {
    let ledger = Ledger::new();
    let mut node = ledger.up().await;
    create(&ledger, &["older"]);
    let dir = ledger.dir.join("checkpoints");
    let other = dir.join("00000000000000000002-other.checkpoint");
    let beyond = dir.join("00000000000000999999-beyond.checkpoint");
    let cut = |file: &Path| {
        let half = fs::metadata(file).unwrap().len() / 2;
        let file = fs::File::options().write(true).open(file).unwrap();
        file.set_len(half).unwrap();
    };
    let other_name = |file: &Path| {
        let seq = file.file_name().unwrap().to_str().unwrap()[..20].to_owned();
        fs::rename(file, dir.join(format!("{seq}-renamed.checkpoint"))).unwrap();
    };
    let ahead = |file: &Path| fs::rename(file, &beyond).unwrap();
    let behind = |file: &Path| fs::rename(file, &other).unwrap();
    let empty = |file: &Path| fs::write(file, "").unwrap();
    let acts: [Act<'_>; 5] = [
        ("cut", &cut, "cut", "bytes, not"),
        ("named", &other_name, "renamed", "no event tells of it"),
        ("moved", &ahead, "beyond", "no event tells of it"),
        ("emptied", &empty, "emptied", "it has 0 bytes"),
        ("back", &behind, "other", ""),
    ];
    for (name, act, told, why) in acts {
        node.run(named(name, exec(&["true"]))).await;
        let made = create(&ledger, &[name]);
        node.crash();
        act(&file(&ledger, &made));
        node = ledger.up().await;
        let recovered = node.recovered().await;
        assert_eq!(recovered.data["checkpoint"]["name"], "older", "{name}");
        // What lies before one that holds is not looked at.
        if why.is_empty() {
            assert_eq!(recovered.data["rejected"], Value::Null, "{recovered:?}");
            continue;
        }
        assert_eq!(recovered.data["rejected"], 1, "{name}");
        let term = node.term;
        let rejected = node
            .event(|e| e.kind == "checkpoint.rejected" && e.term == term)
            .await;
        assert_eq!(rejected.of, told);
        let reason = rejected.data["reason"].as_str().unwrap();
        assert!(reason.contains(why), "{name}: {reason}");
    }
    // Whatever lies there, all of it is a part of nothing that is shown.
    for task in ["cut", "named", "moved", "emptied", "back"] {
        assert_eq!(node.task(task).await.attempts.len(), 1);
    }
    node.stop_well();
    ledger.log().assert_sound();
    let verified = ledger.cli(&["verify"]);
    assert!(verified.status.success(), "{verified:?}");
    // What is no longer there is not wrong. What was passed over before went with the next that was made.
    let checked = ledger.cli(&["rebuild", "--check"]);
    assert_eq!(checked.status.code(), Some(0), "{checked:?}");
    let said = text(&checked.stderr);
    assert_eq!(said, "checkpoint back is not compared: its file is gone\n");
    let verified = ledger.cli(&["checkpoint", "verify"]);
    assert_eq!(verified.status.code(), Some(1), "{verified:?}");
    let list = json(&ledger.cli(&["--json", "checkpoint", "list"]));
    let shown = list["checkpoints"].as_array().unwrap().iter();
    let shown: Vec<_> = shown.map(|one| (&one["name"], &one["file"])).collect();
    assert_eq!(
        shown,
        [
            (&json!("older"), &json!("there")),
            (&json!("back"), &json!("missing"))
        ]
    );
}

#[tokio::test]
async fn what_somebody_put_there_is_named_and_set_aside_and_what_is_useless_goes() {
    let ledger = Ledger::new();
    let node = ledger.up().await;
    let first = create(&ledger, &["first"]);
    let dir = ledger.dir.join("checkpoints");
    let foreign = "00000000000000000003-foreign.checkpoint";
    fs::copy(file(&ledger, &first), dir.join(foreign)).unwrap();
    fs::write(dir.join("notes.txt"), "mine").unwrap();
    fs::remove_file(file(&ledger, &first)).unwrap();
    let second = create(&ledger, &["second"]);
    assert_eq!(second["pruned"], json!(["first"]), "its file is gone");
    let rejected = node.event(|e| e.kind == "checkpoint.rejected").await;
    assert_eq!(
        (&*rejected.of, &rejected.data["seq"]),
        ("foreign", &json!(3))
    );
    assert!(dir.join(format!("{foreign}.rejected")).exists());
    let listed = ledger.cli(&["checkpoint", "list"]);
    let said = text(&listed.stderr);
    assert!(
        said.contains("checkpoints/notes.txt is not a checkpoint"),
        "{said}"
    );
    let aside = "checkpoint foreign of seq 3 is set aside: no event";
    assert!(said.contains(aside), "{said}");
    let unknown = dir.join("00000000000000000004-unknown.checkpoint");
    fs::write(&unknown, "").unwrap();
    let said = text(&ledger.cli(&["checkpoint", "list"]).stderr);
    let passed = "checkpoint unknown of seq 4 is passed over: no event";
    assert!(said.contains(passed), "{said}");
    fs::remove_file(unknown).unwrap();
    let verified = ledger.cli(&["checkpoint", "verify"]);
    assert_eq!(verified.status.code(), Some(0), "{verified:?}");
    // One that a recovery has passed over is named until there is a sound one after it.
    fs::write(file(&ledger, &second), "cut").unwrap();
    let bad = ledger.cli(&["checkpoint", "verify"]);
    assert_eq!(bad.status.code(), Some(3), "{bad:?}");
    node.crash();
    let node = ledger.up().await;
    node.event(|e| e.kind == "checkpoint.rejected" && e.of == "second")
        .await;
    let known = ledger.cli(&["checkpoint", "verify"]);
    assert_eq!(known.status.code(), Some(0), "{known:?}");
    assert!(text(&known.stdout).contains("second of seq"), "{known:?}");
    let asked = ledger.cli(&["checkpoint", "verify", "second"]);
    assert_eq!(asked.status.code(), Some(1), "{asked:?}");
    let third = create(&ledger, &["third"]);
    assert_eq!(third["pruned"], json!(["second"]));
    let status = json(&ledger.cli(&["--json", "status"]));
    assert!(
        !status["warnings"].to_string().contains("second"),
        "{status}"
    );
    assert_eq!(fs::read(dir.join("notes.txt")).unwrap(), b"mine");
    node.stop_well();
    ledger.assert_sound();
}

#[tokio::test]
async fn what_is_kept_is_what_the_rule_says_and_a_name_is_free_again() {
    let ledger = Ledger::configured("[checkpoint]\nkeep = 2\ndaily = 0\n");
    let node = ledger.up().await;
    let first = create(&ledger, &["a"]);
    create(&ledger, &["b"]);
    let again = ledger.cli(&["checkpoint", "create", "b"]);
    assert_eq!(again.status.code(), Some(8), "{again:?}");
    let third = create(&ledger, &["c"]);
    assert_eq!(third["pruned"], json!(["a"]));
    assert!(!file(&ledger, &first).exists());
    let gone = ledger.cli(&["checkpoint", "show", "a"]);
    assert_eq!(gone.status.code(), Some(7), "{gone:?}");
    let shown = text(&ledger.cli(&["checkpoint", "show", "c"]).stdout);
    assert!(
        shown.contains(third["facts"]["sha256"].as_str().unwrap()),
        "{shown}"
    );
    create(&ledger, &["a"]);
    let list = json(&ledger.cli(&["--json", "checkpoint", "list"]));
    let kept = list["checkpoints"].as_array().unwrap().iter();
    assert_eq!(kept.map(|one| &one["name"]).collect::<Vec<_>>(), ["c", "a"]);
    let verified = ledger.cli(&["checkpoint", "verify"]);
    assert_eq!(verified.status.code(), Some(0), "{verified:?}");
    let checked = ledger.cli(&["rebuild", "--check"]);
    assert_eq!(checked.status.code(), Some(0), "{checked:?}");
    node.stop_well();
    let log = ledger.assert_sound();
    let pruned = log.of_kind("checkpoint.pruned");
    assert_eq!(
        pruned.iter().map(|e| &*e.of).collect::<Vec<_>>(),
        ["a", "b"]
    );
    let files = fs::read_dir(ledger.dir.join("checkpoints")).unwrap();
    assert_eq!(files.count(), 2);
}

#[tokio::test]
async fn the_job_makes_one_and_what_an_interrupted_making_left_goes() {
    let ledger = Ledger::configured(
        "[[job]]\nname = \"save\"\nbuiltin = \"state-checkpoint\"\nevery = \"1h\"\n",
    );
    let node = ledger.up().await;
    let dir = ledger.dir.join("checkpoints");
    fs::create_dir(&dir).unwrap();
    fs::write(dir.join(".new"), "cut").unwrap();
    fs::write(dir.join("00000000000000000002-orphan.checkpoint"), "cut").unwrap();
    let ran = ledger.cli(&["job", "run", "save"]);
    assert!(ran.status.success(), "{ran:?}");
    let created = node.event(|e| e.kind == "checkpoint.created").await;
    assert_eq!(created.data["cause"], "schedule");
    assert!(created.of.ends_with("-schedule"), "{}", created.of);
    let done = node.event(|e| e.kind == "task.completed").await;
    let tail = done.data["outputs"]["stdout"]["tail"].as_str().unwrap();
    assert!(
        tail.contains(&format!("checkpoint {}", created.of)),
        "{tail}"
    );
    // What was being written is gone; what nothing tells of stands aside.
    let left = fs::read_dir(&dir).unwrap().map(|f| f.unwrap().file_name());
    let mut left: Vec<_> = left.map(|name| name.into_string().unwrap()).collect();
    left.sort();
    assert_eq!(left.len(), 2);
    assert_eq!(left[0], "00000000000000000002-orphan.checkpoint.rejected");
    node.stop_well();
    ledger.assert_sound();
}

#[tokio::test]
async fn what_can_t_be_kept_is_refused() {
    let ledger = Ledger::new();
    let no_node = ledger.cli(&["checkpoint", "create"]);
    assert_eq!(no_node.status.code(), Some(6), "{no_node:?}");
    let not_dry = ledger.cli(&["recover"]);
    assert_eq!(not_dry.status.code(), Some(2), "{not_dry:?}");
    let node = ledger.up().await;
    let long = format!("\"{}\"", "x".repeat(17_000));
    for (extra, told) in [("{", "is no JSON"), (long.as_str(), "at most 16384")] {
        let refused = ledger.cli(&["checkpoint", "create", "--extra", extra]);
        assert_eq!(refused.status.code(), Some(2), "{refused:?}");
        assert!(text(&refused.stderr).contains(told), "{refused:?}");
    }
    node.stop_well();
    assert_eq!(ledger.assert_sound().count("checkpoint.created"), 0);
}
