//! Pids that are handed out again: for real, by asking the kernel for one.

use std::os::fd::AsFd;

use nix::sys::signal::Signal;
use opsledger::shim::orphans::Orphaned;
use opsledger::shim::watch::{Attach, attach, signal_shim};
use opsledger::shim::{Claim, Claimant, PROTOCOL_VERSION, ProcessIdentity};

use crate::harness::{launch, script, wait_gone, wait_until};
use crate::kit::{Given, lacks};

#[test]
fn whoever_gets_the_pid_of_a_shim_or_a_child_is_left_alone() {
    let mut node = launch();
    let mut ready = node.fifo("ready");
    // In a session of its own: as long as somebody is in the shim's, its number isn't handed out.
    let text = format!(
        "setsid sh -c 'echo $$ > {}; exec sleep 600' & exec sleep 600",
        ready.show()
    );
    let dir = node.send(&script("gone", &text));
    let started = node.started();
    let grandchild = ready.process();
    let Attach::Alive(pidfd) = attach(&started.shim).unwrap() else {
        panic!("the shim is at work");
    };
    signal_shim(&pidfd, Signal::SIGKILL).unwrap();
    wait_gone(&started.shim);
    wait_gone(&started.child);
    wait_until(|| ProcessIdentity::of(started.shim.pid).unwrap().is_none());
    let Some(as_shim) = Given::after(&started.shim) else {
        return lacks("set_tid");
    };
    // Nobody reaps the child in a container whose init doesn't.
    let as_child = Given::after(&started.child);

    // The pidfd still is the old one's, and the identity too.
    assert!(signal_shim(&pidfd, Signal::SIGKILL).is_err());
    assert!(matches!(attach(&started.shim).unwrap(), Attach::Gone));
    crate::harness::wait_readable(pidfd.as_fd());
    let ended = node.orphaned(&dir).end(crate::harness::DEADLINE).unwrap();
    assert!(
        ended.killed.iter().all(|who| *who == grandchild),
        "{ended:?}"
    );
    assert!(as_shim.lives() && as_child.iter().all(Given::lives));
    // Even where only the number of the session is known.
    let ended = Orphaned::of_shim(started.shim.clone())
        .end(std::time::Duration::ZERO)
        .unwrap();
    assert_eq!(ended.killed, []);
    assert!(as_shim.lives() && as_child.iter().all(Given::lives));
}

#[test]
fn nobody_is_taken_for_a_shim_who_may_not_be_signaled() {
    let parent = nix::unistd::getppid().as_raw();
    let own = std::process::id() as i32;
    for pid in [1, 2, own, parent] {
        let Some(identity) = ProcessIdentity::of(pid).unwrap() else {
            continue;
        };
        assert!(
            matches!(attach(&identity).unwrap(), Attach::Gone),
            "pid {pid}"
        );
        let claim = Claim {
            protocol: PROTOCOL_VERSION,
            kind: Claimant::Shim,
            by: identity,
            cgroup: None,
        };
        let data = tempfile::tempdir().unwrap();
        let ended = Orphaned::by(&claim, data.path())
            .end(std::time::Duration::ZERO)
            .unwrap();
        assert_eq!(ended.killed, [], "pid {pid}");
    }
}
