//! Jobs as the other commands of this folder need them: from the node, or folded from the files.

use std::path::Path;

use ledger_core::ids::Seq;
use projections::jobs::{JobRun, JobState, Jobs, RunOutcome, RunState};

use crate::api::listed;
use crate::api::wire::JobList;
use crate::cli::error::Failure;
use crate::cli::globals::Globals;
use crate::cli::output::style::Paint;
use crate::cli::source::Source;
use crate::cli::task::view::fold;
use crate::config::Config;
use crate::node::jobs::Definitions;

/// Every job, now or as of a position.
///
/// # Errors
/// [`Failure`] if the ledger can't be read.
pub(crate) fn jobs(
    globals: &Globals,
    data_dir: &Path,
    source: &Source,
    at: Option<Seq>,
) -> Result<JobList, Failure> {
    if let Source::Node(node) = source {
        return node.wait(node.client().jobs(at));
    }
    let folded = fold::<Jobs>(source.reader(), at)?;
    let mut list = listed(folded.state());
    list.warnings
        .extend(faults(globals, data_dir, folded.state()));
    Ok(list)
}

/// What a node would not take of the definitions as they are now.
pub(crate) fn faults(globals: &Globals, data_dir: &Path, jobs: &Jobs) -> Vec<String> {
    let path = globals.config.as_deref();
    // One that can't be used is among the faults.
    let config = Config::load(data_dir, path).unwrap_or_default();
    let loaded = Definitions::new(data_dir, path, &config, jobs).load();
    loaded.map(|loaded| loaded.faults).unwrap_or_default()
}

/// How a run stands, in a word.
pub(crate) fn outcome(run: &JobRun) -> &'static str {
    match run.state {
        RunState::Waiting => "waiting",
        RunState::Running => "running",
        RunState::Ended { outcome, .. } => match outcome {
            RunOutcome::Completed => "completed",
            RunOutcome::Dead(_) => "dead",
            RunOutcome::Cancelled => "cancelled",
        },
    }
}

/// A job's state in its color.
pub(crate) fn paint_job(paint: Paint, state: &str) -> String {
    if state == JobState::Paused.as_str() || state == JobState::Removed.as_str() {
        paint.warn(state)
    } else {
        state.to_owned()
    }
}
