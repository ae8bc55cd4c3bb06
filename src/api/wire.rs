//! What crosses the socket: requests and answers of the API under `/v1`, shared by the server and
//! the client so that neither has a second idea of them.
//!
//! | method and path | request | answer |
//! |---|---|---|
//! | `GET /v1/status` | `?at=` | [`projections::status::StatusReport`] with [`NodeInfo`] ([`Status`]) |
//! | `POST /v1/tasks` | [`SubmitRequest`] | [`SubmitReceipt`] |
//! | `GET /v1/tasks` | [`TaskQuery`] | JSON lines of [`projections::tasks::TaskView`] |
//! | `GET /v1/tasks/{id}` | `?at=` | [`projections::tasks::TaskView`] |
//! | `GET /v1/tasks/{id}/wait` | | the same, once the task has ended |
//! | `GET /v1/tasks/{id}/output` | [`OutputQuery`] | bytes of one stream, following it if asked |
//! | `POST /v1/tasks/{id}/cancel` | [`CancelRequest`] | [`Receipt`] |
//! | `POST /v1/tasks/{id}/retry` | | [`Receipt`] |
//! | `POST /v1/tasks/{id}/priority` | [`PriorityRequest`] | [`Receipt`], `replayed` if it was there |
//! | `POST /v1/tasks/{id}/report` | [`TaskReport`] | [`Receipt`] |
//! | `POST /v1/queues/{name}/pause` | [`QueueRequest`] | [`Receipt`], `replayed` if it was paused |
//! | `POST /v1/queues/{name}/resume` | [`QueueRequest`] | [`Receipt`], `replayed` if it was not |
//! | `GET /v1/jobs` | `?at=` | [`JobList`] |
//! | `GET /v1/jobs/{name}` | `?at=` | [`projections::jobs::JobView`] |
//! | `POST /v1/jobs/{name}/run` | | [`SubmitReceipt`] |
//! | `POST /v1/jobs/{name}/pause` | [`PauseRequest`] | [`Receipt`], `replayed` if it was paused |
//! | `POST /v1/jobs/{name}/resume` | | [`Receipt`], `replayed` if it was not paused |
//! | `GET /v1/processes` | `?at=` | [`ProcessList`] |
//! | `POST /v1/processes` | [`WatchRequest`] | [`WatchReceipt`] |
//! | `GET /v1/checkpoints` | | [`CheckpointList`] |
//! | `POST /v1/checkpoints` | [`CheckpointRequest`] | [`CheckpointReceipt`]; it is verified and recorded |
//! | `POST /v1/checkpoints/prune` | [`PruneRequest`] | [`PruneReport`] |
//! | `POST /v1/processes/{id}/unwatch` | | [`Receipt`]; `id` is a pid or `BOOT.PID.START` |
//! | `POST /v1/reap` | [`ReapRequest`] | [`SweepReport`] |
//! | `POST /v1/events` | [`AppendRequest`] | [`Receipt`] |
//! | `POST /v1/blobs` | `?media_type=`, the bytes | [`ledger_core::blobs::BlobRef`]; they are on disk |
//! | `GET /v1/blobs/{digest}` | | the bytes; cut short if they are damaged |
//! | `POST /v1/blobs/collect` | [`CollectRequest`] | [`CollectReport`] |
//! | `GET /v1/head` | | [`HeadInfo`] |
//! | `GET /v1/blocks` | `?from=SEQ&follow=BOOL` | raw blocks, each behind its u32 length |
//! | `POST /v1/resume` | [`ResumeRequest`] | [`Receipt`], `replayed` if it was not paused |
//! | `POST /v1/notes` | [`NoteRequest`] | [`Receipt`] |
//! | `GET /v1/projections` | | list of [`ProjectionInfo`] |
//! | `GET /v1/projections/{name}/snapshot` | | [`SnapshotHead`], then a line `["key",value]` for each row |
//! | `POST /v1/projections/{name}/rebuild` | | [`ProjectionInfo`] |
//!
//! The data of an event that would be too large becomes a blob, and the event a reference to it; an
//! event may also name a blob that was uploaded. See `FORMAT.md`, "Blobs".
//!
//! A request that rested on something that is not so (`expected_head`, `expected_version`) is a
//! conflict that names what is, in [`ApiError::actual`].
//!
//! Events are read as raw blocks and filtered where they are read, so that the reader checks the
//! chain itself and a lying node is found out. Errors are [`ErrorBody`] with the status of
//! [`ErrorCode::http_status`], except where HTTP has a word of its own: 405 for a method that an
//! endpoint does not take, 408 for a body that does not arrive in time, 413 for one that is too
//! large, 414 for a path and 431 for a head that is too long, 503 for a connection too many.

