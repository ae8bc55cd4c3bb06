//! What `zombie-cleanup` asks of the process port, which alone knows what is in its care.

use std::time::Duration;

use nix::sys::signal::Signal;
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;

use super::{AttemptId, Event, Port};
use crate::shim::watch::signal_shim;
use crate::shim::{CgroupsSwept, ProcessStat, ProcessState};

/// How long a shim that was woken may take beyond the grace of its tree.
const WAKE_PATIENCE: Duration = Duration::from_secs(2);
/// Why an attempt is lost whose shim would not end it.
const SHIM_STOPPED: &str =
    "it ran longer than it may, and its shim was stopped: all of it was killed";
const SHIM_STUCK: &str =
    "it ran longer than it may, and its shim did nothing about it: all of it was killed";

/// What was found.
#[derive(Debug, Default)]
pub(in crate::node) struct PortSweep {
    /// Attempts in the port's care.
    pub(in crate::node) in_care: usize,
    /// Those that run longer than they may.
    pub(in crate::node) overdue: Vec<AttemptId>,
    /// Children that had ended and nobody had waited for.
    pub(in crate::node) reaped: u64,
    /// What was found of shims that have gone.
    pub(in crate::node) cgroups: CgroupsSwept,
}

impl Port {
    /// Looks after what should have ended.
    pub(super) fn sweep_all(&mut self) -> PortSweep {
        let slack = self.config.overdue_after.0.saturating_mul(1000);
        let overdue = self.tracked.iter().filter(|(_, tracked)| {
            let may = tracked.order.max_runtime.0 + tracked.order.grace.0;
            tracked.asked.elapsed().0 > may.saturating_mul(1000).saturating_add(slack)
        });
        let mut overdue: Vec<AttemptId> = overdue.map(|(id, _)| id.clone()).collect();
        overdue.sort();
        for id in &overdue {
            self.wake(id);
        }
        PortSweep {
            in_care: self.tracked.len(),
            overdue,
            reaped: self.reap_children(),
            cgroups: self.sweep_cgroups(),
        }
    }

    /// Removes the cgroups of shims that have gone and are nobody's, with all that is in them.
    pub(super) fn sweep_cgroups(&self) -> CgroupsSwept {
        let known = self
            .tracked
            .values()
            .filter_map(|tracked| tracked.shim.as_ref());
        self.config
            .cgroups
            .sweep(|shim| known.clone().any(|other| other == shim))
    }

    /// A shim ends its tree by itself, unless somebody has stopped it. So it is woken, and looked
    /// at again when it must have done so.
    fn wake(&mut self, id: &AttemptId) {
        let Some(tracked) = self.tracked.get(id) else {
            return;
        };
        let Some(watch) = &tracked.watch else {
            self.look(id);
            return;
        };
        // One that has ended meanwhile is seen anyway.
        let _ = signal_shim(&watch.pidfd, Signal::SIGCONT);
        let patience = Duration::from_millis(tracked.order.grace.0) + WAKE_PATIENCE;
        let (events, id) = (self.events.clone(), id.clone());
        tokio::spawn(async move {
            tokio::time::sleep(patience).await;
            let _ = events.send(Event::Woken(id));
        });
    }

    /// A shim was woken and its attempt is still open. One that waits for what can't be killed, or
    /// for room on the disk, does what it can; one that is stopped again, or leaves its child alone,
    /// is killed, and the child with it. What is left then is found as for any shim that was killed.
    pub(super) fn woken(&mut self, id: &AttemptId) {
        let dir = self.dir(id);
        let Some(tracked) = self.tracked.get_mut(id) else {
            return;
        };
        let (Some(shim), Some(watch)) = (&tracked.shim, &tracked.watch) else {
            return;
        };
        let stopped = ProcessStat::of(shim.pid)
            .ok()
            .flatten()
            .is_some_and(|stat| stat.state == ProcessState::Stopped);
        let idle = || {
            let dir = dir.ok()?;
            let tried = dir.read_unkillable().ok()?.is_some();
            let child = dir.read_started().ok()??.child;
            Some(!tried && child.is_alive_same().ok()?)
        };
        let why = match stopped {
            true => SHIM_STOPPED,
            false if idle() == Some(true) => SHIM_STUCK,
            false => return,
        };
        tracing::error!(task = %id.task, attempt = %id.attempt, "{why}");
        tracked.given_up = Some(why);
        let _ = signal_shim(&watch.pidfd, Signal::SIGKILL);
    }

    /// Waits for children that have ended: spawners in whose place there is another one.
    fn reap_children(&self) -> u64 {
        let spawner = self.spawning.pid();
        let mut reaped = 0;
        let threads = std::fs::read_dir("/proc/self/task").into_iter().flatten();
        for thread in threads.flatten() {
            let children = std::fs::read_to_string(thread.path().join("children"));
            for child in children.unwrap_or_default().split_whitespace() {
                let Ok(pid) = child.parse::<i32>() else {
                    continue;
                };
                let ended = || waitpid(Pid::from_raw(pid), Some(WaitPidFlag::WNOHANG));
                if u32::try_from(pid) != Ok(spawner)
                    && ended().is_ok_and(|status| status.pid().is_some())
                {
                    reaped += 1;
                }
            }
        }
        reaped
    }
}
