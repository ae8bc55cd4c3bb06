//! `process.*`: real processes. Subject `process/BOOT.PID.START`, the identity that can't be
//! recycled: pid, start time (field 22 of `/proc/PID/stat`) and boot id together. Those of attempts
//! are here, those that somebody else started in `watch`.

use serde::{Deserialize, Serialize};

use super::watch::{
    ProcessEnded, ProcessReaping, ProcessSurvived, ProcessTerminated, ProcessUnwatched,
    ProcessWatched,
};
use super::{Attempt, family};
use crate::ids::{Entity, Id, IdError};
use crate::time::{Micros, Millis};

/// Most survivors that an event lists.
pub const MAX_SURVIVORS: usize = 32;

/// The subject of a process's events.
///
/// # Errors
/// [`IdError`] if the boot id has characters that an id has not.
pub fn process_subject(boot_id: &str, pid: i32, start_time: u64) -> Result<Entity, IdError> {
    Entity::of("process", &format!("{boot_id}.{pid}.{start_time}"))
}

/// A process was started for an attempt and is watched from here on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessRegistered {
    /// Process id.
    pub pid: i32,
    /// Start time in clock ticks since boot.
    pub start_time: u64,
    /// Which boot of the host.
    pub boot_id: String,
    /// Its process group.
    pub pgid: i32,
    /// The shim that waits for it.
    pub shim_pid: i32,
    /// The shim's start time in clock ticks since boot.
    pub shim_start_time: u64,
    /// The task it runs for.
    pub task: Id,
    /// Which run of it.
    pub attempt: Attempt,
    /// How long it may run.
    pub max_runtime_ms: Millis,
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ProcessEnd {
    /// It exited.
    Exited {
        /// Exit code, 0 to 255.
        code: i32,
    },
    /// A signal ended it.
    Signaled {
        /// Signal number.
        signal: i32,
    },
}

/// What it used, itself and the children it waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Usage {
    /// CPU time in user space.
    pub user_us: Micros,
    /// CPU time in the kernel.
    pub sys_us: Micros,
    /// Largest resident set in KiB.
    pub max_rss_kib: u64,
}

/// Ended by itself, without a signal of ours.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessExited {
    /// How.
    pub end: ProcessEnd,
    /// What it used.
    pub usage: Usage,
}

/// Why we ended a process tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LadderCause {
    /// It ran past its limit.
    MaxRuntime,
    /// Somebody cancelled the task.
    Cancel,
    /// The command ended and left descendants behind.
    Leftovers,
    /// Its whole tree did nothing for as long as it may: no CPU time, no output.
    Stalled,
}

/// One step of the ladder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LadderStep {
    /// `SIGTERM` or `SIGKILL`.
    pub signal: String,
    /// When, counted from the start of the process.
    pub after_us: Micros,
    /// How many processes it was sent to.
    pub processes: u32,
}

/// Ended by us: which signals, when, and what came of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessReaped {
    /// Why.
    pub cause: LadderCause,
    /// The ladder taken; SIGKILL is in it only if it was sent.
    pub steps: Vec<LadderStep>,
    /// How the command itself ended.
    pub end: ProcessEnd,
    /// What it used.
    pub usage: Usage,
}

/// A process that outlives SIGKILL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Survivor {
    /// Process id.
    pub pid: i32,
    /// Start time in clock ticks since boot.
    pub start_time: u64,
    /// What the kernel says it does: `D` (an uninterruptible wait), as in `/proc/PID/stat`; `?`
    /// if that could not be read.
    pub state: char,
}

/// Part of its tree outlives SIGKILL. Nothing is started in its place: what ended it follows once
/// it has gone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessUnkillable {
    /// The task it runs for.
    pub task: Id,
    /// Which run of it.
    pub attempt: Attempt,
    /// What was sent so far.
    pub steps: Vec<LadderStep>,
    /// Who outlives it, the first [`MAX_SURVIVORS`] of them.
    pub survivors: Vec<Survivor>,
    /// How many there are.
    pub processes: u32,
}

/// Gone, and nobody can say how: its shim ended without an outcome, or the host was rebooted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessLost {
    /// What was found.
    pub reason: String,
    /// Descendants that were still there and were ended.
    pub orphans_ended: u32,
}

family!(
    /// Real processes.
    ProcessEvent {
        /// Started and watched.
        Registered(ProcessRegistered) = "process.registered",
        /// Ended by itself.
        Exited(ProcessExited) = "process.exited",
        /// Ended by us.
        Reaped(ProcessReaped) = "process.reaped",
        /// Gone without an outcome.
        Lost(ProcessLost) = "process.lost",
        /// Outlives SIGKILL.
        Unkillable(ProcessUnkillable) = "process.unkillable",
        /// Of somebody else, and watched.
        Watched(ProcessWatched) = "process.watched",
        /// Watched, and to be ended.
        Reaping(ProcessReaping) = "process.reaping",
        /// Watched, and outlives SIGKILL.
        Survived(ProcessSurvived) = "process.survived",
        /// Watched, and ended by us.
        Terminated(ProcessTerminated) = "process.terminated",
        /// Watched, and ended.
        Ended(ProcessEnded) = "process.ended",
        /// Not watched any more.
        Unwatched(ProcessUnwatched) = "process.unwatched",
    }
);
