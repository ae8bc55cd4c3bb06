//! Replays the project's own workload through the real binaries.

mod built;

use std::process::{Command, Output};

use serde_json::Value;

use built::{ROOT, ledger};

fn replay(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_bench"))
        .arg("replay")
        .args(args)
        .output()
        .expect("the binary under test was built with this test")
}

#[test]
fn the_workload_is_replayed_and_what_it_wrote_is_sound() {
    let ledger = ledger();
    let recording = format!("{ROOT}/fixtures/workload.jsonl");
    let calls = std::fs::read_to_string(&recording).unwrap();
    let ended = calls.lines().filter(|l| l.contains("duration_s")).count();
    let hung = calls.lines().count() - ended;
    assert!(ended > 40 && hung > 0, "{ended} ended, {hung} hung");

    let keep = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let output = replay(&[
        &recording,
        "--scale=2000",
        "--json",
        "--ledger",
        ledger.to_str().unwrap(),
        "--keep",
        keep.path().to_str().unwrap(),
    ]);
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{told}");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["verdict"], "ok", "{report}");
    assert_eq!(report["tasks"], ended, "{report}");
    assert_eq!(report["left_out"], hung, "{report}");
    assert_eq!(report["not_completed"], 0, "{report}");
    assert!(report["submitted_twice"].as_u64() > Some(0), "{report}");
    // Submitted, started, registered, exited and completed for each task, and the node's own.
    assert!(
        report["events"].as_u64() >= Some(ended as u64 * 5 + 4),
        "{report}"
    );
    let waited: u64 = report["queues"]
        .as_array()
        .unwrap()
        .iter()
        .map(|queue| queue["tasks"].as_u64().unwrap())
        .sum();
    assert_eq!(waited, ended as u64, "{report}");
    let checks: Vec<_> = report["checks"]
        .as_array()
        .unwrap()
        .iter()
        .map(|check| (&check["command"], &check["through"], &check["exit_code"]))
        .map(|(command, through, code)| format!("{command} {through} {code}"))
        .collect();
    let expected = [
        r#""verify" "node" 0"#,
        r#""rebuild --check" "node" 0"#,
        r#""verify" "files" 0"#,
        r#""rebuild --check" "files" 0"#,
    ];
    assert_eq!(checks, expected);
    assert!(keep.path().join("data/ledger.redb").is_file());
}

#[test]
fn a_directory_that_holds_something_is_not_used() {
    let ledger = ledger();
    let keep = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    std::fs::write(keep.path().join("mine"), "mine").unwrap();
    let output = replay(&[
        &format!("{ROOT}/fixtures/workload.jsonl"),
        "--ledger",
        ledger.to_str().unwrap(),
        "--keep",
        keep.path().to_str().unwrap(),
    ]);
    assert_eq!(output.status.code(), Some(1));
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(told.contains("is not empty"), "{told}");
    assert!(keep.path().join("mine").is_file());
}
