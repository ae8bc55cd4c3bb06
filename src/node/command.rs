//! What the core is asked, told and answers.

use std::collections::BTreeMap;

use ledger_core::chain::{Batch, Head};
use ledger_core::envelope::Origin;
use ledger_core::event::{
    Attempt, BuiltinJob, CheckpointEvent, Exec, JobSpec, LedgerEvent, Priority, RecoveryEvent,
    SnapshotEvent, TaskSubmitted,
};
use ledger_core::ids::{Entity, Id, Kind, Seq};
use ledger_core::time::{Micros, Millis, Timestamp};
use projections::subjects::Version;
use projections::tasks::{Held, ProcessRef, TaskView};

use crate::jobs;
use crate::reaper;
use crate::reaper::candidate::Candidate;
use crate::reaper::decide::{Report, Terms};
use crate::reaper::run::{ReapOrder, WatchOrder};
use crate::scheduler::decide::{Ended, Refusal, Unkillable};
use crate::units::format_duration;

/// Ties a request to its reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u64);

/// What a client asks for.
#[derive(Debug, Clone, PartialEq)]
pub enum Command {
    /// Hand over a task.
    Submit {
        /// Its id; made here if the client gave none.
        task_id: Option<Id>,
        /// What to run, where and for how long.
        task: TaskSubmitted,
        /// A second submit with the same key is answered with the first.
        key: Option<Id>,
    },
    /// End a task.
    Cancel {
        /// Which.
        task_id: Id,
        /// Why.
        reason: Option<String>,
    },
    /// Take a task out of the dead-letter queue.
    Retry {
        /// Which.
        task_id: Id,
    },
    /// Move a queued task to another queue.
    SetPriority {
        /// Which.
        task_id: Id,
        /// Its new queue.
        priority: Priority,
    },
    /// Hold the rate key of a running attempt, which was told to come back later.
    RetryAfter {
        /// The task.
        task_id: Id,
        /// The run that says so.
        attempt: Attempt,
        /// How much later.
        retry_after: Millis,
    },
    /// Start nothing more from a queue.
    PauseQueue {
        /// Which.
        queue: Priority,
        /// Why.
        reason: Option<String>,
    },
    /// Serve a queue again.
    ResumeQueue {
        /// Which.
        queue: Priority,
        /// Why.
        reason: Option<String>,
    },
    /// Append an application's own events, all or none.
    Append {
        /// The events.
        events: Vec<AppEvent>,
        /// A second append with the same key is answered with the first.
        key: Option<Id>,
        /// Refuse unless the ledger ends here.
        expected_head: Option<Seq>,
    },
    /// Start what waits, in a ledger that was restored, imported or salvaged.
    Resume {
        /// Why.
        reason: Option<String>,
    },
    /// Record what has become of the ledger as a whole: a backup, an export.
    Note {
        /// What.
        event: LedgerEvent,
    },
    /// Record what has become of a checkpoint.
    NoteCheckpoint {
        /// Its name.
        name: Id,
        /// What.
        event: Box<CheckpointEvent>,
    },
    /// Record what came of holding the state of this node against other folds.
    NoteRecovery {
        /// What.
        event: Box<RecoveryEvent>,
    },
    /// Record what has become of snapshots of files.
    NoteSnapshot {
        /// The set.
        set: Id,
        /// What.
        event: SnapshotEvent,
    },
    /// Make the jobs there are into those that are wanted.
    DefineJobs {
        /// All of them.
        jobs: BTreeMap<Id, JobSpec>,
    },
    /// Run a job now.
    TriggerJob {
        /// Which.
        job: Id,
    },
    /// Submit a job no more when it is due.
    PauseJob {
        /// Which.
        job: Id,
        /// Why.
        reason: Option<String>,
    },
    /// Submit a job again when it is due.
    ResumeJob {
        /// Which.
        job: Id,
    },
    /// Watch a process that somebody else started.
    Watch {
        /// What is known of it.
        candidate: Box<Candidate>,
        /// What it may do.
        terms: Terms,
    },
    /// Watch a process no more.
    Unwatch {
        /// Its pid, or `BOOT.PID.START`.
        target: String,
    },
    /// Stop leading, so that another node does.
    StepDown,
    /// Answer once the task has ended and that is durable.
    AwaitEnd {
        /// Which.
        task_id: Id,
    },
}

/// One event of an application: checked, minified, redacted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppEvent {
    /// `app.*`.
    pub kind: Kind,
    /// What it is about.
    pub subject: Entity,
    /// A minified JSON object.
    pub data: String,
    /// Refuse unless its subject stands there.
    pub expected: Option<Version>,
}

