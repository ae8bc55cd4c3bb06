//! The events: one file per family, payloads typed by kind.
//!
//! A kind stands in the header, outside the payload, so a payload is decoded straight into its
//! type and skipped undecoded by whoever doesn't want that kind. Unknown kinds survive a read
//! ([`Event::Unknown`]): they are chained, shown and exported like all others; only a node refuses
//! to lead over events that it does not understand.
//!
//! Payload structs are *stored types*: their field names are part of the format. A change of
//! meaning takes a new payload version and an upcaster here; adding an optional field does not.

mod app;
mod checkpoint;
mod job;
mod lease;
mod ledger;
mod node;
mod process;
mod queue;
mod recovery;
mod snapshot;
mod task;
mod terms;
mod watch;

pub use app::APP_PREFIX;
pub use checkpoint::{
    CheckpointCause, CheckpointCreated, CheckpointEvent, CheckpointFailed, CheckpointPruned,
    CheckpointRejected, PartDigest,
};
pub use job::{
    JobChanged, JobDefined, JobDue, JobEvent, JobPaused, JobRemoved, JobResumed, JobSkipped,
    JobSpec, JobTriggered, Missed, Overlap, Schedule, SkipReason, job_subject,
};
pub use lease::{
    FenceCause, LeaseAcquired, LeaseEvent, LeaseFenced, LeaseLost, LeaseReleased, ReleaseReason,
};
pub use ledger::{
    LEDGER_FORMAT, LedgerBackedUp, LedgerBackupFailed, LedgerBackupsPruned, LedgerCreated,
    LedgerEvent, LedgerExported, LedgerForked, LedgerImported, LedgerRestored, LedgerResumed,
    LedgerSalvaged,
};
pub use node::{
    ClockSettled, ClockStepped, HostClock, NodeEvent, NodeRecovered, NodeStarted, NodeStopped,
    Settled, StopCause,
};
pub use process::{
    LadderCause, LadderStep, MAX_SURVIVORS, ProcessEnd, ProcessEvent, ProcessExited, ProcessLost,
    ProcessReaped, ProcessRegistered, ProcessUnkillable, Survivor, Usage, process_subject,
};
pub use queue::{QueueEvent, QueuePaused, QueueResumed, queue_subject};
pub use recovery::{
    FoldCompared, OtherFold, PartDiverged, RecoveredFrom, RecoveryCompleted, RecoveryDiverged,
    RecoveryEvent, RecoveryVerified,
};
pub use snapshot::{
    SnapshotCreated, SnapshotEvent, SnapshotFailed, SnapshotPruned, SnapshotRestored,
    snapshot_subject,
};
pub use task::{
    Attempt, Builtin, BuiltinJob, DeadReason, Exec, Failure, Outputs, Payload, Priority,
    StreamDigest, TaskCancelRequested, TaskCancelled, TaskCompleted, TaskDead, TaskEvent,
    TaskFailed, TaskLost, TaskRequeued, TaskRetried, TaskStarted, TaskSubmitted, TaskTimedOut,
    UnknownBuiltin, UnknownPriority,
};
pub use terms::{Backoff, RateUse, TaskReprioritized, TaskThrottled, Terms};
pub use watch::{
    EndSeen, ProcessEnded, ProcessReaping, ProcessSurvived, ProcessTerminated, ProcessUnwatched,
    ProcessWatched, ReapCause, UnwatchReason,
};

use crate::envelope::EventRef;

/// A payload that does not fit its kind.
#[derive(Debug, thiserror::Error)]
pub enum PayloadError {
    /// The JSON is not what the kind's version 1 (or a later known one) says.
    #[error("the payload of {kind} version {version} does not decode: {error}")]
    Json {
        /// The event's kind.
        kind: String,
        /// Its payload version.
        version: u16,
        /// What does not fit.
        error: serde_json::Error,
    },
}

