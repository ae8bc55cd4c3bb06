//! The shim's loop: from a running child to an empty tree.
//!
//! ```text
//!  Running ──child ended by itself──> Ended ──no one else left──────────> Reaped, tree gone
//!     │                                 └─others left─> ladder(Leftovers) ──^
//!     └──max_runtime, SIGTERM, standstill──> ladder(its cause) ─────────────^
//! ```
//!
//! Invariants:
//! - What the child did comes first: before a ladder of another cause begins, the loop looks
//!   whether the child has ended already; then there's no such ladder.
//! - The child stays unreaped while others of its tree live.
//! - The loop ends when the kernel says that this process has no children (as subreaper it then has
//!   no descendants either), and that nothing is left in the cgroup, if there's one.

use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
use std::os::fd::AsFd;

use super::announce::Announcement;
use super::capture::Capture;
use super::cgroup::Cgroup;
use super::child::Child;
use super::files::{self, AttemptFiles};
use super::identity::ProcessIdentity;
use super::ladder::{LadderRun, Outliving, Target};
use super::protocol::{Report, SpawnRequest};
use super::records::{Ladder, LadderCause, PROTOCOL_VERSION, Unkillable};
use super::report::Reporter;
use super::standstill::{Standstill, Trace};
use super::sys::{self, Children, Reaped};
use super::tree::{self, OwnChildren};

/// Most children say little: the buffer begins small and grows once when it was filled, to as much
/// as a pipe holds unless somebody enlarged it.
const FIRST_BUFFER_BYTES: usize = 2 * 1024;
const BUFFER_BYTES: usize = 64 * 1024;

/// When leftovers that must be there can't be found.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// What the loop waits on besides the pipes; made before the child, so that nothing can fail after.
pub(super) struct Alarms {
    signals: SignalFd,
    timer: TimerFd,
    /// Lists the children of this process, where the kernel has such a file.
    children: Option<OwnChildren>,
}

impl Alarms {
    /// SIGTERM and SIGCHLD (both blocked) and a timer that counts suspended time too.
    pub(super) fn new() -> nix::Result<Self> {
        let mask: SigSet = [Signal::SIGTERM, Signal::SIGCHLD].into_iter().collect();
        let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
        let signals = SignalFd::with_flags(&mask, flags)?;
        let flags = TimerFlags::TFD_CLOEXEC | TimerFlags::TFD_NONBLOCK;
        let timer = TimerFd::new(ClockId::CLOCK_BOOTTIME, flags)?;
        let children = OwnChildren::open();
        Ok(Self {
            signals,
            timer,
            children,
        })
    }

    /// As new: nothing has come, nothing is to come.
    pub(super) fn reset(&self) {
        self.term_came();
        // Fails for an unset timer only in ways that leave it unset.
        let _ = self.timer.unset();
    }

    fn set(&self, after: Duration) {
        // Zero would switch it off.
        let after = TimeSpec::from_duration(after.max(Duration::from_nanos(1)));
        // Fails for out-of-range times only; the far future then never comes, as asked.
        let _ = self
            .timer
            .set(Expiration::OneShot(after), TimerSetTimeFlags::empty());
    }

    /// Empties the signal queue; whether SIGTERM was in it.
    fn term_came(&self) -> bool {
        let mut came = false;
        while let Ok(Some(info)) = self.signals.read_signal() {
            came |= info.ssi_signo == Signal::SIGTERM as u32;
        }
        came
    }
}

/// Whose attempt it is and where things go.
pub(super) struct Scene<'a> {
    pub(super) request: &'a SpawnRequest,
    pub(super) files: &'a AttemptFiles,
    pub(super) shim: &'a ProcessIdentity,
    /// What holds its tree, if something does.
    pub(super) cgroup: Option<&'a Cgroup>,
    /// Time since boot when the attempt started.
    pub(super) start: Duration,
}

/// What the loop saw.
pub(super) struct Watched {
    pub(super) leader: Option<Reaped>,
    pub(super) ladder: Option<Ladder>,
    pub(super) stdout: Capture,
    pub(super) stderr: Capture,
}

enum Leader {
    Running,
    Ended,
    Reaped(Option<Reaped>),
}

#[derive(PartialEq, Eq)]
enum Tree {
    Alive,
    Gone,
}

