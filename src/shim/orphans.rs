//! What is left of an attempt whose shim was itself killed.
//!
//! The child dies with its shim, but its own children don't. Where the shim had a cgroup, which it
//! wrote into its claim, all of them are in it, whatever they did since. They're also found by their
//! session, which the shim made and led: a number that is in use as a session id isn't handed out
//! as a pid, so as long as one of them lives, all processes of that session are the attempt's.
//!
//! Limits: without a cgroup, a process that made a session of its own is not found. And if all
//! have gone, the number may by now be that of a stranger's session. While that session's leader
//! lives, it is seen and nobody is touched; so look soon after the shim's death, not days later.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::cgroup::Cgroup;
use super::error::IdentityError;
use super::identity::{ProcessIdentity, ProcessStat, boot_id};
use super::records::{Claim, Survivor};
use super::{sys, tree};

/// Whose orphans are looked for: those of the shim that took a claim.
#[derive(Debug)]
pub struct Orphaned {
    shim: ProcessIdentity,
    cgroup: Option<Cgroup>,
}

impl Orphaned {
    /// Of the shim that took `claim` in the ledger in `data_dir`. A cgroup that no such shim would have
    /// written down is not looked at.
    pub fn by(claim: &Claim, data_dir: &Path) -> Self {
        let shim = claim.by.clone();
        let record = claim.cgroup.as_ref();
        let cgroup = record.and_then(|record| Cgroup::recorded(record, &shim, data_dir));
        Self { shim, cgroup }
    }

    /// Of a shim of which nothing else is known.
    pub fn of_shim(shim: ProcessIdentity) -> Self {
        Self { shim, cgroup: None }
    }

    /// The processes that are left. Empty while the shim lives, for they are no orphans then, and
    /// after a reboot.
    ///
    /// # Errors
    /// When `/proc` can't be read.
    pub fn find(&self) -> Result<Vec<ProcessIdentity>, IdentityError> {
        if !self.shim_has_gone()? {
            return Ok(Vec::new());
        }
        let mut found = of_session(&self.shim)?;
        let members = self.cgroup.as_ref().and_then(|c| c.members().ok());
        for member in members.unwrap_or_default() {
            // Held, so the number is still its own.
            if let Some(stat) = ProcessStat::of(member.pid)?.filter(ProcessStat::is_alive) {
                found.push(stat.identity()?);
            }
        }
        found.sort();
        found.dedup();
        Ok(found)
    }

    /// Whether the shim has ended, whoever may have its number now.
    fn shim_has_gone(&self) -> Result<bool, IdentityError> {
        let shim = &self.shim;
        if shim.pid <= 1 || boot_id()? != shim.boot_id {
            return Ok(false);
        }
        Ok(!shim.is_alive_same()?)
    }

    /// Ends all of them with SIGKILL, and looks again until nothing is left or `patience` is over.
    /// Each is held by a pidfd and its identity checked before; a cgroup is killed as a whole, and
    /// removed when it is empty.
    ///
    /// # Errors
    /// When `/proc` can't be read.
    pub fn end(mut self, patience: Duration) -> Result<OrphansEnded, IdentityError> {
        let deadline = sys::since_boot() + patience;
        let mut ended = OrphansEnded::default();
        loop {
            let orphans = self.find()?;
            let left = deadline.saturating_sub(sys::since_boot());
            if orphans.is_empty() || (left.is_zero() && !ended.killed.is_empty()) {
                return self.conclude(ended, orphans);
            }
            let mut held = Vec::new();
            let whole = self.cgroup.as_ref().map(Cgroup::kill);
            for orphan in orphans {
                let pidfd = match kill(&orphan) {
                    Ok(pidfd) => pidfd,
                    // The cgroup has done it already.
                    Err(_) if matches!(whole, Some(Ok(()))) => None,
                    Err(_) => continue,
                };
                held.extend(pidfd);
                if !ended.killed.contains(&orphan) {
                    ended.killed.push(orphan);
                }
            }
            if held.is_empty() && left.is_zero() {
                let orphans = self.find()?;
                return self.conclude(ended, orphans);
            }
            wait_for_one(&held, left);
        }
    }

    fn conclude(
        &mut self,
        mut ended: OrphansEnded,
        survivors: Vec<ProcessIdentity>,
    ) -> Result<OrphansEnded, IdentityError> {
        if survivors.is_empty()
            && self.shim_has_gone()?
            && let Some(cgroup) = self.cgroup.take()
        {
            // If it stays, the next sweep finds it.
            let _ = cgroup.remove();
        }
        let with_state = |identity: ProcessIdentity| {
            let stat = ProcessStat::of(identity.pid).ok().flatten();
            let state = stat.map_or('?', |stat| stat.letter);
            Survivor { identity, state }
        };
        ended.survivors = survivors.into_iter().map(with_state).collect();
        Ok(ended)
    }
}

/// The processes that a dead `shim` has left in its session. Empty while the shim lives, for they
/// are no orphans then, and after a reboot.
///
/// # Errors
/// When `/proc` can't be read.
fn of_session(shim: &ProcessIdentity) -> Result<Vec<ProcessIdentity>, IdentityError> {
    if shim.pid <= 1 || boot_id()? != shim.boot_id {
        return Ok(Vec::new());
    }
    // Alive: the shim, or a stranger with its number, and then the session is the stranger's.
    if ProcessStat::of(shim.pid)?
        .is_some_and(|stat| stat.is_alive() || stat.start_time != shim.start_time)
    {
        return Ok(Vec::new());
    }
    let is_orphan = |stat: &ProcessStat| {
        stat.session == shim.pid
            && stat.pid != shim.pid
            && stat.start_time >= shim.start_time
            && stat.is_alive()
    };
    tree::all_processes()
        .iter()
        .filter(|stat| is_orphan(stat))
        .map(ProcessStat::identity)
        .collect()
}

/// What came of ending the orphans of a session.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OrphansEnded {
    /// Processes that SIGKILL was sent to.
    pub killed: Vec<ProcessIdentity>,
    /// Processes that are still there, and what they do.
    pub survivors: Vec<Survivor>,
}

/// `None` if it's gone, or may not be signaled.
fn kill(orphan: &ProcessIdentity) -> io::Result<Option<OwnedFd>> {
    let pidfd = sys::pidfd_open(orphan.pid)?;
    if !tree::held(orphan).map_err(io::Error::other)? {
        return Ok(None);
    }
    sys::pidfd_send_signal(pidfd.as_fd(), libc::SIGKILL)?;
    Ok(Some(pidfd))
}

/// Waits until one of them ends, at most 50 ms: others may have come meanwhile.
fn wait_for_one(held: &[OwnedFd], left: Duration) {
    let mut fds: Vec<PollFd<'_>> = held
        .iter()
        .map(|fd| PollFd::new(fd.as_fd(), PollFlags::POLLIN))
        .collect();
    let millis = left.as_millis().clamp(1, 50) as u16;
    let _ = poll(&mut fds, PollTimeout::from(millis));
}
