//! What the command line and others use to talk to a node: one typed method for each endpoint of
//! [`crate::api::wire`], over HTTP/1.1 on a Unix socket.
//!
//! A [`Client`] may be shared by any number of tasks: it keeps idle connections and opens another
//! whenever all are busy. What it reads is limited, so that a node gone wrong can't fill memory.
//! A request is sent a second time only if no byte of it was written the first time, so nothing
//! is ever submitted twice.
//!
//! Every failure is an [`ApiError`]: the node's own, or one made here when it can't be reached.

mod address;
mod checkpoints;
mod connection;
pub mod nodes;
mod stream;
mod upload;

use std::io::Read;
use std::path::Path;
use std::time::Duration;

use hyper::Method;
use ledger_core::blobs::{BlobRef, MediaType};
use ledger_core::event::Priority;
use ledger_core::hash::Hash;
use ledger_core::ids::{Id, Seq};
use projections::jobs::JobView;
use projections::tasks::TaskView;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::api::wire::{
    ApiError, AppendRequest, CancelRequest, CollectReport, CollectRequest, ErrorCode, GrowthProof,
    HeadInfo, JobList, MAX_BODY, NoteRequest, OutputQuery, PauseRequest, PriorityRequest,
    ProcessList, ProjectionInfo, QueueRequest, ReapRequest, Receipt, ResumeRequest, SignedHead,
    Status, Stream, SubmitReceipt, SubmitRequest, SweepReport, TaskQuery, TaskReport, WatchReceipt,
    WatchRequest, WrittenProof,
};
use address::Address;
use connection::{Patience, Pool};
pub use nodes::LEADERLESS;
pub use stream::{BlockStream, ByteStream, JsonLines, SnapshotStream};

/// Longest answer that is read as a whole, in bytes.
pub const MAX_ANSWER: usize = 64 * 1024 * 1024;
/// How long a node may take to answer what it can answer at once.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Whether a stream ends at what is there now or goes on with what comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Follow {
    /// Ends at what is there now.
    No,
    /// Goes on until the node stops.
    Yes,
}

/// A node's API.
#[derive(Debug)]
pub struct Client {
    pool: Pool,
}

impl Client {
    /// Connects to the node whose socket this is.
    ///
    /// # Errors
    /// [`ErrorCode::Refused`] if nobody listens there.
    pub async fn connect(socket: &Path) -> Result<Self, ApiError> {
        let address = Address::of(socket).map_err(|e| unreachable_node(socket, &e))?;
        let pool = Pool::open(address)
            .await
            .map_err(|e| unreachable_node(socket, &e))?;
        Ok(Self { pool })
    }

    /// Where the node's durable ledger ends.
    ///
    /// # Errors
    /// [`ApiError`], as all methods here.
    pub async fn head(&self) -> Result<HeadInfo, ApiError> {
        self.get("/v1/head", &[]).await
    }

    /// The ledger's head, signed.
    ///
    /// # Errors
    /// [`ErrorCode::Refused`] if there is no key to sign with.
    pub async fn tree_head(&self) -> Result<SignedHead, ApiError> {
        self.get("/v1/tree/head", &[]).await
    }

    /// A proof that an event is in the ledger.
    ///
    /// # Errors
    /// [`ErrorCode::NotFound`] if it isn't.
    pub async fn prove(&self, seq: Seq) -> Result<WrittenProof, ApiError> {
        self.get("/v1/tree/proof", &[("seq", Some(seq.to_string()))])
            .await
    }

    /// How the ledger has grown since it had `size` events.
    ///
    /// # Errors
    /// [`ErrorCode::Unanchored`] if it has fewer.
    pub async fn growth(&self, size: u64) -> Result<GrowthProof, ApiError> {
        self.get("/v1/tree/growth", &[("size", Some(size.to_string()))])
            .await
    }

    /// What the node says of itself and the ledger, now or as of a position.
    ///
    /// # Errors
    /// [`ApiError`].
    pub async fn status(&self, at: Option<Seq>) -> Result<Status, ApiError> {
        self.get("/v1/status", &[("at", at.map(|seq| seq.to_string()))])
            .await
    }

    /// Submits a task; it is on disk when this returns.
    ///
    /// # Errors
    /// [`ApiError`].
    pub async fn submit(&self, request: &SubmitRequest) -> Result<SubmitReceipt, ApiError> {
        self.post("/v1/tasks", request, Patience::Short).await
    }

