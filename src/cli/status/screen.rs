//! The status as lines of at most 80 columns, on at most 24 lines if all is well.

use std::collections::BTreeMap;

use ledger_core::event::{BuiltinJob, StopCause};
use ledger_core::ids::Seq;
use ledger_core::time::Micros;
use projections::status::{LiveProcess, Percentiles, QueueReport, StatusReport, TermState};

use super::term_is_open;
use crate::api::wire::{DiskInfo, ProjectionInfo, Status};
use crate::cli::job::until;
use crate::cli::lease::standbys;
use crate::cli::output::Out;
use crate::cli::output::escape::escape;
use crate::cli::output::style::Paint;
use crate::cli::output::table::{Column, Table};
use crate::scheduler::held::QueueWaits;
use crate::units::{count_of, format_count, format_duration, format_size};

pub(crate) fn lines(out: &Out, status: &Status) -> Vec<String> {
    let report = &status.report;
    let mut lines = paused(out, report);
    lines.extend([
        field(out, "ledger", &ledger(out, status)),
        field(out, "leader", &leader(out, status)),
    ]);
    lines.extend(standby(out, status));
    lines.extend([
        field(out, "node", &node(out, status)),
        field(out, "tasks", &tasks(out.paint, status)),
        field(out, "runs", &runs(out.paint, report)),
        String::new(),
    ]);
    lines.extend(queues(out, status));
    lines.push(String::new());
    lines.extend(checkpoint(out, status));
    lines.extend(backups(out, report));
    lines.extend(snapshots(out, report));
    lines.extend(jobs(out, status));
    lines.extend(reaper(out, status));
    lines.extend(projections(
        out,
        &status.projections,
        report.events.last,
        status.node.is_some(),
    ));
    let warnings = warnings(status);
    if !warnings.is_empty() {
        lines.push(String::new());
        let label = out.paint.warn("warning:");
        lines.extend(
            warnings
                .iter()
                .map(|warning| format!("{label} {}", escape(warning))),
        );
    }
    lines
}

/// Loud, and first: whoever looks why nothing runs must not have to search.
fn paused(out: &Out, report: &StatusReport) -> Vec<String> {
    let Some(paused) = &report.paused else {
        return Vec::new();
    };
    let word = out.paint.bad("PAUSED");
    let at = out.times.full(paused.at);
    vec![
        format!("{word}  by {} at {at}: nothing is started", paused.by),
        "        look at what waits, then `ledger resume`".to_owned(),
    ]
}

fn backups(out: &Out, report: &StatusReport) -> Option<String> {
    let last = report.backups.last.as_ref()?;
    let behind = report.events.last.0.saturating_sub(last.recorded.0);
    let age = format_duration(report.now.since(last.at));
    let text = format!(
        "{age} ago, up to seq {}, {}; {} since",
        last.seq,
        format_size(last.bytes),
        count_of(behind, "event")
    );
    Some(field(out, "backup", &text))
}

/// The checkpoint that a recovery would begin with, and when there will be another.
fn checkpoint(out: &Out, status: &Status) -> Option<String> {
    let report = &status.report;
    let (seq, at) = report.upkeep.last_checkpoint?;
    let since = report.events.last.0.saturating_sub(seq.0);
    let age = format_duration(report.now.since(at));
    let own = BuiltinJob::StateCheckpoint.name();
    let next = status.jobs.iter().find(|run| &*run.job == own);
    let next = next.map_or_else(String::new, |run| match until(run.due, report.now) {
        due if due == "now" => "; next now".to_owned(),
        due => format!("; next in {due}"),
    });
    let text = format!("{age} ago, {} since{next}", count_of(since, "event"));
    Some(field(out, "saved", &text))
}

/// How many sets of files there are, and of when their latest copies are.
fn snapshots(out: &Out, report: &StatusReport) -> Option<String> {
    let facts = || report.snapshots.values();
    let latest = facts()
        .filter_map(|set| set.last.as_ref())
        .max_by_key(|last| last.recorded)?;
    let kept: usize = facts().map(|set| set.kept.len()).sum();
    let text = format!(
        "{} of {}, the latest made {} ago",
        count_of(kept as u64, "snapshot"),
        count_of(report.snapshots.len() as u64, "set"),
        format_duration(report.now.since(latest.at))
    );
    Some(field(out, "files", &text))
}

