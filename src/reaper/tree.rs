//! What belongs to a watched process, found in `/proc`, and signaling it without hitting another.
//!
//! A walk is a sample of what changes while it is looked at, so whoever must reach all repeats it.
//! Who was found once is held by a pidfd until it has gone, whoever its parent is by then. A group's
//! number counts only while somebody of the group who is held lives: as long as that is so, the kernel
//! gives the number to no other group.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::os::fd::{AsFd, OwnedFd};

use ledger_core::event::Survivor;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;

use super::sample::Sample;
use super::sys;
use crate::shim::ProcessIdentity;
use crate::shim::watch::{Attach, attach, signal_shim};

/// Most processes that one watched process may have below it and still be ended with all of them.
const MAX_MEMBERS: usize = 4096;

/// All processes of one moment.
#[derive(Debug, Default)]
pub(super) struct Snapshot {
    all: BTreeMap<i32, Sample>,
    children: HashMap<i32, Vec<i32>>,
    groups: HashMap<i32, Vec<i32>>,
}

impl Snapshot {
    /// Looks at all of them.
    pub(super) fn take() -> Self {
        let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
        let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        Self::of(pids.filter_map(|pid: i32| Sample::of(pid).ok().flatten()))
    }

    fn of(samples: impl Iterator<Item = Sample>) -> Self {
        let mut snapshot = Self::default();
        for sample in samples {
            let stat = &sample.stat;
            snapshot
                .children
                .entry(stat.parent)
                .or_default()
                .push(stat.pid);
            snapshot
                .groups
                .entry(stat.group)
                .or_default()
                .push(stat.pid);
            snapshot.all.insert(stat.pid, sample);
        }
        snapshot
    }

    fn is_in(&self, pid: i32, group: i32) -> bool {
        let sample = self.all.get(&pid);
        sample.is_some_and(|sample| sample.stat.group == group)
    }

    /// The processes of these numbers and all below them; nobody in `spared`, nor below those.
    fn closure(&self, roots: &BTreeSet<i32>, spared: &Spared) -> BTreeSet<i32> {
        let mut found = BTreeSet::new();
        let mut next: Vec<i32> = roots.iter().copied().collect();
        while let Some(pid) = next.pop() {
            let is_spared = self
                .all
                .get(&pid)
                .is_none_or(|sample| spared.spares(sample));
            if is_spared || found.len() >= MAX_MEMBERS || !found.insert(pid) {
                continue;
            }
            next.extend(self.children.get(&pid).into_iter().flatten());
        }
        found
    }
}

/// Who is never signaled, whatever it belongs to.
#[derive(Debug, Clone, Default)]
pub(super) struct Spared {
    /// The node and all above it.
    pub(super) own: Vec<i32>,
    /// Pid and start time of shims and what they look after.
    pub(super) attended: BTreeSet<(i32, u64)>,
}

impl Spared {
    fn spares(&self, sample: &Sample) -> bool {
        let stat = &sample.stat;
        stat.pid <= 1
            || sample.stat.kernel
            || self.own.contains(&stat.pid)
            || self.attended.contains(&(stat.pid, stat.start_time))
    }
}

/// One that is held.
#[derive(Debug)]
struct Member {
    start_time: u64,
    pidfd: OwnedFd,
}

/// What belongs to a watched process.
#[derive(Debug)]
pub(super) struct Tree {
    leader: ProcessIdentity,
    spared: Spared,
    /// Those that live, as far as is known, by pid.
    members: BTreeMap<i32, Member>,
    /// Whether the system has refused to signal the watched process itself.
    refused: bool,
}

impl Tree {
    pub(super) fn new(leader: ProcessIdentity, spared: Spared) -> Self {
        Self {
            leader,
            spared,
            members: BTreeMap::new(),
            refused: false,
        }
    }

    /// Takes up who has come, and drops who has gone.
    pub(super) fn refresh(&mut self, snapshot: &Snapshot) {
        self.drop_ended();
        let mut roots: BTreeSet<i32> = self.members.keys().copied().collect();
        // Its number may be another's by now.
        if self.sees_leader(snapshot) {
            roots.insert(self.leader.pid);
        }
        // A group may be taken for the leader's only if it is led by it.
        if self.leads_its_group(snapshot) {
            roots.extend(snapshot.groups.get(&self.leader.pid).into_iter().flatten());
        }
        for pid in snapshot.closure(&roots, &self.spared) {
            self.take_up(pid, snapshot);
        }
        self.drop_ended();
    }

