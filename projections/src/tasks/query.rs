//! What people and programs see of tasks.

use std::str::FromStr;

use ledger_core::event::{
    Attempt, DeadReason, Event, Failure, LadderCause, Outputs, Payload, Priority, ProcessEnd,
    ProcessEvent, ProcessReaped, ProcessUnkillable, TaskEvent, Terms,
};
use ledger_core::ids::{Id, Seq};
use ledger_core::time::{Micros, Millis, Timestamp};
use serde::{Deserialize, Serialize};

use super::state::{AttemptRecord, ProcessRef, Task, TaskState, Tasks};

/// The name of a state, for filters and tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StateName {
    /// Waits for its turn.
    Queued,
    /// Waits for something else than its turn.
    Held,
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
    "state {0:?} does not exist; use queued, held, running, cancelling, completed, cancelled or dead"
)]
pub struct UnknownState(pub String);

impl StateName {
    /// The states a task can be found in, in the order of a life.
    pub const ALL: [Self; 7] = [
        Self::Queued,
        Self::Held,
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
            Self::Held => "held",
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

/// Why a queued task is not started though it may be its turn.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "reason", rename_all = "snake_case")]
pub enum Held {
    /// Its queue is paused.
    Paused {
        /// Since when.
        since: Timestamp,
        /// Why, in the words of whoever paused it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        why: Option<String>,
    },
    /// A task that it depends on has not completed.
    Dependency {
        /// That task.
        task: Id,
    },
    /// It is not to be started yet.
    NotBefore {
        /// Until when.
        until: Timestamp,
    },
    /// The pause after an attempt that ended badly.
    Backoff {
        /// Until when.
        until: Timestamp,
    },
    /// Its rate key has nothing left, or was told to wait.
    RateKey {
        /// The key.
        key: Id,
        /// Until when.
        until: Timestamp,
    },
    /// As many tasks of its concurrency key run as may.
    ConcurrencyKey {
        /// The key.
        key: Id,
    },
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
    /// The queue it was submitted to.
    pub original_priority: Priority,
    /// What it waits for besides its turn, while it is queued.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held: Option<Held>,
    /// The run that comes next, while it is queued.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_attempt: Option<Attempt>,
    /// When that may be started at the earliest, as far as is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready_at: Option<Timestamp>,
    /// By how many queues its wait has raised it, or had when the open run was started.
    #[serde(default, skip_serializing_if = "is_unraised")]
    pub boost: u8,
    /// How many tasks of its queue stand before it, while it is queued.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position: Option<u64>,
    /// What it runs.
    pub payload: Payload,
    /// How long an attempt may run.
    pub max_runtime_ms: Millis,
    /// How long SIGTERM may take.
    pub grace_ms: Millis,
    /// What it waits for and how often it is tried.
    #[serde(default)]
    pub terms: Terms,
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
    /// Its exit code as a shell would give it: see [`super::Closing::exit_code`]. That of a cancelled
    /// run is known only where one task is asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    /// Why it is in the dead-letter queue.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dead_reason: Option<DeadReason>,
    /// The task that it depends on and that did not complete, if it is dead for that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dead_dependency: Option<Id>,
    /// Why it was cancelled, in the words of whoever asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cancel_reason: Option<String>,
    /// The process of the open run, once it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub process: Option<ProcessRef>,
    /// How often its tree was found gone without an outcome since it was handed over, or since it
    /// was last retried by hand.
    pub lost: u32,
    /// How often it failed or ran past its limit since then.
    #[serde(default)]
    pub failed: u32,
    /// Runs that have ended.
    pub attempts: Vec<AttemptRecord>,
    /// What the latest ended run wrote; only where one task is asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outputs: Option<Outputs>,
    /// Why the latest ended run failed, if it did; only where one task is asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
    /// How the latest ended run's processes were ended, if it was by us: which signals and when; only
    /// where one task is asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reaped: Option<ProcessReaped>,
    /// The event that says that part of the open run's tree outlives SIGKILL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unkillable: Option<Seq>,
    /// What that event says; only where one task is asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outlives: Option<ProcessUnkillable>,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "the signature is serde's"
)]
fn is_unraised(boost: &u8) -> bool {
    *boost == 0
}

impl TaskView {
    /// The events that know more of the task: the one that closed the latest run, the end of its process,
    /// which stands right before that, and what outlives SIGKILL.
    pub fn details(&self) -> impl Iterator<Item = Seq> + use<> {
        let closed = self.attempts.last().map(|last| last.closed);
        let before = closed.and_then(|seq| seq.0.checked_sub(1)).map(Seq);
        closed.into_iter().chain(before).chain(self.unkillable)
    }

