//! Trees and ladders on real processes, which are waited for and never left behind.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use super::super::decide::micros;
use super::super::ladder::{LadderRun, Outcome};
use super::super::sample::{of_ticks, since_boot};
use super::super::tree::{Snapshot, Spared, Tree};
use crate::shim::ProcessIdentity;

/// A shell that leads its own group, and what it says. Dropping it kills all of the group.
pub(super) struct Shell {
    child: Child,
    says: BufReader<ChildStdout>,
}

impl Shell {
    pub(super) fn run(script: &str) -> Self {
        let mut child = Command::new("sh")
            .args(["-c", script])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .process_group(0)
            .spawn()
            .unwrap();
        let says = BufReader::new(child.stdout.take().unwrap());
        Self { child, says }
    }

    pub(super) fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).unwrap()
    }

    pub(super) fn identity(&self) -> ProcessIdentity {
        ProcessIdentity::of(self.pid()).unwrap().unwrap()
    }

    /// The signal that has ended it; nothing if it goes on.
    pub(super) fn ended(&mut self) -> Option<i32> {
        self.child.try_wait().unwrap()?.signal()
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.says.read_line(&mut line).unwrap();
        line.trim().to_owned()
    }

    fn pid_said(&mut self) -> i32 {
        self.line().parse().unwrap()
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        let _ = nix::sys::signal::killpg(
            nix::unistd::Pid::from_raw(self.pid()),
            nix::sys::signal::Signal::SIGKILL,
        );
        let _ = self.child.wait();
    }
}

fn tree(shell: &Shell, spared: Spared) -> Tree {
    let mut tree = Tree::new(shell.identity(), spared);
    tree.refresh(&Snapshot::take());
    tree
}

#[test]
fn a_tree_is_the_group_and_all_below_it() {
    // One in the group, one below it in a session of its own.
    let mut shell =
        Shell::run("sleep 600 & echo $!; setsid sh -c 'echo $$; exec sleep 600' & wait");
    let (a, b) = (shell.pid_said(), shell.pid_said());
    let found: BTreeSet<i32> = tree(&shell, Spared::default()).pids().into_iter().collect();
    assert!(
        found.is_superset(&BTreeSet::from([shell.pid(), a, b])),
        "{found:?}"
    );
    // The one that left the group is killed by whoever holds it, not by the group.
    let other = ProcessIdentity::of(b).unwrap().unwrap();
    kill(&other);
}

fn kill(identity: &ProcessIdentity) {
    use crate::shim::watch::{Attach, attach, signal_shim};
    if let Attach::Alive(pidfd) = attach(identity).unwrap() {
        signal_shim(&pidfd, nix::sys::signal::Signal::SIGKILL).unwrap();
    }
}

#[test]
fn who_is_spared_is_not_of_the_tree_nor_is_its_group_signaled() {
    let mut shell = Shell::run("sleep 600 & echo $!; wait");
    let child = shell.pid_said();
    let start = ProcessIdentity::of(child).unwrap().unwrap().start_time;
    let attended = BTreeSet::from([(child, start)]);
    let spared = Spared {
        own: Vec::new(),
        attended,
    };
    let mut tree = tree(&shell, spared);
    assert_eq!(tree.pids(), [shell.pid()]);
    let snapshot = Snapshot::take();
    let reached = tree.signal(nix::sys::signal::Signal::SIGKILL, &snapshot);
    assert_eq!(reached, 1);
    assert_eq!(shell.child.wait().unwrap().signal(), Some(9));
    let spared = ProcessIdentity::of(child).unwrap().unwrap();
    assert!(spared.is_alive_same().unwrap());
    kill(&spared);
}

#[test]
fn a_number_that_is_another_process_by_now_is_never_signaled() {
    let shell = Shell::run("echo; exec sleep 600");
    let mut was = shell.identity();
    // As if the one that was watched had been started before.
    was.start_time -= 1;
    let mut tree = Tree::new(was.clone(), Spared::default());
    let snapshot = Snapshot::take();
    tree.refresh(&snapshot);
    assert!(tree.is_gone());
    assert_eq!(tree.signal(nix::sys::signal::Signal::SIGKILL, &snapshot), 0);
    let now = since_boot();
    let mut ladder = LadderRun::new(tree, of_ticks(was.start_time), Duration::ZERO, now);
    assert_eq!(ladder.advance(&Snapshot::take(), now), Outcome::Gone);
    assert!(ladder.into_steps().is_empty());
    assert!(shell.identity().is_alive_same().unwrap());
}

