//! Real processes, seen through `/proc` and waited for through pidfds. A zombie counts as gone:
//! who should reap it may be a stranger.

use std::os::fd::AsFd;
use std::path::Path;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;
use opsledger::shim::orphans::Orphaned;
use opsledger::shim::watch::{Attach, attach, signal_shim};
use opsledger::shim::{AttemptDir, Claimant, ProcessIdentity, ProcessStat};

use super::DEADLINE;

/// A process that is known to live, told apart from whoever gets its number later.
pub fn identity(pid: i32) -> ProcessIdentity {
    ProcessIdentity::of(pid)
        .unwrap()
        .unwrap_or_else(|| panic!("there is no process {pid}"))
}

/// Whether this very process has ended.
pub fn is_gone(process: &ProcessIdentity) -> bool {
    !process.is_alive_same().unwrap()
}

/// Waits until this very process has ended.
pub fn wait_gone(process: &ProcessIdentity) {
    if let Attach::Alive(pidfd) = attach(process).unwrap() {
        let timeout = PollTimeout::try_from(DEADLINE).unwrap();
        let ready = poll(
            &mut [PollFd::new(pidfd.as_fd(), PollFlags::POLLIN)],
            timeout,
        );
        assert_eq!(ready, Ok(1), "{process:?} does not end");
    }
}

/// Its parent's pid.
pub fn parent_of(pid: i32) -> i32 {
    ProcessStat::of(pid).unwrap().unwrap().parent
}

/// Living processes of a session.
pub fn session_members(session: i32) -> Vec<i32> {
    std::fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| entry.unwrap().file_name().to_str()?.parse().ok())
        .filter_map(|pid| ProcessStat::of(pid).ok().flatten())
        .filter(|stat| stat.session == session && stat.is_alive())
        .map(|stat| stat.pid)
        .collect()
}

/// Kills a process through a descriptor of it.
pub fn end(process: &ProcessIdentity) {
    if let Attach::Alive(pidfd) = attach(process).unwrap() {
        let _ = signal_shim(&pidfd, Signal::SIGKILL);
    }
}

/// Ends every shim that still works for a data directory, and all that it holds.
pub(super) fn end_all(data_dir: &Path) {
    let names = |dir: &Path| -> Vec<String> {
        std::fs::read_dir(dir)
            .into_iter()
            .flatten()
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
            .collect()
    };
    let attempts = data_dir.join("attempts");
    for task in names(&attempts) {
        for attempt in names(&attempts.join(&task)) {
            let claim = attempt
                .parse()
                .ok()
                .and_then(|n| AttemptDir::new(data_dir, &task, n).ok())
                .and_then(|dir| dir.read_claim().ok().flatten());
            if let Some(claim) = claim
                && claim.by.pid != i32::try_from(std::process::id()).unwrap()
                && claim.kind == Claimant::Shim
            {
                end(&claim.by);
                wait_gone(&claim.by);
                let _ = Orphaned::by(&claim, data_dir).end(DEADLINE);
            }
        }
    }
}
