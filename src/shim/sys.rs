//! Kernel calls that neither std nor nix wraps in the form needed here.
//!
//! nix decodes wait statuses into signals it has a name for and fails on real-time signals, so
//! waiting is done on the raw numbers.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

use super::records::{ExitResult, Usage};

fn check(result: libc::c_long) -> io::Result<libc::c_long> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}

/// A descriptor (close-on-exec) for the process that has `pid` now.
#[allow(unsafe_code)] // pidfd_open has no safe wrapper
pub(super) fn pidfd_open(pid: i32) -> io::Result<OwnedFd> {
    // SAFETY: takes two integers, touches no memory.
    let fd = check(unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) })?;
    // SAFETY: the kernel just returned this descriptor to us alone.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
}

/// Sends `signal` to the process behind `pidfd`, and to no other.
#[allow(unsafe_code)] // pidfd_send_signal has no safe wrapper
pub(super) fn pidfd_send_signal(pidfd: BorrowedFd<'_>, signal: i32) -> io::Result<()> {
    let info: *const libc::siginfo_t = std::ptr::null();
    // SAFETY: a null siginfo is allowed and means "as kill(2) would send it".
    check(unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            pidfd.as_raw_fd(),
            signal,
            info,
            0,
        )
    })?;
    Ok(())
}

/// Closes all descriptors from `first` on. Only for a process that owns none of them.
#[allow(unsafe_code)] // closing by number is outside std's ownership rules
pub(super) fn close_from(first: RawFd) {
    // SAFETY: called once at the start of the spawner, whose code holds no descriptor >= first.
    unsafe { libc::close_range(first as u32, u32::MAX, 0) };
}

/// What the children of this process are up to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Children {
    /// There are none.
    None,
    /// There are some, and none has ended.
    Running,
    /// This one has ended and is unreaped.
    Ended(i32),
}

/// Looks for an ended child without reaping it.
#[allow(unsafe_code)] // nix's waitid fails on real-time signals
pub(super) fn peek_children() -> io::Result<Children> {
    let flags = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
    let mut info = MaybeUninit::<libc::siginfo_t>::zeroed();
    // SAFETY: `info` is a valid place for one siginfo, which waitid fills in.
    let result = unsafe { libc::waitid(libc::P_ALL, 0, info.as_mut_ptr(), flags) };
    match check(result.into()) {
        // SAFETY: zeroed or filled in, both are valid; si_pid is 0 if nothing has ended.
        Ok(_) => Ok(match unsafe { info.assume_init().si_pid() } {
            0 => Children::Running,
            pid => Children::Ended(pid),
        }),
        Err(error) if error.raw_os_error() == Some(libc::ECHILD) => Ok(Children::None),
        Err(error) => Err(error),
    }
}

/// How a child ended and what it used.
#[derive(Clone, Debug)]
pub(super) struct Reaped {
    pub(super) result: ExitResult,
    pub(super) usage: Usage,
}

/// Reaps the child `pid` if it has ended.
#[allow(unsafe_code)] // wait4 has no safe wrapper
pub(super) fn reap(pid: i32) -> io::Result<Option<Reaped>> {
    let mut status = 0;
    let mut usage = MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: both are valid places which wait4 fills in.
    let result = unsafe { libc::wait4(pid, &mut status, libc::WNOHANG, usage.as_mut_ptr()) };
    if check(result.into())? == 0 {
        return Ok(None);
    }
    // SAFETY: an all-zero rusage is valid, and wait4 has filled it in.
    let usage = unsafe { usage.assume_init() };
    let micros = |time: libc::timeval| time.tv_sec as u64 * 1_000_000 + time.tv_usec as u64;
    let result = if libc::WIFSIGNALED(status) {
        ExitResult::Signaled {
            signal: libc::WTERMSIG(status),
            core: libc::WCOREDUMP(status),
        }
    } else {
        ExitResult::Exited {
            code: libc::WEXITSTATUS(status),
        }
    };
    let usage = Usage {
        user_us: micros(usage.ru_utime),
        sys_us: micros(usage.ru_stime),
        max_rss_kib: usage.ru_maxrss as u64,
    };
    Ok(Some(Reaped { result, usage }))
}

/// All signals to their default action, so that nothing ignored by whoever started the node
/// (`nohup`) reaches a task.
///
/// The raw call, because libc keeps the first two real-time signals to itself and would leave them
/// ignored if they were inherited so.
#[allow(unsafe_code)] // sigaction is unsafe because of handlers; none is installed here
pub(super) fn default_all_signals() {
    // The kernel's struct: handler (0 is SIG_DFL), flags, restorer, mask of 64 bits.
    let default = [0usize; 8];
    let none: *const usize = std::ptr::null();
    for signal in 1..=libc::SIGRTMAX() {
        let action = default.as_ptr();
        // SAFETY: `default` is larger than the kernel's struct and asks for no handler. Signals
        // whose action can't be set are refused, harmlessly.
        unsafe { libc::syscall(libc::SYS_rt_sigaction, signal, action, none, 8usize) };
    }
}

/// What is done with SIGCHLD.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ChildSignal {
    /// The kernel reaps children by itself.
    AutoReap,
    /// Children stay until they are waited for.
    Wait,
}

/// Sets the action for SIGCHLD.
#[allow(unsafe_code)] // sigaction is unsafe because of handlers; none is installed here
pub(super) fn set_child_signal(action: ChildSignal) {
    let action = match action {
        ChildSignal::AutoReap => libc::SIG_IGN,
        ChildSignal::Wait => libc::SIG_DFL,
    };
    // SAFETY: neither SIG_IGN nor SIG_DFL runs code of ours.
    unsafe { libc::signal(libc::SIGCHLD, action) };
}

/// Time since boot, suspend included.
pub(super) fn since_boot() -> Duration {
    clock_gettime(ClockId::CLOCK_BOOTTIME).map_or(Duration::ZERO, Duration::from)
}

/// Time since boot in which the machine was not suspended.
pub(super) fn awake() -> Duration {
    clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(Duration::ZERO, Duration::from)
}

/// Wall clock, microseconds since 1970 UTC.
pub(super) fn wall_clock_us() -> u64 {
    clock_gettime(ClockId::CLOCK_REALTIME).map_or(0, |time| {
        Duration::from(time)
            .as_micros()
            .try_into()
            .unwrap_or(u64::MAX)
    })
}
