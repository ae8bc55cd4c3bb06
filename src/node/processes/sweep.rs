//! What `zombie-cleanup` asks of the process port, which alone knows what is in its care.

use nix::sys::signal::Signal;
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;

use super::{AttemptId, Port};
use crate::shim::watch::signal_shim;

/// How much longer than it may an attempt runs before its shim is taken to be asleep.
const SLACK_US: u64 = 60_000_000;

/// What was found.
#[derive(Debug, Default)]
pub(in crate::node) struct PortSweep {
    /// Attempts in the port's care.
    pub(in crate::node) in_care: usize,
    /// Those that run longer than they may.
    pub(in crate::node) overdue: Vec<AttemptId>,
    /// Children that had ended and nobody had waited for.
    pub(in crate::node) reaped: u64,
}

impl Port {
    /// Looks after what should have ended.
    pub(super) fn sweep_all(&mut self) -> PortSweep {
        let overdue = self.tracked.iter().filter(|(_, tracked)| {
            let may = tracked.order.max_runtime.0 + tracked.order.grace.0;
            tracked.asked.elapsed().0 > may.saturating_mul(1000).saturating_add(SLACK_US)
        });
        let mut overdue: Vec<AttemptId> = overdue.map(|(id, _)| id.clone()).collect();
        overdue.sort();
        for id in &overdue {
            let watch = self
                .tracked
                .get(id)
                .and_then(|tracked| tracked.watch.as_ref());
            match watch {
                // A shim ends its tree by itself, unless somebody has stopped it.
                Some(watch) => drop(signal_shim(&watch.pidfd, Signal::SIGCONT)),
                None => self.look(id),
            }
        }
        PortSweep {
            in_care: self.tracked.len(),
            overdue,
            reaped: self.reap_children(),
        }
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
