//! `ledger status`: who leads, what runs, what is wrong; on one screen.
//!
//! With a node it is the node's own view of things; without, the same figures are folded from the
//! files.

mod screen;

use std::io::IsTerminal;
use std::path::Path;
use std::time::Duration;

use ledger_core::clock;
use ledger_core::ids::Seq;
use ledger_core::time::Millis;
use projections::jobs::Jobs;
use projections::processes::Processes;
use projections::status::{Status as StatusView, TermState};
use projections::tasks::Tasks;

use super::error::{Exit, Failure};
use super::filter_args::AtArg;
use super::globals::Globals;
use super::lease::{self, Leaderless};
use super::output::escape::escape;
use super::output::{Buffering, Out, Paging};
use super::projections::snapshots;
use super::source::{Source, runtime};
use super::tail::duration;
use super::task::view::fold;
use crate::api::wire::{ErrorCode, Status};
use crate::api::{disk_info, next_runs, reaper_info};
use crate::config::Config;
use crate::scheduler::held;

/// Options.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Show it again and again
    #[arg(long, short = 'w', conflicts_with = "at")]
    watch: bool,
    /// How often, with --watch
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = duration)]
    interval: Millis,
    #[command(flatten)]
    at: AtArg,
}

pub(crate) fn run(globals: &Globals, args: &Args) -> Result<Exit, Failure> {
    let data_dir = globals.data_dir()?;
    let mut out = globals.out(Paging::Never, Buffering::Full);
    if args.watch {
        return watch(globals, args, &data_dir, &mut out);
    }
    let status = look(globals, args, &data_dir)?;
    if globals.json {
        out.json(&status)?;
    } else {
        let lines = screen::lines(&out, &status);
        out.lines(lines)?;
    }
    out.finish()?;
    Ok(Exit::OK)
}

/// A ledger with nodes of which none leads, right now.
fn leaderless(data_dir: &Path) -> Result<Option<Leaderless>, Failure> {
    let nodes = runtime()?.block_on(lease::nodes(data_dir))?;
    let led = nodes.is_empty() || lease::leader(&nodes).is_some();
    Ok((!led).then(|| Leaderless::of(data_dir, nodes)))
}

fn look(globals: &Globals, args: &Args, data_dir: &Path) -> Result<Status, Failure> {
    let source = Source::open(data_dir)?;
    let at = args.at.seq(source.reader())?;
    status_of(globals, &source, data_dir, at)
}

/// Shows it again and again, in place on a terminal and one behind the other elsewhere, until it is
/// interrupted or nobody reads any more.
fn watch(globals: &Globals, args: &Args, data_dir: &Path, out: &mut Out) -> Result<Exit, Failure> {
    let in_place = std::io::stdout().is_terminal() && !globals.json;
    let interval = Duration::from_millis(args.interval.0.max(100));
    if in_place {
        out.raw("\x1b[2J")?;
    }
    loop {
        if let Some(lines) = glance(globals, args, data_dir, out)? {
            show(out, in_place, lines)?;
        }
        std::thread::sleep(interval);
    }
}

/// What there is to show now; nothing where that is one line of JSON, which is written.
fn glance(
    globals: &Globals,
    args: &Args,
    data_dir: &Path,
    out: &mut Out,
) -> Result<Option<Vec<String>>, Failure> {
    // To look on where nodes are and none leads would be to wait for one, and nothing would move.
    let nobody = match globals.json {
        true => None,
        false => leaderless(data_dir)?,
    };
    if let Some(nobody) = nobody {
        return Ok(Some(nobody.lines(out)));
    }
    match look(globals, args, data_dir) {
        Ok(status) if globals.json => {
            out.json_line(&status)?;
            out.finish()?;
            Ok(None)
        }
        Ok(status) => Ok(Some(screen::lines(out, &status))),
        // A node that starts or stops: there will be something to show.
        Err(Failure::Error(error)) if is_passing(error.code) => {
            let line = || vec![escape(&error.to_string()).into_owned()];
            Ok((!globals.json).then(line))
        }
        Err(failure) => Err(failure),
    }
}

fn show(out: &mut Out, in_place: bool, lines: Vec<String>) -> Result<(), Failure> {
    if in_place {
        // Over what was there, line by line, so that nothing flickers.
        out.raw("\x1b[H")?;
        for line in lines {
            out.line(format_args!("{line}\x1b[K"))?;
        }
        out.raw("\x1b[J")?;
    } else {
        out.lines(lines)?;
    }
    out.finish()
}

const fn is_passing(code: ErrorCode) -> bool {
    matches!(
        code,
        ErrorCode::Refused | ErrorCode::NotLeader | ErrorCode::Lost | ErrorCode::Timeout
    )
}

/// The status, from the node or from the files.
///
/// # Errors
/// [`Failure`] if neither can be had.
pub(crate) fn status_of(
    globals: &Globals,
    source: &Source,
    data_dir: &Path,
    at: Option<Seq>,
) -> Result<Status, Failure> {
    match source {
        Source::Node(node) => node.wait(node.client().status(at)),
        Source::Files(_) => from_files(globals, source, data_dir, at),
    }
}

/// The same without a node. Ages are as of now, or of the last event of the position asked for.
fn from_files(
    globals: &Globals,
    source: &Source,
    data_dir: &Path,
    at: Option<Seq>,
) -> Result<Status, Failure> {
    let folded = fold::<StatusView>(source.reader(), at)?;
    let now = clock::now();
    let report = folded.state().report(now);
    let tasks = fold::<Tasks>(source.reader(), at)?;
    let projections = snapshots(data_dir)?;
    let config = Config::load(data_dir, globals.config.as_deref())?;
    let jobs = fold::<Jobs>(source.reader(), at)?;
    let processes = fold::<Processes>(source.reader(), at)?;
    Ok(Status {
        node: None,
        report,
        queues: held::waits(tasks.state(), &config.policy(), now),
        projections,
        jobs: next_runs(jobs.state()),
        reaper: Some(reaper_info(processes.state(), None)),
        disk: disk_info(data_dir, config.disk.warn_below),
    })
}

/// Whether the log knows of a leader whose term goes on.
fn term_is_open(status: &Status) -> bool {
    status
        .report
        .lease
        .as_ref()
        .is_some_and(|lease| lease.facts.state == TermState::Open)
}
