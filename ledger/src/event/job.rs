//! `job.*`: recurring jobs. Subject `job/NAME`. A due run is submitted as an ordinary task whose
//! id holds the job's name and the due time, so that it is submitted exactly once.
//!
//! What a job is stands in the configuration; whenever that changes the log is told (`defined`,
//! `changed`, `removed`), so that what was due at any time can be said from the log alone.

use serde::{Deserialize, Serialize};

use super::family;
use super::task::TaskSubmitted;
use crate::ids::{Entity, Id};
use crate::time::{Millis, Timestamp};

/// When a job is due.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Schedule {
    /// Again and again after so long, counted from when the job was defined.
    Every {
        /// How long: whole seconds, whatever clocks on walls do meanwhile.
        every_ms: Millis,
    },
    /// By the calendar of a time zone.
    Cron {
        /// Five fields, or six with seconds first.
        expression: String,
        /// A name of the IANA time zone database.
        time_zone: String,
    },
}

/// What becomes of a run that falls due while the one before still waits or runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Overlap {
    /// It is left out.
    Skip,
    /// It is submitted all the same.
    Queue,
    /// It is submitted, and the one before is cancelled.
    CancelRunning,
}

/// What becomes of runs that fell due while nobody led.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "policy", rename_all = "snake_case")]
pub enum Missed {
    /// One run stands for all of them.
    RunOnce,
    /// They are left out.
    Skip,
    /// Each is made up for.
    RunAll {
        /// Only the latest so many.
        at_most: u32,
    },
}

/// What a job is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobSpec {
    /// When it is due.
    pub schedule: Schedule,
    /// What if the run before goes on.
    pub overlap: Overlap,
    /// What if nobody led.
    pub missed: Missed,
    /// The task that each run is.
    pub task: TaskSubmitted,
    /// Where it is defined: a file's name, or `built in`.
    pub source: String,
}

/// There is a job of this name from here on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobDefined {
    /// What it is.
    pub spec: JobSpec,
    /// The first run is due after this.
    pub from: Timestamp,
}

/// The job is another one from here on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobChanged {
    /// What it is now.
    pub spec: JobSpec,
    /// The next run is due after this; absent if the schedule is what it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Timestamp>,
}

/// There is no job of this name any more. Runs of it that wait or run go on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobRemoved {}

/// A run was asked for by hand and was submitted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobTriggered {
    /// The task that runs it.
    pub task: Id,
}

/// A run fell due and was submitted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobDue {
    /// When it was due.
    pub due_at: Timestamp,
    /// The task that runs it.
    pub task: Id,
}

/// Why a due run was not submitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SkipReason {
    /// The run before it still goes on.
    Overlap,
    /// It fell due while nobody led.
    Missed,
    /// The job is paused.
    Paused,
    /// A task of its id is known already: the clock was set back, and what was due then was run.
    Repeated,
    /// Its task can't be submitted.
    Refused,
}

/// A run fell due and was not submitted, or several in a row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobSkipped {
    /// When it was due; the first of them.
    pub due_at: Timestamp,
    /// Why.
    pub reason: SkipReason,
    /// The last of them, if they are several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub through: Option<Timestamp>,
}

/// No more runs until it is resumed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobPaused {
    /// Why, in the words of whoever asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Runs again when due.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobResumed {
    /// The next run is due after this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Timestamp>,
}

family!(
    /// Recurring jobs.
    JobEvent {
        /// Defined.
        Defined(JobDefined) = "job.defined",
        /// Defined otherwise.
        Changed(JobChanged) = "job.changed",
        /// No longer defined.
        Removed(JobRemoved) = "job.removed",
        /// Due and submitted.
        Due(JobDue) = "job.due",
        /// Due and not submitted.
        Skipped(JobSkipped) = "job.skipped",
        /// Submitted by hand.
        Triggered(JobTriggered) = "job.triggered",
        /// Paused.
        Paused(JobPaused) = "job.paused",
        /// Resumed.
        Resumed(JobResumed) = "job.resumed",
    }
);

/// The subject of a job's events.
pub fn job_subject(name: &Id) -> Entity {
    Entity::of("job", name).expect("a job's name is an id")
}
