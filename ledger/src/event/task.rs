//! `task.*`: one piece of work from its submission to its end. Subject `task/ID`.
//!
//! ```text
//! submitted -> started -> completed
//!     ^  '-> dead |-> failed    -> requeued | dead   (dead letter: by hand, retried)
//!     |           |-> timed_out -> requeued | dead
//!     |           |-> lost      -> requeued | dead
//!     |           '-> cancel_requested -> cancelled
//!     '--- requeued / retried
//! ```
//!
//! A task that waits may be moved to another queue (`reprioritized`), and is dead if it expires or if
//! what it depends on did not complete. A running attempt may say that its rate key has to wait
//! (`throttled`).
//!
//! An attempt's closing event (completed, failed, timed_out, lost, cancelled) stands in the same
//! batch as what follows from it (requeued, dead) and as the end of its process.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::family;
use super::terms::{Backoff, RateUse, TaskReprioritized, TaskThrottled, Terms};
use crate::hash::Hash;
use crate::ids::Id;
use crate::time::{Micros, Millis};

/// Which queue a task stands in: 0 before 1 before 2. Stored as its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Priority {
    /// 0: someone waits for it (health checks, a person at a prompt).
    Interactive,
    /// 1: the ordinary.
    Standard,
    /// 2: whenever there is room.
    Background,
}

/// A priority that does not exist.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "priority {0:?} does not exist; use 0 (interactive, critical), 1 (standard, normal) or 2 (background, low)"
)]
pub struct UnknownPriority(pub String);

impl Priority {
    /// All of them, most urgent first.
    pub const ALL: [Self; 3] = [Self::Interactive, Self::Standard, Self::Background];

    /// 0, 1 or 2.
    pub const fn level(self) -> u8 {
        match self {
            Self::Interactive => 0,
            Self::Standard => 1,
            Self::Background => 2,
        }
    }

    /// The queue's name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Interactive => "interactive",
            Self::Standard => "standard",
            Self::Background => "background",
        }
    }
}

impl TryFrom<u64> for Priority {
    type Error = UnknownPriority;
    fn try_from(level: u64) -> Result<Self, UnknownPriority> {
        match level {
            0 => Ok(Self::Interactive),
            1 => Ok(Self::Standard),
            2 => Ok(Self::Background),
            other => Err(UnknownPriority(other.to_string())),
        }
    }
}

impl FromStr for Priority {
    type Err = UnknownPriority;
    fn from_str(s: &str) -> Result<Self, UnknownPriority> {
        match s {
            "0" | "interactive" | "critical" => Ok(Self::Interactive),
            "1" | "standard" | "normal" => Ok(Self::Standard),
            "2" | "background" | "low" => Ok(Self::Background),
            other => Err(UnknownPriority(other.to_owned())),
        }
    }
}

impl fmt::Display for Priority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl Serialize for Priority {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_u8(self.level())
    }
}

impl<'de> Deserialize<'de> for Priority {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        u64::deserialize(d)?
            .try_into()
            .map_err(serde::de::Error::custom)
    }
}

/// Which run of a task: 1, 2, 3 …
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Attempt(pub u32);

impl Attempt {
    /// A task's first run.
    pub const FIRST: Self = Self(1);

    /// The run after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// A command to run as a process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Exec {
    /// The program and its arguments; at least one.
    pub argv: Vec<String>,
    /// Variables on top of the node's base environment.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
    /// Working directory, absolute; the attempt's own directory if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cwd: Option<String>,
    /// What the process reads on standard input; nothing if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stdin: Option<String>,
}

/// A job of the node's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BuiltinJob {
    /// Sweeps attempts that are overdue or orphaned, what they left behind, and old outputs.
    ZombieCleanup,
    /// Looks at what a node can see of itself.
    HealthCheck,
    /// Snapshots the views and takes down how full the disk is.
    OpsRefresh,
    /// Makes a checkpoint.
    StateCheckpoint,
}