    /// Holds a process if it is still the one of the snapshot.
    fn take_up(&mut self, pid: i32, snapshot: &Snapshot) {
        let Some(sample) = snapshot.all.get(&pid) else {
            return;
        };
        let stat = &sample.stat;
        if let Some(member) = self.members.get(&pid)
            && member.start_time == stat.start_time
        {
            return;
        }
        let identity = ProcessIdentity {
            start_time: stat.start_time,
            pid,
            boot_id: self.leader.boot_id.clone(),
        };
        if let Ok(Attach::Alive(pidfd)) = attach(&identity) {
            let member = Member {
                start_time: stat.start_time,
                pidfd,
            };
            self.members.insert(pid, member);
        }
    }

    /// Whether the group that has the leader's number is surely its own, and nobody in it is spared.
    fn leads_its_group(&self, snapshot: &Snapshot) -> bool {
        let group = self.leader.pid;
        let is_own = (self.sees_leader(snapshot) && snapshot.is_in(group, group))
            || self.members.keys().any(|pid| snapshot.is_in(*pid, group));
        let in_group = snapshot.groups.get(&group).into_iter().flatten();
        let spares = |pid: &i32| {
            let sample = snapshot.all.get(pid);
            sample.is_some_and(|sample| self.spared.spares(sample))
        };
        is_own && !in_group.into_iter().any(spares)
    }

    fn sees_leader(&self, snapshot: &Snapshot) -> bool {
        let seen = snapshot.all.get(&self.leader.pid);
        seen.is_some_and(|sample| sample.stat.start_time == self.leader.start_time)
    }

    fn drop_ended(&mut self) {
        let held: Vec<i32> = self.members.keys().copied().collect();
        let mut fds: Vec<PollFd<'_>> = self
            .members
            .values()
            .map(|member| PollFd::new(member.pidfd.as_fd(), PollFlags::POLLIN))
            .collect();
        if fds.is_empty() || poll(&mut fds, PollTimeout::ZERO).is_err() {
            return;
        }
        let ended: Vec<i32> = held
            .into_iter()
            .zip(&fds)
            .filter(|(_, fd)| fd.revents().is_some_and(|events| !events.is_empty()))
            .map(|(pid, _)| pid)
            .collect();
        for pid in ended {
            self.members.remove(&pid);
        }
    }

    /// Sends a signal to all; returns how many it reached.
    pub(super) fn signal(&mut self, signal: Signal, snapshot: &Snapshot) -> u32 {
        let leader = self.leader.pid;
        // At once, so that no fork can outrun it; only the leader's own descriptor stands for it.
        let group_reached = self.leads_its_group(snapshot)
            && self.members.get(&leader).is_some_and(|member| {
                snapshot.is_in(leader, leader)
                    && sys::signal_group(member.pidfd.as_fd(), signal).is_ok()
            });
        let mut reached = 0;
        for (pid, member) in &self.members {
            if group_reached && snapshot.is_in(*pid, leader) {
                reached += 1;
                continue;
            }
            match signal_shim(&member.pidfd, signal) {
                Ok(()) => reached += 1,
                Err(error) if error.raw_os_error() == Some(libc::EPERM) && *pid == leader => {
                    self.refused = true;
                }
                // It has gone meanwhile.
                Err(_) => {}
            }
        }
        reached
    }

    /// Whether the system refuses to have the watched process signaled.
    pub(super) fn is_refused(&self) -> bool {
        self.refused
    }

    /// Whether nothing of it is left.
    pub(super) fn is_gone(&self) -> bool {
        self.members.is_empty()
    }

    /// What is left of it.
    pub(super) fn survivors(&self, most: usize) -> Vec<Survivor> {
        let members = self.members.iter().take(most);
        let survivors = members.map(|(pid, member)| Survivor {
            pid: *pid,
            start_time: member.start_time,
            state: Sample::of(*pid)
                .ok()
                .flatten()
                .map_or('?', |sample| sample.stat.letter),
        });
        survivors.collect()
    }

    /// Pids of its members.
    #[cfg(test)]
    pub(super) fn pids(&self) -> Vec<i32> {
        self.members.keys().copied().collect()
    }
}
