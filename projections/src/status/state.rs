//! What `status` remembers: figures, and of single things only those that are not over.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use ledger_core::envelope::Header;
use ledger_core::event::{Attempt, Priority, RecoveredFrom, StopCause, Survivor};
use ledger_core::ids::{Id, LedgerId, Seq, Term};
use ledger_core::time::{Micros, Timestamp};
use serde::{Deserialize, Serialize};

use super::backups::BackupFacts;
use super::histogram::Histogram;
use super::snapshots::SnapshotFacts;

/// How many of the latest runs the success rate is of.
pub const RECENT_RUNS: usize = 500;

/// Which ledger this is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LedgerFacts {
    /// The id in the domain of every hash.
    pub ledger_id: LedgerId,
    /// The operator's name for it.
    pub name: Id,
    /// When it was made.
    pub created_at: Timestamp,
}

/// Nothing is started: the directory was made from something else, and nobody has resumed
/// it yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PausedFacts {
    /// `restore`, `import` or `salvage`.
    pub by: String,
    /// The event that says so.
    pub since: Seq,
    /// When.
    pub at: Timestamp,
}

impl PausedFacts {
    pub(super) fn by(header: &Header<'_>, by: &str) -> Self {
        Self {
            by: by.to_owned(),
            since: header.seq,
            at: header.recorded_at,
        }
    }
}

/// How a term ended, if it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum TermState {
    /// It goes on, as far as the log knows.
    Open,
    /// It was given back.
    Released {
        /// When.
        at: Timestamp,
    },
    /// It ended without a release.
    Lost {
        /// When that was recorded.
        at: Timestamp,
    },
    /// Its holder was ended by force.
    Fenced {
        /// When that was recorded.
        at: Timestamp,
    },
}

/// One term.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TermFacts {
    /// The term.
    pub term: Term,
    /// Who holds or held it.
    pub holder: Id,
    /// The holder's process id.
    pub pid: i32,
    /// Tells two lives of one name apart.
    pub incarnation: String,
    /// The event that began it.
    pub acquired: Seq,
    /// When that was.
    pub acquired_at: Timestamp,
    /// Whether it goes on.
    #[serde(flatten)]
    pub state: TermState,
}

/// What a node found when it last took up the work.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecoveryFacts {
    /// When.
    pub at: Timestamp,
    /// Events folded.
    pub replayed: Seq,
    /// How long it took to come to the state: restoring and folding.
    pub replay_us: Micros,
    /// Attempts watched again.
    pub reattached: u32,
    /// Attempts closed with their true outcome.
    pub closed: u32,
    /// Attempts lost.
    pub lost: u32,
    /// Attempts that were ordered and had not begun.
    pub unstarted: u32,
    /// The checkpoint that it began with, if it did with one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checkpoint: Option<RecoveredFrom>,
    /// How many tasks of lost attempts were queued again, if that was told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requeued: Option<u32>,
}

/// The node that started last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeFacts {
    /// Its name.
    pub name: Id,
    /// Version of its software.
    pub software: String,
    /// Its host.
    pub host: String,
    /// How many attempts it runs at once.
    pub max_running: u32,
    /// When it started.
    pub started_at: Timestamp,
    /// What it found, once it took up the work.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recovery: Option<RecoveryFacts>,
    /// When it stopped and could say so, if it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stopped_at: Option<Timestamp>,
    /// Why, if nobody asked it to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop_reason: Option<StopCause>,
}

/// How many events there are, by family.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventCounts {
    /// `ledger.*`
    pub ledger: u64,
    /// `task.*`
    pub task: u64,
    /// `process.*`
    pub process: u64,
    /// `lease.*`
    pub lease: u64,
    /// `node.*`
    pub node: u64,
    /// `job.*`
    pub job: u64,
    /// `checkpoint.*`
    pub checkpoint: u64,
    /// `recovery.*`
    #[serde(default)]
    pub recovery: u64,
    /// `queue.*`
    #[serde(default)]
    pub queue: u64,
    /// `snapshot.*`
    #[serde(default)]
    pub snapshot: u64,
    /// `app.*`
    pub app: u64,
    /// Kinds that this binary does not know.
    pub unknown: u64,
    /// The last event of any kind.
    pub last: Seq,
    /// When it was recorded.
    pub last_at: Timestamp,
}

