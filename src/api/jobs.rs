//! `/v1/jobs`: list, show, run by hand, pause, resume.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use ledger_core::ids::{Id, Seq};
use projections::jobs::{Job, JobState, JobView, Jobs};

use super::extract::{Asked, Content, TaskId};
use super::server::{Api, Caller, blocking, json};
use super::tasks::{At, recorded, submitted};
use super::views::as_of;
use super::wire::{ApiError, ErrorCode, JobList, PauseRequest, Receipt, SubmitReceipt};
use crate::jobs::decide::next_due;
use crate::node::command::Command;
use crate::node::jobs::unscheduled;
use crate::redact;

/// Runs shown with one job.
const SHOWN_RUNS: usize = 20;

/// Every job as a list shows it, and what is wrong with their schedules.
pub(crate) fn listed(jobs: &Jobs) -> JobList {
    let shown = jobs
        .iter()
        .filter(|job| job.state() != JobState::Removed || job.live().next().is_some());
    JobList {
        jobs: shown.map(|job| dated(job, job.view())).collect(),
        warnings: unscheduled(jobs),
    }
}

/// One job with its latest runs, if there ever was one of this name.
pub(crate) fn shown(jobs: &Jobs, name: &Id) -> Result<JobView, ApiError> {
    let job = jobs.get(name);
    let view = job.map(|job| dated(job, job.detailed_view(SHOWN_RUNS)));
    view.ok_or_else(|| {
        ApiError::new(ErrorCode::NotFound, format!("there is no job {name}")).hint(
            "see `ledger job list` for the jobs there are; one with `enabled = false` is none",
        )
    })
}

fn dated(job: &Job, view: JobView) -> JobView {
    JobView {
        next_due: next_due(job).ok().flatten(),
        ..view
    }
}

/// Jobs as they are, or as they were at a position.
async fn with_jobs<T: Send + 'static>(
    api: &Arc<Api>,
    at: Option<Seq>,
    read: impl FnOnce(&Jobs) -> T + Send + 'static,
) -> Result<T, ApiError> {
    let Some(at) = at else {
        api.views_caught_up().await?;
        let views = Arc::clone(&api.views);
        let none = || ApiError::new(ErrorCode::Failed, "the node has no view of jobs");
        let seen = blocking(move || views.with_jobs(|jobs, _| read(jobs)));
        return seen.await?.ok_or_else(none);
    };
    let reader = Arc::clone(&api.reader);
    blocking(move || Ok(read(as_of::<Jobs>(reader.as_ref(), at)?.state()))).await?
}

pub(super) async fn list(
    State(api): State<Arc<Api>>,
    Asked(At { at }): Asked<At>,
) -> Result<Json<JobList>, ApiError> {
    let mut list = with_jobs(&api, at, listed).await?;
    list.warnings.extend(api.job_faults.now());
    Ok(Json(list))
}

pub(super) async fn show(
    State(api): State<Arc<Api>>,
    TaskId(name): TaskId,
    Asked(At { at }): Asked<At>,
) -> Result<Json<JobView>, ApiError> {
    with_jobs(&api, at, move |jobs| shown(jobs, &name))
        .await?
        .map(Json)
}

pub(super) async fn run(
    State(api): State<Arc<Api>>,
    Caller(origin): Caller,
    TaskId(job): TaskId,
) -> Result<Json<SubmitReceipt>, ApiError> {
    let reply = api.ask(origin, Command::TriggerJob { job }).await?;
    submitted(&api, reply)
}

pub(super) async fn pause(
    State(api): State<Arc<Api>>,
    Caller(origin): Caller,
    TaskId(job): TaskId,
    Content(body): Content,
) -> Result<Json<Receipt>, ApiError> {
    let request = if body.is_empty() {
        PauseRequest::default()
    } else {
        json(&body)?
    };
    let reason = request.reason.map(|r| redact::text(&r).into_owned());
    recorded(api.ask(origin, Command::PauseJob { job, reason }).await?)
}

pub(super) async fn resume(
    State(api): State<Arc<Api>>,
    Caller(origin): Caller,
    TaskId(job): TaskId,
) -> Result<Json<Receipt>, ApiError> {
    recorded(api.ask(origin, Command::ResumeJob { job }).await?)
}
