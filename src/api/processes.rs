//! `/v1/processes` and `/v1/reap`: what is watched and how it does, watch, let go, sweep.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use ledger_core::clock;
use ledger_core::event::ReapCause;
use ledger_core::ids::Id;
use ledger_core::time::{Micros, Millis, Timestamp};
use projections::processes::{Kept, ProcessView, Processes, Purpose, Stage, Watched};

use super::error::{failed, usage};
use super::extract::{Asked, Content, Name};
use super::server::{Api, Caller, blocking, json};
use super::tasks::{At, recorded};
use super::views::as_of;
use super::wire::{
    ApiError, ErrorCode, ProcessInfo, ProcessList, ReapRequest, ReaperInfo, Receipt, SweepReport,
    Swept, SweptProcess, WatchReceipt, WatchRequest,
};
use crate::node::command::{Command, Rejected, Reply};
use crate::reaper::candidate::Candidate;
use crate::reaper::decide::{Act, GRACE, LONGEST, Refusal, Terms, id_of, micros};
use crate::reaper::run::{Effect, Found, Mode};
use crate::reaper::sample::{Sample, of_ticks, since_boot};
use crate::reaper::verdict::{Rules, Sight, Verdict};
use crate::shim::ProcessIdentity;
use crate::units::{format_duration, format_limit};

/// Most processes that are looked at for one answer.
const MAX_SHOWN: usize = 20_000;
/// How long a sweep may take.
const SWEEP_PATIENCE: Duration = Duration::from_secs(10);

/// Every watched process as it does now, with what the ledger says of all together.
pub(crate) fn sampled(processes: &Processes, swept: Option<Swept>) -> ProcessList {
    look(processes.views(), processes.kept(), swept)
}

/// The reaper as a whole.
pub(crate) fn reaper_info(processes: &Processes, swept: Option<Swept>) -> ReaperInfo {
    let survived = processes
        .iter()
        .filter(|(_, process)| has_survived(process));
    ReaperInfo {
        kept: processes.kept(),
        unkillable: survived.count() as u64,
        swept,
    }
}

fn look(mut views: Vec<ProcessView>, kept: Kept, swept: Option<Swept>) -> ProcessList {
    let unkillable = views.iter().filter(|view| has_survived(&view.process));
    let reaper = ReaperInfo {
        kept,
        unkillable: unkillable.count() as u64,
        swept,
    };
    let left_out = views.len().saturating_sub(MAX_SHOWN) as u64;
    views.truncate(MAX_SHOWN);
    let boot_id = ProcessIdentity::current().map(|me| me.boot_id);
    let boot_id = boot_id.unwrap_or_default();
    let now = clock::now();
    ProcessList {
        processes: views
            .into_iter()
            .map(|view| info(view, &boot_id, now))
            .collect(),
        left_out,
        reaper,
    }
}

fn has_survived(process: &Watched) -> bool {
    match &process.purpose {
        Purpose::Attempt(of) => of.unkillable.is_some(),
        Purpose::Foreign(foreign) => match &foreign.stage {
            Stage::Reaping { survived, .. } => survived.is_some(),
            Stage::Watched => false,
        },
    }
}

fn reaping(process: &Watched) -> Option<ReapCause> {
    match process.foreign()?.stage {
        Stage::Reaping { cause, .. } => Some(cause),
        Stage::Watched => None,
    }
}

fn limit(process: &Watched) -> Millis {
    match &process.purpose {
        Purpose::Attempt(of) => of.max_runtime_ms,
        Purpose::Foreign(foreign) => foreign.max_runtime_ms,
    }
}

/// Looks at a process, which counts only if it is still the one that is watched.
fn info(view: ProcessView, boot_id: &str, wall: Timestamp) -> ProcessInfo {
    let process = &view.process;
    let limit_ms = limit(process);
    let is_here = process.boot_id == boot_id;
    let rules = Rules {
        started: of_ticks(process.start_time),
        max_runtime: Duration::from_millis(limit_ms.0),
        stall_after: None,
        reaping: reaping(process),
        survived: has_survived(process),
    };
    let (sight, sample) = match is_here.then(|| Sample::of(process.pid)) {
        None => (Sight::OtherBoot, None),
        Some(Err(_)) => (Sight::Unseen, None),
        Some(Ok(None)) => (Sight::Gone, None),
        Some(Ok(Some(sample))) if sample.stat.start_time != process.start_time => {
            (Sight::Another, None)
        }
        Some(Ok(Some(sample))) if !sample.stat.is_alive() => (Sight::Zombie, Some(sample)),
        Some(Ok(Some(sample))) => {
            let idle = Duration::ZERO;
            (Sight::Here { idle }, Some(sample))
        }
    };
    let now = since_boot();
    let age_us = match is_here {
        true => micros(now.saturating_sub(rules.started)),
        false => wall.since(process.since),
    };
    let verdict = match sight {
        // It is kept for as long as something of its tree is there.
        Sight::Zombie if rules.survived => Verdict::Unkillable,
        sight => rules.verdict(sight, now),
    };
    ProcessInfo {
        verdict,
        age_us,
        limit_ms,
        cpu_us: sample.as_ref().map(|sample| micros(sample.cpu())),
        rss_kib: sample.as_ref().map(Sample::rss_kib),
        state: sample.map(|sample| sample.stat.letter),
        view,
    }
}

