//! The server: the routes, and what handlers share.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, FromRequestParts};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::routing::{get, post};
use crossbeam_channel::Sender;
use ledger_core::chain::Head;
use ledger_core::envelope::Origin;
use ledger_core::ids::{Entity, Id, Seq};
use ledger_core::store::LogReader;
use ledger_core::time::{Millis, Timestamp};
use projections::framework::ViewWorker;
use serde::de::DeserializeOwned;
use tokio::sync::{oneshot, watch};

use super::connections::{self, Limits, Peer};
use super::error::{answer, failed, usage};
use super::lease::Leading;
use super::socket::Listener;
use super::wire::{ApiError, ErrorCode, MAX_BODY};
use super::{
    blobs, checkpoints, events, jobs, lease, output, processes, tasks, tree, upkeep, views,
};
use crate::node::blobs::Blobs;
use crate::node::checkpoints::Checkpointer;
use crate::node::command::{Command, Reply};
use crate::node::jobs::Faults;
use crate::node::reaper::Reach;
use crate::node::restart::Restart;
use crate::node::threads::Mail;
use crate::scheduler::policy::Policy;

/// How long a reader waits for the views to catch up with the disk.
const VIEW_PATIENCE: Duration = Duration::from_secs(10);

/// What a task gets where its submitter said nothing.
#[derive(Debug, Clone, Copy)]
pub struct Defaults {
    /// How long an attempt may run.
    pub max_runtime: Millis,
    /// How long SIGTERM may take.
    pub grace: Millis,
}

/// What handlers share.
pub struct Api {
    pub(crate) node: Id,
    pub(crate) started_at: Timestamp,
    pub(crate) data_dir: PathBuf,
    pub(crate) defaults: Defaults,
    /// By what rules the node dispatches, to say why a task is held.
    pub(crate) policy: Arc<Policy>,
    pub(crate) limits: Limits,
    pub(crate) inbox: Sender<Mail>,
    pub(crate) reader: Arc<dyn LogReader>,
    pub(crate) views: Arc<ViewWorker>,
    pub(crate) head: watch::Receiver<Head>,
    /// Flips when the node stops, which ends streams that would go on for ever.
    pub(crate) stopping: watch::Receiver<bool>,
    pub(crate) warnings: Vec<String>,
    /// How process trees are held.
    pub(crate) cgroups: &'static str,
    pub(crate) blobs: Arc<Blobs>,
    /// What can't be used of the definitions of jobs.
    pub(crate) job_faults: Arc<Faults>,
    /// What makes checkpoints.
    pub(crate) checkpointer: Arc<Checkpointer>,
    /// The reaper of processes that others started.
    pub(crate) reaper: Reach,
    /// Free bytes of the file system below which the status warns.
    pub(crate) warn_below: u64,
    /// The lease that this node holds.
    pub(crate) lease: Leading,
    /// How it starts itself anew once it has given that back.
    pub(crate) restart: Restart,
}

impl Api {
    /// Asks the core and waits for its answer, which comes when it is durable.
    pub(super) async fn ask(&self, origin: Origin, command: Command) -> Result<Reply, ApiError> {
        let gone = || {
            ApiError::new(ErrorCode::NotLeader, "this node does not lead any more")
                .hint("what was not acknowledged may or may not have been recorded; start a node with `ledger up` and look")
        };
        let (reply, answer) = oneshot::channel();
        self.inbox
            .send(Mail::Ask {
                origin,
                command,
                reply,
            })
            .map_err(|_| gone())?;
        Ok(answer.await.map_err(|_| gone())??)
    }

    /// Waits until the views show everything that is durable now, so that whoever has a receipt
    /// reads what it stands for.
    pub(super) async fn views_caught_up(self: &Arc<Self>) -> Result<Seq, ApiError> {
        let seq = self.head.borrow().seq;
        if self.views.reached() >= seq {
            return Ok(seq);
        }
        let api = Arc::clone(self);
        blocking(move || api.views.wait_for(seq, VIEW_PATIENCE))
            .await?
            .map_err(|e| failed("the views lag behind the ledger", e))?;
        Ok(seq)
    }
}

/// Runs something that may block, off the threads that carry bytes.
pub(super) async fn blocking<T: Send + 'static>(
    f: impl FnOnce() -> T + Send + 'static,
) -> Result<T, ApiError> {
    tokio::task::spawn_blocking(f)
        .await
        .map_err(|e| failed("the request was abandoned", e))
}

