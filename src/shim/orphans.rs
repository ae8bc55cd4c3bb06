//! What is left of an attempt whose shim was itself killed.
//!
//! The child dies with its shim, but its own children don't; they're found by their session, which
//! the shim made and led. A number that is in use as a session id isn't handed out as a pid, so as
//! long as one of them lives, all processes of that session are the attempt's.
//!
//! Limits: a process that made a session of its own is not found here; it takes a cgroup to find
//! it. And if all have gone, the number may by now be that of a stranger's session. While that
//! session's leader lives, it is seen and nobody is touched; so look soon after the shim's death,
//! not days later.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::error::IdentityError;
use super::identity::{ProcessIdentity, ProcessStat, boot_id};
use super::{sys, tree};

/// The processes that a dead `shim` has left in its session. Empty while the shim lives, for they
/// are no orphans then, and after a reboot.
///
/// # Errors
/// When `/proc` can't be read.
pub fn of_session(shim: &ProcessIdentity) -> Result<Vec<ProcessIdentity>, IdentityError> {
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
    /// Processes that are still there.
    pub survivors: Vec<ProcessIdentity>,
}

/// Ends all that a dead `shim` has left in its session with SIGKILL, and looks again until nothing
/// is left or `patience` is over. Each is held by a pidfd and its identity checked before.
///
/// # Errors
/// When `/proc` can't be read.
pub fn end(shim: &ProcessIdentity, patience: Duration) -> Result<OrphansEnded, IdentityError> {
    let deadline = sys::since_boot() + patience;
    let mut ended = OrphansEnded::default();
    loop {
        let orphans = of_session(shim)?;
        let left = deadline.saturating_sub(sys::since_boot());
        if orphans.is_empty() || (left.is_zero() && !ended.killed.is_empty()) {
            ended.survivors = orphans;
            return Ok(ended);
        }
        let mut held = Vec::new();
        for orphan in orphans {
            let Ok(Some(pidfd)) = kill(&orphan) else {
                continue;
            };
            held.push(pidfd);
            if !ended.killed.contains(&orphan) {
                ended.killed.push(orphan);
            }
        }
        if held.is_empty() && left.is_zero() {
            ended.survivors = of_session(shim)?;
            return Ok(ended);
        }
        wait_for_one(&held, left);
    }
}

/// `None` if it's gone.
fn kill(orphan: &ProcessIdentity) -> io::Result<Option<OwnedFd>> {
    let pidfd = sys::pidfd_open(orphan.pid)?;
    if !orphan.is_alive_same().map_err(io::Error::other)? {
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
