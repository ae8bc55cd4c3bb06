//! What would have been: traces and a ledger's own past under other rules.

use insta::assert_snapshot;
use serde_json::Value;

use crate::sample::{Ran, Sample, bare};

const TRACE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/workload.jsonl");
const ARRIVALS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/arrivals.csv");

/// What `ledger simulate` prints where there is no ledger.
fn simulated(arguments: &[&str]) -> Ran {
    let room = tempfile::tempdir().unwrap();
    let output = bare(room.path()).arg("simulate").args(arguments).output();
    Ran::of(&output.unwrap(), room.path())
}

fn shows(arguments: &[&str]) -> String {
    let ran = simulated(arguments);
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""), "{ran:?}");
    assert!(ran.stdout.lines().all(|line| line.chars().count() <= 80));
    ran.stdout
}

fn json(arguments: &[&str]) -> Value {
    serde_json::from_str(&shows(&[arguments, &["--json"]].concat())).unwrap()
}

#[test]
fn a_trace_is_simulated_without_a_ledger() {
    assert_snapshot!("simulate_trace", shows(&["--trace", TRACE, "--slots", "2"]));
    let unreaped = [
        "--trace",
        TRACE,
        "--slots",
        "2",
        "--policy",
        "fifo",
        "--no-reaper",
    ];
    let hung = [&unreaped[..], &["--unended", "hang", "--horizon", "10m"]].concat();
    assert_snapshot!("simulate_trace_hung", shows(&hung));
    let reaped = json(&["--trace", TRACE, "--slots", "2", "--unended", "hang"]);
    assert_eq!(reaped["columns"][0]["leftover"], 0);
    assert!(reaped["columns"][0]["waste_us"].as_u64() > Some(0));
}

#[test]
fn the_same_seed_gives_the_same_bytes() {
    let drawn = |seed: &str, policy: &str| {
        shows(&[
            "--trace",
            TRACE,
            "--arrivals",
            ARRIVALS,
            "--load",
            "0.9",
            "--hung",
            "5%",
            "--slots",
            "3",
            "--horizon",
            "arrivals",
            "--seed",
            seed,
            "--policy",
            policy,
        ])
    };
    let once = drawn("7", "mlfq");
    assert_eq!(once, drawn("7", "mlfq"));
    assert_ne!(once, drawn("8", "mlfq"));
    assert_ne!(once, drawn("7", "fifo"));
    assert_snapshot!("simulate_drawn", once);
}

#[test]
fn settings_are_those_of_the_file_and_of_the_options() {
    let room = tempfile::tempdir().unwrap();
    let file = room.path().join("l.toml");
    std::fs::write(&file, "[scheduler]\nmax_running = 3\n").unwrap();
    let file = file.to_str().unwrap();
    let slots = |arguments: &[&str]| {
        let all = [&["--trace", TRACE, "--config", file], arguments].concat();
        json(&all)["columns"][0]["slots"].clone()
    };
    assert_eq!(slots(&[]), 3);
    assert_eq!(slots(&["--slots", "+2"]), 5);
    assert_eq!(slots(&["--slots=-1"]), 2);
    assert_eq!(slots(&["--set", "max_running=7"]), 7);
    assert_eq!(
        slots(&["--set", "scheduler.max_running=7", "--slots", "+1"]),
        8
    );
    // Limits of queues decide the order too, so it is not checked.
    let limited = json(&["--trace", TRACE, "--set", "background.max_running=1"]);
    assert_eq!(limited["columns"][0]["order"], Value::Null);
    let limited = ["--trace", TRACE, "--set", "background.max_running=1"];
    assert_snapshot!(
        "simulate_unchecked",
        shows(&[&limited[..], &["--slots", "2"]].concat())
    );
}

