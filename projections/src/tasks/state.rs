//! What is known of each task, and the indexes over it.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use ledger_core::envelope::Header;
use ledger_core::event::{
    Attempt, DeadReason, Payload, Priority, ProcessRegistered, TaskSubmitted,
};
use ledger_core::ids::{Id, Seq, Term};
use ledger_core::time::{Micros, Millis, Timestamp};
use serde::{Deserialize, Serialize};

/// A process of an attempt: enough to find it again and to know that it is the same.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessRef {
    /// Process id.
    pub pid: i32,
    /// Start time in clock ticks since boot.
    pub start_time: u64,
    /// Which boot of the host.
    pub boot_id: String,
    /// The shim that waits for it.
    pub shim_pid: i32,
    /// The shim's start time.
    pub shim_start_time: u64,
}

impl From<&ProcessRegistered> for ProcessRef {
    fn from(p: &ProcessRegistered) -> Self {
        Self {
            pid: p.pid,
            start_time: p.start_time,
            boot_id: p.boot_id.clone(),
            shim_pid: p.shim_pid,
            shim_start_time: p.shim_start_time,
        }
    }
}

/// An open attempt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// Which run.
    pub attempt: Attempt,
    /// The event that ordered it.
    pub ordered: Seq,
    /// When it was ordered.
    pub ordered_at: Timestamp,
    /// The term in which it was ordered, which knows the node and the boot.
    pub term: Term,
    /// The node that ordered it.
    pub node: Id,
    /// Its process, once it is known.
    pub process: Option<ProcessRef>,
}

/// How the last attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Closing {
    /// Exited with 0.
    Completed,
    /// Exited with this code.
    Exit(i32),
    /// Ended by a signal that we did not send.
    Signal(i32),
    /// Could not be found, or not be started at all.
    Spawn,
    /// Was found and can't be run.
    NotExecutable,
    /// Ran past its limit.
    TimedOut,
    /// Gone without an outcome.
    Lost,
    /// Ended at somebody's wish.
    Cancelled,
}

/// An attempt that has ended; details are in the event at `closed`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttemptRecord {
    /// Which run.
    pub attempt: Attempt,
    /// The event that ordered it.
    pub ordered: Seq,
    /// The event that closed it.
    pub closed: Seq,
    /// When it was closed.
    pub closed_at: Timestamp,
    /// How it ended.
    pub closing: Closing,
    /// How long it ran; zero if that is not known.
    pub runtime_us: Micros,
}

/// Where a task stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum TaskState {
    /// Waits in its queue.
    Queued {
        /// The event that queued it: its place in the queue.
        since: Seq,
        /// When.
        since_at: Timestamp,
        /// The run that comes next.
        next: Attempt,
    },
    /// An attempt is ordered or runs.
    Running(Run),
    /// An attempt runs and is to end.
    Cancelling {
        /// The attempt.
        run: Run,
        /// The event that asked for it.
        asked: Seq,
        /// Why, in the words of whoever asked.
        reason: Option<String>,
    },
    /// The last attempt ended badly and what follows is not decided; within a batch only.
    Undecided,
    /// Ended well.
    Completed {
        /// When.
        at: Timestamp,
    },
    /// Ended at somebody's wish.
    Cancelled {
        /// When.
        at: Timestamp,
        /// Why.
        reason: Option<String>,
    },
    /// In the dead-letter queue.
    Dead {
        /// When.
        at: Timestamp,
        /// Why.
        reason: DeadReason,
    },
}

/// One task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Task {
    /// Its id.
    pub id: Id,
    /// The event that brought it.
    pub submitted: Seq,
    /// When it was submitted.
    pub submitted_at: Timestamp,
    /// Who provably submitted it.
    pub submitted_by: String,
    /// Carried over to everything that follows from it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub correlation: Option<Id>,
    /// Its queue.
    pub priority: Priority,
    /// What to run.
    pub payload: Payload,
    /// How long an attempt may run.
    pub max_runtime_ms: Millis,
    /// How long SIGTERM may take.
    pub grace_ms: Millis,
    /// Where it stands.
    #[serde(flatten)]
    pub state: TaskState,
    /// How often its tree was found gone without an outcome since it was handed over, or since it
    /// was last taken out of the dead-letter queue by hand.
    pub lost: u32,
    /// Attempts that have ended, oldest first.
    pub attempts: Vec<AttemptRecord>,
}