    /// Adds what only its [details](Self::details) know, each with the event that led to it, in their
    /// order.
    pub fn add(&mut self, details: impl IntoIterator<Item = (Option<Seq>, Event)>) {
        let mut run = None;
        for (cause, detail) in details {
            match detail {
                Event::Task(closing) => {
                    run = cause;
                    self.add_closing(closing);
                }
                // What stands before it may be of another task: both ends follow from the same start.
                Event::Process(ProcessEvent::Reaped(reaped)) if cause.is_some() && cause == run => {
                    if reaped.cause == LadderCause::Cancel {
                        self.exit_code = Some(cancelled_code(reaped.end));
                    }
                    self.reaped = Some(reaped);
                }
                Event::Process(ProcessEvent::Unkillable(found)) => self.outlives = Some(found),
                _ => {}
            }
        }
    }

    fn add_closing(&mut self, closing: TaskEvent) {
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
            | TaskEvent::Retried(_)
            | TaskEvent::Reprioritized(_)
            | TaskEvent::Throttled(_) => {}
        }
    }
}

/// What a shell would give for a command that was cancelled: one that heeds SIGTERM and exits, with
/// whatever code, has been cancelled all the same.
const fn cancelled_code(end: ProcessEnd) -> i32 {
    const SIGTERM: i32 = 15;
    match end {
        ProcessEnd::Signaled { signal } => 128 + signal,
        ProcessEnd::Exited { .. } => 128 + SIGTERM,
    }
}

impl Tasks {
    /// One task as it is shown: with its position in the queue and when it may be started.
    pub fn view(&self, task: &Task) -> TaskView {
        let position = self.position(task);
        TaskView {
            position: position.and_then(|position| u64::try_from(position).ok()),
            ready_at: self.ready_at(task),
            ..task.view()
        }
    }
}

impl Task {
    /// The task as far as it alone tells: not what it waits for.
    pub fn view(&self) -> TaskView {
        let task = self;
        let last = task.attempts.last();
        let run = task.run();
        let (mut ended_at, mut dead_reason, mut cancel_reason) = (None, None, None);
        let (mut dead_dependency, mut next_attempt) = (None, None);
        let state = match &task.state {
            TaskState::Queued { next, .. } => {
                next_attempt = Some(*next);
                StateName::Queued
            }
            TaskState::Running(_) => StateName::Running,
            TaskState::Cancelling { reason, .. } => {
                cancel_reason = reason.as_deref().map(str::to_owned);
                StateName::Cancelling
            }
            TaskState::Undecided => StateName::Undecided,
            TaskState::Completed { at } => {
                ended_at = Some(*at);
                StateName::Completed
            }
            TaskState::Cancelled { at, reason } => {
                ended_at = Some(*at);
                cancel_reason = reason.as_deref().map(str::to_owned);
                StateName::Cancelled
            }
            TaskState::Dead {
                at,
                reason,
                dependency,
            } => {
                ended_at = Some(*at);
                dead_dependency.clone_from(dependency);
                dead_reason = Some(*reason);
                StateName::Dead
            }
        };
        TaskView {
            task_id: task.id.clone(),
            state,
            priority: task.priority,
            original_priority: task.original_priority,
            held: None,
            next_attempt,
            ready_at: None,
            boost: run.map_or(0, |r| r.boost),
            position: None,
            payload: task.payload(),
            max_runtime_ms: task.max_runtime_ms,
            grace_ms: task.grace_ms,
            terms: task.terms.as_deref().cloned().unwrap_or_default(),
            submitted: task.submitted,
            submitted_at: task.submitted_at,
            submitted_by: task.submitted_by.to_string(),
            attempt: run.map(|r| r.attempt).or(last.map(|l| l.attempt)),
            started_at: run.map(|r| r.ordered_at),
            ended_at,
            runtime_us: last.map(|l| l.runtime_us),
            exit_code: last.and_then(|l| l.closing.exit_code()),
            dead_reason,
            dead_dependency,
            cancel_reason,
            process: run.and_then(|r| r.process.clone()),
            lost: task.lost,
            failed: task.failed,
            attempts: task.attempts.clone(),
            outputs: None,
            failure: None,
            reaped: None,
            unkillable: run.and_then(|r| r.unkillable),
            outlives: None,
        }
    }
}

impl super::Closing {
    /// The exit code that a shell would give: the command's own, 128 + signal, 124 past a
    /// limit, 127 if it could not be found or started, 126 if it was found and can't be run. None if it
    /// was lost, or cancelled: which signal that took is in the event of its process.
    pub fn exit_code(self) -> Option<i32> {
        match self {
            Self::Completed => Some(0),
            Self::Exit(code) => Some(code),
            Self::Signal(signal) => Some(128 + signal),
            Self::Spawn => Some(127),
            Self::NotExecutable => Some(126),
            Self::TimedOut | Self::Stalled => Some(124),
            Self::Cancelled | Self::Lost => None,
        }
    }
}
