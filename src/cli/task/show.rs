//! `ledger task show`.

use ledger_core::event::{Attempt, DeadReason, Failure as Failed, Payload, StreamDigest};
use ledger_core::ids::Id;
use projections::tasks::{AttemptRecord, Closing, TaskView};

use super::ladder;
use super::view::{held_by, paint_state, policy, task};
use crate::cli::error::{Exit, Failure};
use crate::cli::filter_args::AtArg;
use crate::cli::globals::Globals;
use crate::cli::output::escape::escape;
use crate::cli::output::event::{payload_line, signal_name};
use crate::cli::output::{Buffering, Out, Paging};
use crate::cli::source::Source;
use crate::units::{format_duration, format_limit, format_size};

/// Options.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The task: its id, or at least 8 characters that no other begins with
    #[arg(value_name = "ID")]
    id: Id,
    #[command(flatten)]
    at: AtArg,
}

pub(crate) fn run(globals: &Globals, args: &Args) -> Result<Exit, Failure> {
    let data_dir = globals.data_dir()?;
    let source = Source::open(&data_dir)?;
    let at = args.at.seq(source.reader())?;
    let policy = policy(globals, &source, &data_dir)?;
    let view = task(&source, &args.id, at, &policy)?;
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

fn lines(out: &Out, view: &TaskView) -> Vec<String> {
    let state = paint_state(out.paint, view.state.as_str());
    let mut lines = vec![format!("task {} {state}", out.paint.strong(&view.task_id))];
    let mut field = |name: &str, value: String| lines.push(format!("    {name:<12} {value}"));
    field("command", escape(&payload_line(&view.payload)).into_owned());
    if let Payload::Exec(exec) = &view.payload {
        if let Some(cwd) = &exec.cwd {
            field("directory", escape(cwd).into_owned());
        }
        if !exec.env.is_empty() {
            // Names alone: values may be long, and are in --json.
            let names: Vec<_> = exec.env.keys().map(String::as_str).collect();
            field("variables", escape(&names.join(" ")).into_owned());
        }
    }
    let queue = match view.position {
        Some(position) => format!("{}, {position} before it", view.priority),
        None => view.priority.to_string(),
    };
    field("queue", queue);
    for (name, value) in waiting(out, view) {
        field(name, value);
    }
    let limits = format!(
        "{}, then {} to end",
        format_limit(view.max_runtime_ms),
        format_limit(view.grace_ms)
    );
    field("may run", limits);
    let submitted = format!(
        "{} by {} (seq {})",
        out.times.full(view.submitted_at),
        view.submitted_by,
        view.submitted
    );
    field("submitted", submitted);
    if let Some(at) = view.started_at {
        field("started", out.times.full(at));
    }
    if let Some(process) = &view.process {
        field("process", format!("pid {}", process.pid));
    }
    if let Some(at) = view.ended_at {
        field("ended", out.times.full(at));
    }
    if let Some(code) = view.exit_code {
        field("exit code", code.to_string());
    }
    if let Some(Failed::Spawn { step, message, .. }) = &view.failure {
        field(
            "not started",
            escape(&format!("{step}: {message}")).into_owned(),
        );
    }
    if let Some(reason) = &view.cancel_reason {
        field("cancelled", escape(reason).into_owned());
    }
    if !view.attempts.is_empty() {
        lines.push(out.paint.strong("attempts"));
        lines.extend(view.attempts.iter().map(|record| attempt(out, record)));
        lines.extend(view.reaped.iter().flat_map(ladder::of_reaped));
    }
    if let Some(found) = &view.outlives {
        lines.push(out.paint.bad("can't be killed"));
        lines.extend(ladder::of_unkillable(found));
    }
    if let Some(outputs) = &view.outputs {
        lines.extend(stream(out, "stdout", &outputs.stdout));
        lines.extend(stream(out, "stderr", &outputs.stderr));
    }
    lines
}

/// What it waits for, how often it is tried, and how far its queue is not what was asked for.
fn waiting(out: &Out, view: &TaskView) -> Vec<(&'static str, String)> {
    let mut fields = Vec::new();
    let (now, first) = (view.priority, view.original_priority);
    if now != first {
        fields.push((
            "submitted to",
            format!("{first}, and moved or demoted since"),
        ));
    }
    if view.boost > 0 {
        let by = view.boost;
        let levels = if by == 1 { "queue" } else { "queues" };
        fields.push(("boosted", format!("by {by} {levels}, for its wait")));
    }
    if let Some(held) = &view.held {
        fields.push(("held", out.paint.warn(&held_by(held))));
    }
    if let Some(next) = view.next_attempt.filter(|next| *next > Attempt::FIRST) {
        let at = view
            .ready_at
            .map(|at| format!(", not before {}", out.times.full(at)));
        fields.push(("next attempt", format!("{next}{}", at.unwrap_or_default())));
    }
    let terms = &view.terms;
    if terms.max_attempts > 1 {
        let tries = format!("{} of {} have failed", view.failed, terms.max_attempts);
        fields.push(("attempts", tries));
    }
    if let Some(at) = terms.not_before {
        fields.push(("not before", out.times.full(at)));
    }
    if let Some(at) = terms.expires_at {
        fields.push(("expires", out.times.full(at)));
    }
    if !terms.depends_on.is_empty() {
        let ids: Vec<&str> = terms.depends_on.iter().map(|id| &**id).collect();
        fields.push(("depends on", ids.join(" ")));
    }
    if let Some(key) = &terms.rate_key {
        fields.push(("rate key", key.to_string()));
    }
    if let Some(key) = &terms.concurrency_key {
        fields.push(("concurrency", key.to_string()));
    }
    if let Some(after) = terms.stall_after_ms {
        fields.push(("may stall", format_limit(after)));
    }
    if let Some(reason) = view.dead_reason {
        fields.push(("dead", why_dead(reason, view.dead_dependency.as_deref())));
    }
    fields
}

pub(crate) fn why_dead(reason: DeadReason, dependency: Option<&str>) -> String {
    match reason {
        DeadReason::Failed => "its last attempt failed".to_owned(),
        DeadReason::TimedOut => "its last attempt ran too long, or stalled".to_owned(),
        DeadReason::Lost => "it was lost too often".to_owned(),
        DeadReason::Dependency => match dependency {
            Some(task) => format!("task {task}, which it depends on, did not complete"),
            None => "a task that it depends on did not complete".to_owned(),
        },
        DeadReason::Expired => "it expired while it waited".to_owned(),
    }
}

fn attempt(out: &Out, record: &AttemptRecord) -> String {
    let how = match record.closing {
        Closing::Completed => out.paint.good("completed"),
        Closing::Exit(code) => out.paint.bad(&format!("exit {code}")),
        Closing::Signal(signal) => out.paint.bad(&signal_name(signal)),
        Closing::Spawn => out.paint.bad("could not be started"),
        Closing::NotExecutable => out.paint.bad("can't be run"),
        Closing::TimedOut => out.paint.bad("ran too long"),
        Closing::Stalled => out.paint.bad("stalled"),
        Closing::Lost => out.paint.bad("lost"),
        Closing::Cancelled => out.paint.warn("cancelled"),
    };
    let boosted = if record.boost > 0 { ", boosted" } else { "" };
    let demoted = record
        .demoted_to
        .map_or_else(String::new, |queue| format!(", demoted to {queue}"));
    format!(
        "    {}  {how} after {}, {} (seq {} to {}){boosted}{demoted}",
        record.attempt,
        format_duration(record.runtime_us),
        out.times.full(record.closed_at),
        record.ordered,
        record.closed
    )
}

/// What a stream left behind, and its last lines.
fn stream(out: &Out, name: &str, digest: &StreamDigest) -> Vec<String> {
    if digest.bytes == 0 && digest.dropped_bytes == 0 && digest.error.is_none() {
        return Vec::new();
    }
    let mut title = format!("{name} {}", format_size(digest.bytes));
    if digest.dropped_bytes > 0 {
        title.push_str(&format!(
            ", {} more were not kept",
            format_size(digest.dropped_bytes)
        ));
    }
    if let Some(error) = &digest.error {
        title.push_str(&format!(", not all kept: {}", escape(error)));
    }
    let hash = digest.blake3.short();
    let mut lines = vec![format!("{} (blake3 {hash}…)", out.paint.strong(&title))];
    lines.extend(
        digest
            .tail
            .lines()
            .map(|line| format!("    {}", escape(line))),
    );
    lines
}
