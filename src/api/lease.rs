//! `/v1/node` and `/v1/lease`, and all that a standby answers.

use std::path::PathBuf;
use std::sync::Arc;

use axum::extract::{DefaultBodyLimit, State};
use axum::routing::{get, post};
use axum::{Json, Router};
use crossbeam_channel::Sender;
use ledger_core::chain::Head;
use ledger_core::ids::{Id, Seq};
use ledger_core::time::Timestamp;
use tokio::sync::oneshot;

use super::connections::{self, Limits};
use super::error::{failed, usage};
use super::extract::{Content, Limited};
use super::server::{Api, Caller, blocking, json};
use super::socket::Socket;
use super::tasks::{receipt, unexpected};
use super::wire::{
    AcquireRequest, Acquired, ApiError, ErrorCode, LeaseInfo, MAX_BODY, Neighbor, NodeStanding,
    Receipt, Role, StepDownRequest,
};
use crate::client::nodes::survey;
use crate::lease::fence::FenceError;
use crate::lease::holding::Authority;
use crate::lease::timing::Timing;
use crate::node::command::{Command, Reply};
use crate::node::ports::uptime;
use crate::node::standby::{Control, Seen};
use crate::run_dir;

/// The lease as a leader knows it.
#[derive(Debug, Clone)]
pub struct Leading {
    /// Until when it leads.
    pub(crate) authority: Authority,
    /// The times of its lease.
    pub(crate) timing: Timing,
    /// Where the ledger ended before its term.
    pub(crate) begun: Head,
}

pub(super) async fn node(State(api): State<Arc<Api>>) -> Json<NodeStanding> {
    let head = *api.head.borrow();
    Json(NodeStanding {
        node: api.node.clone(),
        pid: std::process::id(),
        role: Role::Leader,
        software: env!("CARGO_PKG_VERSION").into(),
        started_at: api.started_at,
        seq: head.seq,
        term: head.term,
        leader: None,
        trouble: None,
    })
}

pub(super) async fn status(State(api): State<Arc<Api>>) -> Result<Json<LeaseInfo>, ApiError> {
    lease_info(&api).await.map(Json)
}

/// The lease that this node holds.
pub(super) async fn lease_info(api: &Arc<Api>) -> Result<LeaseInfo, ApiError> {
    api.views_caught_up().await?;
    let seen = api.views.with_status(|status, _| {
        let report = status.report(ledger_core::clock::now());
        (report.lease, report.node)
    });
    let (lease, node) = seen.ok_or_else(|| failed("the lease is not known", "no view of it"))?;
    let lease = lease.ok_or_else(|| failed("the lease is not known", "no term has begun"))?;
    let head = *api.head.borrow();
    let leading = &api.lease;
    Ok(LeaseInfo {
        holder: api.node.clone(),
        pid: std::process::id(),
        host: node.map(|node| node.host),
        term: head.term,
        acquired_at: lease.facts.acquired_at,
        beat_age_us: leading
            .authority
            .renewed(leading.timing)
            .map_or_else(Default::default, |at| uptime().since(at)),
        ttl_ms: leading.timing.ttl(),
        events: head.seq.0.saturating_sub(leading.begun.seq.0),
        standbys: neighbors(api, head.seq).await?,
    })
}

/// The nodes beside this one.
async fn neighbors(api: &Arc<Api>, head: Seq) -> Result<Vec<Neighbor>, ApiError> {
    let nodes = survey(&api.data_dir, Some(&api.node))
        .await
        .map_err(|e| failed("the other nodes can't be looked for", e))?;
    Ok(nodes
        .into_iter()
        .map(|node| match node.answer {
            Ok((_, standing)) => Neighbor {
                node: node.name,
                behind: Some(head.0.saturating_sub(standing.seq.0)),
                standing: Some(standing),
                error: None,
            },
            Err(error) => Neighbor {
                node: node.name,
                behind: None,
                standing: None,
                error: Some(error),
            },
        })
        .collect())
}

pub(super) async fn step_down(
    State(api): State<Arc<Api>>,
    Caller(origin): Caller,
    Content(body): Content,
) -> Result<Json<Receipt>, ApiError> {
    let request: StepDownRequest = json(&body)?;
    if !request.alone {
        let head = api.head.borrow().seq;
        let neighbors = neighbors(&api, head).await?;
        let ready = |n: &Neighbor| {
            n.standing
                .as_ref()
                .is_some_and(|s| s.role == Role::Standby && s.trouble.is_none())
        };
        if !neighbors.iter().any(ready) {
            return Err(ApiError::new(ErrorCode::Refused, "no node stands by")
                .because("nobody would lead")
                .hint("start one with `ledger up --node NAME`; to stop this node, end its process (SIGTERM)"));
        }
    }
    let shared = Arc::clone(&api);
    let can = blocking(move || shared.restart.check()).await?;
    can.map_err(|why| {
        ApiError::new(
            ErrorCode::Refused,
            "the node could not start itself anew, so it gives nothing back",
        )
        .because(why)
        .hint("mend that, then ask again; to stop this node for good, end its process (SIGTERM)")
    })?;
    if request.dry_run {
        return Ok(Json(receipt(*api.head.borrow(), true)));
    }
    match api.ask(origin, Command::StepDown).await? {
        Reply::Recorded(head) => Ok(Json(receipt(head, false))),
        other => Err(unexpected(&other)),
    }
}

