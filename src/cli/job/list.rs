//! `ledger job list`.

use ledger_core::clock;
use ledger_core::time::Timestamp;
use projections::jobs::{JobView, RunCounts};

use super::view::{jobs, outcome, paint_job};
use crate::cli::error::{Exit, Failure};
use crate::cli::filter_args::AtArg;
use crate::cli::globals::Globals;
use crate::cli::output::escape::escape;
use crate::cli::output::event::schedule;
use crate::cli::output::table::{Column, Table};
use crate::cli::output::{Buffering, Out, Paging, note};
use crate::cli::source::Source;
use crate::cli::task::view::paint_state;
use crate::units::format_duration;

/// Options.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    at: AtArg,
}

pub(crate) fn run(globals: &Globals, args: &Args) -> Result<Exit, Failure> {
    let data_dir = globals.data_dir()?;
    let source = Source::open(&data_dir)?;
    let at = args.at.seq(source.reader())?;
    let list = jobs(globals, &data_dir, &source, at)?;
    let mut out = globals.out(Paging::Allowed, Buffering::Full);
    if globals.json {
        out.json(&list)?;
    } else {
        let lines = table(&out, &list.jobs);
        out.lines(lines)?;
    }
    out.finish()?;
    if !globals.json {
        let warnings = list.warnings.iter();
        warnings.for_each(|warning| note(format_args!("warning: {}", escape(warning))));
    }
    Ok(Exit::OK)
}

fn table(out: &Out, jobs: &[JobView]) -> Vec<String> {
    let mut table = Table::new(&[
        Column::text("JOB"),
        Column::text("STATE"),
        Column::text("LAST"),
        Column::number("TOOK"),
        Column::number("AGO"),
        Column::number("NEXT"),
        Column::number("GOOD"),
        Column::elastic("SCHEDULE"),
    ]);
    let now = clock::now();
    for job in jobs {
        table.row(row(job, now));
    }
    let paint = out.paint;
    table.render(out.width, paint, &|column, cell| match column {
        1 => paint_job(paint, cell),
        2 => paint_state(paint, cell),
        _ => cell.to_owned(),
    })
}

fn row(job: &JobView, now: Timestamp) -> Vec<String> {
    let dash = || "-".to_owned();
    let last = job.last.as_ref();
    vec![
        job.name.to_string(),
        job.state.as_str().to_owned(),
        last.map_or_else(dash, |run| outcome(run).to_owned()),
        last.and_then(|run| run.runtime_us)
            .map_or_else(dash, format_duration),
        last.map_or_else(dash, |run| format_duration(now.since(run.submitted_at))),
        job.next_due.map_or_else(dash, |due| until(due, now)),
        rate(job.recent),
        job.spec
            .as_ref()
            .map_or_else(dash, |spec| escape(&schedule(&spec.schedule)).into_owned()),
    ]
}

/// How long it is until then.
pub(crate) fn until(due: Timestamp, now: Timestamp) -> String {
    if due <= now {
        "now".to_owned()
    } else {
        format_duration(due.since(now))
    }
}

/// The share of runs that ended well.
pub(super) fn rate(recent: RunCounts) -> String {
    match recent.success_rate() {
        Some(rate) => format!("{:.0} %", rate * 100.0),
        None => "-".to_owned(),
    }
}