/// What a request is answered with, once it is durable.
#[derive(Debug, Clone, PartialEq)]
pub enum Reply {
    /// The task is recorded.
    Submitted {
        /// Its id.
        task_id: Id,
        /// Its queue.
        queue: Priority,
        /// How many tasks of the queue stand before it; all that wait, if it waits for others.
        position: usize,
        /// What it waits for besides its turn.
        held: Option<Held>,
        /// The event.
        head: Head,
    },
    /// It is recorded; this is the last event of it.
    Recorded(Head),
    /// There was nothing to do: what was asked for has been asked for before.
    Unchanged(Head),
    /// An earlier append carried the same idempotency key in this event.
    Replayed(Seq),
    /// The task has ended.
    TaskEnded(Box<TaskView>),
}

/// Why a request is refused. Nothing was recorded for it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Rejected {
    /// The scheduler refused.
    #[error(transparent)]
    Task(#[from] Refusal),
    /// Refused by what is known of jobs.
    #[error(transparent)]
    Job(#[from] jobs::decide::Refusal),
    /// Refused by what is known of processes.
    #[error(transparent)]
    Process(#[from] reaper::decide::Refusal),
    /// An event does not fit.
    #[error("{0}")]
    TooLarge(String),
    /// The ledger does not end where the client expects.
    #[error("the ledger ends at seq {actual}, not at the expected seq {expected}")]
    Head {
        /// What the client expects.
        expected: Seq,
        /// Where it ends.
        actual: Seq,
    },
    /// What is said to have led to it has not happened.
    #[error("{}", no_cause(*.cause, *.head))]
    Cause {
        /// What the client says.
        cause: Seq,
        /// Where the ledger ends.
        head: Seq,
    },
    /// A subject does not stand where the client expects.
    #[error("{}", version_differs(.subject, *.expected, *.actual))]
    Version {
        /// The subject.
        subject: Entity,
        /// What the client expects.
        expected: Version,
        /// Where it stands.
        actual: Version,
    },
    /// Nobody knows any more where a subject stands.
    #[error("the version of {subject} is not remembered")]
    Forgotten {
        /// The subject.
        subject: Entity,
        /// If there are events about it, the last stands here or before.
        by: Seq,
    },
    /// The node has stopped leading.
    #[error("this node does not lead: {0}")]
    NotLeading(String),
}

fn no_cause(cause: Seq, head: Seq) -> String {
    format!("no event at seq {cause} can have led to this: the ledger has seq 1 to {head}")
}

fn version_differs(subject: &Entity, expected: Version, actual: Version) -> String {
    match (expected, actual) {
        (Version::New, actual) => format!("{subject} is not new: its version is {actual}"),
        (expected, Version::New) => {
            format!("{subject} is new and has no version yet, {expected} was expected")
        }
        (expected, actual) => {
            format!("the version of {subject} is {actual}, not the expected {expected}")
        }
    }
}

/// Time as a turn sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// The wall clock.
    pub wall: Timestamp,
    /// Time since the host was booted, suspend included: what nobody can set.
    pub boot: Micros,
}

/// Names an attempt of a task.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AttemptId {
    /// The task.
    pub task: Id,
    /// Which run.
    pub attempt: Attempt,
}

/// What the core is told in a turn.
#[derive(Debug)]
pub enum Input {
    /// A client asks.
    Request {
        /// For the reply.
        id: RequestId,
        /// Who asks.
        origin: Origin,
        /// What.
        command: Command,
    },
    /// The batch up to here is on disk.
    Durable(Head),
    /// The batch in flight could not be written.
    AppendFailed(AppendFailure),
    /// Somebody who has folded the events this node has folded came to another state.
    Diverged(String),
    /// A process runs for an attempt.
    Started {
        /// Which.
        attempt: AttemptId,
        /// The process.
        process: ProcessRef,
    },
    /// An attempt that was looked into is watched again and may not have a process yet.
    Attached(AttemptId),
    /// An attempt that was looked into had not been begun; it was started now.
    Unstarted(AttemptId),
    /// An attempt has ended with an outcome.
    Ended {
        /// Which.
        attempt: AttemptId,
        /// How.
        outcome: Box<Ended>,
    },
    /// An attempt's tree is gone without an outcome.
    Lost {
        /// Which.
        attempt: AttemptId,
        /// What was found.
        reason: String,
        /// Descendants that were ended.
        orphans_ended: u32,
    },
    /// Part of an attempt's tree outlives SIGKILL.
    Unkillable {
        /// Which.
        attempt: AttemptId,
        /// What is known of it.
        found: Box<Unkillable>,
    },
    /// The reaper has seen something of a process that somebody else started.
    Seen {
        /// `BOOT.PID.START`.
        id: Box<str>,
        /// What.
        report: Report,
    },
    /// More is about to arrive: keep the batch that is being built until the next turn, which
    /// follows soon.
    Hold,
    /// The lease could not be renewed in time: stop leading at once, and write nothing more.
    LeaseExpired {
        /// How long ago the last renewal was.
        since: Micros,
    },
    /// Stop leading in good order.
    Shutdown,
}

