//! `/v1/status` and `/v1/projections`: what the views show, and how they are.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse, Response};
use ledger_core::clock;
use projections::framework::{Health, rebuild, unwatched};
use projections::status::{Status as StatusView, StatusReport};

use super::error::{failed, usage};
use super::server::{Api, blocking};
use super::tasks::At;
use super::wire::{ApiError, ErrorCode, NodeInfo, ProjectionInfo, Status};

pub(super) async fn status(
    State(api): State<Arc<Api>>,
    Query(At { at }): Query<At>,
) -> Result<Json<Status>, ApiError> {
    api.views_caught_up().await?;
    let projections = infos(&api, None).await?;
    let shared = Arc::clone(&api);
    let now = clock::now();
    let report: StatusReport = blocking(move || match at {
        None => Ok(shared.views.with(|fold: &Fold<StatusView>| fold.state().report(now))),
        Some(at) => rebuild::<StatusView>(shared.reader.as_ref(), Some(at), &mut unwatched)
            .map(|fold| fold.state().report(now))
            .map_err(|e| usage(format!("the status as of seq {at} can't be shown")).because(e)),
    })
    .await??;
    let mut warnings = api.warnings.clone();
    warnings.extend(projections.iter().filter_map(|p| {
        let reason = p.poisoned.as_ref()?;
        Some(format!("projection {} has stopped: {reason}", p.name))
    }));
    let node = NodeInfo {
        node: api.node.clone(),
        pid: std::process::id(),
        role: "leader".into(),
        software: env!("CARGO_PKG_VERSION").into(),
        started_at: api.started_at,
        warnings,
    };
    Ok(Json(Status { node: Some(node), report, projections }))
}

pub(super) async fn list(
    State(api): State<Arc<Api>>,
) -> Result<Json<Vec<ProjectionInfo>>, ApiError> {
    api.views_caught_up().await?;
    let mut infos = infos(&api, None).await?;
    for info in &mut infos {
        let (shared, name) = (Arc::clone(&api), info.name.clone());
        info.digest = blocking(move || shared.views.digest(&name)).await?;
    }
    Ok(Json(infos))
}

/// How the views are; only the one of this name if one is given.
async fn infos(api: &Arc<Api>, only: Option<&str>) -> Result<Vec<ProjectionInfo>, ApiError> {
    let shared = Arc::clone(api);
    let all = blocking(move || shared.views.positions()).await?;
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
    Ok(infos.filter(|info| only.is_none_or(|name| name == info.name)).collect())
}

fn unknown(name: &str) -> ApiError {
    ApiError::new(ErrorCode::NotFound, format!("there is no projection {name}"))
        .hint("see `ledger projections list`")
}

/// A view's snapshot as of a moment: header line and rows, in the form of its file.
pub(super) async fn snapshot(
    State(api): State<Arc<Api>>,
    Path(name): Path<String>,
) -> Result<Response, ApiError> {
    api.views_caught_up().await?;
    let shared = Arc::clone(&api);
    let wanted = name.clone();
    let bytes = blocking(move || shared.views.snapshot(&wanted)).await?;
    let bytes = bytes.ok_or_else(|| unknown(&name))?;
    Ok(([("content-type", "application/x-ndjson")], Body::from(bytes)).into_response())
}

/// Folds a view anew from the log and puts it in the place of the one there was.
pub(super) async fn rebuild_view(
    State(api): State<Arc<Api>>,
    Path(name): Path<String>,
) -> Result<Json<ProjectionInfo>, ApiError> {
    let shared = Arc::clone(&api);
    let wanted = name.clone();
    blocking(move || shared.views.rebuild(&wanted))
        .await?
        .map_err(|e| failed(&format!("projection {name} can't be rebuilt"), e))?;
    let mut info = infos(&api, Some(&name)).await?.pop().ok_or_else(|| unknown(&name))?;
    let (shared, wanted) = (Arc::clone(&api), name);
    info.digest = blocking(move || shared.views.digest(&wanted)).await?;
    Ok(Json(info))
}
