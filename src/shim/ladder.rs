//! The ladder that ends a tree: SIGTERM to all of it (and SIGCONT, which is not recorded: a stopped
//! process would not see the end coming), grace, SIGKILL to what is left, again and again until
//! nothing is.
//!
//! The group is signaled as a whole, which no fork can outrun, and only while its leader is
//! unreaped (the caller says so), so that the id is surely still ours. Processes that have left
//! the group are signaled singly, each held by a pidfd. With a cgroup, SIGKILL goes to all in it at
//! once, and those whom nobody else can find are found by it. SIGKILL is recorded only if it was
//! sent.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::{Pid, getpgid};

use super::cgroup::Cgroup;
use super::identity::{ProcessIdentity, ProcessStat};
use super::records::{Ladder, LadderCause, LadderStep, Survivor};
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
pub(super) struct Target<'a> {
    /// The shim.
    pub(super) root: i32,
    /// The child's group, while its id is certain.
    pub(super) group: Option<i32>,
    /// What holds the tree, if something does.
    pub(super) cgroup: Option<&'a Cgroup>,
}

impl Target<'_> {
    /// All of the tree that can be seen.
    fn members(&self) -> Members {
        let stats = tree::descendants(self.root);
        let known: BTreeSet<i32> = stats.iter().map(|stat| stat.pid).collect();
        let pids = self.cgroup.and_then(|cgroup| cgroup.pids().ok());
        let others = pids.unwrap_or_default().into_iter();
        Members {
            stats,
            others: others.filter(|pid| !known.contains(pid)).collect(),
        }
    }
}

/// The processes of a tree at a moment.
struct Members {
    /// Those that descend from the shim, as `/proc` shows them.
    stats: Vec<ProcessStat>,
    /// Those of which only the cgroup tells: `/proc` can't be read, or they came from elsewhere.
    others: Vec<i32>,
}

impl Members {
    fn is_empty(&self) -> bool {
        self.stats.is_empty() && self.others.is_empty()
    }

    fn count(&self) -> usize {
        self.stats.len() + self.others.len()
    }

    fn survivors(&self) -> Vec<Survivor> {
        let seen = self.stats.iter().filter_map(|stat| {
            Some(Survivor {
                identity: stat.identity().ok()?,
                state: stat.letter,
            })
        });
        let others = self.others.iter().filter_map(|&pid| {
            let stat = ProcessStat::of(pid).ok().flatten();
            let start_time = stat.as_ref().map_or(0, |stat| stat.start_time);
            Some(Survivor {
                identity: ProcessIdentity {
                    pid,
                    start_time,
                    boot_id: super::identity::boot_id().ok()?.to_owned(),
                },
                state: stat.map_or('?', |stat| stat.letter),
            })
        });
        seen.chain(others).take(MAX_SURVIVORS).collect()
    }
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
    /// Whom SIGKILL was sent to, by pid: start time, or 0 where that is not known.
    killed: BTreeMap<i32, u64>,
}

/// What the caller does after a step.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Next {
    /// Call [`LadderRun::advance`] after this time, if the tree isn't gone by then.
    pub(super) pause: Duration,
    /// What outlives SIGKILL, found just now; to be reported once.
    pub(super) unkillable: Option<Outliving>,
}

/// Who outlives SIGKILL.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Outliving {
    /// The first of them.
    pub(super) survivors: Vec<Survivor>,
    /// How many there are.
    pub(super) processes: u32,
    /// What was sent so far.
    pub(super) steps: Vec<LadderStep>,
}

impl LadderRun {
    /// Begins with SIGTERM to all. `None` if that's to be for the sake of leftovers and there are
    /// none.
    pub(super) fn begin(target: Target<'_>, cause: LadderCause, now: Duration) -> Option<Self> {
        let members = target.members();
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
        // Who is stopped hears of it only now; nobody else minds.
        send(target, &members, Signal::SIGCONT);
        Some(ladder)
    }

    /// Goes on: SIGKILL to whatever is there now.
    pub(super) fn advance(&mut self, target: Target<'_>, now: Duration) -> Next {
        let members = target.members();
        let is_new = |pid, start_time| self.killed.get(&pid) != Some(&start_time);
        let stats = members.stats.iter();
        let stats = stats.filter(|stat| is_new(stat.pid, stat.start_time));
        let others = members.others.iter().copied();
        let fresh = Members {
            stats: stats.cloned().collect(),
            others: others.filter(|&pid| is_new(pid, 0)).collect(),
        };
        let reached = kill(target, &fresh);
        self.count(Signal::SIGKILL, reached.len(), now);
        self.killed.extend(reached);
        let (since, pause) = match self.stage {
            Stage::Asked => (now, FIRST_PAUSE),
            Stage::Killing { since, pause } => (since, (pause * 2).min(LONGEST_PAUSE)),
        };
        self.stage = Stage::Killing { since, pause };
        let overdue = now.saturating_sub(since) >= KILL_PATIENCE;
        let unkillable = (overdue && self.record.survivors.is_empty() && !members.is_empty())
            .then(|| self.outliving(&members));
        Next { pause, unkillable }
    }

    fn outliving(&mut self, members: &Members) -> Outliving {
        let survivors = members.survivors();
        let identities = survivors.iter().map(|survivor| survivor.identity.clone());
        self.record.survivors = identities.collect();
        Outliving {
            survivors,
            processes: u32::try_from(members.count()).unwrap_or(u32::MAX),
            steps: self.record.steps.clone(),
        }
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

/// SIGKILL to all of the tree, and first to what is in its cgroup, at once; returns whom of
/// `members` it reached.
fn kill(target: Target<'_>, members: &Members) -> Vec<(i32, u64)> {
    let Some(cgroup) = target.cgroup else {
        return send(target, members, Signal::SIGKILL);
    };
    // Before the kill: who is killed by it is not there any more to be asked.
    let inside = cgroup.pids().unwrap_or_default();
    let killed = cgroup.kill().is_ok();
    let is_done = |pid: &i32| killed && inside.contains(pid);
    let done = members.stats.iter().filter(|stat| is_done(&stat.pid));
    let mut reached: Vec<_> = done.map(|stat| (stat.pid, stat.start_time)).collect();
    let unseen = members.others.iter().filter(|pid| is_done(pid));
    reached.extend(unseen.map(|&pid| (pid, 0)));
    let left = Members {
        stats: members
            .stats
            .iter()
            .filter(|stat| !is_done(&stat.pid))
            .cloned()
            .collect(),
        others: Vec::new(),
    };
    reached.extend(send(target, &left, Signal::SIGKILL));
    reached
}

/// Signals the group at once and the others of `members` singly; returns whom it reached.
fn send(target: Target<'_>, members: &Members, signal: Signal) -> Vec<(i32, u64)> {
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
    let mut all: Vec<_> = members
        .stats
        .iter()
        .filter(reached)
        .map(|stat| (stat.pid, stat.start_time))
        .collect();
    if members.others.is_empty() {
        return all;
    }
    // The kernel tells the group without /proc.
    let in_group = |pid| {
        let group = getpgid(Some(Pid::from_raw(pid)));
        group_reached && group.is_ok_and(|group| Some(group.as_raw()) == target.group)
    };
    let held = target.cgroup.and_then(|cgroup| cgroup.members().ok());
    for member in held.unwrap_or_default() {
        let wanted = members.others.contains(&member.pid);
        if wanted && (in_group(member.pid) || member.signal(signal as i32).is_ok()) {
            all.push((member.pid, 0));
        }
    }
    all
}