/// Who leads is asked to lead.
pub(super) async fn acquire(
    State(api): State<Arc<Api>>,
    Content(body): Content,
) -> Result<Json<Acquired>, ApiError> {
    let _: AcquireRequest = json(&body)?;
    let term = api.head.borrow().term;
    Ok(Json(Acquired::AlreadyHeld { term }))
}

/// What a standby's handlers share.
pub struct Standby {
    pub(crate) node: Id,
    pub(crate) started_at: Timestamp,
    pub(crate) data_dir: PathBuf,
    pub(crate) limits: Limits,
    pub(crate) seen: Arc<Seen>,
    pub(crate) control: Sender<Control>,
}

impl Limited for Standby {
    fn limits(&self) -> Limits {
        self.limits
    }
}

impl Standby {
    fn not_leader(&self) -> ApiError {
        let error = |cause: String| {
            ApiError::new(
                ErrorCode::NotLeader,
                format!("node {} does not lead: it stands by", self.node),
            )
            .because(cause)
        };
        match self.seen.leader() {
            Some(leader) => {
                let socket = run_dir::path(&self.data_dir).join(format!("{leader}.sock"));
                error(format!("{leader} leads"))
                    .hint(format!(
                        "ask {leader}, whose socket is {}",
                        socket.display()
                    ))
                    .led_from(socket.display().to_string())
            }
            None => error("nobody is known to lead now".to_owned())
                .hint("a takeover takes moments; then ask again, and see `ledger lease status`"),
        }
    }
}

/// Serves as a standby until dropped.
///
/// # Errors
/// The system's.
pub async fn serve_standby(
    socket: &Socket,
    standby: Arc<Standby>,
    stop: impl Future<Output = ()>,
) -> std::io::Result<()> {
    let limits = standby.limits;
    let listener = socket.listener()?;
    let routes = Router::new()
        .route("/v1/node", get(standing))
        .route("/v1/lease/acquire", post(take_over))
        .fallback(async |State(standby): State<Arc<Standby>>| standby.not_leader())
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .with_state(standby);
    connections::serve(listener, routes, limits, stop).await;
    Ok(())
}

async fn standing(State(standby): State<Arc<Standby>>) -> Json<NodeStanding> {
    let seen = &standby.seen;
    Json(NodeStanding {
        node: standby.node.clone(),
        pid: std::process::id(),
        role: Role::Standby,
        software: env!("CARGO_PKG_VERSION").into(),
        started_at: standby.started_at,
        seq: seen.seq(),
        term: seen.term(),
        leader: seen.leader(),
        trouble: seen.trouble(),
    })
}

async fn take_over(
    State(standby): State<Arc<Standby>>,
    Caller(origin): Caller,
    Content(body): Content,
) -> Result<Json<Acquired>, ApiError> {
    let request: AcquireRequest = json(&body)?;
    if !request.force {
        return Err(ApiError::new(ErrorCode::Refused, "another node holds the lease").hint(
            "`ledger lease step-down` lets another node lead in good order; --force ends the holder",
        ));
    }
    if request
        .reason
        .as_ref()
        .is_some_and(|r| r.len() > MAX_REASON)
    {
        return Err(usage(format!("a reason has at most {MAX_REASON} bytes")));
    }
    let reason = request.reason.map(|r| crate::redact::text(&r).into_owned());
    let (reply, answer) = oneshot::channel();
    let by = origin.actor;
    let gone = || {
        failed(
            "the takeover is not known",
            "this node is about to lead or to stop",
        )
    };
    let told = standby.control.send(Control::Force { by, reason, reply });
    told.map_err(|_| gone())?;
    match answer.await.map_err(|_| gone())? {
        Ok(ended) => Ok(Json(Acquired::Coming { ended })),
        Err(error) => Err(cannot(&error)),
    }
}

/// Longest reason of an operator.
const MAX_REASON: usize = 4096;

fn cannot(error: &FenceError) -> ApiError {
    let hint = match error {
        FenceError::Nobody => {
            "`lslocks -u` shows who has the data directory locked: end that, if it is a node that hangs"
        }
        FenceError::NotHolder { .. } => {
            "see who has the directory locked (`lslocks -u`): wait for the end of a salvage or a backup, and end a node that hangs"
        }
        FenceError::Powerless { .. } => {
            "run the standby as the same user as the leader, or as root"
        }
        FenceError::Unkillable { .. } => {
            "look at what it waits for (/proc/PID/stack): the lock comes free when it ends, at the latest by a reboot"
        }
    };
    ApiError::new(ErrorCode::Refused, "the holder of the lease can't be ended")
        .because(error)
        .hint(hint)
}
