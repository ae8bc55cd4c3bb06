//! `job.*`: recurring jobs. Subject `job/NAME`. A due run is submitted as an ordinary task whose
//! id holds the job's name and the due time, so that it is submitted exactly once.

use serde::{Deserialize, Serialize};

use super::family;
use crate::ids::Id;
use crate::time::Timestamp;

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
}

/// A run fell due and was not submitted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobSkipped {
    /// When it was due.
    pub due_at: Timestamp,
    /// Why.
    pub reason: SkipReason,
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
pub struct JobResumed {}

family!(
    /// Recurring jobs.
    JobEvent {
        /// Due and submitted.
        Due(JobDue) = "job.due",
        /// Due and not submitted.
        Skipped(JobSkipped) = "job.skipped",
        /// Paused.
        Paused(JobPaused) = "job.paused",
        /// Resumed.
        Resumed(JobResumed) = "job.resumed",
    }
);
