//! What is known of each task, and the indexes over it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ledger_core::envelope::Header;
use ledger_core::event::{
    Attempt, DeadReason, Payload, Priority, ProcessRegistered, TaskSubmitted, Terms,
};
use ledger_core::ids::{Id, Seq, Term};
use ledger_core::time::{Micros, Millis, Timestamp};
use serde::{Deserialize, Serialize};

use super::by_id::ById;
use super::keys::Keys;
use super::line::Line;
use super::packed::Packed;

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
    /// By how many queues its wait had raised it.
    #[serde(default, skip_serializing_if = "is_unraised")]
    pub boost: u8,
    /// Its process, once it is known.
    pub process: Option<ProcessRef>,
    /// The event that says that part of its tree outlives SIGKILL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unkillable: Option<Seq>,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "the signature is serde's"
)]
fn is_unraised(boost: &u8) -> bool {
    *boost == 0
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
    /// Its tree did nothing for longer than it may.
    Stalled,
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
    /// The queue it was taken from.
    pub queue: Priority,
    /// By how many queues its wait had raised it.
    #[serde(default, skip_serializing_if = "is_unraised")]
    pub boost: u8,
    /// The queue of the next attempt, if it ran past the quantum of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub demoted_to: Option<Priority>,
}

/// Where a task stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum TaskState {
    /// Waits in its queue.
    Queued {
        /// The event that queued it: its place in the queue.
        since: Seq,
        /// Since when it counts as waiting there.
        since_at: Timestamp,
        /// The run that comes next.
        next: Attempt,
        /// The end of the pause after the attempt before.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        backoff_until: Option<Timestamp>,
    },
    /// An attempt is ordered or runs.
    Running(Box<Run>),
    /// An attempt runs and is to end.
    Cancelling {
        /// The attempt.
        run: Box<Run>,
        /// The event that asked for it.
        asked: Seq,
        /// Why, in the words of whoever asked.
        reason: Option<Box<str>>,
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
        reason: Option<Box<str>>,
    },
    /// In the dead-letter queue.
    Dead {
        /// When.
        at: Timestamp,
        /// Why.
        reason: DeadReason,
        /// The task that it depends on and that did not complete, if that is why.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        dependency: Option<Id>,
    },
}

/// One task. There may be a million of them, so what most tasks don't have is boxed, and what they
/// run is packed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Task {
    /// Its id.
    pub id: Id,
    /// The event that brought it.
    pub submitted: Seq,
    /// When it was submitted.
    pub submitted_at: Timestamp,
    /// Who provably submitted it: one text for neighbors of the same submitter.
    pub submitted_by: Arc<str>,
    /// Carried over to everything that follows from it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub correlation: Option<Id>,
    /// Its queue.
    pub priority: Priority,
    /// The queue it was submitted to.
    pub original_priority: Priority,
    pub(super) payload: Packed,
    /// How long an attempt may run.
    pub max_runtime_ms: Millis,
    /// How long SIGTERM may take.
    pub grace_ms: Millis,
    /// What it waits for and how often it is tried, if anything of that is unusual.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub terms: Option<Box<Terms>>,
    /// Where it stands.
    #[serde(flatten)]
    pub state: TaskState,
    /// How often its tree was found gone without an outcome since it was handed over, or since it
    /// was last taken out of the dead-letter queue by hand.
    pub lost: u32,
    /// How many of its attempts have failed or run past their limit since then.
    pub failed: u32,
    /// Attempts that have ended, oldest first.
    pub attempts: Vec<AttemptRecord>,
}

impl TaskState {
    /// The word for it.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Queued { .. } => "queued",
            Self::Running(_) => "running",
            Self::Cancelling { .. } => "cancelling",
            Self::Undecided => "undecided",
            Self::Completed { .. } => "completed",
            Self::Cancelled { .. } => "cancelled",
            Self::Dead { .. } => "dead",
        }
    }
}

