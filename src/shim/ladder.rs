//! The ladder that ends a tree: SIGTERM to all of it, grace, SIGKILL to what is left, again and
//! again until nothing is.
//!
//! The group is signaled as a whole, which no fork can outrun, and only while its leader is
//! unreaped (the caller says so), so that the id is surely still ours. Processes that have left
//! the group are signaled singly, each held by a pidfd. SIGKILL is recorded only if it was sent.

use std::collections::BTreeMap;
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use super::identity::{ProcessIdentity, ProcessStat};
use super::records::{Ladder, LadderCause, LadderStep};
use super::tree;

/// Between SIGKILL and the first look for what it missed; doubled from look to look.
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// What outlives SIGKILL for so long is reported as unkillable.
const KILL_PATIENCE: Duration = Duration::from_secs(2);

/// More survivors than this aren't listed.
const MAX_SURVIVORS: usize = 32;

/// The tree, as far as the ladder must know it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Target {
    /// The shim.
    pub(super) root: i32,
    /// The child's group, while its id is certain.
    pub(super) group: Option<i32>,
}

#[derive(Debug)]
enum Stage {
    Asked,
    Killing { since: Duration, pause: Duration },
}

/// A ladder in progress. Times are since the start of the attempt.
#[derive(Debug)]
pub(super) struct LadderRun {
    record: Ladder,
    stage: Stage,
    /// Whom SIGKILL was sent to, by pid: start time.
    killed: BTreeMap<i32, u64>,
}

/// What the caller does after a step.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Next {
    /// Call [`LadderRun::advance`] after this time, if the tree isn't gone by then.
    pub(super) pause: Duration,
    /// Processes found unkillable just now; to be reported once.
    pub(super) unkillable: Vec<ProcessIdentity>,
}

impl LadderRun {
    /// Begins with SIGTERM. `None` if there are no leftovers to end. (The other causes come with a
    /// child that runs, whether or not it can be seen in `/proc`.)
    pub(super) fn begin(target: Target, cause: LadderCause, now: Duration) -> Option<Self> {
        let members = tree::descendants(target.root);
        if members.is_empty() && cause == LadderCause::Leftovers {
            return None;
        }
        let record = Ladder {
            cause,
            steps: Vec::new(),
            survivors: Vec::new(),
        };
        let mut ladder = Self {
            record,
            stage: Stage::Asked,
            killed: BTreeMap::new(),
        };
        let reached = send(target, &members, Signal::SIGTERM).len();
        let unseen = usize::from(members.is_empty());
        ladder.count(Signal::SIGTERM, reached.max(unseen), now);
        Some(ladder)
    }

    /// Goes on: SIGKILL to whatever is there now.
    pub(super) fn advance(&mut self, target: Target, now: Duration) -> Next {
        let members = tree::descendants(target.root);
        let is_new = |stat: &&ProcessStat| self.killed.get(&stat.pid) != Some(&stat.start_time);
        let fresh: Vec<ProcessStat> = members.iter().filter(is_new).cloned().collect();
        let reached = send(target, &fresh, Signal::SIGKILL);
        self.count(Signal::SIGKILL, reached.len(), now);
        self.killed.extend(reached);
        let (since, pause) = match self.stage {
            Stage::Asked => (now, FIRST_PAUSE),
            Stage::Killing { since, pause } => (since, (pause * 2).min(LONGEST_PAUSE)),
        };
        self.stage = Stage::Killing { since, pause };
        let overdue = now.saturating_sub(since) >= KILL_PATIENCE;
        let mut unkillable = Vec::new();
        if overdue && self.record.survivors.is_empty() {
            let identities = members.iter().filter_map(|stat| stat.identity().ok());
            unkillable.extend(identities.take(MAX_SURVIVORS));
            self.record.survivors.clone_from(&unkillable);
        }
        Next { pause, unkillable }
    }

    /// What was done.
    pub(super) fn finish(self) -> Ladder {
        self.record
    }

    fn count(&mut self, signal: Signal, processes: usize, now: Duration) {
        let processes = u32::try_from(processes).unwrap_or(u32::MAX);
        let signal = signal as i32;
        if processes == 0 {
            return;
        }
        match self
            .record
            .steps
            .iter_mut()
            .find(|step| step.signal == signal)
        {
            Some(step) => step.processes = step.processes.saturating_add(processes),
            None => {
                let after_us = u64::try_from(now.as_micros()).unwrap_or(u64::MAX);
                self.record.steps.push(LadderStep {
                    signal,
                    after_us,
                    processes,
                });
            }
        }
    }
}

/// Signals the group at once and the others of `members` singly; returns whom it reached.
fn send(target: Target, members: &[ProcessStat], signal: Signal) -> Vec<(i32, u64)> {
    let in_group = |stat: &ProcessStat| target.group == Some(stat.group);
    let group_reached = match target.group {
        // Even with no member in sight: the sample may have missed one.
        Some(group) if group > 1 => killpg(Pid::from_raw(group), signal).is_ok(),
        Some(_) | None => false,
    };
    let reached = |stat: &&ProcessStat| {
        if in_group(stat) && group_reached {
            return true;
        }
        let identity = stat.identity();
        identity.is_ok_and(|identity| tree::signal(&identity, signal as i32).unwrap_or(false))
    };
    members
        .iter()
        .filter(reached)
        .map(|stat| (stat.pid, stat.start_time))
        .collect()
}