/// What has happened to tasks since the first event.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// Tasks handed over.
    pub submitted: u64,
    /// Attempts ordered.
    pub started: u64,
    /// Attempts that exited with 0.
    pub completed: u64,
    /// Attempts that ended by themselves, not well.
    pub failed: u64,
    /// Attempts that ran past their limit.
    pub timed_out: u64,
    /// Attempts whose tree was gone without an outcome.
    pub lost: u64,
    /// Times a task was queued again after a lost attempt.
    pub requeued: u64,
    /// Times a running task was asked to end.
    pub cancel_requested: u64,
    /// Tasks ended at somebody's wish.
    pub cancelled: u64,
    /// Times a task went to the dead-letter queue.
    pub dead: u64,
    /// Times one was taken out of it by hand.
    pub retried: u64,
    /// Attempts ordered whose wait had raised their task.
    #[serde(default)]
    pub boosted: u64,
    /// Attempts that ran past their queue's quantum, so that the next is of a lower one.
    #[serde(default)]
    pub demoted: u64,
    /// Times a queued task was moved to another queue by hand.
    #[serde(default)]
    pub reprioritized: u64,
    /// Times a running task was told to come back later.
    #[serde(default)]
    pub throttled: u64,
}

/// What has happened to processes since the first event.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessTotals {
    /// Started and watched.
    pub registered: u64,
    /// Ended by themselves.
    pub exited: u64,
    /// Ended by us for running past their limit.
    pub reaped_max_runtime: u64,
    /// Ended by us because their task was cancelled.
    pub reaped_cancel: u64,
    /// Whose leftover descendants were ended by us.
    pub reaped_leftovers: u64,
    /// Gone without an outcome.
    pub lost: u64,
    /// Ended by us because their tree did nothing for longer than it may.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub reaped_stalled: u64,
    /// Found to outlive SIGKILL.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub unkillable: u64,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "the signature is serde's"
)]
fn is_zero(n: &u64) -> bool {
    *n == 0
}

/// What has happened to jobs and checkpoints since the first event.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpkeepTotals {
    /// Runs of jobs that were submitted.
    pub jobs_due: u64,
    /// Runs of jobs that were passed over.
    pub jobs_skipped: u64,
    /// Jobs that are paused now.
    pub jobs_paused: BTreeSet<Id>,
    /// Checkpoints written.
    pub checkpoints_created: u64,
    /// Checkpoints passed over as damaged.
    pub checkpoints_rejected: u64,
    /// Checkpoints that could not be made.
    #[serde(default)]
    pub checkpoints_failed: u64,
    /// Checkpoints removed.
    pub checkpoints_pruned: u64,
    /// The checkpoint written last: the event that says so, and when.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_checkpoint: Option<(Seq, Timestamp)>,
}

/// Where a task stands that can still go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "phase", rename_all = "snake_case")]
pub enum Phase {
    /// Waits in its queue.
    Queued {
        /// The event that put it there.
        since: Seq,
        /// When.
        at: Timestamp,
    },
    /// An attempt runs.
    Running,
    /// An attempt runs and is to end.
    Cancelling,
    /// Its last attempt ended badly and what follows is not decided.
    Undecided,
    /// In the dead-letter queue; only a person takes it out.
    Dead,
}

impl Phase {
    /// How many phases there are.
    pub const COUNT: usize = 5;

    pub(super) fn index(self) -> usize {
        match self {
            Self::Queued { .. } => 0,
            Self::Running => 1,
            Self::Cancelling => 2,
            Self::Undecided => 3,
            Self::Dead => 4,
        }
    }
}

/// A task that can still go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LiveTask {
    /// Its queue.
    pub queue: Priority,
    /// Where it stands.
    #[serde(flatten)]
    pub phase: Phase,
}