#[test]
fn the_past_is_told_beside_what_it_would_be() {
    let sample = Sample::with_process();
    // By default a node has as many slots as its machine has room for.
    let settings = sample.dir.join("ledger.toml");
    std::fs::write(settings, "[scheduler]\nmax_running = 4\n").unwrap();
    let all = sample.shows(&["simulate", "--history", "..", "--slots", "+2"]);
    assert_snapshot!("simulate_history", all);
    let later = [
        "simulate",
        "--history",
        "2024-01-31T08:00:05Z..",
        "--slots",
        "1",
        "--json",
    ];
    let later: Value = serde_json::from_str(&sample.shows(&later)).unwrap();
    assert_eq!(later["source"]["first"], 6);
    assert_eq!(later["columns"][0]["tasks"], 2);
    assert_eq!(later["columns"][0]["ends"], later["columns"][1]["ends"]);
    let early = sample.shows(&["simulate", "--history", "1..6", "--slots", "1", "--json"]);
    let early: Value = serde_json::from_str(&early).unwrap();
    assert_eq!(early["columns"][1]["tasks"], 1);
    assert_eq!(
        early["columns"][1]["all"]["turnaround"]["max_us"],
        1_240_000
    );
    // One that goes on at the end is left out, or taken for hung.
    let running = Sample::new();
    let left = running.shows(&["simulate", "--history", "..", "--slots", "1"]);
    assert!(left.contains("1 task had not ended: left out"), "{left}");
}

/// What a command that must fail says.
fn refused(code: i32, ran: &Ran, said: &str) -> String {
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(code), ""), "{ran:?}");
    format!("$ ledger simulate {said}\n{}", ran.stderr)
}

#[test]
fn what_can_not_be_simulated_says_why() {
    let room = tempfile::tempdir().unwrap();
    let good = r#"{"run":"a","tool":"Read","start_s":0,"duration_s":1}"#;
    let write = |name: &str, text: &str| std::fs::write(room.path().join(name), text).unwrap();
    write("good.jsonl", good);
    write("bad.jsonl", &format!("{good}\n{{\"run\":\"a\"}}\n"));
    write(
        "negative.jsonl",
        r#"{"run":"a","tool":"Read","start_s":0,"duration_s":-1}"#,
    );
    write("nan.jsonl", r#"{"run":"a","tool":"Read","start_s":NaN}"#);
    write("huge.jsonl", r#"{"run":"a","tool":"Read","start_s":1e300}"#);
    write("empty.jsonl", "");
    write("hung.jsonl", r#"{"run":"a","tool":"Read","start_s":0}"#);
    write("nan.csv", "arrival_s\n0\nNaN\n");
    write("once.csv", "arrival_s\n0\n0\n");
    let ran = |arguments: &str| {
        let mut command = bare(room.path());
        command.arg("simulate").args(arguments.split(' '));
        Ran::of(&command.output().unwrap(), room.path())
    };
    let said: Vec<String> = [
        (7, "--trace nowhere.jsonl"),
        (1, "--trace bad.jsonl"),
        (1, "--trace negative.jsonl"),
        (1, "--trace nan.jsonl"),
        (1, "--trace huge.jsonl"),
        (1, "--trace empty.jsonl"),
        (1, "--trace hung.jsonl"),
        (7, "--trace good.jsonl --arrivals nowhere.csv --load 1"),
        (1, "--trace good.jsonl --arrivals nan.csv --load 1"),
        (1, "--trace good.jsonl --arrivals once.csv --load 1"),
        (2, "--trace good.jsonl --arrivals once.csv --load NaN"),
        (2, "--trace good.jsonl --arrivals once.csv"),
        (2, "--trace good.jsonl --policy lottery"),
        (2, "--trace good.jsonl --slots 99999999999999999999"),
        (2, "--trace good.jsonl --slots 0"),
        (2, "--trace good.jsonl --set max_running=3 --slots=-10000"),
        (2, "--trace good.jsonl --set max_runing=3"),
        (2, "--trace good.jsonl --set max_running=many"),
        (2, "--trace good.jsonl --horizon soon"),
        (2, "--trace good.jsonl --horizon 0s"),
        (2, "--history .. --arrivals once.csv --load 1"),
        (2, "--history .. --limit-factor 2"),
        (1, "--trace nan.csv"),
        (2, "--trace good.jsonl --history .."),
        (2, "--slots 4"),
        (7, "--history .."),
    ]
    .iter()
    .map(|(code, arguments)| refused(*code, &ran(arguments), arguments))
    .collect();
    assert_snapshot!("simulate_refused", said.join("\n"));

    let sample = Sample::new();
    let said: Vec<String> = [
        (2, "--history 5"),
        (2, "--history 9..2"),
        (2, "--history soon.."),
        (7, "--history 1..3"),
        (7, "--history 12.."),
    ]
    .iter()
    .map(|(code, arguments)| {
        let all: Vec<&str> = ["simulate"]
            .into_iter()
            .chain(arguments.split(' '))
            .collect();
        refused(*code, &sample.run(&all), arguments)
    })
    .collect();
    assert_snapshot!("simulate_history_refused", said.join("\n"));
}
