//! `health-check`: what a node can see of itself. Fails if something is wrong, so that a job that
//! fails is the sign to look, and its output says at what.

use std::fs;

use ledger_core::event::{BuiltinJob, Payload};
use ledger_core::store::LogReader;
use projections::framework::Health;
use projections::jobs::{Job, RunOutcome, RunState};

use super::{Leash, Report, World};
use crate::node::reserve::RESERVE_FILE;
use crate::node::room::Room;
use crate::units::{count_of, format_size};

/// Events that a view may be behind while it works well.
const MAX_LAG: u64 = 100_000;
/// Bytes of the journal above which sealing does not keep up.
const MAX_JOURNAL: u64 = 256 * 1024 * 1024;

pub(super) fn run(world: &World, leash: &Leash) -> Report {
    let mut report = Report::default();
    for look in [disk, reserve, views, journal, jobs] {
        if leash.spent().is_some() {
            return report;
        }
        look(world, &mut report);
    }
    report
}

fn disk(world: &World, report: &mut Report) {
    match Room::of(&world.data_dir) {
        Ok(room) => {
            let (free, total) = (format_size(room.free), format_size(room.total));
            report.line(format!("disk: {free} of {total} free"));
            if room.free < world.warn_below {
                let least = format_size(world.warn_below);
                report.finding(format!("less than disk.warn_below ({least}) is free"));
            }
        }
        Err(error) => report.finding(format!("the disk can't be asked how full it is: {error}")),
    }
}

fn reserve(world: &World, report: &mut Report) {
    let there = fs::metadata(world.data_dir.join(RESERVE_FILE)).map_or(0, |meta| meta.len());
    report.line(format!("reserve: {}", format_size(there)));
    if there < world.reserve {
        report.finding(format!(
            "the reserve is to be {}; the next start makes it anew",
            format_size(world.reserve)
        ));
    }
}

fn views(world: &World, report: &mut Report) {
    let (Some(views), Ok(head)) = (world.views.upgrade(), world.reader.head()) else {
        return;
    };
    for view in views.states() {
        let at = view.position.seq;
        report.line(format!("view {}: at seq {at} of {}", view.name, head.seq));
        if let Health::Poisoned { seq, reason } = &view.health {
            report.finding(format!("view {} stopped at seq {seq}: {reason}", view.name));
        } else if head.seq.0.saturating_sub(at.0) > MAX_LAG {
            report.finding(format!("view {} lags", view.name));
        }
    }
    if let Some(fault) = views.fault() {
        report.finding(format!("the views can't follow: {fault}"));
    }
}

fn journal(world: &World, report: &mut Report) {
    let Ok(head) = world.reader.head() else {
        return;
    };
    let behind = head.seq.0.saturating_sub(world.reader.sealed().0);
    let segments = fs::read_dir(world.data_dir.join("journal"));
    let segments = segments.into_iter().flatten().flatten();
    let sizes: Vec<u64> = segments
        .filter_map(|entry| entry.metadata().ok().map(|meta| meta.len()))
        .collect();
    let bytes: u64 = sizes.iter().sum();
    report.line(format!(
        "journal: {} in {}, {} not sealed",
        format_size(bytes),
        count_of(sizes.len() as u64, "segment"),
        count_of(behind, "event")
    ));
    if bytes > MAX_JOURNAL {
        report.finding("the journal grows: sealing does not keep up");
    }
}

fn jobs(world: &World, report: &mut Report) {
    for fault in world.faults.now() {
        report.finding(fault);
    }
    let Some(views) = world.views.upgrade() else {
        return;
    };
    let failed = views.with_jobs(|jobs, _| {
        let failed = jobs.iter().filter(|job| has_failed(job));
        failed.map(|job| job.name.to_string()).collect::<Vec<_>>()
    });
    let failed = failed.unwrap_or_default();
    report.line(format!("jobs whose last run failed: {}", failed.len()));
    for job in failed {
        report.finding(format!("the last run of job {job} failed"));
    }
}

/// Whether a job that is still defined ended badly the last time. This one does not count itself:
/// it would never be well again.
fn has_failed(job: &Job) -> bool {
    let own = job.spec().is_none_or(|spec| match &spec.task.payload {
        Payload::Builtin(builtin) => builtin.job == BuiltinJob::HealthCheck,
        Payload::Exec(_) => false,
    });
    let last = job.last_ended().map(|run| run.state);
    let failed = matches!(
        last,
        Some(RunState::Ended {
            outcome: RunOutcome::Dead(_),
            ..
        })
    );
    failed && !own
}