/// What a process is, in a few words. Not yet escaped.
pub(crate) fn what(process: &Watched) -> String {
    match &process.purpose {
        // Where it is cut, the beginning of a task's id still stands for it.
        Purpose::Attempt(of) => format!("attempt {} of {}", of.attempt, of.task),
        Purpose::Foreign(foreign) => foreign.command.clone(),
    }
}

pub(super) fn swept(api: &Api) -> Swept {
    Swept {
        since: api.started_at,
        sweeps: api.reaper.metrics.sweeps(),
        checks: api.reaper.metrics.checks(),
        last_sweep: api.reaper.metrics.last_sweep(),
    }
}

pub(super) async fn list(
    State(api): State<Arc<Api>>,
    Asked(At { at }): Asked<At>,
) -> Result<Json<ProcessList>, ApiError> {
    api.views_caught_up().await?;
    let list = blocking(move || {
        let (views, kept) = match at {
            None => api
                .views
                .with_processes(|processes, _| (processes.views(), processes.kept()))
                .ok_or_else(no_view)?,
            Some(at) => {
                let folded = as_of::<Processes>(api.reader.as_ref(), at)?;
                (folded.state().views(), folded.state().kept())
            }
        };
        // What it does now says nothing of a moment that has passed.
        let swept = at.is_none().then(|| swept(&api));
        // The view does not stand still while processes are looked at.
        let mut list = look(views, kept, swept);
        let may_stall = |info: &ProcessInfo| {
            let foreign = info.view.process.foreign();
            foreign.is_some_and(|foreign| foreign.stall_after_ms.is_some())
        };
        // How long it has stood still only the reaper knows, who has looked before. Where he does not
        // answer, what a look shows is shown all the same.
        if at.is_none() && list.processes.iter().any(may_stall) {
            let found = asked(&api, Mode::DryRun)
                .inspect_err(|error| tracing::warn!(%error, "what stands still is not known"))
                .unwrap_or_default();
            let stuck = |info: &&mut ProcessInfo| {
                let found = found.get(&*info.view.id);
                info.verdict == Verdict::Running
                    && found.is_some_and(|found| found.verdict == Verdict::Stuck)
            };
            for info in list.processes.iter_mut().filter(stuck) {
                info.verdict = Verdict::Stuck;
            }
        }
        Ok::<_, ApiError>(list)
    });
    list.await?.map(Json)
}

fn no_view() -> ApiError {
    ApiError::new(ErrorCode::Failed, "the node has no view of processes")
}

pub(super) async fn watch(
    State(api): State<Arc<Api>>,
    Caller(origin): Caller,
    Content(body): Content,
) -> Result<Json<WatchReceipt>, ApiError> {
    let request: WatchRequest = json(&body)?;
    let max_runtime = match (request.max_runtime_ms, request.stall_after_ms) {
        (Some(limit), _) => limit,
        (None, Some(_)) => LONGEST,
        (None, None) => {
            return Err(usage("there is nothing to watch for: no limit is given")
                .hint("give max_runtime_ms, stall_after_ms or both"));
        }
    };
    let terms = Terms {
        max_runtime,
        stall_after: request.stall_after_ms,
        grace: request.grace_ms.unwrap_or(GRACE),
    };
    let pid = request.pid;
    let candidate = blocking(move || Candidate::of(pid)).await?;
    let candidate =
        candidate.map_err(|e| failed(&format!("process {pid} can't be looked at"), e))?;
    let Some(candidate) = candidate else {
        return Err(Rejected::from(Refusal::NoSuch(pid)).into());
    };
    let identity = &candidate.identity;
    let id = id_of(&identity.boot_id, pid, identity.start_time);
    let id = Id::new(&id).map_err(|e| failed("the boot id is no id", e))?;
    let (command, runtime_us) = (candidate.command.clone(), micros(candidate.runtime));
    let candidate = Box::new(candidate);
    match api.ask(origin, Command::Watch { candidate, terms }).await? {
        Reply::Recorded(head) => Ok(Json(WatchReceipt {
            id,
            pid,
            command,
            runtime_us,
            seq: head.seq,
            hash: head.hash,
            term: head.term,
        })),
        other => Err(failed(
            "the node's answer makes no sense",
            format!("{other:?}"),
        )),
    }
}