/// Reads a JSON body strictly.
pub(super) fn json<T: DeserializeOwned>(body: &Bytes) -> Result<T, ApiError> {
    serde_json::from_slice(body).map_err(|e| {
        usage("the request body is not what this endpoint takes")
            .because(e)
            .hint(
                "send one JSON object; fields that are not known are refused, so check their names",
            )
    })
}

/// The origin of a request: the peer's uid, as the kernel vouches for it.
pub(super) struct Caller(pub(super) Origin);

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let refused = || ApiError::new(ErrorCode::Refused, "the kernel does not say who is asking");
        let uid = parts.extensions.get::<Peer>().and_then(|peer| peer.uid);
        let uid = uid.ok_or_else(refused)?;
        let actor = Entity::of("uid", &uid.to_string()).map_err(|_| refused())?;
        Ok(Self(Origin::of(actor)))
    }
}

/// Serves until `stop` resolves; requests under way are finished, streams are ended by
/// `Api::stopping`.
pub async fn serve(listener: Listener, api: Arc<Api>, stop: impl Future<Output = ()> + Send) {
    let limits = api.limits;
    connections::serve(listener, routes(api), limits, stop).await;
}

fn routes(api: Arc<Api>) -> Router {
    Router::new()
        .route("/v1/node", get(lease::node))
        .route("/v1/lease", get(lease::status))
        .route("/v1/lease/step-down", post(lease::step_down))
        .route("/v1/lease/acquire", post(lease::acquire))
        .route("/v1/status", get(views::status))
        .route("/v1/head", get(events::head))
        .route("/v1/tree/head", get(tree::head))
        .route("/v1/tree/proof", get(tree::proof))
        .route("/v1/tree/growth", get(tree::growth))
        .route("/v1/blocks", get(events::blocks))
        .route("/v1/events", post(events::append))
        .route("/v1/resume", post(upkeep::resume))
        .route("/v1/notes", post(upkeep::note))
        .route("/v1/blobs", post(blobs::upload))
        .route("/v1/blobs/{digest}", get(blobs::download))
        .route("/v1/blobs/collect", post(blobs::collect))
        .route("/v1/tasks", get(tasks::list).post(tasks::submit))
        .route("/v1/tasks/{id}", get(tasks::show))
        .route("/v1/tasks/{id}/wait", get(tasks::wait))
        .route("/v1/tasks/{id}/output", get(output::output))
        .route("/v1/tasks/{id}/cancel", post(tasks::cancel))
        .route("/v1/tasks/{id}/retry", post(tasks::retry))
        .route("/v1/tasks/{id}/priority", post(tasks::set_priority))
        .route("/v1/tasks/{id}/report", post(tasks::report))
        .route("/v1/queues/{name}/pause", post(tasks::pause_queue))
        .route("/v1/queues/{name}/resume", post(tasks::resume_queue))
        .route(
            "/v1/checkpoints",
            get(checkpoints::list).post(checkpoints::create),
        )
        .route("/v1/checkpoints/prune", post(checkpoints::prune))
        .route("/v1/jobs", get(jobs::list))
        .route("/v1/jobs/{name}", get(jobs::show))
        .route("/v1/jobs/{name}/run", post(jobs::run))
        .route("/v1/jobs/{name}/pause", post(jobs::pause))
        .route("/v1/jobs/{name}/resume", post(jobs::resume))
        .route("/v1/processes", get(processes::list).post(processes::watch))
        .route("/v1/processes/{id}/unwatch", post(processes::unwatch))
        .route("/v1/reap", post(processes::reap))
        .route("/v1/projections", get(views::list))
        .route("/v1/projections/{name}/snapshot", get(views::snapshot))
        .route("/v1/projections/{name}/rebuild", post(views::rebuild_view))
        .fallback(async || {
            ApiError::new(ErrorCode::NotFound, "there is no such endpoint")
                .hint("the API is under /v1; see `ledger --version` for the node's version")
        })
        .method_not_allowed_fallback(async || {
            let error = usage("this endpoint does not take requests of this method")
                .hint("the `allow` header names the methods that it takes");
            answer(StatusCode::METHOD_NOT_ALLOWED, error)
        })
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .with_state(api)
}
