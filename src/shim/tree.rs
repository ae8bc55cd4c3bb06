//! The processes of a tree: finding them in `/proc`, and signaling one without hitting another.
//!
//! The tree changes while it is looked at. A walk is therefore a sample: whoever must reach all
//! repeats it until nothing is left. What is never in doubt is *whom* a signal reaches: the process
//! is held by a pidfd, and its start time is compared after that and before the signal.

use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;

use super::error::IdentityError;
use super::guard;
use super::identity::{ProcessIdentity, ProcessStat, is_gone, read_small};
use super::sys;

/// All processes below `root` (which must be single-threaded) that have not ended, parents first.
pub(super) fn descendants(root: i32) -> Vec<ProcessStat> {
    match walk(root) {
        Ok(found) => found,
        // No `children` files in this kernel, or they can't be read.
        Err(_) => below(root, &all_processes()),
    }
}

/// The direct children of `parent` (which must be single-threaded), ended ones included.
pub(super) fn children(parent: i32) -> Vec<i32> {
    match children_of_thread(parent, &parent.to_string()) {
        Ok(Some(found)) => found,
        Ok(None) | Err(_) => {
            let all = all_processes();
            all.iter()
                .filter(|stat| stat.parent == parent)
                .map(|stat| stat.pid)
                .collect()
        }
    }
}

/// The list of the calling process's own children (it must be single-threaded), kept open: to find a
/// file in `/proc` costs several times as much as to read it.
pub(super) struct OwnChildren(fs::File);

impl OwnChildren {
    /// `None` if the kernel has no such file.
    pub(super) fn open() -> Option<Self> {
        let pid = std::process::id();
        let file = fs::File::open(format!("/proc/{pid}/task/{pid}/children"));
        file.ok().map(Self)
    }

    /// All of them, ended ones included; `None` if they are too many for a glance, or can't be read.
    pub(super) fn list(&self) -> Option<Vec<i32>> {
        let mut bytes = [0; 512];
        let count = self.0.read_at(&mut bytes, 0).ok()?;
        (count < bytes.len()).then(|| parse_children(&bytes[..count]))
    }
}

/// Every process that can be seen.
pub(super) fn all_processes() -> Vec<ProcessStat> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    let pids = entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter_map(|pid: i32| ProcessStat::of(pid).ok().flatten())
        .collect()
}

/// Sends `signal` to this very process. `Ok(false)` if it's gone, somebody else has its pid, or it
/// is one that may not be signaled.
pub(super) fn signal(identity: &ProcessIdentity, signal: i32) -> io::Result<bool> {
    if identity.pid <= 1 {
        return Ok(false);
    }
    let sent = sys::pidfd_open(identity.pid).and_then(|pidfd| {
        match held(identity).map_err(io::Error::other)? {
            true => sys::pidfd_send_signal(pidfd.as_fd(), signal).map(|()| true),
            false => Ok(false),
        }
    });
    match sent {
        Err(error) if error.raw_os_error() == Some(libc::ESRCH) => Ok(false),
        other => other,
    }
}

/// Whether the process whose pidfd is open is the one that is meant, and may be signaled.
pub(super) fn held(identity: &ProcessIdentity) -> Result<bool, IdentityError> {
    if !identity.is_alive_same()? {
        return Ok(false);
    }
    match ProcessStat::of(identity.pid)? {
        Some(stat) => guard::may_signal(&stat),
        None => Ok(false),
    }
}

fn walk(root: i32) -> io::Result<Vec<ProcessStat>> {
    let mut found = Vec::new();
    let Some(mut next) = children_of_thread(root, &root.to_string())? else {
        return Err(io::ErrorKind::Unsupported.into());
    };
    while let Some(pid) = next.pop() {
        let Some(stat) = ProcessStat::of(pid).map_err(io::Error::other)? else {
            continue;
        };
        // The children of a thread that has ended belong to another of its threads, or are gone
        // to the subreaper.
        if !stat.is_alive() {
            continue;
        }
        found.push(stat);
        for thread in threads(pid)? {
            next.extend(children_of_thread(pid, &thread)?.unwrap_or_default());
        }
    }
    Ok(found)
}

