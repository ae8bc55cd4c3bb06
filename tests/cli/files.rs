//! Reading a ledger that no node has open: the files alone give every answer.

use std::collections::BTreeMap;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use insta::assert_snapshot;

use crate::sample::Sample;

#[test]
fn tail_shows_the_latest_in_every_format() {
    let sample = Sample::new();
    assert_snapshot!("tail_short", sample.shows(&["tail"]));
    assert_snapshot!(
        "tail_short_iso",
        sample.shows(&["tail", "-n", "3", "-o", "short-iso"])
    );
    assert_snapshot!(
        "tail_verbose",
        sample.shows(&["tail", "-n", "2", "-o", "verbose"])
    );
    assert_snapshot!(
        "tail_jsonl",
        sample.shows(&["tail", "-n", "1", "-o", "jsonl"])
    );
    assert_snapshot!(
        "tail_cat",
        sample.shows(&["tail", "-k", "app.*", "-o", "cat"])
    );
    assert_eq!(sample.shows(&["tail", "-n", "0"]), "");
}

#[test]
fn json_is_one_document_and_jsonl_a_line_an_event() {
    let sample = Sample::new();
    let all: Vec<serde_json::Value> =
        serde_json::from_str(&sample.shows(&["--json", "query"])).unwrap();
    let seqs: Vec<_> = all.iter().map(|e| e["seq"].as_u64().unwrap()).collect();
    assert_eq!(seqs, (1..=13).collect::<Vec<_>>());
    let none: Vec<serde_json::Value> =
        serde_json::from_str(&sample.shows(&["--json", "query", "-k", "nothing.*"])).unwrap();
    assert!(none.is_empty());
    let lines = sample.shows(&["query", "-o", "jsonl"]);
    let parsed: Vec<serde_json::Value> = lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(parsed, all);
}

fn seqs(sample: &Sample, arguments: &[&str]) -> Vec<u64> {
    let mut all = vec!["-o", "jsonl"];
    all.extend(arguments);
    let (command, rest) = (all[2], &all[3..]);
    let mut ordered = vec![command, "-o", "jsonl"];
    ordered.extend(rest);
    let lines = sample.shows(&ordered);
    let seq = |line: &str| serde_json::from_str::<serde_json::Value>(line).unwrap()["seq"].as_u64();
    lines.lines().map(|line| seq(line).unwrap()).collect()
}

#[test]
fn filters_mean_the_same_everywhere() {
    let sample = Sample::new();
    let cases: [(&[&str], &[u64]); 13] = [
        (&["-k", "task.*", "-s", "task/build-7"], &[4, 5, 6]),
        (&["-k", "task.dead", "-k", "task.completed"], &[6, 10]),
        (&["--actor", "agent/ada"], &[11]),
        (&["--correlation", "req-1"], &[11]),
        (&["--term", "0"], &[1]),
        (&["--seq", "3..4", "--seq", "12.."], &[3, 4, 12, 13]),
        (&["-w", "data.priority=0"], &[7]),
        (&["-w", "data.replicas>2", "-w", "data.replicas<4"], &[11]),
        (&["-w", "data.payload.argv.0~^ma"], &[4]),
        (&["-g", "holder"], &[2, 13]),
        (&["--since", "2024-01-31T08:00:11Z"], &[12, 13]),
        (&["--until", "2024-01-31T08:00:02Z"], &[1, 2]),
        (
            &[
                "--since",
                "2024-01-31 08:00:02",
                "--until",
                "2024-01-31 08:00:04",
            ],
            &[3, 4],
        ),
    ];
    for (filter, expected) in cases {
        for command in ["tail", "query"] {
            let mut arguments = vec![command];
            arguments.extend(filter);
            assert_eq!(seqs(&sample, &arguments), expected, "{arguments:?}");
        }
        let mut count = vec!["query", "--count"];
        count.extend(filter);
        assert_eq!(sample.shows(&count).trim(), expected.len().to_string());
    }
    assert_eq!(
        seqs(&sample, &["tail", "-r", "-n", "3", "-k", "task.*"]),
        [12, 10, 9]
    );
    assert_eq!(
        seqs(&sample, &["tail", "-r", "-n", "all"]),
        (1..=13).rev().collect::<Vec<_>>()
    );
    assert_eq!(
        seqs(&sample, &["tail", "-n", "2", "-k", "task.*"]),
        [10, 12]
    );
    assert_eq!(
        seqs(&sample, &["query", "--limit", "2", "-k", "task.*"]),
        [4, 5]
    );
    for (arguments, expected) in [
        (&["query", "-n", "2", "-k", "task.*"][..], &[10, 12][..]),
        (&["query", "-r", "-n", "3", "-k", "task.*"], &[12, 10, 9]),
        (&["query", "-r", "-s", "task/build-7"], &[6, 5, 4]),
        (&["query", "-n", "all", "-s", "task/build-7"], &[4, 5, 6]),
        (&["query", "-r", "-n", "0"], &[]),
    ] {
        assert_eq!(seqs(&sample, arguments), expected, "{arguments:?}");
    }
    assert_eq!(sample.shows(&["query", "--count", "-n", "5"]), "5\n");
}

