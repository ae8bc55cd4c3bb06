//! Kernel calls that neither std nor nix wraps.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use nix::sys::signal::Signal;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// `PIDFD_SIGNAL_PROCESS_GROUP` of the kernel's `pidfd.h` (Linux 6.9 and later).
const PROCESS_GROUP: libc::c_uint = 1 << 2;

/// Sends a signal to all of the group that the process behind a pidfd leads, and to no other: the
/// descriptor stands for the group's number too, so it can't have been given to another group.
///
/// # Errors
/// `EINVAL` as raw error if the kernel does not know of that; `ESRCH` if nobody is in the group.
#[allow(unsafe_code)] // pidfd_send_signal has no safe wrapper
pub(super) fn signal_group(pidfd: BorrowedFd<'_>, signal: Signal) -> io::Result<()> {
    let info: *const libc::siginfo_t = std::ptr::null();
    // SAFETY: a null siginfo is allowed and means "as kill(2) would send it"; the rest are numbers.
    let sent = unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            pidfd.as_raw_fd(),
            signal as libc::c_int,
            info,
            PROCESS_GROUP,
        )
    };
    if sent < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// A descriptor that tells the runtime when it is readable. Must be called in a runtime.
///
/// # Errors
/// The system's.
#[allow(unsafe_code)] // tokio asks for a promise about the descriptor that its type can't express
pub(super) fn readable(fd: Arc<OwnedFd>) -> io::Result<AsyncFd<Arc<OwnedFd>>> {
    // SAFETY: an `OwnedFd` stays the same open descriptor for as long as it lives, and nobody gets
    // what is in an `Arc` mutably.
    let registered = unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) };
    registered.map_err(io::Error::from)
}
