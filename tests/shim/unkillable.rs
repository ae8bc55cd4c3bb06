//! What outlives SIGKILL: a process in a frozen cgroup of version 1 keeps it pending until it is
//! thawed, as one does that waits for a dead disk. (In version 2 a frozen process dies of it.)

use nix::sys::signal::Signal;
use opsledger::shim::watch::{Attach, attach, signal_shim};
use opsledger::shim::{ExitResult, LadderCause, Report};

use crate::harness::{launch, launch_without_cgroups, script};
use crate::kit::{Freezer, lacks};

fn outlives(mut node: crate::harness::Node) {
    let Some(freezer) = Freezer::make() else {
        return lacks("a version 1 freezer");
    };
    let mut ready = node.fifo("ready");
    let text = format!("sleep 600 & echo $! > {}; wait", ready.show());
    let mut frozen = script("frozen", &text);
    frozen.grace_ms = 50;
    let dir = node.send(&frozen);
    let started = node.started();
    let sleeper = ready.process();
    freezer.freeze(sleeper.pid);
    let Attach::Alive(shim) = attach(&started.shim).unwrap() else {
        panic!("the shim is at work");
    };
    signal_shim(&shim, Signal::SIGTERM).unwrap();
    let Report::Unkillable(found) = node.report() else {
        panic!("nothing else can be told yet");
    };
    assert_eq!(dir.read_unkillable().unwrap(), Some(found.clone()));
    assert_eq!((found.processes, found.survivors.len()), (1, 1));
    assert_eq!(found.survivors[0].identity, sleeper);
    assert_eq!(found.survivors[0].state, 'D');
    let sent: Vec<_> = found.steps.iter().map(|step| step.signal).collect();
    assert_eq!(sent, [libc::SIGTERM, libc::SIGKILL]);
    assert!(sleeper.is_alive_same().unwrap());
    assert!(dir.read_outcome().unwrap().is_none(), "it is not over");
    assert!(started.shim.is_alive_same().unwrap());

    freezer.thaw();
    node.ended();
    let outcome = dir.read_outcome().unwrap().unwrap();
    assert_eq!(
        outcome.result,
        ExitResult::Signaled {
            signal: libc::SIGTERM,
            core: false
        },
        "the shell obeyed"
    );
    let ladder = outcome.ladder.unwrap();
    assert_eq!(ladder.cause, LadderCause::Cancel);
    assert_eq!(ladder.survivors, std::slice::from_ref(&sleeper));
    assert!(!sleeper.is_alive_same().unwrap());
}

#[test]
fn what_outlives_sigkill_is_reported_and_waited_for() {
    outlives(launch());
}

#[test]
fn what_outlives_sigkill_is_seen_without_cgroups_too() {
    outlives(launch_without_cgroups());
}