#[test]
fn an_event_is_shown_with_its_links() {
    let sample = Sample::new();
    assert_snapshot!("show", sample.shows(&["show", "8"]));
    let shown: serde_json::Value =
        serde_json::from_str(&sample.shows(&["--json", "show", "8"])).unwrap();
    assert_eq!(shown["cause"]["seq"], 7);
    assert_eq!(shown["caused"][0]["seq"], 9);
    let next: serde_json::Value =
        serde_json::from_str(&sample.shows(&["--json", "show", "9"])).unwrap();
    assert_eq!(shown["next_hash"], next["event"]["hash"]);
    let last: serde_json::Value =
        serde_json::from_str(&sample.shows(&["--json", "show", "13"])).unwrap();
    assert!(last.get("next_hash").is_none());
}

#[test]
fn tasks_are_folded_from_the_files() {
    let sample = Sample::new();
    assert_snapshot!("task_list", sample.shows(&["task", "list"]));
    assert_snapshot!("task_show", sample.shows(&["task", "show", "evil"]));
    let ids = |arguments: &[&str]| -> BTreeMap<String, String> {
        let listed = sample.shows(arguments);
        let tasks: Vec<serde_json::Value> = serde_json::from_str(&listed).unwrap();
        let text = |v: &serde_json::Value| v.as_str().unwrap().to_owned();
        tasks
            .iter()
            .map(|t| (text(&t["task_id"]), text(&t["state"])))
            .collect()
    };
    let one = |id: &str, state: &str| BTreeMap::from([(id.to_owned(), state.to_owned())]);
    assert_eq!(
        ids(&["--json", "task", "list", "--state", "dead"]),
        one("evil", "dead")
    );
    assert_eq!(
        ids(&["--json", "task", "list", "-p", "background"]),
        one("later", "queued")
    );
    assert_eq!(
        ids(&["--json", "task", "list", "-n", "1"]),
        one("later", "queued")
    );
    // As of a position, and as of a time.
    assert_eq!(
        ids(&["--json", "task", "list", "--at", "5"]),
        one("build-7", "running")
    );
    let at = "2024-01-31T08:00:03Z";
    assert_eq!(
        ids(&["--json", "task", "list", "--at", at]),
        one("build-7", "queued")
    );
    assert_eq!(
        sample.run(&["task", "show", "later", "--at", "5"]).code,
        Some(7)
    );
}

#[test]
fn status_is_folded_from_the_files() {
    let sample = Sample::new();
    insta::with_settings!({filters => vec![("the last [^,]* ago", "the last [AGE] ago"), (r" +\d+d\n", "  [AGE]\n")]}, {
        assert_snapshot!("status", sample.shows(&["status"]));
    });
    assert_snapshot!("status_then", sample.shows(&["status", "--at", "5"]));
    let at: serde_json::Value =
        serde_json::from_str(&sample.shows(&["--json", "status", "--at", "5"])).unwrap();
    assert_eq!(at["report"]["tasks"]["running"], 1);
    assert_eq!(at["report"]["events"]["last"], 5);
}

/// All files in a directory and those below it.
fn files(dir: &Path) -> Vec<PathBuf> {
    let paths = std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().path());
    paths
        .flat_map(|path| {
            if path.is_dir() {
                files(&path)
            } else {
                vec![path]
            }
        })
        .collect()
}

