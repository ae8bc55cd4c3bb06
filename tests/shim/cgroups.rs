//! Trees that are held by cgroups: those who run away from everything else.

use std::path::PathBuf;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use opsledger::shim::watch::{Attach, attach, signal_shim};
use opsledger::shim::{CgroupPlaces, CgroupVersion, Claim, ExitResult, ProcessIdentity, Started};

use crate::harness::{
    DEADLINE, Node, launch, launch_with, launch_without_cgroups, request, script, wait_gone,
    wait_until,
};
use crate::kit::lacks;

/// Shims that have cgroups of version 1 only.
fn launch_v1() -> Option<Node> {
    let node = launch_with(|data| {
        let found = CgroupPlaces::find(data);
        CgroupPlaces {
            trees: found.limits.clone(),
            limits: found.limits,
        }
    });
    let trees = node.cgroups.trees.as_ref()?;
    (trees.version == CgroupVersion::V1).then_some(node)
}

/// Every way there is to hold a tree by a cgroup.
fn each(test: impl Fn(Node)) {
    let node = launch();
    match &node.cgroups.trees {
        Some(base) if base.version == CgroupVersion::V2 => test(node),
        Some(_) | None => lacks("cgroups of version 2"),
    }
    match launch_v1() {
        Some(node) => test(node),
        None => lacks("cgroups of version 1"),
    }
}

fn cgroup(claim: &Claim) -> PathBuf {
    claim.cgroup.clone().expect("it has one").path
}

fn procs(dir: &std::path::Path) -> Vec<i32> {
    let text = std::fs::read_to_string(dir.join("cgroup.procs")).unwrap();
    text.lines().map(|line| line.parse().unwrap()).collect()
}

fn kill_shim(started: &Started) {
    kill(Pid::from_raw(started.shim.pid), Signal::SIGKILL).unwrap();
    wait_gone(&started.shim);
    wait_gone(&started.child);
}

/// A daemon that forked twice into a session of its own, and whoever waits for it.
fn with_daemon(node: &mut Node) -> (opsledger::shim::AttemptDir, Started, ProcessIdentity) {
    let mut ready = node.fifo("ready");
    let text = format!(
        "(setsid sh -c 'trap \"\" TERM; echo $$ > {}; exec sleep 600' &); exec sleep 600",
        ready.show()
    );
    let dir = node.send(&script("daemon", &text));
    let started = node.started();
    let daemon = ready.process();
    (dir, started, daemon)
}

#[test]
fn a_killed_shim_leaves_no_daemon_behind() {
    each(|mut node| {
        let (dir, started, daemon) = with_daemon(&mut node);
        let claim = dir.read_claim().unwrap().unwrap();
        assert!(procs(&cgroup(&claim)).contains(&daemon.pid));
        kill_shim(&started);
        assert!(daemon.is_alive_same().unwrap());
        assert_eq!(
            node.orphaned(&dir).find().unwrap(),
            std::slice::from_ref(&daemon)
        );
        let ended = node.orphaned(&dir).end(DEADLINE).unwrap();
        assert_eq!(ended.killed, std::slice::from_ref(&daemon));
        assert_eq!(ended.survivors, []);
        assert!(!daemon.is_alive_same().unwrap());
        assert!(!cgroup(&claim).exists(), "it goes with them");
    });
}

#[test]
fn without_cgroups_a_session_of_ones_own_hides_from_all_but_the_shim() {
    let mut node = launch_without_cgroups();
    let (dir, started, daemon) = with_daemon(&mut node);
    assert_eq!(dir.read_claim().unwrap().unwrap().cgroup, None);
    let Attach::Alive(shim) = attach(&started.shim).unwrap() else {
        panic!("the shim is at work");
    };
    // The shim finds it as its subreaper.
    signal_shim(&shim, Signal::SIGTERM).unwrap();
    let Attach::Alive(pidfd) = attach(&daemon).unwrap() else {
        panic!("it ignores SIGTERM");
    };
    signal_shim(&pidfd, Signal::SIGKILL).unwrap();
    node.ended();
}

#[test]
fn attempts_of_a_shim_share_its_cgroup_one_after_another_and_it_goes_with_the_shim() {
    each(|mut node| {
        let (_, first) = node.run(&request("first", &["true"]));
        let shim = first.read_claim().unwrap().unwrap();
        let second = node.send_releasing(
            &script(
                "second",
                "read _ < /proc/self/cgroup; exec cat /proc/self/cgroup",
            ),
            &[shim.by.pid],
        );
        node.started();
        node.ended();
        let claim = second.read_claim().unwrap().unwrap();
        let shown = second.read_outcome().unwrap().unwrap().stdout.tail;
        let name = cgroup(&claim);
        let name = name.file_name().unwrap().to_str().unwrap().to_owned();
        assert!(shown.contains(&name), "{shown}");
        assert_eq!(name, format!("{}.{}", claim.by.pid, claim.by.start_time));
        let Node {
            spawner,
            data: _data,
            ..
        } = node;
        assert!(spawner.shut_down().unwrap().success());
        wait_until(|| !cgroup(&shim).exists() && !cgroup(&claim).exists());
    });
}

