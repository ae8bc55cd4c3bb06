//! Trees that do nothing.

use opsledger::shim::{ExitResult, LadderCause};

use crate::harness::{Node, launch, launch_without_cgroups, request, script};

fn stalled(mut node: Node) {
    let mut idle = request("idle", &["sleep", "600"]);
    idle.stall_after_ms = Some(400);
    let (outcome, _) = node.run(&idle);
    let ladder = outcome.ladder.expect("it was ended");
    assert_eq!(ladder.cause, LadderCause::Stalled);
    assert!(ladder.steps[0].after_us >= 400_000);
    assert_eq!(
        outcome.result,
        ExitResult::Signaled {
            signal: libc::SIGTERM,
            core: false
        }
    );
}

#[test]
fn one_that_does_nothing_is_ended() {
    stalled(launch());
}

#[test]
fn one_that_does_nothing_is_ended_without_cgroups() {
    stalled(launch_without_cgroups());
}

/// It works, sleeps or writes for longer than it may do nothing, and ends by itself.
fn busy(mut node: Node, name: &str, text: &str) {
    let mut busy = script(name, text);
    busy.stall_after_ms = Some(1500);
    let (outcome, _) = node.run(&busy);
    assert_eq!(outcome.result, ExitResult::Exited { code: 0 }, "{name}");
    assert_eq!(outcome.ladder, None, "{name}");
    assert!(outcome.runtime_us > 1_500_000, "{name}");
}

#[test]
fn one_that_writes_now_and_then_is_left_alone() {
    let text = "for n in 1 2 3 4 5 6 7 8; do sleep 0.25; echo $n; done";
    busy(launch(), "writes", text);
    busy(launch_without_cgroups(), "writes", text);
}

#[test]
fn one_whose_descendants_compute_is_left_alone() {
    // The child itself waits all the time.
    let text = "sh -c 'end=$(($(date +%s) + 3)); while [ $(date +%s) -lt $end ]; do :; done'";
    busy(launch(), "computes", text);
    busy(launch_without_cgroups(), "computes", text);
}

#[test]
fn one_that_was_stopped_stands_still() {
    let mut node = launch();
    let mut stopped = script("stopped", "kill -STOP $$");
    stopped.stall_after_ms = Some(400);
    stopped.grace_ms = 30_000;
    let (outcome, _) = node.run(&stopped);
    let ladder = outcome.ladder.expect("it was ended");
    assert_eq!(ladder.cause, LadderCause::Stalled);
    // SIGCONT has it go on, and see SIGTERM.
    assert_eq!(
        outcome.result,
        ExitResult::Signaled {
            signal: libc::SIGTERM,
            core: false
        }
    );
}