mod checkpoints;
mod error;
mod lease;
mod processes;

use ledger_core::event::{
    Attempt, LedgerBackedUp, LedgerBackupsPruned, LedgerExported, Payload, Priority,
    SnapshotCreated, SnapshotFailed, SnapshotPruned, SnapshotRestored, Terms,
};
use ledger_core::hash::Hash;
use ledger_core::ids::{Entity, Id, Kind, LedgerId, Seq, Term};
use ledger_core::time::{Millis, Timestamp};
use projections::jobs::JobView;
use projections::tasks::Held;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;

pub use checkpoints::{
    CheckpointList, CheckpointReceipt, CheckpointRequest, PruneReport, PruneRequest,
};
pub use error::{ApiError, ErrorBody, ErrorCode, MoreCauses};
pub use lease::{
    AcquireRequest, Acquired, LeaseInfo, Neighbor, NodeStanding, Role, StepDownRequest,
};
pub use processes::{
    ProcessInfo, ProcessList, ReapRequest, ReaperInfo, SweepReport, Swept, SweptProcess,
    WatchReceipt, WatchRequest,
};

use crate::scheduler::held::QueueWaits;

/// Longest request body, in bytes.
pub const MAX_BODY: usize = 1024 * 1024;
/// Most events in one append.
pub const MAX_BATCH: usize = 1000;

/// A task to run.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SubmitRequest {
    /// Its id; made by the node if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task_id: Option<Id>,
    /// Its queue; standard if absent.
    #[serde(default = "standard")]
    pub priority: Priority,
    /// What to run.
    pub payload: Payload,
    /// How long an attempt may run; the node's default if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_runtime_ms: Option<Millis>,
    /// How long SIGTERM may take before SIGKILL follows; the node's default if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grace_ms: Option<Millis>,
    /// What it waits for and how often it is tried.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[serde(deserialize_with = "strict_terms")]
    pub terms: Option<Terms>,
    /// A second submit of the same with the same key returns the first task; one of something else is a
    /// conflict.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idempotency_key: Option<Id>,
    /// Who the client says it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claimed_actor: Option<Entity>,
    /// Ties this task to others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub correlation: Option<Id>,
}

fn standard() -> Priority {
    Priority::Standard
}

/// [`Terms`], of which a request may not name any that do not exist. What is recorded may: it may
/// have been written by a later version.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StrictTerms {
    #[serde(default)]
    max_attempts: Option<u32>,
    #[serde(default)]
    not_before: Option<Timestamp>,
    #[serde(default)]
    expires_at: Option<Timestamp>,
    #[serde(default)]
    depends_on: Vec<Id>,
    #[serde(default)]
    rate_key: Option<Id>,
    #[serde(default)]
    concurrency_key: Option<Id>,
    #[serde(default)]
    stall_after_ms: Option<Millis>,
}

fn strict_terms<'de, D: Deserializer<'de>>(d: D) -> Result<Option<Terms>, D::Error> {
    let strict = Option::<StrictTerms>::deserialize(d)?;
    Ok(strict.map(|strict| Terms {
        max_attempts: strict.max_attempts.unwrap_or(1),
        not_before: strict.not_before,
        expires_at: strict.expires_at,
        depends_on: strict.depends_on,
        rate_key: strict.rate_key,
        concurrency_key: strict.concurrency_key,
        stall_after_ms: strict.stall_after_ms,
    }))
}

