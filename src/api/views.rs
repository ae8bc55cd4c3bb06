//! `/v1/status` and `/v1/projections`: what the views show, and how they are.

use std::path::Path;
use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use ledger_core::clock;
use ledger_core::hash::Hash;
use ledger_core::ids::{LedgerId, Seq};
use ledger_core::store::LogReader;
use ledger_core::time::Timestamp;
use projections::framework::{Fold, Health, Projection, View, WorkerError, rebuild, unwatched};
use projections::jobs::Jobs;
use projections::processes::Processes;
use projections::status::{Status as StatusView, StatusReport};
use projections::tasks::Tasks;

use super::checkpoints::listed as listed_checkpoints;
use super::error::{failed, usage};
use super::extract::{Asked, Name};
use super::lease::lease_info;
use super::processes::{reaper_info, swept};
use super::server::{Api, blocking};
use super::tasks::{At, with_tasks};
use super::wire::{
    ApiError, DiskInfo, ErrorCode, NextRun, NodeInfo, ProjectionInfo, SnapshotHead, Status,
};
use crate::jobs::decide::next_due;
use crate::node::jobs::unscheduled;
use crate::node::room::Room;
use crate::scheduler::held;
use crate::scheduler::policy::Policy;

pub(super) async fn status(
    State(api): State<Arc<Api>>,
    Asked(At { at }): Asked<At>,
) -> Result<Json<Status>, ApiError> {
    api.views_caught_up().await?;
    if let Some(at) = at {
        return blocking(move || status_at(&api, at)).await?.map(Json);
    }
    let projections = infos(&api, None).await?;
    let shared = Arc::clone(&api);
    let now = clock::now();
    let report: StatusReport = blocking(move || {
        let report = shared.views.with_status(|status, _| status.report(now));
        report.ok_or_else(|| unknown("status"))
    })
    .await??;
    let policy = Arc::clone(&api.policy);
    let queues = with_tasks(&api, None, move |tasks| held::waits(tasks, &policy, now)).await?;
    let mut warnings = api.warnings.clone();
    warnings.extend(projections.iter().filter_map(|p| {
        let reason = p.poisoned.as_ref()?;
        Some(format!("projection {} has stopped: {reason}", p.name))
    }));
    let shared = Arc::clone(&api);
    let (jobs, unscheduled) = blocking(move || {
        let seen = shared
            .views
            .with_jobs(|jobs, _| (next_runs(jobs), unscheduled(jobs)));
        seen.unwrap_or_default()
    })
    .await?;
    warnings.extend(api.job_faults.now());
    warnings.extend(unscheduled);
    let shared = Arc::clone(&api);
    let checkpoints = blocking(move || {
        let seen = shared
            .views
            .with_checkpoints(|all, _| listed_checkpoints(all));
        seen.map(|list| list.warnings()).unwrap_or_default()
    });
    warnings.extend(checkpoints.await?);
    let shared = Arc::clone(&api);
    let reaper = blocking(move || {
        let views = &shared.views;
        views.with_processes(|processes, _| reaper_info(processes, Some(swept(&shared))))
    })
    .await?;
    let node = NodeInfo {
        node: api.node.clone(),
        pid: std::process::id(),
        role: "leader".into(),
        software: env!("CARGO_PKG_VERSION").into(),
        started_at: api.started_at,
        warnings,
        cgroups: Some(api.cgroups.to_owned()),
        lease: Some(lease_info(&api).await?),
    };
    Ok(Json(Status {
        node: Some(node),
        as_of: None,
        report,
        queues,
        projections,
        jobs,
        reaper,
        disk: disk_info(&api.data_dir, api.warn_below),
    }))
}

/// The same as of a position: all that events tell, and nothing of what is now.
fn status_at(api: &Api, at: Seq) -> Result<Status, ApiError> {
    let reader = api.reader.as_ref();
    let folds = Folds {
        report: as_of::<StatusView>(reader, at)?,
        tasks: as_of::<Tasks>(reader, at)?,
        jobs: as_of::<Jobs>(reader, at)?,
        processes: as_of::<Processes>(reader, at)?,
    };
    let then = folds.report.state().last_event_at();
    Ok(folds.status(&api.policy, Some(then)))
}

/// What the status of a position is told from.
pub(crate) struct Folds {
    pub(crate) report: Fold<StatusView>,
    pub(crate) tasks: Fold<Tasks>,
    pub(crate) jobs: Fold<Jobs>,
    pub(crate) processes: Fold<Processes>,
}

impl Folds {
    /// All that events tell, with ages as of then or of now.
    pub(crate) fn status(&self, policy: &Policy, as_of: Option<Timestamp>) -> Status {
        let now = as_of.unwrap_or_else(clock::now);
        Status {
            node: None,
            as_of,
            report: self.report.state().report(now),
            queues: held::waits(self.tasks.state(), policy, now),
            projections: Vec::new(),
            jobs: next_runs(self.jobs.state()),
            reaper: Some(reaper_info(self.processes.state(), None)),
            disk: None,
        }
    }
}

