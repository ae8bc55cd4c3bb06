//! The arms on the project's own workload: in virtual time, and as processes of the real binary.

mod built;

use std::process::{Command, Output};

use serde_json::Value;

use built::{ROOT, ledger};

fn arms(args: &[&str]) -> Output {
    let data = [
        format!("--calls={ROOT}/fixtures/workload.jsonl"),
        format!("--arrivals={ROOT}/fixtures/arrivals.csv"),
    ];
    let mut command = Command::new(env!("CARGO_BIN_EXE_bench"));
    command.arg("arms").args(data).args(args);
    command
        .output()
        .expect("the binary under test was built with this test")
}

#[test]
fn the_simulated_tables_are_the_same_every_time_and_fit_a_terminal() {
    let simulated = || {
        let output = arms(&["--no-real", "--seeds=2", "--slots=3", "--loads=0.9,1.2"]);
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let once = simulated();
    assert_eq!(once, simulated());
    let wide: Vec<&str> = once.lines().filter(|l| l.chars().count() > 80).collect();
    assert_eq!(wide, [""; 0]);
    assert_eq!(once.matches("== load").count(), 4, "{once}");
}

#[test]
fn what_is_run_on_a_real_node_leaves_nothing_behind() {
    let ledger = ledger();
    let output = arms(&[
        "--json",
        "--seeds=1",
        "--slots=3",
        "--loads=0.9",
        "--load-of=work",
        "--hung=0.1",
        "--time-scale=100",
        "--ledger",
        ledger.to_str().unwrap(),
    ]);
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{told}");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let runs = report["real"][0]["runs"].as_array().unwrap();
    let names: Vec<&str> = runs.iter().map(|r| r["arm"].as_str().unwrap()).collect();
    assert_eq!(names, ["fifo", "fifo+reaper", "mlfq", "mlfq+reaper"]);
    for run in runs {
        assert_eq!(run["processes_left"], 0, "{run}");
        assert!(run["real"]["completed"].as_u64() > Some(0), "{run}");
        let reaped = run["arm"].as_str().unwrap().ends_with("+reaper");
        let leftover = run["real"]["leftover"].as_u64().unwrap();
        assert!(!reaped || leftover == 0, "{run}");
    }
    // Without a reaper what hangs stays, in virtual time as in real.
    for arm in [0, 2] {
        assert!(
            runs[arm]["real"]["leftover"].as_u64() > Some(0),
            "{}",
            runs[arm]
        );
    }
}

#[test]
fn missing_data_says_where_it_is_found() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bench"));
    command.args(["arms", "--calls=no/such", "--arrivals=no/such", "--no-real"]);
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(told.contains("agentcgroup"), "{told}");
}
