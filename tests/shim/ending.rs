//! Ladders: who is ended, why, and what is recorded of it.

use std::os::fd::OwnedFd;

use nix::sys::signal::Signal;
use opsledger::shim::watch::{Attach, attach, signal_shim};
use opsledger::shim::{ExitResult, Ladder, LadderCause, Outcome, Started};

use crate::harness::{launch, request, script};

const TERM: i32 = Signal::SIGTERM as i32;
const KILL: i32 = Signal::SIGKILL as i32;

fn shim_of(started: &Started) -> OwnedFd {
    match attach(&started.shim).unwrap() {
        Attach::Alive(pidfd) => pidfd,
        Attach::Gone => panic!("the shim lives as long as its child"),
    }
}

fn signals(ladder: &Ladder) -> Vec<(i32, u32)> {
    ladder
        .steps
        .iter()
        .map(|step| (step.signal, step.processes))
        .collect()
}

fn ladder(outcome: &Outcome) -> &Ladder {
    outcome.ladder.as_ref().expect("there was a ladder")
}

#[test]
fn past_its_time_an_obedient_child_gets_sigterm_only() {
    let mut node = launch();
    let mut slow = request("slow", &["sleep", "600"]);
    slow.max_runtime_ms = 50;
    let (outcome, _) = node.run(&slow);
    assert_eq!(
        outcome.result,
        ExitResult::Signaled {
            signal: TERM,
            core: false
        }
    );
    assert_eq!(ladder(&outcome).cause, LadderCause::MaxRuntime);
    assert_eq!(signals(ladder(&outcome)), [(TERM, 1)]);
    assert!(ladder(&outcome).steps[0].after_us >= 50_000);
    assert!(outcome.runtime_us >= 50_000);
}

#[test]
fn past_its_time_a_stubborn_tree_is_killed() {
    let mut node = launch();
    let mut ready = node.fifo("ready");
    let text = format!(
        "trap '' TERM; sleep 600 & echo $! > {}; while :; do sleep 600; done",
        ready.show()
    );
    let mut stubborn = script("stubborn", &text);
    // Long enough for the shell to set its trap.
    stubborn.max_runtime_ms = 3000;
    stubborn.grace_ms = 50;
    let (outcome, _) = node.run(&stubborn);
    assert_eq!(
        outcome.result,
        ExitResult::Signaled {
            signal: KILL,
            core: false
        }
    );
    assert_eq!(ladder(&outcome).cause, LadderCause::MaxRuntime);
    assert_eq!(signals(ladder(&outcome)), [(TERM, 3), (KILL, 3)]);
    assert!(ladder(&outcome).survivors.is_empty());
    let background: i32 = ready.line().parse().unwrap();
    let left = opsledger::shim::ProcessIdentity::of(background).unwrap();
    assert!(left.is_none_or(|other| Some(other.start_time) > outcome.child.map(|c| c.start_time)));
}

#[test]
fn a_stopped_child_goes_on_so_that_it_sees_sigterm() {
    let mut node = launch();
    let text = "trap 'echo bye; exit 7' TERM; kill -STOP $$; exit 1";
    let mut stopped = script("stopped", text);
    // Long enough for the shell to set its trap and stop; stopped still, it would be killed.
    stopped.max_runtime_ms = 2000;
    stopped.grace_ms = 30_000;
    let (outcome, _) = node.run(&stopped);
    assert_eq!(outcome.result, ExitResult::Exited { code: 7 });
    assert_eq!(signals(ladder(&outcome)), [(TERM, 1)]);
}

#[test]
fn cancel_is_a_sigterm_to_the_shim() {
    let mut node = launch();
    let mut ready = node.fifo("ready");
    let text = format!(
        "trap 'echo bye; exit 7' TERM; echo up > {}; while :; do sleep 0.01; done",
        ready.show()
    );
    let dir = node.send(&script("cancel", &text));
    let started = node.started();
    ready.line();
    signal_shim(&shim_of(&started), Signal::SIGTERM).unwrap();
    node.ended();
    let outcome = dir.read_outcome().unwrap().unwrap();
    assert_eq!(outcome.result, ExitResult::Exited { code: 7 });
    assert_eq!(outcome.stdout.tail, "bye\n");
    assert_eq!(ladder(&outcome).cause, LadderCause::Cancel);
    assert_eq!(ladder(&outcome).steps.len(), 1);
}

#[test]
fn cancel_reaches_those_who_left_group_and_session() {
    let mut node = launch();
    let mut ready = node.fifo("ready");
    let text = format!(
        "trap '' TERM; setsid sh -c 'echo $$ > {0}; exec sleep 600' & read _ < /dev/zero",
        ready.show()
    );
    let mut spread = script("spread", &text);
    spread.grace_ms = 20;
    let dir = node.send(&spread);
    let started = node.started();
    let escaped = ready.process();
    signal_shim(&shim_of(&started), Signal::SIGTERM).unwrap();
    node.ended();
    assert!(!escaped.is_alive_same().unwrap());
    let outcome = dir.read_outcome().unwrap().unwrap();
    assert_eq!(
        outcome.result,
        ExitResult::Signaled {
            signal: KILL,
            core: false
        }
    );
    assert_eq!(ladder(&outcome).cause, LadderCause::Cancel);
    assert_eq!(signals(ladder(&outcome)), [(TERM, 2), (KILL, 2)]);
}