/// A process that runs, as far as the log knows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LiveProcess {
    /// Its process id.
    pub pid: i32,
    /// The task it runs for.
    pub task: Id,
    /// Which run of it.
    pub attempt: Attempt,
    /// When it was registered.
    pub since: Timestamp,
    /// Since when part of its tree is known to outlive SIGKILL, if it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unkillable: Option<UnkillableFacts>,
}

/// What is known of a process tree that outlives SIGKILL.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnkillableFacts {
    /// The event that says so.
    pub since: Seq,
    /// When.
    pub at: Timestamp,
    /// Who outlives it: the first, and what it does.
    pub first: Option<Survivor>,
    /// How many processes do.
    pub processes: u32,
}

/// Nothing is started from a queue, because an operator said so.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PausedQueue {
    /// The event that says so.
    pub since: Seq,
    /// When.
    pub at: Timestamp,
    /// Why, in the words of whoever asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// One queue since the first event.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueFigures {
    /// Tasks of this queue that were completed.
    pub completed: u64,
    /// Tasks of this queue that were cancelled.
    pub cancelled: u64,
    /// How long attempts taken from this queue had waited.
    pub wait: Histogram,
    /// How long attempts of this queue's tasks ran, however they ended, where that is known.
    pub runtime: Histogram,
}

/// The whole system in figures.
///
/// Invariant: `counts` and `waiting` follow from `tasks`, and change with it in one place
/// (`insert`, `shift`).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Status {
    pub(super) ledger: Option<LedgerFacts>,
    pub(super) paused: Option<PausedFacts>,
    pub(super) backups: BackupFacts,
    pub(super) snapshots: SnapshotFacts,
    pub(super) term: Option<TermFacts>,
    pub(super) term_before: Option<TermFacts>,
    /// Terms that began and are neither given back nor recorded as lost.
    pub(super) terms_open: BTreeSet<Term>,
    pub(super) node: Option<NodeFacts>,
    pub(super) events: EventCounts,
    pub(super) totals: Totals,
    pub(super) process_totals: ProcessTotals,
    pub(super) upkeep: UpkeepTotals,
    /// Whether each of the latest runs ended well, oldest first; at most [`RECENT_RUNS`].
    pub(super) recent: VecDeque<bool>,
    pub(super) queues: [QueueFigures; 3],
    /// Queues that an operator holds.
    pub(super) queues_paused: [Option<PausedQueue>; 3],
    pub(super) processes: BTreeMap<Id, LiveProcess>,
    pub(super) tasks: BTreeMap<Id, LiveTask>,
    /// Live tasks per queue and phase.
    pub(super) counts: [[u64; Phase::COUNT]; 3],
    /// Per queue: the event that queued a task -> the task and when.
    pub(super) waiting: [BTreeMap<Seq, (Id, Timestamp)>; 3],
}

pub(super) fn level(queue: Priority) -> usize {
    usize::from(queue.level())
}

impl Status {
    /// A task that was not known before.
    pub(super) fn insert(&mut self, id: Id, task: LiveTask) {
        self.counts[level(task.queue)][task.phase.index()] += 1;
        if let Phase::Queued { since, at } = task.phase {
            self.waiting[level(task.queue)].insert(since, (id.clone(), at));
        }
        self.tasks.insert(id, task);
    }

    /// Moves a live task to another phase or queue; `None` means that it is over.
    pub(super) fn shift(&mut self, id: &str, next: Option<LiveTask>) {
        let Some((id, task)) = self.tasks.remove_entry(id) else {
            return;
        };
        self.counts[level(task.queue)][task.phase.index()] -= 1;
        if let Phase::Queued { since, .. } = task.phase {
            self.waiting[level(task.queue)].remove(&since);
        }
        if let Some(next) = next {
            self.insert(id, next);
        }
    }

    /// Counts the end of a run.
    pub(super) fn record_run(&mut self, succeeded: bool) {
        if self.recent.len() == RECENT_RUNS {
            self.recent.pop_front();
        }
        self.recent.push_back(succeeded);
    }
}