/// The task is on disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubmitReceipt {
    /// The task.
    pub task_id: Id,
    /// Its queue.
    pub queue: Priority,
    /// How many tasks of its queue stand before it; all that wait, if it waits for others first.
    pub position: u64,
    /// Where it is recorded.
    pub seq: Seq,
    /// Hash of that event.
    pub hash: Hash,
    /// Term of that event.
    pub term: Term,
    /// Whether an earlier submit with the same idempotency key is answered again.
    pub replayed: bool,
    /// Whether nothing is started at all until the ledger is resumed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub paused: bool,
    /// What it waits for besides its turn, if it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held: Option<Held>,
}

/// What was asked for is on disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// The last event of it; where nothing was to be done, the last event of the ledger.
    pub seq: Seq,
    /// Hash of that event.
    pub hash: Hash,
    /// Term of that event.
    pub term: Term,
    /// Whether an earlier append with the same idempotency key is answered again, or what was asked for
    /// was so already: nothing was recorded.
    pub replayed: bool,
}

/// Ends a task.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CancelRequest {
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Moves a queued task to another queue.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PriorityRequest {
    /// Its new queue.
    pub priority: Priority,
}

/// What a running attempt says of itself.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TaskReport {
    /// Which run it is.
    pub attempt: Attempt,
    /// Nothing of its rate key is to be started for so long.
    pub retry_after_ms: Millis,
}

/// Holds a queue, or serves it again.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QueueRequest {
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Starts what waits, in a ledger that was restored, imported or salvaged.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ResumeRequest {
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Stops a job from being submitted when due.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PauseRequest {
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Every job.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobList {
    /// By name: those that are defined, and those that were and still have a run that goes on.
    pub jobs: Vec<JobView>,
    /// What can't be used of their definitions, and why.
    pub warnings: Vec<String>,
}

/// When a job is due next.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NextRun {
    /// Which.
    pub job: Id,
    /// When.
    pub due: Timestamp,
}

/// What a client has done with the ledger as a whole, to be recorded.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NoteRequest {
    /// It made a backup.
    BackedUp(LedgerBackedUp),
    /// It removed backups.
    BackupsPruned(LedgerBackupsPruned),
    /// It exported.
    Exported(LedgerExported),
    /// It did something with snapshots of files.
    Snapshot {
        /// The set.
        set: Id,
        /// What.
        did: SnapshotNote,
    },
}

/// What a client has done with snapshots of files.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SnapshotNote {
    /// It made one.
    Created(SnapshotCreated),
    /// It could make none.
    Failed(SnapshotFailed),
    /// It removed some.
    Pruned(SnapshotPruned),
    /// It brought files back.
    Restored(SnapshotRestored),
}

/// An application's own events, appended all or none.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AppendRequest {
    /// 1 to [`MAX_BATCH`] events.
    pub events: Vec<AppendEvent>,
    /// A second append with the same key returns the first's receipt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idempotency_key: Option<Id>,
    /// The append is refused unless the ledger ends here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected_head: Option<Seq>,
    /// Who the client says it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claimed_actor: Option<Entity>,
    /// Ties these events to others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub correlation: Option<Id>,
    /// The event that led to these.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<Seq>,
    /// W3C trace context.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<String>,
}

/// One event of an append.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AppendEvent {
    /// `app.*`.
    pub kind: Kind,
    /// What it is about; `app/default` if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<Entity>,
    /// The append is refused unless this is the version of the event's subject before it: the seq of
    /// the last `app.*` event about it, 0 if there must be none yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected_version: Option<Seq>,
    /// Any JSON object.
    pub data: Box<RawValue>,
}

/// Longest JSON document that is uploaded as a blob: it is redacted as a whole, in memory.
pub const MAX_DOCUMENT: usize = 16 * 1024 * 1024;

/// Removes blobs that nothing names.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CollectRequest {
    /// How old one must be; the node's setting if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grace_ms: Option<Millis>,
    /// Only say what would go.
    #[serde(default)]
    pub dry_run: bool,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CollectReport {
    /// Whether nothing was removed because of `dry_run`.
    pub dry_run: bool,
    /// Blobs that events name.
    pub named: u64,
    /// Blobs that went, or would have.
    pub removed: u64,
    /// Their bytes.
    pub removed_bytes: u64,
    /// Blobs that nothing names and that are too young.
    pub young: u64,
    /// Blobs that nothing names yet and somebody has just uploaded or is about to name.
    pub leased: u64,
}

