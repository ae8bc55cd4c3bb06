//! `ledger status`: who leads, what runs, what is wrong; on one screen.
//!
//! With a node it is the node's own view of things; without, the same figures are folded from the
//! files.

mod screen;
mod watch;

use std::path::Path;

use ledger_core::ids::Seq;
use ledger_core::time::Millis;
use projections::jobs::Jobs;
use projections::processes::Processes;
use projections::status::{Status as StatusView, TermState};
use projections::tasks::Tasks;

use super::error::{Exit, Failure};
use super::filter_args::AtArg;
use super::globals::Globals;
use super::output::{Buffering, Paging};
use super::projections::snapshots;
use super::source::Source;
use super::task::view::fold;
use crate::api::wire::Status;
use crate::api::{Folds, disk_info};

/// Options.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Show it again and again, until Ctrl-C or `q`
    #[arg(long, short = 'w', conflicts_with = "at")]
    watch: bool,
    /// How often, with --watch: 100ms to 1d
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = watch::interval)]
    interval: Millis,
    #[command(flatten)]
    at: AtArg,
}

pub(crate) fn run(globals: &Globals, args: &Args) -> Result<Exit, Failure> {
    let data_dir = globals.data_dir()?;
    let mut out = globals.out(Paging::Never, Buffering::Full);
    if args.watch {
        return watch::run(globals, args, &data_dir, &mut out);
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

fn look(globals: &Globals, args: &Args, data_dir: &Path) -> Result<Status, Failure> {
    let source = Source::open(data_dir)?;
    let at = args.at.seq(source.reader())?;
    status_of(globals, &source, data_dir, at)
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
    let reader = source.reader();
    let folds = Folds {
        report: fold::<StatusView>(reader, at)?,
        tasks: fold::<Tasks>(reader, at)?,
        jobs: fold::<Jobs>(reader, at)?,
        processes: fold::<Processes>(reader, at)?,
    };
    let config = globals.settings_to_read_by(data_dir)?;
    let then = at.map(|_| folds.report.state().last_event_at());
    let status = folds.status(&config.policy(), then);
    if then.is_some() {
        return Ok(status);
    }
    Ok(Status {
        projections: snapshots(data_dir)?,
        disk: disk_info(data_dir, config.disk.warn_below),
        ..status
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
