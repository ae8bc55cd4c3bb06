//! `ledger reap` itself: a sweep now, or what one would do.

use ledger_core::event::ReapCause;

use crate::api::wire::{ReapRequest, SweepReport, SweptProcess};
use crate::cli::error::{Exit, Failure};
use crate::cli::globals::Globals;
use crate::cli::output::ask::Question;
use crate::cli::output::escape::escape;
use crate::cli::output::table::{Column, Table};
use crate::cli::output::{Buffering, Out, Paging, note};
use crate::cli::ps::paint_verdict;
use crate::cli::source::Node;
use crate::reaper::decide::Act;
use crate::units::count_of;

/// Options.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only say what would be done about each process, and why
    #[arg(long)]
    dry_run: bool,
    /// End what is past its limit without asking
    #[arg(long, short = 'y', conflicts_with = "dry_run")]
    yes: bool,
}

pub(crate) fn run(globals: &Globals, args: &Args) -> Result<Exit, Failure> {
    let node = Node::require(&globals.data_dir()?)?;
    let ask = |dry_run| node.wait(node.client().reap(&ReapRequest { dry_run }));
    let report = if args.dry_run {
        ask(true)?
    } else {
        if !args.yes {
            let would = ask(true)?;
            let ended = would.processes.iter().filter(|process| ends(process));
            confirm(ended.count() as u64)?;
        }
        ask(false)?
    };
    let mut out = globals.out(Paging::Never, Buffering::Full);
    if globals.json {
        out.json(&report)?;
    } else {
        let lines = lines(&out, &report);
        out.lines(lines)?;
    }
    out.finish()?;
    if report.processes.is_empty() && !globals.json {
        note("nothing is watched");
    }
    Ok(Exit::OK)
}

/// Whether the sweep has it ended.
fn ends(process: &SweptProcess) -> bool {
    match process.act {
        Act::Reap(_) => true,
        Act::Nothing | Act::GoOn | Act::RecordEnd | Act::LetGo(_) | Act::Attended => false,
    }
}

/// Asks before processes are ended; a sweep that ends none needs no leave.
fn confirm(ended: u64) -> Result<(), Failure> {
    if ended == 0 {
        return Ok(());
    }
    let what = count_of(ended, "process");
    Question {
        ask: &format!("end {what}?"),
        act: &format!("this ends {what}"),
        refused: "nothing was ended",
    }
    .confirm()
}

fn lines(out: &Out, report: &SweepReport) -> Vec<String> {
    if report.processes.is_empty() {
        return Vec::new();
    }
    let mut table = Table::new(&[
        Column::number("PID"),
        Column::text("VERDICT"),
        Column::text(if report.dry_run { "WOULD" } else { "DOES" }),
        Column::text("BECAUSE"),
        Column::elastic("RUNS"),
    ]);
    for process in &report.processes {
        table.row(vec![
            process.pid.to_string(),
            process.verdict.to_string(),
            act(process.act).to_owned(),
            escape(&process.because).into_owned(),
            escape(&process.what).into_owned(),
        ]);
    }
    let paint = out.paint;
    table.render(out.width, paint, &|column, cell| match column {
        1 => paint_verdict(paint, cell),
        _ => cell.to_owned(),
    })
}

/// What is done, in two words.
const fn act(act: Act) -> &'static str {
    match act {
        Act::Nothing => "nothing",
        Act::Reap(ReapCause::MaxRuntime | ReapCause::Stalled) => "end it",
        Act::GoOn => "go on ending",
        Act::RecordEnd => "record its end",
        Act::LetGo(_) => "let go",
        Act::Attended => "leave to shim",
    }
}