impl Task {
    pub(super) fn new(id: Id, header: &Header<'_>, data: &TaskSubmitted) -> Self {
        let (submitted, at) = (header.seq, header.recorded_at);
        Self {
            id,
            submitted,
            submitted_at: at,
            submitted_by: header.actor.into(),
            // The header's names were checked when it was decoded.
            correlation: header.correlation.and_then(|c| Id::new(c).ok()),
            priority: data.priority,
            original_priority: data.priority,
            payload: Packed::new(&data.payload),
            max_runtime_ms: data.max_runtime_ms,
            grace_ms: data.grace_ms,
            terms: data.terms.clone(),
            state: TaskState::Queued {
                since: submitted,
                since_at: at,
                next: Attempt::FIRST,
                backoff_until: None,
            },
            lost: 0,
            failed: 0,
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

    /// What it runs.
    pub fn payload(&self) -> Payload {
        self.payload.unpack()
    }

    /// Whether the node does it itself: no process, and nothing to find again after the node.
    pub fn is_builtin(&self) -> bool {
        match self.payload() {
            Payload::Builtin(_) => true,
            Payload::Exec(_) => false,
        }
    }

    /// The tasks that must have completed before it is started.
    pub fn depends_on(&self) -> &[Id] {
        self.terms.as_deref().map_or(&[], |terms| &terms.depends_on)
    }

    /// The key whose rate its starts count against.
    pub fn rate_key(&self) -> Option<&Id> {
        self.terms.as_deref()?.rate_key.as_ref()
    }

    /// The key of the tasks that it does not run beside in any number.
    pub fn concurrency_key(&self) -> Option<&Id> {
        self.terms.as_deref()?.concurrency_key.as_ref()
    }

    /// When it is dead if it still waits.
    pub fn expires_at(&self) -> Option<Timestamp> {
        self.terms.as_deref()?.expires_at
    }

    /// How long its tree may do nothing, if that is limited.
    pub fn stall_after(&self) -> Option<Millis> {
        self.terms.as_deref()?.stall_after_ms
    }

    /// How many attempts may fail before it is dead.
    pub fn max_attempts(&self) -> u32 {
        self.terms.as_deref().map_or(1, |terms| terms.max_attempts)
    }
}

/// A queue that an operator holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueuePause {
    /// The event that says so.
    pub since: Seq,
    /// When.
    pub at: Timestamp,
    /// Why, in the words of whoever asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// What is known of a rate key.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RateState {
    /// When its bucket is full again if nothing more is taken.
    pub full_at: Timestamp,
    /// Until when a task has asked that nothing of it be started.
    pub held_until: Timestamp,
}

/// Every task and the queues.
///
/// Everything but `tasks`, `paused` and `rates` follows from those, and changes with them in one
/// place (`index.rs`).
#[derive(Debug, Clone, Default)]
pub struct Tasks {
    /// By the seq of the submission: the canonical order.
    pub(super) tasks: BTreeMap<Seq, Box<Task>>,
    pub(super) paused: [Option<QueuePause>; 3],
    pub(super) rates: BTreeMap<Id, RateState>,
    pub(super) by_id: ById,
    pub(super) keys: Keys,
    /// Queued tasks that wait for no other task, per queue.
    pub(super) lines: [Line; 3],
    /// How many queued tasks wait for others, per queue.
    pub(super) dependent: [usize; 3],
    /// A task that has not completed -> a queued task that depends on it.
    pub(super) dependents: BTreeSet<(Seq, Seq)>,
    /// A queued task -> one that it depends on and that ended without completing.
    pub(super) doomed: BTreeSet<(Seq, Seq)>,
    /// When queued tasks expire.
    pub(super) expiries: BTreeSet<(Timestamp, Seq)>,
    /// Tasks with an open attempt.
    pub(super) open: BTreeSet<Seq>,
    /// How many of them there are, per queue.
    pub(super) open_in: [usize; 3],
    /// How many of them there are of each concurrency key.
    pub(super) open_of: BTreeMap<Id, usize>,
}

pub(super) fn level(queue: Priority) -> usize {
    usize::from(queue.level())
}

impl Tasks {
    /// The task with this id.
    pub fn get(&self, id: &str) -> Option<&Task> {
        self.seq_of(id).and_then(|seq| self.at(seq))
    }

    /// Where the task with this id was submitted.
    pub(super) fn seq_of(&self, id: &str) -> Option<Seq> {
        self.by_id.find(id, |seq| self.id_at(seq))
    }

    /// The id of the task submitted there; empty, which no id is, if there is none.
    pub(super) fn id_at(&self, submitted: Seq) -> &str {
        self.at(submitted).map_or("", |task| &task.id)
    }

    pub(super) fn at(&self, submitted: Seq) -> Option<&Task> {
        self.tasks.get(&submitted).map(|task| &**task)
    }

    /// All tasks, in the order of their submission.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &Task> {
        self.tasks.values().map(|task| &**task)
    }

    /// How many tasks are known.
    pub fn len(&self) -> usize {
        self.tasks.len()
    }

    /// How many tasks are in each state that any is in, by the states' names.
    pub fn counts(&self) -> BTreeMap<String, u64> {
        let mut counts = BTreeMap::new();
        for task in self.iter() {
            let name = task.state.name();
            match counts.get_mut(name) {
                Some(count) => *count += 1,
                None => {
                    counts.insert(name.to_owned(), 1);
                }
            }
        }
        counts
    }

    /// Whether no task is known.
    pub fn is_empty(&self) -> bool {
        self.tasks.is_empty()
    }

    /// Tasks with an open attempt, in the order of their submission.
    pub fn open(&self) -> impl Iterator<Item = &Task> {
        self.open.iter().filter_map(|seq| self.at(*seq))
    }

    /// How many attempts are open.
    pub fn open_count(&self) -> usize {
        self.open.len()
    }

    /// How many attempts of a queue's tasks are open.
    pub fn open_in(&self, queue: Priority) -> usize {
        self.open_in[level(queue)]
    }

    /// How many attempts of a concurrency key's tasks are open.
    pub fn open_of(&self, key: &Id) -> usize {
        self.open_of.get(key).copied().unwrap_or_default()
    }

    /// How many tasks wait in a queue, for whatever they wait.
    pub fn queued_count(&self, queue: Priority) -> usize {
        self.lines[level(queue)].len() + self.dependent[level(queue)]
    }

    /// Why and since when a queue is held, if it is.
    pub fn pause(&self, queue: Priority) -> Option<&QueuePause> {
        self.paused[level(queue)].as_ref()
    }

    /// What is known of a rate key; the default if nothing ever happened to it.
    pub fn rate(&self, key: &Id) -> RateState {
        self.rates.get(key).copied().unwrap_or_default()
    }
}