/// A job of the node's own that does not exist.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "there is no built-in job {0:?}; there are zombie-cleanup, health-check, ops-refresh and state-checkpoint"
)]
pub struct UnknownBuiltin(pub String);

impl BuiltinJob {
    /// All of them.
    pub const ALL: [Self; 4] = [
        Self::ZombieCleanup,
        Self::HealthCheck,
        Self::OpsRefresh,
        Self::StateCheckpoint,
    ];

    /// Its name, which is the name of the job that runs it by default.
    pub const fn name(self) -> &'static str {
        match self {
            Self::ZombieCleanup => "zombie-cleanup",
            Self::HealthCheck => "health-check",
            Self::OpsRefresh => "ops-refresh",
            Self::StateCheckpoint => "state-checkpoint",
        }
    }
}

impl FromStr for BuiltinJob {
    type Err = UnknownBuiltin;
    fn from_str(s: &str) -> Result<Self, UnknownBuiltin> {
        let named = Self::ALL.into_iter().find(|job| job.name() == s);
        named.ok_or_else(|| UnknownBuiltin(s.to_owned()))
    }
}

/// Work that the node does itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Builtin {
    /// Which.
    pub job: BuiltinJob,
}

/// What to run. Kinds that this list does not have are refused at submit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Payload {
    /// A process.
    Exec(Exec),
    /// A job of the node's own, run inside it.
    Builtin(Builtin),
}

/// Handed over: waits in its queue from here on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskSubmitted {
    /// Its queue.
    pub priority: Priority,
    /// What to run.
    pub payload: Payload,
    /// How long an attempt may run before it is reaped.
    pub max_runtime_ms: Millis,
    /// How long SIGTERM may take before SIGKILL follows.
    pub grace_ms: Millis,
    /// What it waits for and how often it is tried; absent if nothing of that is unusual.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub terms: Option<Box<Terms>>,
}

/// Ordered to run: from here on at most one process is started for this attempt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskStarted {
    /// Which run.
    pub attempt: Attempt,
    /// The queue it was taken from.
    pub queue: Priority,
    /// The node that runs it.
    pub node: Id,
    /// How long it waited in its queue, from when it could have been started.
    pub waited_us: Micros,
    /// By how many queues its wait had raised it.
    #[serde(default, skip_serializing_if = "is_unraised")]
    pub boost: u8,
    /// What it took from the bucket of its rate key, if that has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<RateUse>,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "the signature is serde's"
)]
fn is_unraised(boost: &u8) -> bool {
    *boost == 0
}

/// What a stream of an attempt left behind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamDigest {
    /// Bytes kept on disk.
    pub bytes: u64,
    /// BLAKE3 of the bytes kept.
    pub blake3: Hash,
    /// The last lines kept, at most 4 KiB of valid UTF-8.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub tail: String,
    /// Bytes written beyond the limit and not kept.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub dropped_bytes: u64,
    /// Why keeping failed, if it did (disk full, say).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "the signature is serde's"
)]
fn is_zero(n: &u64) -> bool {
    *n == 0
}

/// Both streams of an attempt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outputs {
    /// Standard output.
    pub stdout: StreamDigest,
    /// Standard error.
    pub stderr: StreamDigest,
}

/// Exited with 0.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskCompleted {
    /// Which run.
    pub attempt: Attempt,
    /// How long it ran.
    pub runtime_us: Micros,
    /// What it wrote.
    pub outputs: Outputs,
}

/// Why an attempt failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Failure {
    /// Exited by itself, not with 0.
    Exit {
        /// Exit code, 1 to 255.
        code: i32,
    },
    /// Ended by a signal that we did not send.
    Signal {
        /// Signal number.
        signal: i32,
    },
    /// Could not be started.
    Spawn {
        /// What was being done: `exec`, `chdir` …
        step: String,
        /// The system's error number.
        errno: i32,
        /// The system's words for it.
        message: String,
    },
}

