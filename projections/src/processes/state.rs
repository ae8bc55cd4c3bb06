//! What is known of each watched process.

use std::collections::BTreeMap;

use ledger_core::event::{Attempt, ProcessSurvived, ReapCause};
use ledger_core::ids::{Id, Seq};
use ledger_core::time::{Micros, Millis, Timestamp};
use serde::{Deserialize, Serialize};

/// How far the reaper has come with a process of somebody else.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "stage", rename_all = "snake_case")]
pub enum Stage {
    /// It may run.
    Watched,
    /// It is to be ended.
    Reaping {
        /// Why.
        cause: ReapCause,
        /// The event that says so.
        ordered: Seq,
        /// How long it had run.
        runtime_us: Micros,
        /// What outlived SIGKILL, if that was found.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        survived: Option<ProcessSurvived>,
    },
}

/// What is known of a process that somebody else started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Foreign {
    /// The user that it runs as.
    pub uid: u32,
    /// Its command line when it was first watched, redacted and cut. Not yet escaped.
    pub command: String,
    /// When it was started; for people.
    pub started_at: Timestamp,
    /// How long it may run, counted from its start.
    pub max_runtime_ms: Millis,
    /// How long it may go without using the CPU.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stall_after_ms: Option<Millis>,
    /// How long SIGTERM may take before SIGKILL follows.
    pub grace_ms: Millis,
    /// Who asked for it to be watched.
    pub by: String,
    /// How far the reaper has come.
    #[serde(flatten)]
    pub stage: Stage,
}

/// What is known of the process of an attempt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OfAttempt {
    /// The task.
    pub task: Id,
    /// Which run of it.
    pub attempt: Attempt,
    /// The shim that looks after it; 0 if that is not known.
    pub shim_pid: i32,
    /// The shim's start time in clock ticks since boot.
    pub shim_start_time: u64,
    /// How long it may run.
    pub max_runtime_ms: Millis,
    /// The last event that says that part of its tree outlives SIGKILL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unkillable: Option<Seq>,
}

/// Why a process is watched.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "for", rename_all = "snake_case")]
pub enum Purpose {
    /// It runs for a task.
    Attempt(OfAttempt),
    /// Somebody asked for it.
    Foreign(Foreign),
}

/// One watched process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Watched {
    /// Process id.
    pub pid: i32,
    /// Start time in clock ticks since boot.
    pub start_time: u64,
    /// Which boot of the host.
    pub boot_id: String,
    /// Its process group.
    pub pgid: i32,
    /// The event that it is watched by.
    pub told: Seq,
    /// When that was.
    pub since: Timestamp,
    /// Why it is watched.
    #[serde(flatten)]
    pub purpose: Purpose,
}

impl Watched {
    /// What is known of it if somebody else started it.
    pub fn foreign(&self) -> Option<&Foreign> {
        match &self.purpose {
            Purpose::Foreign(foreign) => Some(foreign),
            Purpose::Attempt(_) => None,
        }
    }
}

/// How often what happened, since the ledger was made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    /// Processes of attempts that were registered.
    pub registered: u64,
    /// Of those, the ones that ended by themselves.
    pub exited: u64,
    /// Of those, the ones that their shims ended.
    pub reaped: u64,
    /// Of those, the ones that were gone without an outcome.
    pub lost: u64,
    /// How often one of those was found to outlive SIGKILL.
    pub unkillable: u64,
    /// Processes of others that were watched.
    pub watched: u64,
    /// Of those, the ones that were to be ended.
    pub reaping: u64,
    /// How often one of those to be ended was found to outlive SIGKILL.
    pub survived: u64,
    /// Of those to be ended, the ones that the reaper ended.
    pub terminated: u64,
    /// Of those watched, the ones that ended by themselves.
    pub ended: u64,
    /// Of those, the ones that were let go of because their number belonged to another process.
    pub recycled: u64,
    /// Of those, the ones that were let go of for another reason.
    pub unwatched: u64,
}

impl Counters {
    /// Processes that were ended for running too long, being cancelled, leaving others behind or
    /// standing still.
    pub const fn all_reaped(&self) -> u64 {
        self.reaped + self.terminated
    }

    /// How often a process was found to outlive SIGKILL.
    pub const fn all_unkillable(&self) -> u64 {
        self.unkillable + self.survived
    }
}

/// Every watched process.
#[derive(Debug, Clone, Default)]
pub struct Processes {
    /// By `BOOT.PID.START`.
    pub(super) watched: BTreeMap<Box<str>, Watched>,
    pub(super) foreign: usize,
    pub(super) counters: Counters,
}
