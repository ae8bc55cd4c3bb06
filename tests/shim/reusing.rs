//! Shims that serve one attempt after another, and what must not pass from one to the next.

use nix::sys::signal::Signal;
use opsledger::shim::watch::{Attach, attach, signal_shim};
use opsledger::shim::{ExitResult, LadderCause, ProcessIdentity, Report};

use crate::harness::{Node, launch, request, script, wait_gone, wait_until};

/// Runs something and waits until its shim is idle, which shows in that it reads its socket.
fn served(node: &mut Node, task: &str, released: &[i32]) -> ProcessIdentity {
    let dir = node.send_releasing(&request(task, &["true"]), released);
    let started = node.started();
    node.ended();
    assert!(dir.read_outcome().unwrap().is_some());
    wait_until(|| is_waiting(&started.shim));
    started.shim
}

/// Whether a process is in a read of a socket (or has gone).
fn is_waiting(process: &ProcessIdentity) -> bool {
    let wchan = std::fs::read_to_string(format!("/proc/{}/wchan", process.pid));
    wchan.is_ok_and(|wchan| wchan.starts_with("unix_stream"))
}

#[test]
fn a_released_shim_serves_again() {
    let mut node = launch();
    let first = served(&mut node, "one", &[]);
    for task in ["two", "three", "four"] {
        let again = served(&mut node, task, &[first.pid]);
        assert_eq!(again, first);
    }
    let other = served(&mut node, "five", &[]);
    assert_ne!(other, first, "it was not released again");
}

#[test]
fn a_busy_shim_is_not_waited_for_even_if_it_is_released() {
    let mut node = launch();
    let go = node.fifo("go");
    let busy = node.send(&script("busy", &format!("read _ < {}", go.show())));
    let busy_shim = node.started().shim;
    let other = served(&mut node, "behind", &[busy_shim.pid, 1, -7]);
    assert_ne!(other, busy_shim);
    go.tell("go");
    node.ended();
    assert!(busy.read_outcome().unwrap().is_some());
    wait_until(|| is_waiting(&busy_shim));
    let free = served(&mut node, "after", &[]);
    assert_eq!(free, busy_shim, "it was released, and is idle now");
}

#[test]
fn a_shim_that_was_killed_while_idle_is_replaced() {
    let mut node = launch();
    let first = served(&mut node, "one", &[]);
    let Attach::Alive(pidfd) = attach(&first).unwrap() else {
        panic!("it waits for more");
    };
    signal_shim(&pidfd, Signal::SIGKILL).unwrap();
    wait_gone(&first);
    assert_ne!(served(&mut node, "two", &[first.pid]), first);
}

#[test]
fn a_cancel_that_came_too_late_does_not_reach_the_next_attempt() {
    let mut node = launch();
    let first = served(&mut node, "one", &[]);
    let Attach::Alive(pidfd) = attach(&first).unwrap() else {
        panic!("it waits for more");
    };
    signal_shim(&pidfd, Signal::SIGTERM).unwrap();
    let text = "exit 3";
    let dir = node.send_releasing(&script("two", text), &[first.pid]);
    assert_eq!(node.started().shim, first);
    node.ended();
    let outcome = dir.read_outcome().unwrap().unwrap();
    assert_eq!(outcome.result, ExitResult::Exited { code: 3 });
    assert_eq!(outcome.ladder, None);
}

#[test]
fn a_second_attempt_can_be_canceled_and_timed_out_as_the_first() {
    let mut node = launch();
    let first = served(&mut node, "one", &[]);
    let dir = node.send_releasing(&request("two", &["sleep", "600"]), &[first.pid]);
    assert_eq!(node.started().shim, first);
    let Attach::Alive(pidfd) = attach(&first).unwrap() else {
        panic!("its child lives");
    };
    signal_shim(&pidfd, Signal::SIGTERM).unwrap();
    node.ended();
    let ladder = dir.read_outcome().unwrap().unwrap().ladder.unwrap();
    assert_eq!(ladder.cause, LadderCause::Cancel);
    wait_until(|| is_waiting(&first));
    let mut slow = request("three", &["sleep", "600"]);
    slow.max_runtime_ms = 50;
    let dir = node.send_releasing(&slow, &[first.pid]);
    assert_eq!(node.started().shim, first);
    node.ended();
    let ladder = dir.read_outcome().unwrap().unwrap().ladder.unwrap();
    assert_eq!(ladder.cause, LadderCause::MaxRuntime);
    wait_until(|| is_waiting(&first));
    assert_eq!(served(&mut node, "four", &[first.pid]), first);
}

#[test]
fn a_refused_request_does_not_spend_a_shim() {
    let mut node = launch();
    let first = served(&mut node, "one", &[]);
    let mut defective = request("two", &["true"]);
    defective.max_runtime_ms = 0;
    node.send_releasing(&defective, &[first.pid]);
    assert!(matches!(node.report(), Report::Refused { .. }));
    wait_until(|| is_waiting(&first));
    assert_eq!(served(&mut node, "three", &[first.pid]), first);
}

#[test]
fn nothing_of_one_attempt_is_left_for_the_next() {
    let mut node = launch();
    let first = served(&mut node, "one", &[]);
    let open = |shim: &ProcessIdentity| {
        std::fs::read_dir(format!("/proc/{}/fd", shim.pid))
            .unwrap()
            .count()
    };
    let before = open(&first);
    let mut loud = script(
        "two",
        "head -c 300000 /dev/zero; cd /tmp; umask 0; export X=1",
    );
    loud.env.insert("SECRET".into(), "of-two".into());
    loud.stdin = Some("input".into());
    let dir = node.send_releasing(&loud, &[first.pid]);
    assert_eq!(node.started().shim, first);
    node.ended();
    assert_eq!(dir.read_outcome().unwrap().unwrap().stdout.bytes, 300_000);
    wait_until(|| is_waiting(&first));
    let dir = node.send_releasing(&script("three", "env; pwd; umask; cat"), &[first.pid]);
    assert_eq!(node.started().shim, first);
    node.ended();
    let tail = dir.read_outcome().unwrap().unwrap().stdout.tail;
    assert!(!tail.contains("of-two") && !tail.contains("X=1"), "{tail}");
    assert!(tail.ends_with("/\n0022\n"), "{tail}");
    wait_until(|| is_waiting(&first));
    assert_eq!(open(&first), before, "descriptors leak");
}

#[test]
fn idle_shims_end_with_the_spawner() {
    let mut node = launch();
    let first = served(&mut node, "one", &[]);
    let Node {
        data: _data,
        spawner,
        ..
    } = node;
    assert!(spawner.shut_down().unwrap().success());
    wait_gone(&first);
}