/// What is due next, as far as a line reaches.
fn jobs(out: &Out, status: &Status) -> Option<String> {
    /// Columns for what is named; how many more there are comes behind.
    const ROOM: usize = 60;
    let mut line = String::new();
    let mut shown = 0;
    for run in &status.jobs {
        let next = match until(run.due, status.report.now) {
            due if due == "now" => format!("{} now", run.job),
            due => format!("{} in {due}", run.job),
        };
        if shown > 0 && line.chars().count() + 2 + next.chars().count() > ROOM {
            break;
        }
        if shown > 0 {
            line.push_str(", ");
        }
        line.push_str(&next);
        shown += 1;
    }
    match status.jobs.len() - shown {
        0 => {}
        more => line.push_str(&format!(", {more} more")),
    }
    (shown > 0).then(|| field(out, "jobs", &line))
}

/// What watches processes has done.
fn reaper(out: &Out, status: &Status) -> Option<String> {
    let reaper = status.reaper.as_ref()?;
    let (kept, counters) = (&reaper.kept, &reaper.kept.counters);
    let swept = reaper.swept.and_then(|swept| swept.last_sweep);
    let swept = swept.map_or_else(String::new, |at| {
        format!(
            ", swept {} ago",
            format_duration(status.report.now.since(at))
        )
    });
    let unkillable = format!("{} unkillable", format_count(reaper.unkillable));
    let unkillable = match reaper.unkillable {
        0 => unkillable,
        _ => out.paint.bad(&unkillable),
    };
    let text = format!(
        "{} watched{swept}; {} reaped, {} recycled, {unkillable}",
        format_count(kept.attempts + kept.foreign),
        format_count(counters.all_reaped()),
        format_count(counters.recycled)
    );
    Some(field(out, "reaper", &text))
}

fn field(out: &Out, name: &str, value: &str) -> String {
    format!("{} {value}", out.paint.strong(&format!("{name:<8}")))
}

fn ledger(out: &Out, status: &Status) -> String {
    let report = &status.report;
    let name = report
        .ledger
        .as_ref()
        .map_or("(without a first event)", |facts| &*facts.name);
    if let Some(then) = status.as_of {
        let (last, then) = (report.events.last, out.times.full(then));
        return format!("{name}, as of seq {last} at {then}");
    }
    let age = report.last_event_age_us.map_or_else(String::new, |age| {
        format!(", the last {} ago", format_duration(age))
    });
    format!("{name}, {}{age}", count_of(report.events_total, "event"))
}

fn leader(out: &Out, status: &Status) -> String {
    let Some(lease) = &status.report.lease else {
        return out.paint.warn("nobody has led yet");
    };
    let facts = &lease.facts;
    let held = format_duration(lease.held_us);
    match (facts.state, &status.node) {
        (TermState::Open, None) if status.as_of.is_some() => format!(
            "{}, term {} for {held}, pid {}",
            facts.holder, facts.term, facts.pid
        ),
        (TermState::Open, Some(_)) => {
            let who = out.paint.good(&facts.holder);
            format!("{who}, term {} for {held}, pid {}", facts.term, facts.pid)
        }
        (TermState::Open, None) => {
            let nobody = out.paint.warn("no node answers");
            format!(
                "{nobody}; {} took term {} at seq {}",
                facts.holder, facts.term, facts.acquired
            )
        }
        (TermState::Released { at }, _) => {
            let nobody = out.paint.warn("nobody");
            let at = out.times.full(at);
            format!(
                "{nobody}; {} gave back term {} at {at}",
                facts.holder, facts.term
            )
        }
        (TermState::Lost { at }, _) => {
            let nobody = out.paint.warn("nobody");
            format!(
                "{nobody}; {} lost term {} by {}",
                facts.holder,
                facts.term,
                out.times.full(at)
            )
        }
        (TermState::Fenced { at }, _) => {
            let nobody = out.paint.warn("nobody");
            let at = out.times.full(at);
            format!(
                "{nobody}; {} was ended in term {} at {at}",
                facts.holder, facts.term
            )
        }
    }
}

/// Who takes over when the leader is gone.
fn standby(out: &Out, status: &Status) -> Option<String> {
    let lease = status.node.as_ref()?.lease.as_ref()?;
    Some(field(out, "standby", &standbys::line(out, &lease.standbys)))
}

fn node(out: &Out, status: &Status) -> String {
    match (&status.node, &status.report.node) {
        (Some(node), facts) => {
            let at_once = facts.as_ref().map_or_else(String::new, |facts| {
                format!(", {} at once on {}", facts.max_running, escape(&facts.host))
            });
            let up = format_duration(status.report.now.since(node.started_at));
            let role = if node.role == "leader" {
                String::new()
            } else {
                format!(" ({})", escape(&node.role))
            };
            format!(
                "{}{role}, {} up {up}{at_once}",
                node.node,
                escape(&node.software)
            )
        }
        (None, Some(facts)) => {
            let how = match facts.stopped_at {
                Some(at) => {
                    let why = match facts.stop_reason {
                        None => "",
                        Some(StopCause::DiskFull) => ": the disk was full",
                    };
                    format!("stopped at {}{why}", out.times.full(at))
                }
                None => format!("started at {}", out.times.full(facts.started_at)),
            };
            match (status.as_of, facts.stopped_at) {
                (Some(_), None) => format!("{}, {how}", facts.name),
                (Some(_), Some(_)) | (None, _) => format!("none; {} {how}", facts.name),
            }
        }
        (None, None) if status.as_of.is_some() => "none had been started".to_owned(),
        (None, None) => "none; start one with `ledger up`".to_owned(),
    }
}

