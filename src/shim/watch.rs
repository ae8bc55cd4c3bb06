//! Watching a shim from the node: a pidfd shows its end at once, without polling.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use nix::sys::signal::Signal;

use super::identity::ProcessIdentity;
use super::{sys, tree};

/// What became of a process that was written down earlier.
#[derive(Debug)]
pub enum Attach {
    /// It runs. The pidfd becomes readable when it ends.
    Alive(OwnedFd),
    /// It has ended, whoever may have its number now. Read the outcome.
    Gone,
}

/// Attaches to the very process that `identity` names. One that may not be signaled is nobody's
/// shim, and as good as gone.
///
/// The descriptor comes first and the check second: what the descriptor holds can't change any
/// more, so a check that succeeds is true of it.
///
/// # Errors
/// When the system refuses a descriptor for a reason other than that the process has gone; nothing
/// is known then.
pub fn attach(identity: &ProcessIdentity) -> io::Result<Attach> {
    if identity.pid <= 0 {
        return Ok(Attach::Gone);
    }
    match sys::pidfd_open(identity.pid) {
        Ok(pidfd) => match tree::held(identity).map_err(io::Error::other)? {
            true => Ok(Attach::Alive(pidfd)),
            false => Ok(Attach::Gone),
        },
        // EINVAL: the number now belongs to a thread that isn't the first of its process.
        Err(error) if matches!(error.raw_os_error(), Some(libc::ESRCH | libc::EINVAL)) => {
            Ok(Attach::Gone)
        }
        Err(error) => Err(error),
    }
}

/// Signals the shim behind `pidfd`. SIGTERM makes it end its attempt (cause: cancel).
///
/// # Errors
/// `ESRCH` as raw error when it has ended.
pub fn signal_shim(pidfd: &OwnedFd, signal: Signal) -> io::Result<()> {
    sys::pidfd_send_signal(pidfd.as_fd(), signal as i32)
}
