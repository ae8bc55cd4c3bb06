//! The figures as people want them: with ages as of a time that the caller names, since a
//! projection has no clock.

use std::borrow::Cow;

use ledger_core::event::Priority;
use ledger_core::ids::{Id, Seq};
use ledger_core::time::{Micros, Timestamp};
use serde::{Deserialize, Serialize};

use super::backups::BackupFacts;
use super::histogram::Histogram;
use super::snapshots::SnapshotFacts;
use super::state::{
    EventCounts, LedgerFacts, LiveProcess, NodeFacts, PausedFacts, PausedQueue, Phase,
    ProcessTotals, Status, TermFacts, TermState, Totals, UpkeepTotals, level,
};

/// The whole system at a position, as of a time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StatusReport {
    /// As of when ages are meant.
    pub now: Timestamp,
    /// Which ledger; absent before its first event.
    pub ledger: Option<LedgerFacts>,
    /// Why nothing is started, if nothing is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused: Option<PausedFacts>,
    /// Backups and exports.
    #[serde(default)]
    pub backups: BackupFacts,
    /// Snapshots of files, by set.
    #[serde(default, skip_serializing_if = "SnapshotFacts::is_empty")]
    pub snapshots: SnapshotFacts,
    /// The latest term, and how long it has been held.
    pub lease: Option<LeaseReport>,
    /// The node that started last, as the log knows it.
    pub node: Option<NodeFacts>,
    /// Events by family, and the last of all.
    pub events: EventCounts,
    /// All events.
    pub events_total: u64,
    /// Time since the last event; absent if there is none.
    pub last_event_age_us: Option<Micros>,
    /// Tasks per state, all queues together.
    pub tasks: TaskCounts,
    /// The three queues, most urgent first.
    pub queues: Vec<QueueReport>,
    /// What has happened to tasks since the first event.
    pub totals: Totals,
    /// The latest runs.
    pub recent: RecentRuns,
    /// The task that has waited longest in any queue.
    pub oldest_waiting: Option<Waiting>,
    /// Processes that run, as far as the log knows.
    pub running_processes: u64,
    /// Processes of which something outlives SIGKILL, the longest-known first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unkillable: Vec<LiveProcess>,
    /// What has happened to processes since the first event.
    pub processes: ProcessTotals,
    /// Jobs and checkpoints.
    pub upkeep: UpkeepTotals,
}

/// The latest term.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseReport {
    /// Its facts.
    #[serde(flatten)]
    pub facts: TermFacts,
    /// How long it has been held, or was.
    pub held_us: Micros,
    /// Events recorded since it began, its first included.
    pub events: u64,
}

/// How many tasks stand where.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskCounts {
    /// Wait in a queue.
    pub queued: u64,
    /// Run.
    pub running: u64,
    /// Run and are to end.
    pub cancelling: u64,
    /// Their last attempt ended badly and what follows is not decided.
    pub undecided: u64,
    /// Ended well.
    pub completed: u64,
    /// Ended at somebody's wish.
    pub cancelled: u64,
    /// In the dead-letter queue.
    pub dead: u64,
}

/// Percentiles of a duration, within 1.6 %; the maximum is exact.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Percentiles {
    /// Of how many.
    pub count: u64,
    /// Half were not longer.
    pub p50_us: Option<Micros>,
    /// 95 % were not longer.
    pub p95_us: Option<Micros>,
    /// 99 % were not longer.
    pub p99_us: Option<Micros>,
    /// None was longer.
    pub max_us: Option<Micros>,
}

impl From<&Histogram> for Percentiles {
    fn from(histogram: &Histogram) -> Self {
        Self {
            count: histogram.count(),
            p50_us: histogram.percentile(50),
            p95_us: histogram.percentile(95),
            p99_us: histogram.percentile(99),
            max_us: histogram.max(),
        }
    }
}

/// A task that waits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waiting {
    /// The task.
    pub task: Id,
    /// Its queue.
    pub queue: Priority,
    /// The event that queued it.
    pub since: Seq,
    /// When.
    pub since_at: Timestamp,
    /// How long it has waited.
    pub waited_us: Micros,
}

/// One queue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueReport {
    /// Which.
    pub queue: Priority,
    /// Its name.
    pub name: Cow<'static, str>,
    /// Its tasks per state.
    pub tasks: TaskCounts,
    /// Why and since when nothing is started from it, if an operator said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused: Option<PausedQueue>,
    /// The one that has waited longest.
    pub oldest_waiting: Option<Waiting>,
    /// How long attempts had waited when they were taken from it.
    pub wait: Percentiles,
    /// How long attempts of its tasks ran.
    pub runtime: Percentiles,
}

/// The latest runs that ended by themselves or for a fault of theirs (cancelled ones don't count).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecentRuns {
    /// How many: at most [`super::RECENT_RUNS`].
    pub runs: u32,
    /// How many of them ended well.
    pub succeeded: u32,
}