/// Which tasks to list.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TaskQuery {
    /// Only in this state (`queued`, `held`, `running`, `cancelling`, `completed`, `cancelled`, `dead`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// Only of this queue (0, 1, 2).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<u8>,
    /// Only those whose id begins like this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    /// At most so many, the latest submitted first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
    /// As of this position instead of now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<Seq>,
}

/// Which stream of a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// Which output to read.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OutputQuery {
    /// Which stream.
    pub stream: Stream,
    /// Which run; if absent the latest, or for a follower the one that the task waits for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt: Option<u32>,
    /// Keep sending what is written until the run has ended.
    #[serde(default)]
    pub follow: bool,
}

/// Where the durable ledger ends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeadInfo {
    /// Which ledger.
    pub ledger_id: LedgerId,
    /// The last event; 0 if there is none.
    pub seq: Seq,
    /// Its hash.
    pub hash: Hash,
    /// Its term.
    pub term: Term,
    /// When it was recorded.
    pub recorded_at: Timestamp,
}

/// The node that answers.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct NodeInfo {
    /// Its name.
    pub node: Id,
    /// Its process id.
    pub pid: u32,
    /// `leader`, or why not.
    pub role: String,
    /// Version of its software.
    pub software: String,
    /// When it started.
    pub started_at: Timestamp,
    /// Things an operator should know.
    pub warnings: Vec<String>,
    /// The lease that it holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease: Option<LeaseInfo>,
    /// How it holds the process trees of attempts: in cgroups, `v2` or `v1`, or `none`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cgroups: Option<String>,
}

/// `GET /v1/status`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Status {
    /// The node that answers; absent when the files were read without a node, and as of a position.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<NodeInfo>,
    /// When the last event of the position that was asked for was recorded, which is when ages are counted
    /// to then; absent as of now. What no event tells of is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub as_of: Option<Timestamp>,
    /// What the ledger says.
    pub report: projections::status::StatusReport,
    /// What the tasks of each queue wait for, most urgent queue first.
    #[serde(default)]
    pub queues: Vec<QueueWaits>,
    /// Every view and how it is; empty as of a position.
    #[serde(default)]
    pub projections: Vec<ProjectionInfo>,
    /// Jobs by when they are due next.
    #[serde(default)]
    pub jobs: Vec<NextRun>,
    /// The reaper; absent if an older node answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reaper: Option<ReaperInfo>,
    /// The file system that the data directory is on; absent if it can't be asked, and as of a position.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk: Option<DiskInfo>,
}

/// A file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskInfo {
    /// Bytes that may still be taken.
    pub free_bytes: u64,
    /// All there are.
    pub total_bytes: u64,
    /// Below so many free ones `status` warns.
    pub warn_below: u64,
}

impl DiskInfo {
    /// Whether it is time to make room.
    pub fn is_low(&self) -> bool {
        self.free_bytes < self.warn_below
    }
}

/// One projection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProjectionInfo {
    /// Its name.
    pub name: String,
    /// Version of its rules.
    pub version: u32,
    /// The last event it has folded.
    pub seq: Seq,
    /// BLAKE3 over its content at that position.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<Hash>,
    /// Where and why it stopped, if it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub poisoned: Option<String>,
}

/// The first line of a projection's content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotHead {
    /// The projection's name.
    pub name: String,
    /// Version of its rules.
    pub version: u32,
    /// Which ledger it was folded from.
    pub ledger_id: LedgerId,
    /// The last event it has folded.
    pub seq: Seq,
    /// Hash of that event.
    pub hash: Hash,
    /// BLAKE3 over its content.
    pub digest: Hash,
}

/// The ledger's head, signed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedHead {
    /// A signed note that holds a checkpoint.
    pub note: String,
}

/// A proof, as it stands in a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WrittenProof {
    /// The proof.
    pub proof: String,
}

/// That the ledger has only grown since an older head, which whoever asked has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GrowthProof {
    /// The hashes of the proof, in base64.
    pub hashes: Vec<String>,
    /// The newer head: a signed note.
    pub head: String,
}
