//! Whom no signal of ours may ever reach, whatever has led to it: init, threads of the kernel, the
//! process that would send it, and those that it descends from.

use super::error::IdentityError;
use super::identity::ProcessStat;

/// A chain of ancestors is shorter than this; a longer one was read while it changed.
const MAX_ANCESTORS: usize = 1024;

/// Whether a process may be signaled.
///
/// # Errors
/// When `/proc` can't be read: nothing is known then, and nobody may be signaled.
pub(super) fn may_signal(stat: &ProcessStat) -> Result<bool, IdentityError> {
    if stat.pid <= 1 || stat.kernel {
        return Ok(false);
    }
    let mut pid = std::process::id() as i32;
    for _ in 0..MAX_ANCESTORS {
        if pid == stat.pid {
            return Ok(false);
        }
        match ProcessStat::of(pid)? {
            Some(own) if own.parent > 0 => pid = own.parent,
            Some(_) | None => break,
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shim::identity::ProcessIdentity;
    use crate::shim::tree;

    #[test]
    fn init_the_kernel_oneself_and_ancestors_are_never_signaled() {
        let own = std::process::id() as i32;
        let parent = ProcessStat::of(own).unwrap().unwrap().parent;
        let kernel = tree::all_processes().into_iter().find(|stat| stat.kernel);
        let kernel = kernel.map(|stat| stat.pid);
        for pid in [1, own, parent].into_iter().chain(kernel) {
            let stat = ProcessStat::of(pid).unwrap().unwrap();
            assert!(!may_signal(&stat).unwrap(), "pid {pid}");
            let identity = ProcessIdentity::of(pid).unwrap().unwrap();
            // Signal 0 only asks.
            assert!(!tree::signal(&identity, 0).unwrap(), "pid {pid}");
        }
        let zero = ProcessIdentity {
            pid: 0,
            ..ProcessIdentity::current().unwrap()
        };
        assert!(!tree::signal(&zero, 0).unwrap());
        let mut child = std::process::Command::new("sleep")
            .arg("600")
            .spawn()
            .unwrap();
        let stat = ProcessStat::of(child.id() as i32).unwrap().unwrap();
        assert!(may_signal(&stat).unwrap());
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
