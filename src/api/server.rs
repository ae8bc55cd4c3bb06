//! The server: a Unix socket only its owner may open, the routes, and what handlers share.

use std::path::{Path, PathBuf};
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
use tokio::net::UnixListener;
use tokio::sync::{oneshot, watch};

use super::connections::{self, Limits, Peer};
use super::error::{answer, failed, usage};
use super::lease::Leading;
use super::wire::{ApiError, ErrorCode, MAX_BODY};
use super::{
    blobs, checkpoints, events, jobs, lease, output, processes, tasks, tree, upkeep, views,
};
use crate::node::blobs::Blobs;
use crate::node::checkpoints::Checkpointer;
use crate::node::command::{Command, Reply};
use crate::node::jobs::Faults;
use crate::node::reaper::Reach;
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

/// Why a node's socket was not bound.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Somebody listens there.
    #[error("a node named {0} runs already")]
    Taken(Id),
    /// Its name is too long for that of a socket.
    #[error("the name of a node has at most {MAX_NODE_NAME} characters, not {0}")]
    TooLong(usize),
    /// The system's.
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

/// Longest name of a node: what a socket's path has left beside `/proc/self/fd/NUMBER/` and `.sock`.
const MAX_NODE_NAME: usize = 80;

/// The `run` directory, held open: a socket's path has at most 108 bytes, and through a descriptor
/// it is always short, however deep the data directory lies.
struct RunDir(std::fs::File);

impl RunDir {
    fn open(data_dir: &Path) -> std::io::Result<Self> {
        use std::os::unix::fs::OpenOptionsExt;
        let dir = std::fs::File::options()
            .read(true)
            .custom_flags(libc::O_DIRECTORY | libc::O_NOFOLLOW)
            .open(data_dir.join("run"))?;
        Ok(Self(dir))
    }

    fn path(&self, node: &Id) -> PathBuf {
        use std::os::fd::AsRawFd;
        PathBuf::from(format!("/proc/self/fd/{}/{node}.sock", self.0.as_raw_fd()))
    }

    /// Whether somebody listens on a node's socket, also if he is too busy to let anyone in.
    fn has_listener(&self, node: &Id) -> bool {
        use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, socket};
        use std::os::fd::AsRawFd;
        let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
        let connected = socket(AddressFamily::Unix, SockType::Stream, flags, None)
            .and_then(|socket| connect(socket.as_raw_fd(), &UnixAddr::new(&self.path(node))?));
        matches!(connected, Ok(()) | Err(nix::errno::Errno::EAGAIN))
    }
}

/// A node's socket: its name for as long as this lives. Dropping the one that bound it removes it.
#[derive(Debug)]
pub struct Socket {
    listener: std::os::unix::net::UnixListener,
    /// Of the one that bound it.
    path: Option<PathBuf>,
}

impl Socket {
    /// Binds a node's socket, 0600 from its first moment, in `run/` (0700) below the data directory.
    /// One left behind by a dead node is removed; of two nodes of one name that come at once, one is
    /// told that it is taken.
    ///
    /// # Errors
    /// [`BindError`].
    pub fn bind(data_dir: &Path, node: &Id) -> Result<Self, BindError> {
        use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
        if node.len() > MAX_NODE_NAME {
            return Err(BindError::TooLong(node.len()));
        }
        let run = data_dir.join("run");
        match std::fs::DirBuilder::new().mode(0o700).create(&run) {
            Ok(()) => {}
            Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {
                std::fs::set_permissions(&run, std::fs::Permissions::from_mode(0o700))?;
            }
            Err(e) => return Err(e.into()),
        }
        let dir = RunDir::open(data_dir)?;
        // One at a time looks, removes and binds.
        let alone = dir.0.try_clone()?;
        let _alone = nix::fcntl::Flock::lock(alone, nix::fcntl::FlockArg::LockExclusive)
            .map_err(|(_, errno)| std::io::Error::from(errno))?;
        if dir.has_listener(node) {
            return Err(BindError::Taken(node.clone()));
        }
        let named = run.join(format!("{node}.sock"));
        match std::fs::remove_file(&named) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(e.into()),
            Ok(()) | Err(_) => {}
        }
        let path = dir.path(node);
        let listener = std::os::unix::net::UnixListener::bind(&path)?;
        listener.set_nonblocking(true)?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
        Ok(Self {
            listener,
            path: Some(named),
        })
    }

    /// The same socket for another thread.
    ///
    /// # Errors
    /// If the process has too many files open.
    pub fn share(&self) -> std::io::Result<Self> {
        Ok(Self {
            listener: self.listener.try_clone()?,
            path: None,
        })
    }

    /// To accept with. Must be called in a runtime.
    ///
    /// # Errors
    /// If the process has too many files open.
    pub fn listener(&self) -> std::io::Result<UnixListener> {
        UnixListener::from_std(self.listener.try_clone()?)
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        if let Some(path) = &self.path {
            let _ = std::fs::remove_file(path);
        }
    }
}

/// Serves until `stop` resolves; requests under way are finished, streams are ended by
/// `Api::stopping`.
pub async fn serve(listener: UnixListener, api: Arc<Api>, stop: impl Future<Output = ()> + Send) {
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
