//! Shims without a node, attempts without a shim.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use opsledger::shim::orphans::Orphaned;
use opsledger::shim::watch::{Attach, attach};
use opsledger::shim::{AttemptDir, ExitResult, LadderCause, ProcessIdentity, Started};

use crate::harness::{DEADLINE, Fifo, Node, launch, request, script, wait_gone, wait_until};

/// A child that waits to be told what to exit with.
fn waiting(node: &mut Node) -> (AttemptDir, Started, Fifo) {
    let mut ready = node.fifo("ready");
    let go = node.fifo("go");
    let text = format!(
        "echo up > {}; read code < {}; exit $code",
        ready.show(),
        go.show()
    );
    let dir = node.send(&script("waiting", &text));
    let started = node.started();
    ready.line();
    (dir, started, go)
}

fn assert_outcome_comes(dir: &AttemptDir, started: &Started, go: &Fifo) {
    assert!(started.shim.is_alive_same().unwrap());
    assert!(started.child.is_alive_same().unwrap());
    assert_eq!(dir.read_outcome().unwrap(), None);
    go.tell("33");
    wait_gone(&started.shim);
    let outcome = dir.read_outcome().unwrap().unwrap();
    assert_eq!(outcome.result, ExitResult::Exited { code: 33 });
    assert_eq!(outcome.child.as_ref(), Some(&started.child));
    assert!(matches!(attach(&started.shim).unwrap(), Attach::Gone));
}

#[test]
fn the_outcome_comes_though_the_spawner_was_killed() {
    let mut node = launch();
    let (dir, started, go) = waiting(&mut node);
    let pidfd = node.spawner.pidfd().unwrap();
    kill(Pid::from_raw(node.spawner.pid() as i32), Signal::SIGKILL).unwrap();
    crate::harness::wait_readable(std::os::fd::AsFd::as_fd(&pidfd));
    assert!(node.spawner.try_wait().unwrap().is_some());
    let error = node
        .spawner
        .send(&request("later", &["true"]), &[])
        .unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::BrokenPipe);
    assert_outcome_comes(&dir, &started, &go);
}

#[test]
fn the_outcome_comes_though_the_node_closed_its_sockets() {
    let mut node = launch();
    let (dir, started, go) = waiting(&mut node);
    let Node {
        spawner,
        data: _data,
        ..
    } = node;
    assert!(spawner.shut_down().unwrap().success());
    assert_outcome_comes(&dir, &started, &go);
}

#[test]
fn time_limits_hold_without_a_node() {
    let mut node = launch();
    let mut slow = request("slow", &["sleep", "600"]);
    slow.max_runtime_ms = 500;
    let dir = node.send(&slow);
    let started = node.started();
    let Node {
        spawner,
        data: _data,
        ..
    } = node;
    assert!(spawner.shut_down().unwrap().success());
    wait_gone(&started.shim);
    let ladder = dir.read_outcome().unwrap().unwrap().ladder.unwrap();
    assert_eq!(ladder.cause, LadderCause::MaxRuntime);
}

#[test]
fn what_was_sent_before_a_shut_down_is_served() {
    let mut node = launch();
    let requests: Vec<_> = (0..10)
        .map(|n| request(&format!("last-{n}"), &["true"]))
        .collect();
    for request in &requests {
        node.send(request);
    }
    let dirs: Vec<_> = requests.iter().map(|request| node.dir(request)).collect();
    let Node {
        spawner,
        data: _data,
        ..
    } = node;
    assert!(spawner.shut_down().unwrap().success());
    for dir in &dirs {
        wait_until(|| dir.read_outcome().unwrap().is_some());
    }
}

#[test]
fn a_node_that_reads_no_reports_holds_up_nobody() {
    let mut node = launch();
    let requests: Vec<_> = (0..400)
        .map(|n| request(&format!("deaf-{n}"), &["true"]))
        .collect();
    for request in &requests {
        node.send(request);
    }
    for request in &requests {
        let dir = node.dir(request);
        wait_until(|| dir.read_outcome().unwrap().is_some());
    }
    assert!(node.spawner.receive().unwrap().is_some());
    let claims = requests
        .iter()
        .map(|request| node.dir(request).read_claim());
    let shims: Vec<_> = claims.map(|claim| claim.unwrap().unwrap().by).collect();
    let Node {
        data: _data,
        spawner,
        ..
    } = node;
    spawner.shut_down().unwrap();
    // The shims have gone too, told or not.
    shims.iter().for_each(wait_gone);
}

#[test]
fn a_killed_shim_takes_its_child_along_and_its_orphans_can_be_ended() {
    let mut node = launch();
    let mut ready = node.fifo("ready");
    let text = format!("sleep 600 & echo $! > {}; wait", ready.show());
    let dir = node.send(&script("orphans", &text));
    let started = node.started();
    let grandchild = ready.process();
    assert_eq!(
        node.orphaned(&dir).find().unwrap(),
        [],
        "none while the shim lives"
    );
    kill(Pid::from_raw(started.shim.pid), Signal::SIGKILL).unwrap();
    wait_gone(&started.shim);
    wait_gone(&started.child);
    assert!(grandchild.is_alive_same().unwrap());
    assert_eq!(
        node.orphaned(&dir).find().unwrap(),
        std::slice::from_ref(&grandchild)
    );
    let stranger = ProcessIdentity {
        boot_id: "of another boot".into(),
        ..started.shim.clone()
    };
    assert_eq!(Orphaned::of_shim(stranger).find().unwrap(), []);
    let ended = node.orphaned(&dir).end(DEADLINE).unwrap();
    assert_eq!(ended.killed, std::slice::from_ref(&grandchild));
    assert_eq!(ended.survivors, []);
    assert!(!grandchild.is_alive_same().unwrap());
    assert_eq!(
        dir.read_outcome().unwrap(),
        None,
        "lost, and that must be seen"
    );
    assert!(dir.read_claim().unwrap().is_some());
}

#[test]
fn shims_hold_on_to_nothing_of_the_node() {
    let mut node = launch();
    let (dir, started, go) = waiting(&mut node);
    let entries = std::fs::read_dir(format!("/proc/{}/fd", started.shim.pid)).unwrap();
    let mut standard = 0;
    for entry in entries {
        let entry = entry.unwrap();
        let number: i32 = entry.file_name().to_str().unwrap().parse().unwrap();
        if number <= 2 {
            assert_eq!(
                std::fs::read_link(entry.path()).unwrap().to_str(),
                Some("/dev/null")
            );
            standard += 1;
        }
    }
    assert_eq!(standard, 3);
    let name = std::fs::read_to_string(format!("/proc/{}/comm", started.shim.pid)).unwrap();
    assert_eq!(name, "ledger-shim\n");
    let parent = std::process::id();
    assert_ne!(started.shim.pid as u32, parent);
    go.tell("0");
    node.ended();
    assert!(dir.read_outcome().unwrap().is_some());
}
