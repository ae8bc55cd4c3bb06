//! What people and programs see of jobs.

use ledger_core::event::JobSpec;
use ledger_core::ids::Id;
use ledger_core::time::Timestamp;
use serde::{Deserialize, Serialize};

use super::state::{Job, JobRun, Pause, RunOutcome, RunState};

/// Where a job stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobState {
    /// Is submitted when due.
    Active,
    /// Is not, until it is resumed.
    Paused,
    /// Is not defined any more.
    Removed,
}

impl JobState {
    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Paused => "paused",
            Self::Removed => "removed",
        }
    }
}

/// The latest runs that ended by themselves; those that somebody cancelled say nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunCounts {
    /// How many: at most [`super::RECENT_RUNS`].
    pub runs: u32,
    /// How many of them ended well.
    pub succeeded: u32,
}

impl RunCounts {
    /// The share that ended well, 0 to 1; `None` if there were no runs.
    pub fn success_rate(&self) -> Option<f64> {
        (self.runs > 0).then(|| f64::from(self.succeeded) / f64::from(self.runs))
    }
}

/// One job as it is shown and sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobView {
    /// Its name.
    pub name: Id,
    /// Where it stands.
    pub state: JobState,
    /// What it is; absent once it was removed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spec: Option<JobSpec>,
    /// When it is due next; absent while it is paused, and for ever once it never is again. Whoever
    /// has a calendar fills it in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_due: Option<Timestamp>,
    /// What was due up to here is decided.
    pub decided: Timestamp,
    /// Since when it is paused, and why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused: Option<Pause>,
    /// The tasks of its runs that wait or run.
    pub live: Vec<Id>,
    /// The run that ended last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<JobRun>,
    /// The latest runs, counted.
    pub recent: RunCounts,
    /// How often something that was due was left out.
    pub skips: u64,
    /// The latest runs, newest first; only where one job is asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub runs: Vec<JobRun>,
}

impl Job {
    /// Where it stands.
    pub fn state(&self) -> JobState {
        match (&self.definition, &self.paused) {
            (None, _) => JobState::Removed,
            (Some(_), Some(_)) => JobState::Paused,
            (Some(_), None) => JobState::Active,
        }
    }

    /// The run that ended last.
    pub fn last_ended(&self) -> Option<&JobRun> {
        let ended = self.runs.iter().filter_map(|run| match run.state {
            RunState::Ended { at, .. } => Some((at, run)),
            RunState::Waiting | RunState::Running => None,
        });
        // Of several that ended at once, the one that was submitted last.
        ended
            .max_by_key(|(at, run)| (*at, run.told))
            .map(|(_, run)| run)
    }

    /// The job as it is shown in a list; when it is due next is left open.
    pub fn view(&self) -> JobView {
        let mut recent = RunCounts::default();
        for run in &self.runs {
            match run.state {
                RunState::Ended { outcome, .. } => match outcome {
                    RunOutcome::Completed => {
                        recent.runs += 1;
                        recent.succeeded += 1;
                    }
                    RunOutcome::Dead(_) => recent.runs += 1,
                    RunOutcome::Cancelled => {}
                },
                RunState::Waiting | RunState::Running => {}
            }
        }
        JobView {
            name: self.name.clone(),
            state: self.state(),
            spec: self.spec().cloned(),
            next_due: None,
            decided: self.decided,
            paused: self.paused.clone(),
            live: self.live().map(|run| run.task.clone()).collect(),
            last: self.last_ended().cloned(),
            recent,
            skips: self.skips,
            runs: Vec::new(),
        }
    }

    /// The job as it is shown on its own, with its latest `limit` runs.
    pub fn detailed_view(&self, limit: usize) -> JobView {
        JobView {
            runs: self.runs.iter().rev().take(limit).cloned().collect(),
            ..self.view()
        }
    }
}
