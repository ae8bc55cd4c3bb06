//! Watched processes, as they cross the socket.

use ledger_core::hash::Hash;
use ledger_core::ids::{Id, Seq, Term};
use ledger_core::time::{Micros, Millis, Timestamp};
use projections::processes::{Kept, ProcessView};
use serde::{Deserialize, Serialize};

use crate::reaper::decide::Act;
use crate::reaper::verdict::Verdict;

/// A process to watch that somebody else started.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WatchRequest {
    /// Its number; whose it is now is what is watched.
    pub pid: i32,
    /// How long it may run, counted from its start; as long as there is (366 days) if only the other
    /// limit is given. One of them must be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_runtime_ms: Option<Millis>,
    /// How long it may go without using the CPU; for ever if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stall_after_ms: Option<Millis>,
    /// How long SIGTERM may take before SIGKILL follows; five seconds if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grace_ms: Option<Millis>,
}

/// The process is watched, which is on disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WatchReceipt {
    /// `BOOT.PID.START`, by which it can't be mistaken for another.
    pub id: Id,
    /// Its number.
    pub pid: i32,
    /// Its command line, redacted and cut.
    pub command: String,
    /// How long it had run.
    pub runtime_us: Micros,
    /// Where it is recorded.
    pub seq: Seq,
    /// Hash of that event.
    pub hash: Hash,
    /// Term of that event.
    pub term: Term,
}

/// One watched process and what it does at this moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessInfo {
    /// What is known of it.
    #[serde(flatten)]
    pub view: ProcessView,
    /// How it stands.
    pub verdict: Verdict,
    /// How long it has run; counted from when it was watched if it can't be looked at from here.
    pub age_us: Micros,
    /// How long it may run.
    pub limit_ms: Millis,
    /// CPU time, its own and that of children that it waited for; absent if it is not there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_us: Option<Micros>,
    /// Resident memory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rss_kib: Option<u64>,
    /// The kernel's letter for what it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<char>,
}

/// What a reaper has done since its node started. No event tells of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Swept {
    /// When its node started.
    pub since: Timestamp,
    /// Sweeps so far.
    pub sweeps: u64,
    /// Processes that they have looked at.
    pub checks: u64,
    /// When the last one was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_sweep: Option<Timestamp>,
}

/// The reaper as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReaperInfo {
    /// What the ledger says.
    #[serde(flatten)]
    pub kept: Kept,
    /// Processes that outlive SIGKILL now.
    pub unkillable: u64,
    /// What it does; absent without a node, and as of a moment that has passed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub swept: Option<Swept>,
}

/// Every watched process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessList {
    /// By when they came to be watched.
    pub processes: Vec<ProcessInfo>,
    /// How many more there are that are left out.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub left_out: u64,
    /// The reaper.
    pub reaper: ReaperInfo,
}

fn is_zero(n: &u64) -> bool {
    *n == 0
}

/// A sweep, now.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReapRequest {
    /// Only say what would be done.
    #[serde(default)]
    pub dry_run: bool,
}

/// What a sweep found of one process, and does about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SweptProcess {
    /// Its number.
    pub pid: i32,
    /// `BOOT.PID.START`.
    pub id: Id,
    /// What it is: its command line, or the attempt that it runs for.
    pub what: String,
    /// How it stands.
    pub verdict: Verdict,
    /// What is done.
    #[serde(flatten)]
    pub act: Act,
    /// Why, in words.
    pub because: String,
}

/// What came of a sweep.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SweepReport {
    /// Whether nothing was done because of `dry_run`.
    pub dry_run: bool,
    /// Every watched process.
    pub processes: Vec<SweptProcess>,
}