    /// Lists tasks, the latest submitted first.
    ///
    /// # Errors
    /// [`ApiError`].
    pub async fn tasks(&self, query: &TaskQuery) -> Result<JsonLines<TaskView>, ApiError> {
        let parameters = [
            ("state", query.state.clone()),
            ("priority", query.priority.map(|p| p.to_string())),
            ("prefix", query.prefix.clone()),
            ("limit", query.limit.map(|n| n.to_string())),
            ("at", query.at.map(|seq| seq.to_string())),
        ];
        Ok(JsonLines::new(
            self.open("/v1/tasks", &parameters, Patience::Short).await?,
        ))
    }

    /// One task, now or as of a position.
    ///
    /// # Errors
    /// [`ErrorCode::NotFound`] if there is none with this id.
    pub async fn task(&self, id: &Id, at: Option<Seq>) -> Result<TaskView, ApiError> {
        let at = at.map(|seq| seq.to_string());
        self.get(&format!("/v1/tasks/{id}"), &[("at", at)]).await
    }

    /// One task once it has ended, however long that takes.
    ///
    /// # Errors
    /// [`ErrorCode::NotFound`] if there is none with this id.
    pub async fn wait(&self, id: &Id) -> Result<TaskView, ApiError> {
        let path = format!("/v1/tasks/{id}/wait");
        let answer = self
            .pool
            .send(Method::GET, &path, Vec::new(), Patience::Endless)
            .await?;
        decode(&path, &answer)
    }

    /// The bytes of one stream of a task.
    ///
    /// # Errors
    /// [`ErrorCode::NotFound`] if there is no such task or run.
    pub async fn output(&self, id: &Id, query: &OutputQuery) -> Result<ByteStream, ApiError> {
        let stream = match query.stream {
            Stream::Stdout => "stdout",
            Stream::Stderr => "stderr",
        };
        let parameters = [
            ("stream", Some(stream.to_owned())),
            ("attempt", query.attempt.map(|n| n.to_string())),
            ("follow", query.follow.then(|| "true".to_owned())),
        ];
        self.open(
            &format!("/v1/tasks/{id}/output"),
            &parameters,
            Patience::Endless,
        )
        .await
    }

    /// Ends a task.
    ///
    /// # Errors
    /// [`ApiError`].
    pub async fn cancel(&self, id: &Id, request: &CancelRequest) -> Result<Receipt, ApiError> {
        self.post(&format!("/v1/tasks/{id}/cancel"), request, Patience::Short)
            .await
    }

    /// Takes a task out of the dead-letter queue.
    ///
    /// # Errors
    /// [`ApiError`].
    pub async fn retry(&self, id: &Id) -> Result<Receipt, ApiError> {
        self.post(
            &format!("/v1/tasks/{id}/retry"),
            &serde_json::Map::new(),
            Patience::Short,
        )
        .await
    }

    /// Moves a queued task to another queue.
    ///
    /// # Errors
    /// [`ApiError`].
    pub async fn set_priority(
        &self,
        id: &Id,
        request: &PriorityRequest,
    ) -> Result<Receipt, ApiError> {
        let path = format!("/v1/tasks/{id}/priority");
        self.post(&path, request, Patience::Short).await
    }

    /// Says something of a running attempt, as that attempt.
    ///
    /// # Errors
    /// [`ApiError`].
    pub async fn report(&self, id: &Id, report: &TaskReport) -> Result<Receipt, ApiError> {
        let path = format!("/v1/tasks/{id}/report");
        self.post(&path, report, Patience::Short).await
    }

    /// Holds a queue: nothing more is started from it.
    ///
    /// # Errors
    /// [`ApiError`].
    pub async fn pause_queue(
        &self,
        queue: Priority,
        request: &QueueRequest,
    ) -> Result<Receipt, ApiError> {
        let path = format!("/v1/queues/{}/pause", queue.name());
        self.post(&path, request, Patience::Short).await
    }

    /// Serves a queue again.
    ///
    /// # Errors
    /// [`ApiError`].
    pub async fn resume_queue(
        &self,
        queue: Priority,
        request: &QueueRequest,
    ) -> Result<Receipt, ApiError> {
        let path = format!("/v1/queues/{}/resume", queue.name());
        self.post(&path, request, Patience::Short).await
    }

    /// Every job, now or as of a position.
    ///
    /// # Errors
    /// [`ApiError`].
    pub async fn jobs(&self, at: Option<Seq>) -> Result<JobList, ApiError> {
        self.get("/v1/jobs", &[("at", at.map(|seq| seq.to_string()))])
            .await
    }

    /// One job with its latest runs, now or as of a position.
    ///
    /// # Errors
    /// [`ErrorCode::NotFound`] if there was never one of this name.
    pub async fn job(&self, name: &Id, at: Option<Seq>) -> Result<JobView, ApiError> {
        let at = at.map(|seq| seq.to_string());
        self.get(&format!("/v1/jobs/{name}"), &[("at", at)]).await
    }