/// Each task under the word that `ledger task list` has for it.
fn tasks(paint: Paint, status: &Status) -> String {
    let tasks = &status.report.tasks;
    let count = |n: u64, word: &str| format!("{} {word}", format_count(n));
    let held: u64 = status.queues.iter().map(|waits| waits.held).sum();
    let mut parts = vec![count(tasks.queued.saturating_sub(held), "queued")];
    if held > 0 {
        parts.push(paint.warn(&count(held, "held")));
    }
    parts.push(count(tasks.running, "running"));
    if tasks.cancelling > 0 {
        parts.push(paint.warn(&count(tasks.cancelling, "cancelling")));
    }
    parts.push(count(tasks.completed, "completed"));
    parts.push(count(tasks.cancelled, "cancelled"));
    let dead = count(tasks.dead, "dead");
    parts.push(if tasks.dead > 0 {
        paint.bad(&dead)
    } else {
        dead
    });
    parts.join(", ")
}

fn runs(paint: Paint, report: &StatusReport) -> String {
    let recent = &report.recent;
    let rate = match recent.success_rate() {
        None => "none has ended yet".to_owned(),
        Some(rate) => {
            let text = format!(
                "{:.1} % of the last {} ended well",
                rate * 100.0,
                recent.runs
            );
            if rate < 0.9 { paint.warn(&text) } else { text }
        }
    };
    let totals = &report.totals;
    format!(
        "{rate}; {} ran too long, {} lost, {}",
        format_count(totals.timed_out),
        format_count(totals.lost),
        processes(report.running_processes)
    )
}

fn processes(n: u64) -> String {
    if n == 1 {
        "1 process".to_owned()
    } else {
        format!("{} processes", format_count(n))
    }
}

/// What stands in each queue, then how long things wait and run there.
fn queues(out: &Out, status: &Status) -> Vec<String> {
    let mut counts = Table::new(&[
        Column::text("QUEUE"),
        Column::number("QUEUED"),
        Column::number("HELD"),
        Column::number("RUNNING"),
        Column::number("DEAD"),
        Column::number("OLDEST"),
    ]);
    let mut times = Table::new(&[
        Column::text("QUEUE"),
        Column::number("WAIT50"),
        Column::number("WAIT95"),
        Column::number("WAIT99"),
        Column::number("RUN50"),
        Column::number("RUN95"),
        Column::number("RUN99"),
    ]);
    for queue in &status.report.queues {
        let mut waits = status.queues.iter();
        counts.row(counts_row(
            queue,
            waits.find(|waits| waits.queue == queue.queue),
        ));
        times.row(times_row(queue));
    }
    let paused = |column: usize, cell: &str| match column {
        0 if cell.ends_with(PAUSED) => out.paint.warn(cell),
        _ => cell.to_owned(),
    };
    let mut lines = counts.render(out.width, out.paint, &paused);
    lines.push(String::new());
    lines.extend(times.render(out.width, out.paint, &|_, cell| cell.to_owned()));
    lines
}

/// Behind the name of a queue that an operator holds.
const PAUSED: &str = " (paused)";

fn time(us: Option<Micros>) -> String {
    us.map_or_else(|| "-".to_owned(), format_duration)
}

fn counts_row(queue: &QueueReport, waits: Option<&QueueWaits>) -> Vec<String> {
    let name = queue.queue.name();
    let paused = queue.paused.as_ref().map_or("", |_| PAUSED);
    let oldest = queue.oldest_waiting.as_ref();
    let (waiting, held) = waits.map_or((queue.tasks.queued, 0), |w| (w.waiting, w.held));
    vec![
        format!("{name}{paused}"),
        format_count(waiting),
        format_count(held),
        format_count(queue.tasks.running + queue.tasks.cancelling),
        format_count(queue.tasks.dead),
        time(oldest.map(|waiting| waiting.waited_us)),
    ]
}

fn times_row(queue: &QueueReport) -> Vec<String> {
    let percentiles = |p: &Percentiles| [p.p50_us, p.p95_us, p.p99_us].map(time);
    let mut cells = vec![queue.queue.to_string()];
    cells.extend(percentiles(&queue.wait));
    cells.extend(percentiles(&queue.runtime));
    cells
}