impl Task {
    pub(super) fn new(id: Id, header: &Header<'_>, data: &TaskSubmitted) -> Self {
        let (submitted, at) = (header.seq, header.recorded_at);
        Self {
            id,
            submitted,
            submitted_at: at,
            submitted_by: header.actor.to_owned(),
            // The header's names were checked when it was decoded.
            correlation: header.correlation.and_then(|c| Id::new(c).ok()),
            priority: data.priority,
            payload: data.payload.clone(),
            max_runtime_ms: data.max_runtime_ms,
            grace_ms: data.grace_ms,
            state: TaskState::Queued {
                since: submitted,
                since_at: at,
                next: Attempt::FIRST,
            },
            lost: 0,
            attempts: Vec::new(),
        }
    }

    /// The open attempt, if there is one.
    pub fn run(&self) -> Option<&Run> {
        match &self.state {
            TaskState::Running(run) | TaskState::Cancelling { run, .. } => Some(run),
            TaskState::Queued { .. }
            | TaskState::Undecided
            | TaskState::Completed { .. }
            | TaskState::Cancelled { .. }
            | TaskState::Dead { .. } => None,
        }
    }

    /// Whether nothing more happens to it by itself.
    pub fn is_ended(&self) -> bool {
        matches!(
            self.state,
            TaskState::Completed { .. } | TaskState::Cancelled { .. } | TaskState::Dead { .. }
        )
    }

    /// Whether the node does it itself: no process, and nothing to find again after the node.
    pub fn is_builtin(&self) -> bool {
        match &self.payload {
            Payload::Builtin(_) => true,
            Payload::Exec(_) => false,
        }
    }
}

/// Every task and the queues.
#[derive(Debug, Clone, Default)]
pub struct Tasks {
    /// By the seq of the submission: the canonical order.
    pub(super) tasks: BTreeMap<Seq, Task>,
    /// Looked up by id only, never walked, so its order can't matter.
    // tidy: allow(hash-order) — lookups only; rows walk `tasks`
    pub(super) by_id: HashMap<Id, Seq>,
    /// Per queue: place in it -> task.
    pub(super) queues: [BTreeMap<Seq, Seq>; 3],
    /// Tasks with an open attempt.
    pub(super) open: BTreeSet<Seq>,
}

impl Tasks {
    /// The task with this id.
    pub fn get(&self, id: &str) -> Option<&Task> {
        self.by_id.get(id).and_then(|seq| self.tasks.get(seq))
    }

    /// All tasks, in the order of their submission.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &Task> {
        self.tasks.values()
    }

    /// How many tasks are known.
    pub fn len(&self) -> usize {
        self.tasks.len()
    }

    /// Whether no task is known.
    pub fn is_empty(&self) -> bool {
        self.tasks.is_empty()
    }

    /// Tasks with an open attempt, in the order of their submission.
    pub fn open(&self) -> impl Iterator<Item = &Task> {
        self.open.iter().filter_map(|seq| self.tasks.get(seq))
    }

    /// How many attempts are open.
    pub fn open_count(&self) -> usize {
        self.open.len()
    }

    /// How many tasks wait in a queue.
    pub fn queued_count(&self, queue: Priority) -> usize {
        self.queues[usize::from(queue.level())].len()
    }

    /// How many tasks of a queue stand before the task queued at `since`.
    pub fn position(&self, queue: Priority, since: Seq) -> usize {
        self.queues[usize::from(queue.level())]
            .range(..since)
            .count()
    }

    /// The task that is next in a queue.
    pub fn first_queued(&self, queue: Priority) -> Option<&Task> {
        let (_, submitted) = self.queues[usize::from(queue.level())].first_key_value()?;
        self.tasks.get(submitted)
    }
}
