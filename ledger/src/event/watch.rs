//! Events of processes that somebody else started and that we were asked to watch. Their subject is
//! that of all `process.*` events: boot id, pid and start time.
//!
//! ```text
//! process.watched ─┬─> process.ended            it ended by itself
//!                  ├─> process.unwatched        we let go of it
//!                  └─> process.reaping ─┬─> process.terminated   it is gone, by our signals
//!                                       ├─> process.ended | process.unwatched
//!                                       └─> process.survived ──> process.terminated | …
//! ```
//! How such a process exits is nowhere here: only its parent can wait for it, so nobody else knows.

use serde::{Deserialize, Serialize};

use super::process::{LadderStep, Survivor};
use crate::time::{Micros, Millis, Timestamp};

/// A process that somebody else started is watched from here on. Who asked is the event's actor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessWatched {
    /// Process id.
    pub pid: i32,
    /// Start time in clock ticks since boot.
    pub start_time: u64,
    /// Which boot of the host.
    pub boot_id: String,
    /// Its process group.
    pub pgid: i32,
    /// The user that it runs as.
    pub uid: u32,
    /// Its command line, redacted and cut; for people, since a process can write it.
    pub command: String,
    /// When it was started, by the wall clock of the moment of this event; for people.
    pub started_at: Timestamp,
    /// How long it may run, counted from its start.
    pub max_runtime_ms: Millis,
    /// How long it may go without using the CPU; for ever if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stall_after_ms: Option<Millis>,
    /// How long SIGTERM may take before SIGKILL follows.
    pub grace_ms: Millis,
}

/// Why a watched process is ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReapCause {
    /// It runs longer than it may.
    MaxRuntime,
    /// It has not used the CPU for longer than it may.
    Stalled,
}

/// It is to be ended: signals follow this event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessReaping {
    /// Why.
    pub cause: ReapCause,
    /// How long it had run.
    pub runtime_us: Micros,
    /// How long it had not used the CPU, if that is why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idle_us: Option<Micros>,
}

/// Something of it outlives SIGKILL. It stays watched until that has gone as well.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessSurvived {
    /// What was sent so far.
    pub steps: Vec<LadderStep>,
    /// What is still there; the first 32.
    pub survivors: Vec<Survivor>,
}

/// Ended by us, with all that belonged to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessTerminated {
    /// Why.
    pub cause: ReapCause,
    /// The ladder taken; SIGKILL is in it only if it was sent.
    pub steps: Vec<LadderStep>,
    /// How long it had run when it was gone.
    pub runtime_us: Micros,
}

/// How it is known that a process has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EndSeen {
    /// It was seen at once.
    AtOnce,
    /// It was found to be gone, and may have been for some time: no node was there to see it.
    FoundGone,
}

/// Ended, and not by us as far as we know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessEnded {
    /// How that is known.
    pub seen: EndSeen,
    /// How long it had run, if its end was seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runtime_us: Option<Micros>,
}

/// Why a process is not watched any more, though it may still run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UnwatchReason {
    /// Somebody asked for that.
    Asked,
    /// Its number belongs to another process now.
    Recycled,
    /// The host was booted again.
    Rebooted,
    /// It has become one that is never signaled: the node runs below it.
    Protected,
    /// The system refuses to let us signal it.
    Forbidden,
    /// It turned out to be the process of an attempt, which has a shim that looks after it.
    OfAttempt,
    /// The ledger was restored, imported or salvaged: the watch was asked for elsewhere.
    Forsaken,
}

/// Not watched any more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessUnwatched {
    /// Why.
    pub reason: UnwatchReason,
}