/// What poll saw.
struct Wake {
    signals: bool,
    timer: bool,
    stdout: bool,
    stderr: bool,
    room: bool,
}

/// Watches `child` and its tree until nothing of it is left.
pub(super) fn supervise(
    scene: &Scene<'_>,
    child: Child,
    mut announcement: Announcement,
    alarms: &Alarms,
    reporter: &mut Reporter<'_>,
) -> Watched {
    let limit = scene.request.output_limit;
    let mut supervisor = Supervisor {
        scene,
        alarms,
        pid: child.pid,
        leader: Leader::Running,
        ladder: None,
        standstill: Standstill::of(scene.request),
        stdout: Capture::new(files::STDOUT, limit, Some(child.stdout)),
        stderr: Capture::new(files::STDERR, limit, Some(child.stderr)),
    };
    let mut buffer = vec![0; FIRST_BUFFER_BYTES];
    supervisor.set_alarm();
    loop {
        announcement.make_if_due(scene.files, reporter);
        let wake = supervisor.wait(reporter, announcement.patience());
        if wake.room {
            reporter.flush();
        }
        let mut most = 0;
        if wake.stdout {
            most = supervisor.stdout.read(scene.files, &mut buffer);
        }
        if wake.stderr {
            most = most.max(supervisor.stderr.read(scene.files, &mut buffer));
        }
        if most == FIRST_BUFFER_BYTES {
            buffer.resize(BUFFER_BYTES, 0);
        }
        if (wake.signals || wake.timer) && supervisor.act(&wake, reporter) == Tree::Gone {
            break;
        }
    }
    supervisor.stdout.drain(scene.files, &mut buffer);
    supervisor.stderr.drain(scene.files, &mut buffer);
    Watched {
        leader: match supervisor.leader {
            Leader::Reaped(reaped) => reaped,
            Leader::Running | Leader::Ended => None,
        },
        ladder: supervisor.ladder.map(LadderRun::finish),
        stdout: supervisor.stdout,
        stderr: supervisor.stderr,
    }
}

struct Supervisor<'a> {
    scene: &'a Scene<'a>,
    alarms: &'a Alarms,
    pid: i32,
    leader: Leader,
    ladder: Option<LadderRun>,
    standstill: Option<Standstill>,
    stdout: Capture,
    stderr: Capture,
}

