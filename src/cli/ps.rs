//! `ledger ps`: every watched process and how it does.
//!
//! With a node it is the node that looks; without one the files say what was watched, and a process
//! is looked at only if pid, start time and boot id say that it is the same.

use ledger_core::clock;
use ledger_core::time::{Millis, Timestamp};
use projections::processes::Processes;

use super::error::{Exit, Failure};
use super::filter_args::AtArg;
use super::globals::Globals;
use super::output::escape::escape;
use super::output::style::Paint;
use super::output::table::{Column, Table};
use super::output::text::wrap;
use super::output::{Buffering, Out, Paging};
use super::source::Source;
use super::task::view::fold;
use crate::api::wire::{ProcessInfo, ProcessList, ReaperInfo, Swept};
use crate::api::{sampled, what};
use crate::reaper::decide::LONGEST;
use crate::reaper::verdict::Verdict;
use crate::units::{count_of, format_count, format_duration, format_limit, format_size};

/// Options.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    at: AtArg,
}

pub(crate) fn run(globals: &Globals, args: &Args) -> Result<Exit, Failure> {
    let source = Source::open(&globals.data_dir()?)?;
    let at = args.at.seq(source.reader())?;
    let list = match &source {
        Source::Node(node) => node.wait(node.client().processes(at))?,
        Source::Files(_) => sampled(fold::<Processes>(source.reader(), at)?.state(), None),
    };
    let mut out = globals.out(Paging::Allowed, Buffering::Full);
    if globals.json {
        out.json(&list)?;
    } else {
        // Who sweeps now, or that nobody does, says nothing of then.
        let looks = || looks(list.reaper.swept.as_ref(), clock::now());
        let looks = at.is_none().then(looks);
        let lines = lines(&out, &list, looks);
        out.lines(lines)?;
    }
    out.finish()?;
    Ok(Exit::OK)
}

fn lines(out: &Out, list: &ProcessList, looks: Option<String>) -> Vec<String> {
    let mut lines = table(out, &list.processes);
    if list.left_out > 0 {
        lines.push(format!("and {} more", format_count(list.left_out)));
    }
    lines.push(String::new());
    let [watched, since] = counted(&list.reaper);
    for line in [Some(watched), looks, Some(since)].into_iter().flatten() {
        match out.width {
            Some(columns) => lines.extend(wrap(&line, columns)),
            None => lines.push(line),
        }
    }
    lines
}

fn table(out: &Out, processes: &[ProcessInfo]) -> Vec<String> {
    let mut table = Table::new(&[
        Column::number("PID"),
        Column::number("AGE"),
        Column::number("LIMIT"),
        Column::number("CPU"),
        Column::number("MEMORY"),
        Column::text("S"),
        Column::text("VERDICT"),
        Column::elastic("RUNS"),
    ]);
    for process in processes {
        table.row(row(process));
    }
    let paint = out.paint;
    table.render(out.width, paint, &|column, cell| match column {
        6 => paint_verdict(paint, cell),
        _ => cell.to_owned(),
    })
}

fn row(info: &ProcessInfo) -> Vec<String> {
    let dash = || "-".to_owned();
    vec![
        info.view.process.pid.to_string(),
        format_duration(info.age_us),
        match (info.limit_ms, stall_limit(info)) {
            // Not one that anybody set: it may only not stand still.
            (LONGEST, Some(rest)) => format!("idle {}", format_limit(rest)),
            (LONGEST, None) => dash(),
            (limit, _) => format_limit(limit),
        },
        info.cpu_us.map_or_else(dash, format_duration),
        info.rss_kib
            .map_or_else(dash, |kib| format_size(kib.saturating_mul(1024))),
        info.state.map_or_else(dash, |state| state.to_string()),
        info.verdict.to_string(),
        escape(&what(&info.view.process)).into_owned(),
    ]
}

/// How long somebody else's process may stand still.
fn stall_limit(info: &ProcessInfo) -> Option<Millis> {
    info.view.process.foreign()?.stall_after_ms
}

/// A verdict in its color.
pub(super) fn paint_verdict(paint: Paint, verdict: &str) -> String {
    let is = |of: Verdict| verdict == of.as_str();
    if is(Verdict::Running) {
        paint.active(verdict)
    } else if is(Verdict::Overdue) || is(Verdict::Stuck) || is(Verdict::Unkillable) {
        paint.bad(verdict)
    } else {
        paint.warn(verdict)
    }
}

/// What is watched now, and what became of all that ever was: whatever was watched is still, or stands
/// under exactly one of the words behind.
fn counted(reaper: &ReaperInfo) -> [String; 2] {
    let kept = &reaper.kept;
    let watched = count_of(kept.attempts + kept.foreign, "process");
    let unkillable = match reaper.unkillable {
        0 => String::new(),
        n => format!("; {} can't be killed", format_count(n)),
    };
    let counters = &kept.counters;
    [
        format!(
            "{watched} watched: {} of tasks, {} of others{unkillable}",
            format_count(kept.attempts),
            format_count(kept.foreign)
        ),
        format!(
            "since the ledger began {} were watched: {} ended by themselves, {} reaped, \
             {} lost, {} recycled, {} let go; {} found unkillable",
            format_count(counters.registered + counters.watched),
            format_count(counters.exited + counters.ended),
            format_count(counters.all_reaped()),
            format_count(counters.lost),
            format_count(counters.recycled),
            format_count(counters.unwatched),
            format_count(counters.all_unkillable())
        ),
    ]
}

/// How processes are looked at.
fn looks(swept: Option<&Swept>, now: Timestamp) -> String {
    let Some(swept) = swept else {
        return "no node runs, so nobody sweeps".to_owned();
    };
    let last = swept.last_sweep.map_or_else(String::new, |at| {
        format!(", the last {} ago", format_duration(now.since(at)))
    });
    format!(
        "{} since the node started{last}, with {} of others' processes",
        count_of(swept.sweeps, "sweep"),
        count_of(swept.checks, "check")
    )
}

#[cfg(test)]
mod tests {
    use ledger_core::time::Micros;
    use projections::processes::{Counters, Kept};

    use super::*;

    #[test]
    fn all_that_was_watched_is_accounted_for() {
        let counters = Counters {
            registered: 1_200,
            exited: 1_190,
            reaped: 7,
            lost: 1,
            watched: 9,
            reaping: 3,
            terminated: 2,
            ended: 3,
            recycled: 1,
            unwatched: 2,
            survived: 1,
            ..Counters::default()
        };
        let kept = Kept {
            attempts: 2,
            foreign: 1,
            counters,
        };
        let now = Timestamp(60_000_000);
        let swept = Swept {
            since: Timestamp(0),
            sweeps: 12,
            checks: 12,
            last_sweep: Some(Timestamp(now.0 - Micros(3_750_000).0)),
        };
        let reaper = ReaperInfo {
            kept,
            unkillable: 1,
            swept: Some(swept),
        };
        assert_eq!(
            looks(reaper.swept.as_ref(), now),
            "12 sweeps since the node started, the last 3.75 s ago, with 12 checks of others' processes"
        );
        assert_eq!(
            counted(&reaper),
            [
                "3 processes watched: 2 of tasks, 1 of others; 1 can't be killed",
                "since the ledger began 1,209 were watched: 1,193 ended by themselves, 9 reaped, 1 lost, \
                 1 recycled, 2 let go; 1 found unkillable",
            ]
        );
        let words = 1_193 + 9 + 1 + 1 + 2;
        assert_eq!(1_209 - words, kept.attempts + kept.foreign);
    }
}