pub(super) async fn unwatch(
    State(api): State<Arc<Api>>,
    Caller(origin): Caller,
    Name(target): Name,
) -> Result<Json<Receipt>, ApiError> {
    recorded(api.ask(origin, Command::Unwatch { target }).await?)
}

pub(super) async fn reap(
    State(api): State<Arc<Api>>,
    Content(body): Content,
) -> Result<Json<SweepReport>, ApiError> {
    let ReapRequest { dry_run } = if body.is_empty() {
        ReapRequest::default()
    } else {
        json(&body)?
    };
    api.views_caught_up().await?;
    blocking(move || sweep(&api, dry_run)).await?.map(Json)
}

fn sweep(api: &Api, dry_run: bool) -> Result<SweepReport, ApiError> {
    let list = api
        .views
        .with_processes(|processes, _| (processes.views(), processes.kept()))
        .ok_or_else(no_view)?;
    let mode = if dry_run { Mode::DryRun } else { Mode::Act };
    let found = asked(api, mode)?;
    let looked = look(list.0, list.1, None);
    let processes = looked.processes.into_iter().map(|info| {
        let found = found.get(&*info.view.id);
        one_swept(info, found)
    });
    Ok(SweepReport {
        dry_run,
        processes: processes.collect(),
    })
}

/// What the reaper finds of what is in its care, by id.
fn asked(api: &Api, mode: Mode) -> Result<HashMap<Box<str>, Found>, ApiError> {
    let gone = || ApiError::new(ErrorCode::NotLeader, "this node does not lead any more");
    let (reply, answer) = crossbeam_channel::bounded(1);
    let reaper = api.reaper.orders.upgrade().ok_or_else(gone)?;
    reaper
        .send(Effect::Sweep(mode, reply))
        .map_err(|_| gone())?;
    drop(reaper);
    let found = answer
        .recv_timeout(SWEEP_PATIENCE)
        .map_err(|e| failed("the reaper does not answer", e))?;
    Ok(found.into_iter().map(|one| (one.id.clone(), one)).collect())
}

/// What is said of one process: by the reaper if it is in its care, by a look at it if a shim
/// takes care of it.
fn one_swept(info: ProcessInfo, found: Option<&Found>) -> SweptProcess {
    let process = &info.view.process;
    let (verdict, act, runtime, idle) = match (&process.purpose, found) {
        (Purpose::Foreign(_), Some(f)) => (f.verdict, f.act, f.runtime, f.idle),
        // It has left, or is on its way there.
        (Purpose::Foreign(_), None) => (info.verdict, Act::Nothing, info.age_us, None),
        (Purpose::Attempt(_), _) => (info.verdict, Act::Attended, info.age_us, None),
    };
    SweptProcess {
        pid: process.pid,
        id: info.view.id.clone(),
        what: what(process),
        verdict,
        act,
        because: because(verdict, process, runtime, idle),
    }
}

fn because(verdict: Verdict, process: &Watched, runtime: Micros, idle: Option<Micros>) -> String {
    let (ran, limit) = (format_duration(runtime), format_limit(limit(process)));
    match verdict {
        Verdict::Running => match (idle, process.foreign().and_then(|f| f.stall_after_ms)) {
            (Some(idle), Some(stall)) => format!(
                "ran {ran} of {limit}, idle {} of {}",
                format_duration(idle),
                format_limit(stall)
            ),
            _ => format!("ran {ran} of {limit}"),
        },
        Verdict::Overdue => format!("ran {ran}, longer than {limit}"),
        Verdict::Stuck => match idle {
            Some(idle) => format!("no CPU time for {}", format_duration(idle)),
            None => "no CPU time for too long".to_owned(),
        },
        Verdict::Exited => "it has ended".to_owned(),
        Verdict::Recycled => "another process has its number".to_owned(),
        Verdict::Defunct => "its parent does not wait for it".to_owned(),
        Verdict::Unkillable => "something of it outlives SIGKILL".to_owned(),
        Verdict::Unknown => "it can't be looked at".to_owned(),
    }
}