impl Supervisor<'_> {
    fn wait(&self, reporter: &Reporter<'_>, patience: PollTimeout) -> Wake {
        let mut fds = Vec::with_capacity(5);
        fds.push(PollFd::new(self.alarms.signals.as_fd(), PollFlags::POLLIN));
        fds.push(PollFd::new(self.alarms.timer.as_fd(), PollFlags::POLLIN));
        let stdout = add(&mut fds, self.stdout.wants());
        let stderr = add(&mut fds, self.stderr.wants());
        let room = add(&mut fds, reporter.wants());
        // The only possible error is an interruption, and then nothing is ready.
        let _ = poll(&mut fds, patience);
        let ready = |index: usize| fds[index].any().unwrap_or(true);
        Wake {
            signals: ready(0),
            timer: ready(1),
            stdout: stdout.is_some_and(ready),
            stderr: stderr.is_some_and(ready),
            room: room.is_some_and(ready),
        }
    }

    fn act(&mut self, wake: &Wake, reporter: &mut Reporter<'_>) -> Tree {
        let cancel = wake.signals && self.alarms.term_came();
        if wake.timer {
            // Takes the expiration, or poll would return at once for ever.
            let _ = self.alarms.timer.wait();
        }
        if self.collect() == Tree::Gone {
            return Tree::Gone;
        }
        match &mut self.ladder {
            Some(ladder) if wake.timer => {
                let now = sys::since_boot().saturating_sub(self.scene.start);
                let target = target(self.scene, self.pid, &self.leader);
                let next = ladder.advance(target, now);
                self.alarms.set(next.pause);
                if let Some(outliving) = next.unkillable {
                    self.report_unkillable(outliving, reporter);
                }
            }
            Some(_) => {}
            None => self.begin_ladder(cancel.then_some(LadderCause::Cancel)),
        }
        Tree::Alive
    }

    /// Says on disk and to the node that something outlives SIGKILL.
    fn report_unkillable(&self, outliving: Outliving, reporter: &mut Reporter<'_>) {
        let unkillable = Unkillable {
            protocol: PROTOCOL_VERSION,
            task_id: self.scene.request.task_id.clone(),
            attempt: self.scene.request.attempt,
            shim: self.scene.shim.clone(),
            survivors: outliving.survivors,
            processes: outliving.processes,
            steps: outliving.steps,
        };
        // If it can't be kept, whoever listens now hears of it all the same.
        let _ = self.scene.files.write_unkillable(&unkillable);
        reporter.send(&Report::Unkillable(unkillable));
    }

    /// For a child that runs and nothing else: its limits.
    fn set_alarm(&self) {
        let limit = Duration::from_millis(self.scene.request.max_runtime_ms);
        let left = limit.saturating_sub(self.runtime());
        let look = self.standstill.as_ref().map(Standstill::pause);
        self.alarms.set(look.map_or(left, |look| left.min(look)));
    }

    fn runtime(&self) -> Duration {
        sys::since_boot().saturating_sub(self.scene.start)
    }

    /// Which limit has been reached.
    fn overdue(&mut self) -> Option<LadderCause> {
        if self.runtime() >= Duration::from_millis(self.scene.request.max_runtime_ms) {
            return Some(LadderCause::MaxRuntime);
        }
        let written = self.stdout.total() + self.stderr.total();
        let standstill = self.standstill.as_mut()?;
        let trace = Trace::take(self.scene.cgroup, self.scene.shim.pid, written);
        standstill.is_over(trace).then_some(LadderCause::Stalled)
    }

    fn begin_ladder(&mut self, asked: Option<LadderCause>) {
        let cause = match self.leader {
            Leader::Running => asked.or_else(|| self.overdue()),
            Leader::Ended | Leader::Reaped(_) => Some(LadderCause::Leftovers),
        };
        let Some(cause) = cause else {
            self.set_alarm();
            return;
        };
        let now = self.runtime();
        self.ladder = LadderRun::begin(target(self.scene, self.pid, &self.leader), cause, now);
        self.alarms.set(match self.ladder {
            Some(_) => Duration::from_millis(self.scene.request.grace_ms),
            // They've ended just now and wait to be reaped, or could not be seen.
            None => LOOK_AGAIN,
        });
    }

    /// Reaps whatever has ended, the leader last.
    fn collect(&mut self) -> Tree {
        while matches!(self.leader, Leader::Running) {
            match sys::peek_children() {
                Ok(Children::Ended(pid)) if pid == self.pid => self.leader = Leader::Ended,
                Ok(Children::Ended(pid)) if sys::reap(pid).is_ok() => {}
                _ => return Tree::Alive,
            }
        }
        if matches!(self.leader, Leader::Ended) {
            let others = self.alarms.children.as_ref().and_then(OwnChildren::list);
            let others = others.unwrap_or_else(|| tree::children(self.scene.shim.pid));
            let lives = |&pid: &i32| pid != self.pid && matches!(sys::reap(pid), Ok(None));
            // Counts all of them: each look also reaps.
            if others.iter().filter(|pid| lives(pid)).count() > 0 {
                return Tree::Alive;
            }
            self.leader = Leader::Reaped(sys::reap(self.pid).ok().flatten());
        }
        loop {
            match sys::peek_children() {
                // Who is in the cgroup and no descendant was put there, and goes too.
                Ok(Children::None) => {
                    let left = self.scene.cgroup.map(Cgroup::is_populated);
                    return match left {
                        Some(Ok(true)) => Tree::Alive,
                        Some(Ok(false) | Err(_)) | None => Tree::Gone,
                    };
                }
                Ok(Children::Ended(pid)) if sys::reap(pid).is_ok() => {}
                _ => return Tree::Alive,
            }
        }
    }
}

/// Adds `fd`, if there's one, and says where.
fn add<'a>(fds: &mut Vec<PollFd<'a>>, fd: Option<PollFd<'a>>) -> Option<usize> {
    let index = fd.is_some().then_some(fds.len());
    fds.extend(fd);
    index
}

fn target<'a>(scene: &Scene<'a>, pid: i32, leader: &Leader) -> Target<'a> {
    let certain = matches!(leader, Leader::Running | Leader::Ended);
    Target {
        root: scene.shim.pid,
        group: certain.then_some(pid),
        cgroup: scene.cgroup,
    }
}