#[test]
fn one_that_ignores_sigterm_is_killed_after_its_grace_and_not_before() {
    let mut shell = Shell::run("trap '' TERM; echo ready; while :; do sleep 600; done");
    assert_eq!(shell.line(), "ready");
    let identity = shell.identity();
    let tree = Tree::new(identity.clone(), Spared::default());
    let start = since_boot();
    let grace = Duration::from_secs(5);
    let started = of_ticks(identity.start_time);
    let mut ladder = LadderRun::new(tree, started, grace, start);
    assert_eq!(ladder.advance(&Snapshot::take(), start), Outcome::GoesOn);
    let early = start + grace - Duration::from_millis(1);
    assert_eq!(ladder.advance(&Snapshot::take(), early), Outcome::GoesOn);
    assert_eq!(ladder.steps().len(), 1, "{:?}", ladder.steps());
    assert!(identity.is_alive_same().unwrap());
    assert_eq!(
        ladder.advance(&Snapshot::take(), start + grace),
        Outcome::GoesOn
    );
    assert_eq!(shell.child.wait().unwrap().signal(), Some(9));
    let mut outcome = Outcome::GoesOn;
    while outcome == Outcome::GoesOn {
        outcome = ladder.advance(&Snapshot::take(), start + grace);
    }
    assert_eq!(outcome, Outcome::Gone);
    let steps = ladder.into_steps();
    let signals: Vec<_> = steps.iter().map(|step| step.signal.as_str()).collect();
    assert_eq!(signals, ["SIGTERM", "SIGKILL"]);
    assert!(steps[1].after_us.0 - steps[0].after_us.0 >= 5_000_000);
}

#[test]
fn a_ladder_that_was_begun_goes_on_and_gives_no_new_grace() {
    // How long ago it was begun, and how much grace is left of five seconds.
    for (ago, left) in [(3, 2_000), (0, 5_000), (3_600, 1_000)] {
        let mut shell = Shell::run("trap '' TERM; echo ready; while :; do sleep 600; done");
        assert_eq!(shell.line(), "ready");
        let tree = Tree::new(shell.identity(), Spared::default());
        let now = since_boot();
        let (ago, left) = (Duration::from_secs(ago), Duration::from_millis(left));
        let begun = now.saturating_sub(ago);
        let started = begun.saturating_sub(Duration::from_secs(7));
        let mut ladder = LadderRun::new(tree, started, Duration::from_secs(5), now);
        ladder.goes_on_from(begun);
        for at in [now, now + left - Duration::from_millis(1)] {
            assert_eq!(ladder.advance(&Snapshot::take(), at), Outcome::GoesOn);
            assert_eq!(ladder.steps().len(), 1, "{ago:?}");
        }
        assert_eq!(ladder.steps()[0].after_us, micros(begun - started));
        ladder.advance(&Snapshot::take(), now + left);
        assert_eq!(ladder.steps().len(), 2, "{ago:?}");
        assert_eq!(shell.child.wait().unwrap().signal(), Some(9));
    }
}

#[test]
fn one_that_heeds_sigterm_is_never_killed() {
    let mut shell = Shell::run("echo ready; exec sleep 600");
    assert_eq!(shell.line(), "ready");
    let tree = Tree::new(shell.identity(), Spared::default());
    let mut ladder = LadderRun::new(tree, Duration::ZERO, Duration::from_secs(5), since_boot());
    assert_eq!(
        ladder.advance(&Snapshot::take(), since_boot()),
        Outcome::GoesOn
    );
    assert_eq!(shell.child.wait().unwrap().signal(), Some(15));
    assert_eq!(
        ladder.advance(&Snapshot::take(), since_boot()),
        Outcome::Gone
    );
    assert_eq!(ladder.into_steps().len(), 1);
}

#[test]
fn one_that_is_stopped_goes_on_so_that_it_sees_sigterm() {
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
    use std::os::fd::AsFd;

    let mut shell = Shell::run("trap 'echo bye; exit 0' TERM; kill -STOP $$; echo never");
    let pid = nix::unistd::Pid::from_raw(shell.pid());
    let stopped = waitpid(pid, Some(WaitPidFlag::WUNTRACED)).unwrap();
    assert!(matches!(stopped, WaitStatus::Stopped(..)), "{stopped:?}");
    let tree = Tree::new(shell.identity(), Spared::default());
    let mut ladder = LadderRun::new(tree, Duration::ZERO, Duration::from_secs(60), since_boot());
    ladder.advance(&Snapshot::take(), since_boot());
    let mut said = [PollFd::new(shell.says.get_ref().as_fd(), PollFlags::POLLIN)];
    let patience = PollTimeout::try_from(Duration::from_secs(30)).unwrap();
    assert_eq!(poll(&mut said, patience), Ok(1), "it stands still");
    assert_eq!(shell.line(), "bye");
    assert_eq!(shell.child.wait().unwrap().code(), Some(0));
    let signals: Vec<_> = ladder.into_steps();
    let signals: Vec<_> = signals.iter().map(|step| step.signal.as_str()).collect();
    assert_eq!(signals, ["SIGTERM"]);
}