    /// Submits a run of a job now.
    ///
    /// # Errors
    /// [`ErrorCode::NotFound`] if there is no such job.
    pub async fn run_job(&self, name: &Id) -> Result<SubmitReceipt, ApiError> {
        let nothing = serde_json::Map::new();
        self.post(&format!("/v1/jobs/{name}/run"), &nothing, Patience::Short)
            .await
    }

    /// Stops a job from being submitted when due.
    ///
    /// # Errors
    /// [`ErrorCode::NotFound`] if there is no such job.
    pub async fn pause_job(&self, name: &Id, request: &PauseRequest) -> Result<Receipt, ApiError> {
        self.post(&format!("/v1/jobs/{name}/pause"), request, Patience::Short)
            .await
    }

    /// Lets a job be submitted again when due.
    ///
    /// # Errors
    /// [`ErrorCode::NotFound`] if there is no such job.
    pub async fn resume_job(&self, name: &Id) -> Result<Receipt, ApiError> {
        let nothing = serde_json::Map::new();
        self.post(
            &format!("/v1/jobs/{name}/resume"),
            &nothing,
            Patience::Short,
        )
        .await
    }

    /// Every watched process and what it does, now or as of a position.
    ///
    /// # Errors
    /// [`ApiError`].
    pub async fn processes(&self, at: Option<Seq>) -> Result<ProcessList, ApiError> {
        self.get("/v1/processes", &[("at", at.map(|seq| seq.to_string()))])
            .await
    }

    /// Has a process watched that somebody else started.
    ///
    /// # Errors
    /// [`ErrorCode::Refused`] if it is one that is never signaled, or another user's.
    pub async fn watch(&self, request: &WatchRequest) -> Result<WatchReceipt, ApiError> {
        self.post("/v1/processes", request, Patience::Short).await
    }

    /// Has a process watched no more, by its pid or its id `BOOT.PID.START`.
    ///
    /// # Errors
    /// [`ErrorCode::NotFound`] if it is not watched.
    pub async fn unwatch(&self, process: &Id) -> Result<Receipt, ApiError> {
        let nothing = serde_json::Map::new();
        let path = format!("/v1/processes/{process}/unwatch");
        self.post(&path, &nothing, Patience::Short).await
    }

    /// Sweeps now, or says what that would do.
    ///
    /// # Errors
    /// [`ApiError`].
    pub async fn reap(&self, request: &ReapRequest) -> Result<SweepReport, ApiError> {
        self.post("/v1/reap", request, Patience::Short).await
    }

    /// Starts what waits, in a ledger that was restored, imported or salvaged.
    ///
    /// # Errors
    /// [`ApiError`].
    pub async fn resume(&self, request: &ResumeRequest) -> Result<Receipt, ApiError> {
        self.post("/v1/resume", request, Patience::Short).await
    }

    /// Has a backup or an export recorded.
    ///
    /// # Errors
    /// [`ErrorCode::Conflict`] if what it says of the history is not so here.
    pub async fn note(&self, request: &NoteRequest) -> Result<Receipt, ApiError> {
        self.post("/v1/notes", request, Patience::Short).await
    }

    /// Appends an application's own events, all or none; they are on disk when this returns.
    ///
    /// # Errors
    /// [`ApiError`].
    pub async fn append(&self, request: &AppendRequest) -> Result<Receipt, ApiError> {
        self.post("/v1/events", request, Patience::Short).await
    }

    /// Uploads content as a blob; it is on disk when this returns, and kept for a while for an append
    /// that names it. JSON documents are redacted, so what is stored may be shorter.
    ///
    /// # Errors
    /// [`ApiError`]; also if the content can't be read. Nothing is stored then.
    pub async fn upload_blob(
        &self,
        content: impl Read + Send + 'static,
        media_type: &MediaType,
    ) -> Result<BlobRef, ApiError> {
        let path = format!("/v1/blobs?media_type={}", escaped(media_type));
        let answer = self.pool.upload(&path, content).await?;
        decode(&path, &answer)
    }

    /// The bytes of a blob, which the reader has to check.
    ///
    /// # Errors
    /// [`ErrorCode::NotFound`] if there is none of this name.
    pub async fn blob(&self, digest: Hash) -> Result<ByteStream, ApiError> {
        self.open(&format!("/v1/blobs/{digest}"), &[], Patience::Endless)
            .await
    }

    /// Removes blobs that nothing names.
    ///
    /// # Errors
    /// [`ApiError`].
    pub async fn collect_blobs(&self, request: &CollectRequest) -> Result<CollectReport, ApiError> {
        self.post("/v1/blobs/collect", request, Patience::Endless)
            .await
    }