fn threads(pid: i32) -> io::Result<Vec<String>> {
    match fs::read_dir(format!("/proc/{pid}/task")) {
        Ok(entries) => Ok(entries
            .flatten()
            .filter_map(|entry| entry.file_name().into_string().ok())
            .collect()),
        Err(error) if is_gone(&error) => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// `None` if there is no such thread, or the kernel has no such file.
fn children_of_thread(pid: i32, thread: &str) -> io::Result<Option<Vec<i32>>> {
    match read_small(&format!("/proc/{pid}/task/{thread}/children")) {
        Ok(bytes) => Ok(Some(parse_children(&bytes))),
        Err(error) if is_gone(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

fn parse_children(bytes: &[u8]) -> Vec<i32> {
    let text = String::from_utf8_lossy(bytes);
    text.split_ascii_whitespace()
        .filter_map(|pid| pid.parse().ok())
        .collect()
}

/// Of `all`, those below `root` that have not ended.
fn below(root: i32, all: &[ProcessStat]) -> Vec<ProcessStat> {
    let mut found: Vec<ProcessStat> = Vec::new();
    let mut parents = vec![root];
    while let Some(parent) = parents.pop() {
        for stat in all
            .iter()
            .filter(|stat| stat.parent == parent && stat.is_alive())
        {
            // A parent's number can be handed out again while the list is made.
            if stat.pid != root && found.iter().all(|known| known.pid != stat.pid) {
                parents.push(stat.pid);
                found.push(stat.clone());
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shim::identity::ProcessState;

    fn stat(pid: i32, parent: i32) -> ProcessStat {
        ProcessStat {
            pid,
            parent,
            state: ProcessState::Active,
            letter: 'S',
            kernel: false,
            cpu_ticks: 0,
            group: pid,
            session: pid,
            threads: 1,
            start_time: 1,
        }
    }

    #[test]
    fn a_list_of_processes_yields_the_tree_below_one() {
        let mut ended = stat(6, 5);
        ended.state = ProcessState::Ended;
        let all = [
            stat(1, 0),
            stat(2, 1),
            stat(5, 2),
            ended,
            stat(7, 5),
            stat(8, 1),
            stat(9, 7),
        ];
        let pids: Vec<i32> = below(2, &all).iter().map(|stat| stat.pid).collect();
        assert_eq!(pids, [5, 7, 9]);
        // A loop, as recycled numbers can feign it, must not hang.
        assert_eq!(below(3, &[stat(3, 4), stat(4, 3)]).len(), 1);
    }

    #[test]
    fn children_are_parsed() {
        assert_eq!(parse_children(b"12 345 "), [12, 345]);
        assert_eq!(parse_children(b""), [0i32; 0]);
    }

    #[test]
    fn both_ways_find_a_real_grandchild() {
        use std::io::Read;
        let mut shell = std::process::Command::new("sh")
            .args(["-c", "sh -c 'echo up; read _' ; :"])
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        shell
            .stdout
            .as_mut()
            .unwrap()
            .read_exact(&mut [0; 3])
            .unwrap();
        let root = shell.id() as i32;
        let walked: Vec<i32> = walk(root).unwrap().iter().map(|stat| stat.pid).collect();
        let listed: Vec<i32> = below(root, &all_processes())
            .iter()
            .map(|stat| stat.pid)
            .collect();
        assert_eq!(walked, listed);
        assert_eq!(walked.len(), 1);
        assert_eq!(children(root), walked);
        drop(shell.stdin.take());
        shell.wait().unwrap();
    }

    #[test]
    fn another_process_of_the_same_number_is_not_signaled() {
        let mut child = std::process::Command::new("sleep")
            .arg("600")
            .spawn()
            .unwrap();
        let identity = ProcessIdentity::of(child.id() as i32).unwrap().unwrap();
        let other = ProcessIdentity {
            start_time: identity.start_time + 1,
            ..identity.clone()
        };
        assert!(!signal(&other, libc::SIGKILL).unwrap());
        assert!(child.try_wait().unwrap().is_none());
        assert!(signal(&identity, libc::SIGKILL).unwrap());
        child.wait().unwrap();
        assert!(!signal(&identity, libc::SIGKILL).unwrap());
    }
}