/// One line if all is well, or for each place where snapshots stand; else one for each view.
fn projections(out: &Out, infos: &[ProjectionInfo], head: Seq, live: bool) -> Vec<String> {
    let well = |info: &ProjectionInfo| info.poisoned.is_none() && (!live || info.seq >= head);
    if infos.iter().all(well) {
        let mut places: BTreeMap<String, Vec<&str>> = BTreeMap::new();
        for info in infos {
            let names = places.entry(standing(info, live)).or_default();
            names.push(&info.name);
        }
        let line = |(place, names): (String, Vec<&str>)| {
            field(out, "views", &format!("{place}: {}", names.join(", ")))
        };
        return places.into_iter().map(line).collect();
    }
    let line = |info: &ProjectionInfo| {
        let state = match &info.poisoned {
            Some(reason) => out.paint.bad(&format!("stopped: {}", escape(reason))),
            None => format!("at seq {} of {head}", info.seq),
        };
        field(out, "view", &format!("{} {state}", info.name))
    };
    infos.iter().map(line).collect()
}

/// Where a view stands: live ones at the head, the others where their snapshot was taken.
fn standing(info: &ProjectionInfo, live: bool) -> String {
    match info.seq {
        _ if live => "up to date".to_owned(),
        Seq::ZERO => "no snapshots".to_owned(),
        seq => format!("snapshots at seq {seq}"),
    }
}

fn stopped_by_full_disk(status: &Status) -> bool {
    let node = status.report.node.as_ref();
    node.is_some_and(|node| node.stop_reason == Some(StopCause::DiskFull))
}

/// What outlives SIGKILL holds its task: that can't be requeued, and not be reported as ended.
fn unkillable(process: &LiveProcess) -> Option<String> {
    let facts = process.unkillable.as_ref()?;
    let who = match facts.first {
        Some(first) if facts.processes == 1 => format!("pid {}", first.pid),
        Some(first) => format!(
            "pid {} and {} more",
            first.pid,
            facts.processes.saturating_sub(1)
        ),
        None => format!("{} processes", facts.processes),
    };
    let state = facts
        .first
        .map_or_else(String::new, |first| format!(" ({})", first.state));
    Some(format!(
        "{who}{state} of task {} can't be killed: see `ledger task show {}`",
        process.task, process.task
    ))
}

fn warnings(status: &Status) -> Vec<String> {
    let mut warnings = status
        .node
        .as_ref()
        .map(|node| node.warnings.clone())
        .unwrap_or_default();
    let lease = status.node.as_ref().and_then(|node| node.lease.as_ref());
    warnings.extend(lease.map_or_else(Vec::new, |lease| standbys::warnings(&lease.standbys)));
    let nobody_answers = status.node.is_none() && status.as_of.is_none();
    if nobody_answers && term_is_open(status) {
        warnings.push(
            "the last node did not stop in good order, or has just stopped; `ledger up` recovers"
                .to_owned(),
        );
    }
    // Those of attempts are told of one by one.
    let of_attempts = status.report.unkillable.len() as u64;
    let foreign = status.reaper.map_or(0, |reaper| reaper.unkillable);
    let foreign = foreign.saturating_sub(of_attempts);
    if foreign > 0 {
        warnings.push(format!(
            "{} can't be killed: `ledger ps` shows what, and its state letter why",
            count_of(foreign, "process")
        ));
    }
    if let Some(failing) = &status.report.backups.failing {
        warnings.push(format!("the last backup failed: {}", failing.reason));
    }
    for (set, facts) in &status.report.snapshots {
        let last = facts.last.as_ref().map(|last| &last.facts);
        if let Some(failing) = &facts.failing {
            warnings.push(format!(
                "the last snapshot of {set} failed: {}",
                failing.reason
            ));
        } else if let Some(last) = last.filter(|last| last.lost > 0) {
            let lost = count_of(last.lost, "file");
            warnings.push(format!(
                "the last snapshot of {set} lacks {lost} that could not be read"
            ));
        }
    }
    if let Some(disk) = status.disk.filter(DiskInfo::is_low) {
        warnings.push(format!(
            "the disk is nearly full: {} of {} are free, less than disk.warn_below ({})",
            format_size(disk.free_bytes),
            format_size(disk.total_bytes),
            format_size(disk.warn_below)
        ));
    }
    if nobody_answers && stopped_by_full_disk(status) {
        warnings.push(
            "the last node stopped because the disk was full: make room, then `ledger up`"
                .to_owned(),
        );
    }
    warnings.extend(status.report.unkillable.iter().filter_map(unkillable));
    if status.report.tasks.dead > 0 {
        warnings
            .push("tasks are in the dead-letter queue: `ledger task list --state dead`".to_owned());
    }
    warnings
}
