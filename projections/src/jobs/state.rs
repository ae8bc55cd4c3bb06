//! What is known of each job.

use std::collections::{BTreeMap, HashMap, VecDeque};

use ledger_core::event::{DeadReason, JobSpec};
use ledger_core::ids::{Id, Seq};
use ledger_core::time::{Micros, Timestamp};
use serde::{Deserialize, Serialize};

/// How many runs of a job are remembered, and its success rate is of.
pub const RECENT_RUNS: usize = 500;

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunOutcome {
    /// Well.
    Completed,
    /// Not well, and its task is in the dead-letter queue.
    Dead(DeadReason),
    /// At somebody's wish.
    Cancelled,
}

/// Where a run stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum RunState {
    /// Its task waits.
    Waiting,
    /// Its task runs.
    Running,
    /// Its task has ended.
    Ended {
        /// When.
        at: Timestamp,
        /// How.
        outcome: RunOutcome,
    },
}

/// One run of a job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobRun {
    /// The task that it is.
    pub task: Id,
    /// When it was due; absent if it was asked for by hand.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due_at: Option<Timestamp>,
    /// The event that says so.
    pub told: Seq,
    /// When it was submitted.
    pub submitted_at: Timestamp,
    /// How long its latest attempt that has ended ran.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runtime_us: Option<Micros>,
    /// Where it stands.
    #[serde(flatten)]
    pub state: RunState,
}

impl JobRun {
    /// Whether its task waits or runs.
    pub fn is_live(&self) -> bool {
        match self.state {
            RunState::Waiting | RunState::Running => true,
            RunState::Ended { .. } => false,
        }
    }
}

/// What a job is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Definition {
    /// All of it.
    pub spec: JobSpec,
    /// The event that says so.
    pub told: Seq,
}

/// A job that is not submitted when due.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pause {
    /// Since when.
    pub at: Timestamp,
    /// Why, in the words of whoever asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// One job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Job {
    /// Its name.
    pub name: Id,
    /// What it is; absent once it was removed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub definition: Option<Definition>,
    /// Since when it is paused, if it is. A pause outlives a removal: whoever paused a job did not
    /// ask for it to go on when a file is moved away and back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused: Option<Pause>,
    /// What was due up to here is decided.
    pub decided: Timestamp,
    /// Runs that fell due and were left out.
    pub skips: u64,
    /// The latest runs, oldest first.
    pub runs: VecDeque<JobRun>,
}

impl Job {
    pub(super) fn new(name: Id) -> Self {
        Self {
            name,
            definition: None,
            paused: None,
            decided: Timestamp(0),
            skips: 0,
            runs: VecDeque::new(),
        }
    }

    /// What it is, unless it was removed.
    pub fn spec(&self) -> Option<&JobSpec> {
        self.definition.as_ref().map(|definition| &definition.spec)
    }

    /// Runs whose tasks wait or run, oldest first.
    pub fn live(&self) -> impl Iterator<Item = &JobRun> {
        self.runs.iter().filter(|run| run.is_live())
    }
}

/// Every job.
#[derive(Debug, Clone, Default)]
pub struct Jobs {
    pub(super) jobs: BTreeMap<Id, Job>,
    /// The job of a task that is one of its runs. Looked up only, so its order can't matter.
    // tidy: allow(hash-order) — lookups only; rows walk `jobs`
    pub(super) of_task: HashMap<Id, Id>,
}

impl Jobs {
    /// The job of this name, if there is one or was.
    pub fn get(&self, name: &str) -> Option<&Job> {
        self.jobs.get(name)
    }

    /// All jobs by name, those that were removed as well.
    pub fn iter(&self) -> impl Iterator<Item = &Job> {
        self.jobs.values()
    }
}