impl RecentRuns {
    /// The share that ended well, 0 to 1; `None` if there were no runs.
    pub fn success_rate(&self) -> Option<f64> {
        (self.runs > 0).then(|| f64::from(self.succeeded) / f64::from(self.runs))
    }
}

impl Status {
    /// When the last event was recorded; the epoch before the first.
    pub fn last_event_at(&self) -> Timestamp {
        self.events.last_at
    }

    /// All of it, with ages as of `now`.
    pub fn report(&self, now: Timestamp) -> StatusReport {
        let queues: Vec<_> = Priority::ALL.map(|q| self.queue_report(q, now)).into();
        let waiting = queues.iter().filter_map(|q| q.oldest_waiting.clone());
        let e = &self.events;
        StatusReport {
            now,
            ledger: self.ledger.clone(),
            paused: self.paused.clone(),
            backups: self.backups.clone(),
            snapshots: self.snapshots.clone(),
            lease: self.lease_report(now),
            node: self.node.clone(),
            events: e.clone(),
            events_total: e.ledger
                + e.task
                + e.process
                + e.lease
                + e.node
                + e.job
                + e.checkpoint
                + e.recovery
                + e.queue
                + e.snapshot
                + e.app
                + e.unknown,
            last_event_age_us: (e.last > Seq::ZERO).then(|| now.since(e.last_at)),
            tasks: queues
                .iter()
                .fold(TaskCounts::default(), |sum, q| sum.plus(&q.tasks)),
            oldest_waiting: waiting.min_by_key(|w| w.since),
            queues,
            totals: self.totals.clone(),
            recent: self.recent_runs(),
            running_processes: self.processes.len() as u64,
            unkillable: self.unkillable(),
            processes: self.process_totals.clone(),
            upkeep: self.upkeep.clone(),
        }
    }

    /// Whether nothing is started until an operator says so.
    pub fn is_paused(&self) -> bool {
        self.paused.is_some()
    }

    /// What has become of backups and exports.
    pub fn backups(&self) -> &BackupFacts {
        &self.backups
    }

    /// What has become of snapshots of files, by set.
    pub fn snapshots(&self) -> &SnapshotFacts {
        &self.snapshots
    }

    /// Processes that run, as far as the log knows, by their identity.
    pub fn processes(&self) -> impl Iterator<Item = (&Id, &LiveProcess)> {
        self.processes.iter()
    }

    /// The term before the latest, and how it ended.
    pub fn term_before(&self) -> Option<&TermFacts> {
        self.term_before.as_ref()
    }

    fn unkillable(&self) -> Vec<LiveProcess> {
        let mut all: Vec<_> = self
            .processes
            .values()
            .filter(|process| process.unkillable.is_some())
            .cloned()
            .collect();
        all.sort_by_key(|process| process.unkillable.as_ref().map(|facts| facts.since));
        all
    }

    fn recent_runs(&self) -> RecentRuns {
        let count = |n: usize| u32::try_from(n).expect("the ring has at most 500 entries");
        RecentRuns {
            runs: count(self.recent.len()),
            succeeded: count(self.recent.iter().filter(|&&succeeded| succeeded).count()),
        }
    }

    fn lease_report(&self, now: Timestamp) -> Option<LeaseReport> {
        self.term.as_ref().map(|facts| {
            let until = match facts.state {
                TermState::Open => now,
                TermState::Released { at } | TermState::Lost { at } | TermState::Fenced { at } => {
                    at
                }
            };
            LeaseReport {
                facts: facts.clone(),
                held_us: until.since(facts.acquired_at),
                events: self.events.last.0 + 1 - facts.acquired.0,
            }
        })
    }

    fn queue_report(&self, queue: Priority, now: Timestamp) -> QueueReport {
        let figures = &self.queues[level(queue)];
        let counts = self.counts[level(queue)];
        let here = Phase::Queued {
            since: Seq::ZERO,
            at: now,
        };
        let count = |phase: Phase| counts[phase.index()];
        let oldest = self.waiting[level(queue)].first_key_value();
        QueueReport {
            queue,
            name: queue.name().into(),
            tasks: TaskCounts {
                queued: count(here),
                running: count(Phase::Running),
                cancelling: count(Phase::Cancelling),
                undecided: count(Phase::Undecided),
                completed: figures.completed,
                cancelled: figures.cancelled,
                dead: count(Phase::Dead),
            },
            paused: self.queues_paused[level(queue)].clone(),
            oldest_waiting: oldest.map(|(&since, (task, at))| Waiting {
                task: task.clone(),
                queue,
                since,
                since_at: *at,
                waited_us: now.since(*at),
            }),
            wait: (&figures.wait).into(),
            runtime: (&figures.runtime).into(),
        }
    }
}

impl TaskCounts {
    fn plus(self, other: &Self) -> Self {
        Self {
            queued: self.queued + other.queued,
            running: self.running + other.running,
            cancelling: self.cancelling + other.cancelling,
            undecided: self.undecided + other.undecided,
            completed: self.completed + other.completed,
            cancelled: self.cancelled + other.cancelled,
            dead: self.dead + other.dead,
        }
    }
}