#[test]
fn an_intact_ledger_verifies_and_not_a_byte_of_it_is_changed() {
    let sample = Sample::new();
    let bytes = |sample: &Sample| -> BTreeMap<_, _> {
        files(&sample.dir)
            .into_iter()
            .map(|path| (path.clone(), std::fs::read(path).unwrap()))
            .collect()
    };
    let before = bytes(&sample);
    assert_snapshot!("verify_intact", sample.shows(&["verify"]));
    for arguments in [
        &["tail"][..],
        &["query"],
        &["status"],
        &["task", "list"],
        &["show", "1"],
    ] {
        sample.shows(arguments);
    }
    sample.shows(&["projections", "list"]);
    sample.shows(&["rebuild", "--check"]);
    assert_eq!(bytes(&sample), before);
}

#[test]
fn a_ledger_on_a_read_only_medium_can_be_read() {
    let sample = Sample::new();
    let expected = sample.shows(&["query", "-o", "jsonl"]);
    for path in files(&sample.dir) {
        std::fs::set_permissions(path, Permissions::from_mode(0o400)).unwrap();
    }
    std::fs::set_permissions(&sample.dir, Permissions::from_mode(0o500)).unwrap();
    assert_eq!(sample.shows(&["query", "-o", "jsonl"]), expected);
    sample.shows(&["verify"]);
    sample.shows(&["status"]);
    std::fs::set_permissions(&sample.dir, Permissions::from_mode(0o700)).unwrap();
}

#[test]
fn a_changed_byte_is_found_and_named() {
    let sample = Sample::new();
    let holds = |path: &PathBuf| path.extension().is_some_and(|e| e == "segment");
    let store = files(&sample.dir).into_iter().find(holds).unwrap();
    let mut bytes = std::fs::read(&store).unwrap();
    let needle = br#""replicas":3"#;
    let places: Vec<_> = (0..bytes.len() - needle.len())
        .filter(|at| &bytes[*at..at + needle.len()] == needle)
        .collect();
    assert!(!places.is_empty());
    for at in places {
        bytes[at + needle.len() - 1] = b'9';
    }
    std::fs::write(&store, bytes).unwrap();
    let ran = sample.run(&["verify"]);
    assert_eq!(ran.code, Some(3), "{ran:?}");
    assert!(ran.stdout.contains("NOT INTACT"), "{}", ran.stdout);
    assert!(
        ran.stdout
            .contains("no sound frame in journal/00000000.segment")
    );
    let report: serde_json::Value =
        serde_json::from_str(&sample.run(&["--json", "verify"]).stdout).unwrap();
    assert_eq!(report["intact"]["verdict"], "damaged");
    // Whoever reads it stops at the fault instead of showing what was never written.
    let read = sample.run(&["query"]);
    assert_eq!(read.code, Some(3), "{read:?}");
    assert!(
        read.stderr
            .contains("hint: `ledger verify` says what is wrong"),
        "{}",
        read.stderr
    );
    assert!(!read.stdout.contains("replicas"), "{}", read.stdout);
}

#[test]
fn projections_are_checked_against_a_new_fold() {
    let sample = Sample::new();
    assert_snapshot!(
        "rebuild_without_snapshots",
        sample.shows(&["rebuild", "--check"])
    );
    sample.shows(&["rebuild"]);
    assert_snapshot!("rebuild_check", sample.shows(&["rebuild", "--check"]));
    assert_snapshot!("projections_list", sample.shows(&["projections", "list"]));
    // As of a position nothing is written and nothing compared.
    let at: serde_json::Value =
        serde_json::from_str(&sample.shows(&["--json", "rebuild", "tasks", "--at", "5"])).unwrap();
    assert_eq!((&at[0]["seq"], at[0].get("same")), (&5.into(), None));
    // A snapshot that says something else is found out.
    let file = sample.dir.join("views/tasks.view");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replace("make", "fake")).unwrap();
    let ran = sample.run(&["rebuild", "tasks", "--check"]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.stdout.contains("DIFFERS"), "{}", ran.stdout);
    sample.shows(&["rebuild", "tasks"]);
    sample.shows(&["rebuild", "--check"]);
}

#[test]
fn completions_and_man_pages_are_written() {
    let sample = Sample::new();
    for shell in ["bash", "zsh", "fish"] {
        assert!(sample.shows(&["completions", shell]).contains("ledger"));
    }
    let man = sample.room.path().join("man");
    sample.shows(&["man", man.to_str().unwrap()]);
    for page in ["ledger.1", "ledger-tail.1", "ledger-task-submit.1"] {
        assert!(man.join(page).exists(), "{page}");
    }
}

#[test]
fn help_names_every_command() {
    let sample = Sample::new();
    assert_snapshot!("help", sample.shows(&["--help"]));
}