#[test]
fn a_fork_bomb_stays_within_its_limit_and_is_ended() {
    each(|mut node| {
        if node.cgroups.limits.is_none() {
            return lacks("a pids controller");
        }
        let mut ready = node.fifo("ready");
        // A shell that can't fork gives up, and what it has made goes on.
        let text = format!(
            "trap '' TERM; (setsid sh -c 'while :; do sleep 600 & done' 2> /dev/null &); \
             echo up > {}; while :; do sleep 600 & done",
            ready.show()
        );
        let mut bomb = script("bomb", &text);
        bomb.max_processes = Some(40);
        bomb.grace_ms = 500;
        let dir = node.send(&bomb);
        node.started();
        ready.line();
        let claim = dir.read_claim().unwrap().unwrap();
        let tree = cgroup(&claim);
        // It grows to its limit, and no further: the shim may be in it too.
        wait_until(|| procs(&tree).len() >= 36 || dir.read_outcome().unwrap().is_some());
        assert!(procs(&tree).len() <= 41);
        node.ended();
        let outcome = dir.read_outcome().unwrap().unwrap();
        let ladder = outcome.ladder.unwrap();
        let most = ladder.steps.iter().map(|step| step.processes).max();
        assert!(ladder.steps.iter().any(|s| s.signal == libc::SIGKILL));
        assert!(most > Some(20), "{ladder:?}");
        let left: Vec<_> = procs(&tree);
        assert!(left.iter().all(|pid| *pid == claim.by.pid), "{left:?}");
        // And the next attempt of the same shim has no limit.
        let many = script("many", "for n in $(seq 60); do sleep 600 & done; exit 4");
        let dir = node.send_releasing(&many, &[claim.by.pid]);
        node.started();
        node.ended();
        let outcome = dir.read_outcome().unwrap().unwrap();
        assert_eq!(outcome.result, ExitResult::Exited { code: 4 });
        assert_eq!(outcome.stderr.tail, "");
    });
}

#[test]
fn a_cgroup_that_no_shim_would_have_written_down_is_not_touched() {
    each(|mut node| {
        let (dir, started, daemon) = with_daemon(&mut node);
        let mut victim = std::process::Command::new("sleep")
            .arg("600")
            .spawn()
            .unwrap();
        let trees = node.cgroups.trees.clone().unwrap();
        let foreign = trees
            .dir
            .parent()
            .unwrap()
            .join(format!("opsledger-test-foreign-{}", std::process::id()));
        std::fs::create_dir(&foreign).unwrap();
        std::fs::write(foreign.join("cgroup.procs"), victim.id().to_string()).unwrap();
        kill_shim(&started);
        let mut claim = dir.read_claim().unwrap().unwrap();
        let real = claim.clone();
        claim.cgroup.as_mut().unwrap().path.clone_from(&foreign);
        let forged = opsledger::shim::orphans::Orphaned::by(&claim, node.data.path());
        assert_eq!(forged.end(std::time::Duration::ZERO).unwrap().killed, []);
        assert!(victim.try_wait().unwrap().is_none());
        assert!(
            daemon.is_alive_same().unwrap(),
            "nor is what is in the true one"
        );
        let ended = opsledger::shim::orphans::Orphaned::by(&real, node.data.path());
        assert_eq!(
            ended.end(DEADLINE).unwrap().killed,
            std::slice::from_ref(&daemon)
        );
        victim.kill().unwrap();
        victim.wait().unwrap();
        wait_until(|| std::fs::remove_dir(&foreign).is_ok());
    });
}

#[test]
fn what_dead_shims_have_left_is_swept_and_what_is_known_is_not() {
    each(|mut node| {
        let (dir, started, daemon) = with_daemon(&mut node);
        let claim = dir.read_claim().unwrap().unwrap();
        node.cgroups.sweep(|_| false);
        assert!(daemon.is_alive_same().unwrap(), "the shim lives");
        assert!(cgroup(&claim).exists(), "the shim lives");
        kill_shim(&started);
        node.cgroups.remove_empty();
        assert!(cgroup(&claim).exists(), "it isn't empty");
        let swept = node.cgroups.sweep(|shim| *shim == claim.by);
        assert_eq!((swept.removed, swept.killed), (0, 0), "somebody's");
        assert!(daemon.is_alive_same().unwrap());
        let swept = node.cgroups.sweep(|_| false);
        assert_eq!(swept.killed, 1);
        wait_gone(&daemon);
        wait_until(|| {
            node.cgroups.remove_empty();
            !cgroup(&claim).exists()
        });
    });
}