    /// Raw blocks from the one that holds `from`.
    ///
    /// # Errors
    /// [`ApiError`].
    pub async fn blocks(&self, from: Seq, follow: Follow) -> Result<BlockStream, ApiError> {
        let follow = (follow == Follow::Yes).then(|| "true".to_owned());
        let parameters = [("from", Some(from.to_string())), ("follow", follow)];
        Ok(BlockStream::new(
            self.open("/v1/blocks", &parameters, Patience::Endless)
                .await?,
        ))
    }

    /// The node's projections and how they are.
    ///
    /// # Errors
    /// [`ApiError`].
    pub async fn projections(&self) -> Result<Vec<ProjectionInfo>, ApiError> {
        self.get("/v1/projections", &[]).await
    }

    /// The content of a projection.
    ///
    /// # Errors
    /// [`ErrorCode::NotFound`] if there is no such projection.
    pub async fn snapshot(&self, name: &str) -> Result<SnapshotStream, ApiError> {
        let path = format!("/v1/projections/{}/snapshot", segment(name)?);
        SnapshotStream::new(self.open(&path, &[], Patience::Endless).await?).await
    }

    /// Folds a projection anew from the first event, and swaps it in.
    ///
    /// # Errors
    /// [`ErrorCode::NotFound`] if there is no such projection.
    pub async fn rebuild(&self, name: &str) -> Result<ProjectionInfo, ApiError> {
        let path = format!("/v1/projections/{}/rebuild", segment(name)?);
        self.post(&path, &serde_json::Map::new(), Patience::Endless)
            .await
    }

    async fn get<T: DeserializeOwned>(
        &self,
        path: &str,
        query: &[(&str, Option<String>)],
    ) -> Result<T, ApiError> {
        let path = with_query(path, query);
        let answer = self
            .pool
            .send(Method::GET, &path, Vec::new(), Patience::Short)
            .await?;
        decode(&path, &answer)
    }

    async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        request: &impl Serialize,
        patience: Patience,
    ) -> Result<T, ApiError> {
        let body = serde_json::to_vec(request).map_err(|e| {
            ApiError::new(ErrorCode::Usage, "the request can't be written as JSON").because(e)
        })?;
        if body.len() > MAX_BODY {
            let size = crate::units::format_size(body.len() as u64);
            return Err(ApiError::new(ErrorCode::Usage, "the request is too large")
                .because(format!("it has {size}, at most 1 MiB is taken")));
        }
        let answer = self.pool.send(Method::POST, path, body, patience).await;
        decode(path, &answer.map_err(unanswered)?)
    }

    async fn open(
        &self,
        path: &str,
        query: &[(&str, Option<String>)],
        patience: Patience,
    ) -> Result<ByteStream, ApiError> {
        self.pool
            .open_stream(&with_query(path, query), patience)
            .await
    }
}

/// What was to be changed may be changed, if the answer is lost.
fn unanswered(error: ApiError) -> ApiError {
    match error.code {
        ErrorCode::Lost => error.hint(
            "what was asked may or may not be done: see which node leads now (`ledger lease status`) and look",
        ),
        _ => error,
    }
}

fn unreachable_node(socket: &Path, error: &std::io::Error) -> ApiError {
    ApiError::new(
        ErrorCode::Refused,
        format!("no node answers at {}", socket.display()),
    )
    .because(error)
    .hint("start one with `ledger up`")
}

fn decode<T: DeserializeOwned>(path: &str, answer: &[u8]) -> Result<T, ApiError> {
    serde_json::from_slice(answer).map_err(|e| {
        ApiError::new(
            ErrorCode::Failed,
            format!("the node's answer to {path} is not understood"),
        )
        .because(e)
        .hint("is the node of another version? `ledger status` shows it")
    })
}

/// Appends the parameters that are set. All values are made of numbers, ids and words of our own,
/// which need no escaping.
fn with_query(path: &str, query: &[(&str, Option<String>)]) -> String {
    let mut out = path.to_owned();
    let mut separator = '?';
    for (name, value) in query {
        if let Some(value) = value {
            out.push(separator);
            out.push_str(name);
            out.push('=');
            out.push_str(value);
            separator = '&';
        }
    }
    out
}

/// A text as the value of a parameter.
fn escaped(text: &str) -> String {
    use std::fmt::Write as _;
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) {
            out.push(char::from(byte));
        } else {
            // Writing to a text never fails.
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

/// A name as a part of a path.
fn segment(name: &str) -> Result<&str, ApiError> {
    let fits = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
    if !name.is_empty() && name.len() <= 64 && name.bytes().all(fits) {
        Ok(name)
    } else {
        Err(
            ApiError::new(ErrorCode::NotFound, "there is no such projection")
                .hint("`ledger projections list` shows them"),
        )
    }
}

#[cfg(test)]
mod tests;
