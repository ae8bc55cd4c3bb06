//! `zombie-cleanup`: attempts that run longer than they may or were orphaned, what attempts have
//! left behind, outputs that nobody needs any more, and children that wait to be reaped.

use std::fs;
use std::path::Path;
use std::time::Duration;

use ledger_core::event::Attempt;
use ledger_core::time::{Millis, Timestamp};
use projections::tasks::Tasks;

use super::{Leash, Report, World};
use crate::node::processes::Effect;
use crate::shim::orphans::Orphaned;
use crate::shim::{AttemptDir, Claimant};

/// How long what an attempt has left is kept.
const KEPT: Millis = Millis(7 * 24 * 3_600_000);
/// How long the process port may take to look.
const PORT_PATIENCE: Duration = Duration::from_secs(30);
/// How long orphans may take to die.
const ORPHAN_PATIENCE: Duration = Duration::from_secs(5);

/// What the log says of an attempt whose directory is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// It goes on, or may begin any moment.
    Open,
    /// It ended then.
    Closed(Timestamp),
    /// The log knows of no such attempt.
    Unknown,
}

#[derive(Debug, Default)]
struct Swept {
    looked: u64,
    removed: u64,
    leftovers: u64,
    orphans: u64,
}

pub(super) fn run(world: &World, leash: &Leash, now: Timestamp) -> Report {
    let mut report = Report::default();
    processes(world, &mut report);
    let mut swept = Swept::default();
    let attempts = world.data_dir.join("attempts");
    for task in directories(&attempts) {
        for attempt in directories(&attempts.join(&task)) {
            if leash.spent().is_some() {
                break;
            }
            if let Err(why) = sweep(world, &task, &attempt, now, &mut swept) {
                report.finding(format!("attempt {attempt} of task {task}: {why}"));
            }
        }
        // Only one that is empty goes.
        let _ = fs::remove_dir(attempts.join(&task));
    }
    report.line(format!(
        "attempts: {} looked at, {} past 7d removed, {} stale files removed, {} orphans ended",
        swept.looked, swept.removed, swept.leftovers, swept.orphans
    ));
    report
}

/// What the process port alone can look at.
fn processes(world: &World, report: &mut Report) {
    let (reply, answer) = crossbeam_channel::bounded(1);
    let Some(port) = world.effects.upgrade() else {
        return;
    };
    // Without a port there is no answer.
    let _ = port.send(Effect::Sweep(reply));
    drop(port);
    let Ok(sweep) = answer.recv_timeout(PORT_PATIENCE) else {
        report.finding("the process port does not answer");
        return;
    };
    report.line(format!(
        "processes: {} attempts in care, {} overdue, {} defunct children reaped",
        sweep.in_care,
        sweep.overdue.len(),
        sweep.reaped
    ));
    for attempt in sweep.overdue {
        let (task, n) = (attempt.task, attempt.attempt);
        report.finding(format!(
            "attempt {n} of task {task} runs longer than it may; its shim was woken"
        ));
    }
    let cgroups = sweep.cgroups;
    report.line(format!(
        "cgroups: {} empty ones removed, {} processes in others killed, {} left",
        cgroups.removed, cgroups.killed, cgroups.left
    ));
}

/// Names of the directories in a directory, which may be missing; a link is none.
fn directories(dir: &Path) -> Vec<String> {
    let is_dir = |path: &Path| fs::symlink_metadata(path).is_ok_and(|meta| meta.is_dir());
    if !is_dir(dir) {
        return Vec::new();
    }
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let names = entries.filter(|entry| is_dir(&entry.path()));
    let mut names: Vec<_> = names
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect();
    names.sort();
    names
}

fn sweep(
    world: &World,
    task: &str,
    attempt: &str,
    now: Timestamp,
    swept: &mut Swept,
) -> Result<(), String> {
    swept.looked += 1;
    let path = world.data_dir.join("attempts").join(task).join(attempt);
    let Ok(n) = attempt.parse::<u32>() else {
        return Ok(());
    };
    let Some(views) = world.views.upgrade() else {
        return Ok(());
    };
    let standing = views.with_tasks(|tasks, _| standing(tasks, task, Attempt(n)));
    let over_since = match standing {
        None | Some(Standing::Open) => return Ok(()),
        Some(Standing::Closed(at)) => at,
        // It can only have come with the directory: nothing is started that the log does not know.
        Some(Standing::Unknown) => modified(&path)?,
    };
    let dir = AttemptDir::new(&world.data_dir, task, n).map_err(|e| e.to_string())?;
    if let Ok(Some(claim)) = dir.read_claim()
        && claim.kind != Claimant::Node
        && matches!(dir.read_outcome(), Ok(None))
    {
        let orphaned = Orphaned::by(&claim, &world.data_dir);
        let ended = orphaned.end(ORPHAN_PATIENCE).map_err(|e| e.to_string())?;
        swept.orphans += ended.killed.len() as u64;
        if !ended.survivors.is_empty() {
            return Err(format!(
                "{} processes outlive SIGKILL",
                ended.survivors.len()
            ));
        }
    }
    if now > over_since.plus(KEPT) {
        fs::remove_dir_all(&path).map_err(|e| format!("it can't be removed: {e}"))?;
        swept.removed += 1;
        return Ok(());
    }
    swept.leftovers += stale_files(&path)?;
    Ok(())
}

/// An attempt that the log has ordered may have a directory at any moment; one that comes next is
/// as good as ordered.
fn standing(tasks: &Tasks, task: &str, attempt: Attempt) -> Standing {
    let Some(task) = tasks.get(task) else {
        return Standing::Unknown;
    };
    let mut closed = task.attempts.iter();
    match closed.find(|record| record.attempt == attempt) {
        Some(record) => Standing::Closed(record.closed_at),
        None => Standing::Open,
    }
}

fn modified(path: &Path) -> Result<Timestamp, String> {
    let time = fs::metadata(path).and_then(|meta| meta.modified());
    let time = time.map_err(|e| e.to_string())?;
    let since = time.duration_since(std::time::UNIX_EPOCH);
    let micros = since.map_or(0, |since| since.as_micros());
    Ok(Timestamp(u64::try_from(micros).unwrap_or(u64::MAX)))
}

/// Removes what was to be renamed and never was: the attempt is over, so nobody will.
fn stale_files(dir: &Path) -> Result<u64, String> {
    let mut removed = 0;
    for entry in fs::read_dir(dir).map_err(|e| e.to_string())?.flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let temporary = [".claim.", ".started", ".unkillable", ".outcome"];
        if temporary.iter().any(|prefix| name.starts_with(prefix))
            && fs::remove_file(entry.path()).is_ok()
        {
            removed += 1;
        }
    }
    Ok(removed)
}
