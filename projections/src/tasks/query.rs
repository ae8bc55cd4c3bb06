//! What people and programs see of tasks.

use std::str::FromStr;

use ledger_core::event::{
    Attempt, DeadReason, Event, Failure, Outputs, Payload, Priority, TaskEvent,
};
use ledger_core::ids::{Id, Seq};
use ledger_core::time::{Micros, Millis, Timestamp};
use serde::{Deserialize, Serialize};

use super::state::{AttemptRecord, ProcessRef, Task, TaskState, Tasks};

/// The name of a state, for filters and tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StateName {
    /// Waits in its queue.
    Queued,
    /// An attempt is ordered or runs.
    Running,
    /// An attempt runs and is to end.
    Cancelling,
    /// The last attempt ended badly and what follows is not decided.
    Undecided,
    /// Ended well.
    Completed,
    /// Ended at somebody's wish.
    Cancelled,
    /// In the dead-letter queue.
    Dead,
}

/// A state that does not exist.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "state {0:?} does not exist; use queued, running, cancelling, completed, cancelled or dead"
)]
pub struct UnknownState(pub String);

impl StateName {
    /// The states a task can be found in, in the order of a life.
    pub const ALL: [Self; 6] = [
        Self::Queued,
        Self::Running,
        Self::Cancelling,
        Self::Completed,
        Self::Cancelled,
        Self::Dead,
    ];

    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Cancelling => "cancelling",
            Self::Undecided => "undecided",
            Self::Completed => "completed",
            Self::Cancelled => "cancelled",
            Self::Dead => "dead",
        }
    }
}

impl FromStr for StateName {
    type Err = UnknownState;
    fn from_str(s: &str) -> Result<Self, UnknownState> {
        Self::ALL
            .into_iter()
            .find(|state| state.as_str() == s)
            .ok_or_else(|| UnknownState(s.to_owned()))
    }
}

/// One task as it is shown and sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskView {
    /// Its id.
    pub task_id: Id,
    /// Where it stands.
    pub state: StateName,
    /// Its queue.
    pub priority: Priority,
    /// How many tasks of its queue stand before it, while it is queued.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position: Option<u64>,
    /// What it runs.
    pub payload: Payload,
    /// How long an attempt may run.
    pub max_runtime_ms: Millis,
    /// How long SIGTERM may take.
    pub grace_ms: Millis,
    /// The event that brought it.
    pub submitted: Seq,
    /// When it was submitted.
    pub submitted_at: Timestamp,
    /// Who provably submitted it.
    pub submitted_by: String,
    /// The latest run, open or ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt: Option<Attempt>,
    /// When the open run was ordered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Timestamp>,
    /// When it ended for good.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<Timestamp>,
    /// How long the latest ended run ran.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runtime_us: Option<Micros>,
    /// Its exit code as a shell would give it: see [`super::Closing::exit_code`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    /// Why it is in the dead-letter queue.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dead_reason: Option<DeadReason>,
    /// Why it was cancelled, in the words of whoever asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cancel_reason: Option<String>,
    /// The process of the open run, once it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub process: Option<ProcessRef>,
    /// How often its tree was found gone without an outcome since it was handed over, or since it
    /// was last retried by hand.
    pub lost: u32,
    /// Runs that have ended.
    pub attempts: Vec<AttemptRecord>,
    /// What the latest ended run wrote; only where one task is asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outputs: Option<Outputs>,
    /// Why the latest ended run failed, if it did; only where one task is asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
}

impl TaskView {
    /// Adds what only the event that closed the latest run knows.
    pub fn add_closing(&mut self, closing: Event) {
        let Event::Task(closing) = closing else {
            return;
        };
        match closing {
            TaskEvent::Completed(e) => self.outputs = Some(e.outputs),
            TaskEvent::TimedOut(e) => self.outputs = Some(e.outputs),
            TaskEvent::Cancelled(e) => self.outputs = e.outputs,
            TaskEvent::Failed(e) => {
                self.outputs = Some(e.outputs);
                self.failure = Some(e.failure);
            }
            TaskEvent::Submitted(_)
            | TaskEvent::Started(_)
            | TaskEvent::Lost(_)
            | TaskEvent::Requeued(_)
            | TaskEvent::CancelRequested(_)
            | TaskEvent::Dead(_)
            | TaskEvent::Retried(_) => {}
        }
    }
}

impl Tasks {
    /// One task as it is shown on its own: with its position in the queue, which costs a walk.
    pub fn detailed_view(&self, task: &Task) -> TaskView {
        let position = match &task.state {
            TaskState::Queued { since, .. } => {
                u64::try_from(self.position(task.priority, *since)).ok()
            }
            _ => None,
        };
        TaskView {
            position,
            ..task.view()
        }
    }
}

impl Task {
    /// The task as it is shown in a list.
    pub fn view(&self) -> TaskView {
        let task = self;
        let last = task.attempts.last();
        let run = task.run();
        let (mut ended_at, mut dead_reason, mut cancel_reason) = (None, None, None);
        let state = match &task.state {
            TaskState::Queued { .. } => StateName::Queued,
            TaskState::Running(_) => StateName::Running,
            TaskState::Cancelling { reason, .. } => {
                cancel_reason.clone_from(reason);
                StateName::Cancelling
            }
            TaskState::Undecided => StateName::Undecided,
            TaskState::Completed { at } => {
                ended_at = Some(*at);
                StateName::Completed
            }
            TaskState::Cancelled { at, reason } => {
                ended_at = Some(*at);
                cancel_reason.clone_from(reason);
                StateName::Cancelled
            }
            TaskState::Dead { at, reason } => {
                ended_at = Some(*at);
                dead_reason = Some(*reason);
                StateName::Dead
            }
        };
        TaskView {
            task_id: task.id.clone(),
            state,
            priority: task.priority,
            position: None,
            payload: task.payload.clone(),
            max_runtime_ms: task.max_runtime_ms,
            grace_ms: task.grace_ms,
            submitted: task.submitted,
            submitted_at: task.submitted_at,
            submitted_by: task.submitted_by.clone(),
            attempt: run.map(|r| r.attempt).or(last.map(|l| l.attempt)),
            started_at: run.map(|r| r.ordered_at),
            ended_at,
            runtime_us: last.map(|l| l.runtime_us),
            exit_code: last.and_then(|l| l.closing.exit_code()),
            dead_reason,
            cancel_reason,
            process: run.and_then(|r| r.process.clone()),
            lost: task.lost,
            attempts: task.attempts.clone(),
            outputs: None,
            failure: None,
        }
    }
}

impl super::Closing {
    /// The exit code that a shell would give: the command's own, 128 + signal, 124 past the
    /// limit, 127 if it could not be found or started, 126 if it was found and can't be run, 143 if
    /// it was cancelled, none if it was lost.
    pub fn exit_code(self) -> Option<i32> {
        match self {
            Self::Completed => Some(0),
            Self::Exit(code) => Some(code),
            Self::Signal(signal) => Some(128 + signal),
            Self::Spawn => Some(127),
            Self::NotExecutable => Some(126),
            Self::TimedOut => Some(124),
            Self::Cancelled => Some(143),
            Self::Lost => None,
        }
    }
}