#[test]
fn leftovers_end_with_the_attempt() {
    let mut node = launch();
    let mut ready = node.fifo("ready");
    // Forked twice and in a session of its own: neither group nor session nor parent tells.
    let text = format!(
        "(setsid sh -c 'echo $$ > {0}; exec sleep 600' &) ; read _ < {0}.go; exit 5",
        ready.show()
    );
    let go = node.fifo("ready.go");
    let dir = node.send(&script("left", &text));
    let _started = node.started();
    let daemon = ready.process();
    assert!(daemon.is_alive_same().unwrap());
    go.tell("go");
    node.ended();
    assert!(!daemon.is_alive_same().unwrap());
    let outcome = dir.read_outcome().unwrap().unwrap();
    assert_eq!(outcome.result, ExitResult::Exited { code: 5 });
    assert_eq!(ladder(&outcome).cause, LadderCause::Leftovers);
    assert_eq!(signals(ladder(&outcome)), [(TERM, 1)]);
}

#[test]
fn stubborn_leftovers_are_killed_and_their_output_is_kept() {
    let mut node = launch();
    let mut ready = node.fifo("ready");
    let go = node.fifo("go");
    let text = format!(
        "sh -c 'trap \"echo asked\" TERM; echo $$ > {}; while :; do sleep 0.01; done' & \
         read _ < {}",
        ready.show(),
        go.show()
    );
    let mut stubborn = script("stubborn", &text);
    stubborn.grace_ms = 300;
    let dir = node.send(&stubborn);
    let _started = node.started();
    let leftover = ready.process();
    go.tell("go");
    node.ended();
    assert!(!leftover.is_alive_same().unwrap());
    let outcome = dir.read_outcome().unwrap().unwrap();
    assert_eq!(outcome.result, ExitResult::Exited { code: 0 });
    assert_eq!(ladder(&outcome).cause, LadderCause::Leftovers);
    let steps = signals(ladder(&outcome));
    assert_eq!(
        steps.iter().map(|step| step.0).collect::<Vec<_>>(),
        [TERM, KILL]
    );
    assert_eq!(outcome.stdout.tail, "asked\n");
}

#[test]
fn a_child_that_ended_first_is_not_said_to_have_been_canceled() {
    let mut node = launch();
    let mut ready = node.fifo("ready");
    let go = node.fifo("go");
    let text = format!("echo up > {}; read _ < {}; exit 9", ready.show(), go.show());
    let dir = node.send(&script("race", &text));
    let started = node.started();
    ready.line();
    let shim = shim_of(&started);
    // The shim sleeps while both happen, the exit first.
    signal_shim(&shim, Signal::SIGSTOP).unwrap();
    go.tell("go");
    crate::harness::wait_gone(&started.child);
    signal_shim(&shim, Signal::SIGTERM).unwrap();
    signal_shim(&shim, Signal::SIGCONT).unwrap();
    node.ended();
    let outcome = dir.read_outcome().unwrap().unwrap();
    assert_eq!(outcome.result, ExitResult::Exited { code: 9 });
    assert_eq!(outcome.ladder, None);
}

#[test]
fn a_fork_storm_is_ended() {
    let mut node = launch();
    let mut ready = node.fifo("ready");
    let go = node.fifo("go");
    let text = format!(
        "storm() {{ trap '' TERM; while :; do sleep 0.02 & wait; done; }}; \
         for n in 1 2 3 4 5 6 7 8; do storm & done; setsid sh -c \
         'trap \"\" TERM; echo up > {}; while :; do sleep 0.02; done' & read _ < {}",
        ready.show(),
        go.show()
    );
    let mut storm = script("storm", &text);
    storm.grace_ms = 200;
    let dir = node.send(&storm);
    let _started = node.started();
    ready.line();
    go.tell("go");
    node.ended();
    let outcome = dir.read_outcome().unwrap().unwrap();
    assert_eq!(ladder(&outcome).cause, LadderCause::Leftovers);
    assert_eq!(
        ladder(&outcome).steps.last().map(|step| step.signal),
        Some(KILL)
    );
}

#[test]
fn one_that_has_stopped_itself_is_ended_by_sigterm() {
    let mut node = launch();
    let mut stopped = script("stopped", "kill -STOP $$; exit 3");
    stopped.max_runtime_ms = 300;
    stopped.grace_ms = 30_000;
    let (outcome, _) = node.run(&stopped);
    assert_eq!(
        outcome.result,
        ExitResult::Signaled {
            signal: TERM,
            core: false
        }
    );
    assert_eq!(signals(ladder(&outcome)), [(TERM, 1)]);
}

#[test]
fn one_that_has_closed_its_output_is_watched_all_the_same() {
    let mut node = launch();
    let mut silent = script(
        "silent",
        "echo last; exec sleep 600 > /dev/null 2>&1 < /dev/null",
    );
    silent.max_runtime_ms = 300;
    let (outcome, _) = node.run(&silent);
    assert_eq!(outcome.stdout.tail, "last\n");
    assert_eq!(ladder(&outcome).cause, LadderCause::MaxRuntime);
    assert!(outcome.runtime_us >= 300_000);
}
