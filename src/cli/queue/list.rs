//! `ledger queue list`.

use projections::status::QueueReport;
use serde::Serialize;

use crate::cli::error::{Exit, Failure};
use crate::cli::filter_args::AtArg;
use crate::cli::globals::Globals;
use crate::cli::output::escape::escape;
use crate::cli::output::table::{Column, Table};
use crate::cli::output::{Buffering, Paging};
use crate::cli::source::Source;
use crate::cli::status::status_of;
use crate::scheduler::held::QueueWaits;
use crate::units::{format_count, format_duration};

/// Options.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    at: AtArg,
}

/// A queue, for programs.
#[derive(Debug, Serialize)]
struct Shown<'a> {
    #[serde(flatten)]
    report: &'a QueueReport,
    waits: Option<&'a QueueWaits>,
}

pub(crate) fn run(globals: &Globals, args: &Args) -> Result<Exit, Failure> {
    let data_dir = globals.data_dir()?;
    let source = Source::open(&data_dir)?;
    let at = args.at.seq(source.reader())?;
    let status = status_of(globals, &source, &data_dir, at)?;
    let shown: Vec<Shown<'_>> = status
        .report
        .queues
        .iter()
        .map(|report| Shown {
            report,
            waits: status
                .queues
                .iter()
                .find(|waits| waits.queue == report.queue),
        })
        .collect();
    let mut out = globals.out(Paging::Never, Buffering::Full);
    if globals.json {
        out.json(&shown)?;
    } else {
        let mut table = Table::new(&[
            Column::text("QUEUE"),
            Column::text("STATE"),
            Column::number("QUEUED"),
            Column::number("HELD"),
            Column::number("RUNNING"),
            Column::number("DEAD"),
            Column::number("OLDEST"),
            Column::elastic("WHY"),
        ]);
        shown.iter().for_each(|queue| table.row(row(queue)));
        let paint = out.paint;
        let color = |column: usize, cell: &str| match (column, cell) {
            (1, "paused") => paint.warn(cell),
            _ => cell.to_owned(),
        };
        // A reason is of any length; programs have all of it with --json.
        let lines = table.render(Some(out.columns()), paint, &color);
        out.lines(lines)?;
    }
    out.finish()?;
    Ok(Exit::OK)
}

fn row(queue: &Shown<'_>) -> Vec<String> {
    let QueueReport {
        queue: name,
        tasks,
        paused,
        oldest_waiting,
        ..
    } = queue.report;
    let (waiting, held) = queue
        .waits
        .map_or((tasks.queued, 0), |w| (w.waiting, w.held));
    let oldest = oldest_waiting.as_ref().map(|oldest| oldest.waited_us);
    vec![
        name.to_string(),
        if paused.is_some() { "paused" } else { "served" }.to_owned(),
        format_count(waiting),
        format_count(held),
        format_count(tasks.running + tasks.cancelling),
        format_count(tasks.dead),
        oldest.map_or_else(|| "-".to_owned(), format_duration),
        why(queue),
    ]
}

/// What its tasks are held by.
fn why(queue: &Shown<'_>) -> String {
    if let Some(pause) = &queue.report.paused {
        let reason = pause.reason.as_deref().unwrap_or("paused");
        return escape(reason).into_owned();
    }
    let Some(waits) = queue.waits.filter(|waits| waits.held > 0) else {
        return "-".to_owned();
    };
    let parts = [
        (waits.held_dependency, "other tasks"),
        (waits.held_time, "their time"),
        (waits.held_key, "a key"),
    ];
    let parts = parts.iter().filter(|(count, _)| *count > 0);
    let parts: Vec<_> = parts
        .map(|(count, what)| format!("{count} for {what}"))
        .collect();
    parts.join(", ")
}
