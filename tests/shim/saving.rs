//! When a shim tells that a child runs, and when it makes an outcome durable by itself.

use std::path::PathBuf;
use std::time::Duration;

use opsledger::shim::{AttemptDir, ExitResult, ProcessIdentity, Report};

use crate::harness::{Node, launch, request, script, wait_gone, wait_until};

/// Whether a shim holds an outcome that it has not synced.
fn holds(shim: &ProcessIdentity, dir: &AttemptDir) -> bool {
    let outcome = dir.path().join("outcome");
    let links = std::fs::read_dir(format!("/proc/{}/fd", shim.pid));
    let links = links.into_iter().flatten().flatten();
    let mut files = links.filter_map(|link| std::fs::read_link(link.path()).ok());
    files.any(|file: PathBuf| file == outcome)
}

/// Runs something short, of which only the end is to be told. Returns its shim.
fn short(node: &mut Node, task: &str, released: &[i32]) -> (ProcessIdentity, AttemptDir) {
    let mut quick = script(task, "exit 7");
    quick.announce_after_ms = 600_000;
    let dir = node.send_releasing(&quick, released);
    let Report::Ended { shim, outcome, .. } = node.report() else {
        panic!("only its end is told");
    };
    let outcome = *outcome.expect("it is short enough");
    assert_eq!(outcome.result, ExitResult::Exited { code: 7 });
    assert!(outcome.child.is_some());
    assert_eq!(dir.read_outcome().unwrap(), Some(outcome));
    assert_eq!(dir.read_started().unwrap(), None);
    (shim, dir)
}

#[test]
fn a_child_that_ends_at_once_is_told_of_once() {
    let mut node = launch();
    short(&mut node, "short", &[]);
    assert!(node.spawner.receive().unwrap().is_none(), "nothing else");
}

#[test]
fn a_child_that_goes_on_is_told_of_after_its_moment() {
    let mut node = launch();
    let gate = node.fifo("gate");
    let mut slow = script("slow", &format!("read _ < {}", gate.show()));
    slow.announce_after_ms = 30;
    let dir = node.send(&slow);
    let started = node.started();
    let since = opsledger::shim::ProcessStat::of(started.child.pid).unwrap();
    assert_eq!(since.unwrap().start_time, started.child.start_time);
    assert_eq!(dir.read_started().unwrap(), Some(started));
    gate.tell("end");
    node.ended();
}

#[test]
fn one_that_talks_all_the_time_is_told_of_too() {
    let mut node = launch();
    let gate = node.fifo("gate");
    let text = format!("yes & read _ < {}; kill $!", gate.show());
    let mut loud = script("loud", &text);
    loud.announce_after_ms = 30;
    loud.output_limit = 1000;
    node.send(&loud);
    node.started();
    gate.tell("end");
    node.ended();
}

#[test]
fn an_outcome_too_long_for_a_report_is_in_its_file() {
    let mut node = launch();
    // Each byte of the tail is six in JSON.
    let dir = node.send(&script(
        "long",
        "head -c 4096 /dev/zero; head -c 4096 /dev/zero >&2",
    ));
    node.started();
    let Report::Ended { outcome, .. } = node.report() else {
        panic!("it has ended");
    };
    assert_eq!(outcome, None);
    assert_eq!(dir.read_outcome().unwrap().unwrap().stdout.bytes, 4096);
}

#[test]
fn an_outcome_that_nobody_makes_durable_is_synced_by_its_shim_which_stays() {
    let mut node = launch();
    let (shim, dir) = short(&mut node, "kept", &[]);
    wait_until(|| !holds(&shim, &dir));
    assert!(shim.is_alive_same().unwrap());
    let (again, _) = short(&mut node, "next", &[shim.pid]);
    assert_eq!(again, shim);
}

#[test]
fn an_outcome_that_is_durable_elsewhere_is_let_go_of() {
    let mut node = launch();
    let (shim, dir) = short(&mut node, "one", &[]);
    let gate = node.fifo("gate");
    let text = format!("read _ < {}", gate.show());
    let mut busy = script("two", &text);
    // The spawner must have heard that the shim is idle.
    wait_until(|| {
        let wchan = std::fs::read_to_string(format!("/proc/{}/wchan", shim.pid));
        wchan.is_ok_and(|wchan| wchan.contains("poll") || wchan.starts_with("unix_stream"))
    });
    busy.announce_after_ms = 0;
    node.send_releasing(&busy, &[shim.pid]);
    assert_eq!(node.started().shim, shim);
    assert!(!holds(&shim, &dir));
    gate.tell("end");
    node.ended();
}

#[test]
fn a_shim_whose_node_is_gone_leaves_the_outcome_that_nobody_heard_of() {
    let mut node = launch();
    let gate = node.fifo("gate");
    let mut last = script("last", &format!("read _ < {}; exit 9", gate.show()));
    last.announce_after_ms = 0;
    let dir = node.send(&last);
    let shim = node.started().shim;
    gate.tell("end");
    wait_until(|| dir.read_outcome().unwrap().is_some());
    let Node {
        data: _data,
        spawner,
        ..
    } = node;
    drop(spawner);
    wait_gone(&shim);
    let outcome = dir.read_outcome().unwrap().unwrap();
    assert_eq!(outcome.result, ExitResult::Exited { code: 9 });
    assert!(outcome.runtime_us < Duration::from_secs(60).as_micros() as u64);
}

#[test]
fn an_outcome_of_another_attempt_is_not_taken_for_ones_own() {
    let mut node = launch();
    let (_, one) = short(&mut node, "one", &[]);
    let other = node.dir(&request("other", &["true"]));
    other.create().unwrap();
    std::fs::copy(one.path().join("outcome"), other.path().join("outcome")).unwrap();
    let error = other.read_outcome().unwrap_err();
    assert!(error.to_string().contains("of another attempt"), "{error}");
}
