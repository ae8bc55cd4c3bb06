//! `ledger job show`.

use ledger_core::event::{JobSpec, Missed, Overlap};
use ledger_core::ids::Id;
use projections::jobs::{JobRun, JobView, Jobs};

use super::list::rate;
use super::view::{outcome, paint_job};
use crate::api::shown;
use crate::cli::error::{Exit, Failure};
use crate::cli::filter_args::AtArg;
use crate::cli::globals::Globals;
use crate::cli::output::escape::escape;
use crate::cli::output::event::{payload_line, schedule};
use crate::cli::output::text::{width, wrap};
use crate::cli::output::{Buffering, Out, Paging};
use crate::cli::source::Source;
use crate::cli::task::view::{fold, paint_state};
use crate::names::name;
use crate::units::{count_of, format_duration, format_limit};

/// Options.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The job
    #[arg(value_name = "NAME", value_parser = name)]
    name: Id,
    #[command(flatten)]
    at: AtArg,
}

pub(crate) fn run(globals: &Globals, args: &Args) -> Result<Exit, Failure> {
    let source = Source::open(&globals.data_dir()?)?;
    let at = args.at.seq(source.reader())?;
    let view = match &source {
        Source::Node(node) => node.wait(node.client().job(&args.name, at))?,
        Source::Files(_) => shown(fold::<Jobs>(source.reader(), at)?.state(), &args.name)?,
    };
    let mut out = globals.out(Paging::Allowed, Buffering::Full);
    if globals.json {
        out.json(&view)?;
    } else {
        let lines = lines(&out, &view);
        out.lines(lines)?;
    }
    out.finish()?;
    Ok(Exit::OK)
}

/// Where the values of fields begin.
const INDENT: usize = 17;

fn lines(out: &Out, view: &JobView) -> Vec<String> {
    let state = paint_job(out.paint, view.state.as_str());
    let mut lines = vec![format!("job {} {state}", out.paint.strong(&view.name))];
    let room = out.columns().saturating_sub(INDENT);
    let mut field = |name: &str, value: String| {
        let mut parts = wrap(&value, room).into_iter();
        lines.push(format!(
            "    {name:<12} {}",
            parts.next().unwrap_or_default()
        ));
        lines.extend(parts.map(|part| format!("{:INDENT$}{part}", "")));
    };
    if let Some(spec) = &view.spec {
        for (name, value) in definition(spec) {
            field(name, escape(&value).into_owned());
        }
    }
    if let Some(paused) = &view.paused {
        let why = paused.reason.as_deref().unwrap_or("no reason given");
        let at = out.times.full(paused.at);
        field("paused", format!("{at}: {}", escape(why)));
    }
    if let Some(due) = view.next_due {
        field("next due", out.times.full(due));
    }
    let counted = count_of(u64::from(view.recent.runs), "run");
    field("ended well", format!("{} of {counted}", rate(view.recent)));
    if view.skips > 0 {
        field("left out", count_of(view.skips, "time"));
    }
    if !view.runs.is_empty() {
        lines.push(out.paint.strong("latest runs"));
        lines.extend(view.runs.iter().flat_map(|run| one_run(out, run)));
    }
    lines
}

fn definition(spec: &JobSpec) -> Vec<(&'static str, String)> {
    let task = &spec.task;
    let overlap = match spec.overlap {
        Overlap::Skip => "left out while the run before goes on",
        Overlap::Queue => "submitted though the run before goes on",
        Overlap::CancelRunning => "cancels the run before",
    };
    let missed = match spec.missed {
        Missed::RunOnce => "run once for all that was missed".to_owned(),
        Missed::Skip => "left out".to_owned(),
        Missed::RunAll { at_most } => format!("each run, the latest {at_most}"),
    };
    let mut lines = vec![
        ("command", payload_line(&task.payload)),
        ("due", schedule(&spec.schedule)),
        ("overlap", overlap.to_owned()),
        ("missed", missed),
        ("queue", task.priority.to_string()),
        (
            "may run",
            format!(
                "{}, then {} to end",
                format_limit(task.max_runtime_ms),
                format_limit(task.grace_ms)
            ),
        ),
    ];
    if let Some(terms) = &task.terms {
        if terms.max_attempts > 1 {
            lines.push(("attempts", format!("at most {}", terms.max_attempts)));
        }
        if let Some(after) = terms.stall_after_ms {
            lines.push(("may stall", format_limit(after)));
        }
        let keys = [
            ("rate key", &terms.rate_key),
            ("concurrency", &terms.concurrency_key),
        ];
        let keys = keys.into_iter();
        lines.extend(keys.filter_map(|(name, key)| Some((name, key.as_ref()?.to_string()))));
    }
    lines.push(("defined in", spec.source.clone()));
    lines
}

/// When it was due and what came of it, and the task on the same line if there is room.
fn one_run(out: &Out, run: &JobRun) -> Vec<String> {
    let due = match run.due_at {
        Some(due) => out.times.full(due),
        None => format!("{} by hand", out.times.full(run.submitted_at)),
    };
    let took = run.runtime_us.map(format_duration);
    let took = took.map_or_else(String::new, |took| format!(" after {took}"));
    let (how, task) = (outcome(run), format!("task {}", run.task));
    let taken = width(&format!("    {due}  {how}{took}  {task}"));
    let first = format!("    {due}  {}{took}", paint_state(out.paint, how));
    if taken <= out.columns() {
        vec![format!("{first}  {task}")]
    } else {
        vec![first, format!("        {task}")]
    }
}