/// When each job is due next, the next first.
pub(crate) fn next_runs(jobs: &Jobs) -> Vec<NextRun> {
    let runs = jobs.iter().filter_map(|job| {
        let due = next_due(job).ok().flatten()?;
        let job = job.name.clone();
        Some(NextRun { job, due })
    });
    let mut runs: Vec<_> = runs.collect();
    runs.sort_by_key(|run| run.due);
    runs
}

/// The room on the file system of a data directory.
pub(crate) fn disk_info(data_dir: &Path, warn_below: u64) -> Option<DiskInfo> {
    let room = Room::of(data_dir).ok()?;
    Some(DiskInfo {
        free_bytes: room.free,
        total_bytes: room.total,
        warn_below,
    })
}

pub(super) async fn list(
    State(api): State<Arc<Api>>,
) -> Result<Json<Vec<ProjectionInfo>>, ApiError> {
    api.views_caught_up().await?;
    let mut infos = infos(&api, None).await?;
    for info in &mut infos {
        info.digest = digest(&api, &info.name).await?;
    }
    Ok(Json(infos))
}

/// A projection as of a position. One that can't be folded so far is an error: what it shows of
/// the time before would be taken for the truth of that position.
pub(super) fn as_of<P: Projection>(reader: &dyn LogReader, at: Seq) -> Result<Fold<P>, ApiError> {
    let fold = rebuild::<P>(reader, Some(at), &mut unwatched)
        .map_err(|e| usage(format!("{} as of seq {at} can't be shown", P::NAME)).because(e))?;
    match fold.health() {
        Health::Following => Ok(fold),
        Health::Poisoned { seq, reason } => Err(failed(
            &format!("{} as of seq {at} can't be shown", P::NAME),
            format!("seq {seq} can't be folded: {reason}"),
        )),
    }
}

/// How the views are; only the one of this name if one is given.
async fn infos(api: &Arc<Api>, only: Option<&str>) -> Result<Vec<ProjectionInfo>, ApiError> {
    let shared = Arc::clone(api);
    let all = blocking(move || shared.views.states()).await?;
    let infos = all.into_iter().map(|view| ProjectionInfo {
        name: view.name.to_owned(),
        version: view.version,
        seq: view.position.seq,
        digest: None,
        poisoned: match view.health {
            Health::Following => None,
            Health::Poisoned { seq, reason } => Some(format!("seq {seq}: {reason}")),
        },
    });
    Ok(infos
        .filter(|info| only.is_none_or(|name| name == info.name))
        .collect())
}

fn unknown(name: &str) -> ApiError {
    ApiError::new(
        ErrorCode::NotFound,
        format!("there is no projection {name}"),
    )
    .hint("see `ledger projections list`")
}

/// The digest of a view's content as it is now.
async fn digest(api: &Arc<Api>, name: &str) -> Result<Option<Hash>, ApiError> {
    let (shared, name) = (Arc::clone(api), name.to_owned());
    blocking(move || shared.views.with_view(&name, |view| view.digest()).ok()).await
}

/// A view as lines: [`SnapshotHead`], then `["key",value]` for each row.
fn written(view: &dyn View, ledger_id: LedgerId) -> Vec<u8> {
    let position = view.position();
    let head = SnapshotHead {
        name: view.name().to_owned(),
        version: view.version(),
        ledger_id,
        seq: position.seq,
        hash: position.hash,
        digest: view.digest(),
    };
    let mut bytes = serde_json::to_vec(&head).expect("it holds only numbers and texts");
    bytes.push(b'\n');
    view.rows(&mut |key, value| {
        let key = serde_json::to_string(key).expect("a text is JSON");
        bytes.extend_from_slice(format!("[{key},{value}]\n").as_bytes());
    });
    bytes
}

/// A view's content as of a moment.
pub(super) async fn snapshot(
    State(api): State<Arc<Api>>,
    Name(name): Name,
) -> Result<Response, ApiError> {
    api.views_caught_up().await?;
    let shared = Arc::clone(&api);
    let wanted = name.clone();
    let bytes = blocking(move || {
        let ledger_id = shared.reader.ledger_id();
        shared
            .views
            .with_view(&wanted, |view| written(view, ledger_id))
    });
    let bytes = bytes.await?.map_err(|_| unknown(&name))?;
    Ok((
        [("content-type", "application/x-ndjson")],
        Body::from(bytes),
    )
        .into_response())
}

/// Folds a view anew from the log and puts it in the place of the one there was.
pub(super) async fn rebuild_view(
    State(api): State<Arc<Api>>,
    Name(name): Name,
) -> Result<Json<ProjectionInfo>, ApiError> {
    let shared = Arc::clone(&api);
    let wanted = name.clone();
    blocking(move || shared.views.rebuild(&wanted))
        .await?
        .map_err(|e| match e {
            WorkerError::NoSuchView(_) => unknown(&name),
            other => failed(&format!("projection {name} can't be rebuilt"), other),
        })?;
    let mut info = infos(&api, Some(&name))
        .await?
        .pop()
        .ok_or_else(|| unknown(&name))?;
    info.digest = digest(&api, &name).await?;
    Ok(Json(info))
}