impl Input {
    /// Whether it tells of an attempt or another process.
    pub(super) fn is_report(&self) -> bool {
        match self {
            Self::Started { .. }
            | Self::Attached(_)
            | Self::Unstarted(_)
            | Self::Ended { .. }
            | Self::Lost { .. }
            | Self::Unkillable { .. }
            | Self::Seen { .. } => true,
            Self::Request { .. }
            | Self::Durable(_)
            | Self::AppendFailed(_)
            | Self::Diverged(_)
            | Self::Hold
            | Self::LeaseExpired { .. }
            | Self::Shutdown => false,
        }
    }
}

/// Why the disk did not take a batch.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AppendFailure {
    /// A later term has written.
    #[error("{0}")]
    Fenced(String),
    /// The disk is full.
    #[error("the disk is full: {0}")]
    Full(String),
    /// The disk failed.
    #[error("{0}")]
    Io(String),
    /// What is written already is not what it should be, and nothing is written over it.
    #[error("the store is damaged: {0}")]
    Damaged(String),
}

/// A process to start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StartOrder {
    /// For which attempt.
    pub attempt: AttemptId,
    /// What to run.
    pub exec: Exec,
    /// How long it may run.
    pub max_runtime: Millis,
    /// How long SIGTERM may take.
    pub grace: Millis,
    /// How long its whole tree may do nothing, if that is limited.
    pub stall_after: Option<Millis>,
}

/// Work for the node itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuiltinOrder {
    /// For which attempt.
    pub attempt: AttemptId,
    /// What to do.
    pub job: BuiltinJob,
    /// What time it is, by the clock that the node goes by.
    pub at: Timestamp,
    /// How long it may take.
    pub max_runtime: Millis,
}

/// When an attempt was ordered, as its host counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BootOfOrder {
    /// The host has been up ever since: its claim says whether it was begun.
    Current,
    /// The host has been rebooted since: nothing of it runs, and a missing claim proves nothing.
    Earlier,
}

/// What the core wants done.
#[derive(Debug)]
pub enum Output {
    /// Append this and say when it is on disk.
    Append(Batch),
    /// Answer a request.
    Reply {
        /// Which.
        id: RequestId,
        /// With what.
        result: Result<Reply, Rejected>,
    },
    /// Start a process; the order to do so is durable.
    Start(StartOrder),
    /// Do this in the node; the order to do so is durable.
    Do(BuiltinOrder),
    /// Look into an attempt that was open when this node took over: watch it, collect its
    /// outcome, start it if nobody has, or say that it is lost.
    Recover(StartOrder, BootOfOrder),
    /// End an attempt's process tree; the request to do so is durable.
    Cancel(AttemptId),
    /// What followed from an attempt's outcome is durable: nobody needs its files to know it.
    Settled(AttemptId),
    /// Watch a process that somebody else started; the wish to do so is durable.
    Watch(WatchOrder),
    /// Watch it no more.
    Unwatch(Box<str>),
    /// End it; the order to do so is durable.
    Reap(ReapOrder),
    /// This node no longer leads; nothing more comes from this core.
    Stopped(StopReason),
}

/// Why a core stopped.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StopReason {
    /// It was asked to.
    #[error("shut down in good order")]
    Shutdown,
    /// It was asked to let another node lead.
    #[error("it stepped down in good order")]
    SteppedDown,
    /// It could not renew its lease.
    #[error("its lease was not renewed for {}", format_duration(*.since))]
    LeaseExpired {
        /// How long ago the last renewal was.
        since: Micros,
    },
    /// An append failed; state that was ahead of the disk is dropped.
    #[error("the ledger could not be written: {0}")]
    AppendFailed(#[from] AppendFailure),
    /// What it decides by is not what the ledger says.
    #[error("its state is not what the ledger says: {0}")]
    Diverged(String),
    /// A decision did not fold: a defect of this program, found before it did harm.
    #[error("internal: a decision did not fold: {0}")]
    Corrupt(String),
}