/// Defines a family: an enum with one variant per kind, each holding that kind's payload.
macro_rules! family {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident($data:ty) = $kind:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq)]
        pub enum $name { $($(#[$vdoc])* $variant($data)),+ }

        impl $name {
            /// The kinds of this family, all at payload version 1.
            pub const KINDS: &'static [&'static str] = &[$($kind),+];

            /// The kind that stands in the header.
            pub fn kind(&self) -> &'static str {
                match self { $(Self::$variant(_) => $kind),+ }
            }

            /// The payload as minified JSON, fields in the order of their definition.
            pub fn to_json(&self) -> String {
                let json = match self { $(Self::$variant(data) => serde_json::to_string(data)),+ };
                json.expect("payload structs hold only strings, numbers and string-keyed maps")
            }

            /// Decodes a payload of this family; `None` if kind or version are not known.
            pub fn decode(
                kind: &str,
                version: u16,
                data: &str,
            ) -> Option<Result<Self, serde_json::Error>> {
                match (kind, version) {
                    $(($kind, 1) => Some(serde_json::from_str(data).map(Self::$variant)),)+
                    _ => None,
                }
            }
        }

        impl From<$name> for $crate::event::Event {
            fn from(event: $name) -> Self { event.into_event() }
        }
    };
}
pub(crate) use family;

/// Any event, by family.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// The ledger itself.
    Ledger(LedgerEvent),
    /// Tasks and their attempts.
    Task(TaskEvent),
    /// Real processes.
    Process(ProcessEvent),
    /// Who leads.
    Lease(LeaseEvent),
    /// Nodes coming and going.
    Node(NodeEvent),
    /// Recurring jobs.
    Job(JobEvent),
    /// Checkpoints.
    Checkpoint(CheckpointEvent),
    /// Recoveries.
    Recovery(RecoveryEvent),
    /// Queues that are held.
    Queue(QueueEvent),
    /// Snapshots of files.
    Snapshot(SnapshotEvent),
    /// An application's own event (`app.*`): any object, never decoded here.
    App,
    /// A kind or payload version that this binary does not know.
    Unknown,
}

macro_rules! into_event {
    ($($family:ident => $variant:ident),+ $(,)?) => {
        $(impl $family { fn into_event(self) -> Event { Event::$variant(self) } })+

        impl Event {
            /// The kind and payload of an event that this code writes; `None` for application
            /// and unknown events, whose payloads come from elsewhere.
            pub fn kind_and_data(&self) -> Option<(&'static str, String)> {
                match self {
                    $(Self::$variant(event) => Some((event.kind(), event.to_json())),)+
                    Self::App | Self::Unknown => None,
                }
            }

            /// Every kind that this binary knows besides `app.*`, sorted by family.
            pub fn known_kinds() -> impl Iterator<Item = &'static str> {
                [$($family::KINDS),+].into_iter().flatten().copied()
            }
        }
    };
}
into_event!(
    LedgerEvent => Ledger,
    TaskEvent => Task,
    ProcessEvent => Process,
    LeaseEvent => Lease,
    NodeEvent => Node,
    JobEvent => Job,
    CheckpointEvent => Checkpoint,
    RecoveryEvent => Recovery,
    QueueEvent => Queue,
    SnapshotEvent => Snapshot,
);

impl Event {
    /// Decodes a stored event's payload by its kind.
    ///
    /// # Errors
    /// [`PayloadError`] if the kind is known and the payload does not fit it.
    pub fn decode(event: &EventRef<'_>) -> Result<Self, PayloadError> {
        let (kind, version, data) = (event.header.kind, event.header.version, event.data);
        let decoded = match event.header.family() {
            "ledger" => LedgerEvent::decode(kind, version, data).map(|r| r.map(Self::Ledger)),
            "task" => TaskEvent::decode(kind, version, data).map(|r| r.map(Self::Task)),
            "process" => ProcessEvent::decode(kind, version, data).map(|r| r.map(Self::Process)),
            "lease" => LeaseEvent::decode(kind, version, data).map(|r| r.map(Self::Lease)),
            "node" => NodeEvent::decode(kind, version, data).map(|r| r.map(Self::Node)),
            "job" => JobEvent::decode(kind, version, data).map(|r| r.map(Self::Job)),
            "checkpoint" => {
                CheckpointEvent::decode(kind, version, data).map(|r| r.map(Self::Checkpoint))
            }
            "recovery" => RecoveryEvent::decode(kind, version, data).map(|r| r.map(Self::Recovery)),
            "queue" => QueueEvent::decode(kind, version, data).map(|r| r.map(Self::Queue)),
            "snapshot" => SnapshotEvent::decode(kind, version, data).map(|r| r.map(Self::Snapshot)),
            "app" => Some(Ok(Self::App)),
            _ => None,
        };
        match decoded {
            None => Ok(Self::Unknown),
            Some(Ok(event)) => Ok(event),
            Some(Err(error)) => Err(PayloadError::Json {
                kind: kind.to_owned(),
                version,
                error,
            }),
        }
    }
}