/// Ended by itself, not well.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskFailed {
    /// Which run.
    pub attempt: Attempt,
    /// How.
    pub failure: Failure,
    /// How long it ran.
    pub runtime_us: Micros,
    /// What it wrote.
    pub outputs: Outputs,
    /// The queue of its next attempt, if it ran past the quantum of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub demoted_to: Option<Priority>,
}

/// Reaped for running longer than its limit, or for doing nothing for longer than it may.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskTimedOut {
    /// Which run.
    pub attempt: Attempt,
    /// The limit.
    pub max_runtime_ms: Millis,
    /// How long it did nothing, if it was reaped for that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stalled_ms: Option<Millis>,
    /// How long it ran.
    pub runtime_us: Micros,
    /// What it wrote.
    pub outputs: Outputs,
    /// The queue of its next attempt, if it ran past the quantum of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub demoted_to: Option<Priority>,
}

/// The attempt's whole process tree is gone and left no outcome.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskLost {
    /// Which run.
    pub attempt: Attempt,
    /// What was found.
    pub reason: String,
}

/// Back in its queue for another attempt, after one that ended badly.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskRequeued {
    /// The run that comes next.
    pub attempt: Attempt,
    /// How often this task has been lost since it was submitted, or since it was last retried by
    /// hand.
    pub lost: u32,
    /// The pause before it, if the attempt had an outcome.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backoff: Option<Backoff>,
}

/// Asked to end while an attempt runs; it is `cancelling` until its tree is gone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskCancelRequested {
    /// The run to be ended.
    pub attempt: Attempt,
    /// Why, in the words of whoever asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Ended at somebody's wish.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskCancelled {
    /// The run that was ended; absent if none was running.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt: Option<Attempt>,
    /// Why, in the words of whoever asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// How long the ended run had run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runtime_us: Option<Micros>,
    /// What the ended run wrote.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outputs: Option<Outputs>,
}

/// Why a task is in the dead-letter queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeadReason {
    /// Its last allowed attempt failed.
    Failed,
    /// Its last allowed attempt ran past its limit.
    TimedOut,
    /// It was lost more often than allowed.
    Lost,
    /// A task that it depends on ended without completing.
    Dependency,
    /// It still waited when it expired.
    Expired,
}

/// In the dead-letter queue: it ended badly and nothing more happens by itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskDead {
    /// Why.
    pub reason: DeadReason,
    /// How many attempts it had.
    pub attempts: u32,
    /// The task that it depends on and that did not complete.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dependency: Option<Id>,
}

/// Taken out of the dead-letter queue by hand.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskRetried {
    /// The run that comes next.
    pub attempt: Attempt,
}

family!(
    /// Tasks and their attempts.
    TaskEvent {
        /// Handed over.
        Submitted(TaskSubmitted) = "task.submitted",
        /// Ordered to run.
        Started(TaskStarted) = "task.started",
        /// Exited with 0.
        Completed(TaskCompleted) = "task.completed",
        /// Ended by itself, not well.
        Failed(TaskFailed) = "task.failed",
        /// Reaped past its limit.
        TimedOut(TaskTimedOut) = "task.timed_out",
        /// Gone without an outcome.
        Lost(TaskLost) = "task.lost",
        /// Queued again after an attempt that ended badly.
        Requeued(TaskRequeued) = "task.requeued",
        /// Asked to end while running.
        CancelRequested(TaskCancelRequested) = "task.cancel_requested",
        /// Ended at somebody's wish.
        Cancelled(TaskCancelled) = "task.cancelled",
        /// In the dead-letter queue.
        Dead(TaskDead) = "task.dead",
        /// Out of the dead-letter queue.
        Retried(TaskRetried) = "task.retried",
        /// Moved to another queue.
        Reprioritized(TaskReprioritized) = "task.reprioritized",
        /// Told to come back later.
        Throttled(TaskThrottled) = "task.throttled",
    }
);
