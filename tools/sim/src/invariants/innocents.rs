//! No innocent process is signaled.
//!
//! Why: numbers of processes are used again. Whoever ends a process must have made sure, by what can't
//! change any more, that it is the one that holds the lock.

use super::{Checked, holds};
use crate::host::{Host, Who};

const NAME: &str = "no innocent process is signaled";

/// The process of this number is about to be killed by a standby.
pub(crate) fn killed(host: &Host, pid: i32) -> Checked {
    let process = host.process(pid);
    let is_node = process.is_some_and(|process| matches!(process.who, Who::Node(_)));
    holds(NAME, is_node && host.lock == Some(pid), || {
        format!(
            "process {pid} is killed: it is {:?}, and the lock is with {:?}",
            process.map(|process| process.who),
            host.lock
        )
    })
}
