//! Tasks as the other commands of this folder need them: from the node, or folded from the files.

use std::path::Path;

use ledger_core::clock;
use ledger_core::event::Event;
use ledger_core::ids::{Id, Seq};
use ledger_core::store::{LogReader, ReadError, for_each_event};
use projections::framework::{Fold, Projection};
use projections::framework::{Health, catch_up};
use projections::tasks::{Held, StateName, TaskView, Tasks};

use crate::api::wire::{ApiError, ErrorCode, TaskQuery};
use crate::cli::error::Failure;
use crate::cli::globals::Globals;
use crate::cli::output::escape::escape;
use crate::cli::output::note;
use crate::cli::output::progress::Progress;
use crate::cli::output::style::Paint;
use crate::cli::source::{Node, Source};
use crate::config::Config;
use crate::scheduler::held;
use crate::scheduler::policy::Policy;

/// Folds a projection from the ledger, with a progress bar.
///
/// # Errors
/// [`Failure`] if the ledger can't be read or is damaged.
pub(crate) fn fold<P: Projection>(
    reader: &dyn LogReader,
    at: Option<Seq>,
) -> Result<Fold<P>, Failure> {
    let total = at.map_or_else(|| reader.head().map(|head| head.seq), Ok)?;
    let bar = Progress::events("folding", total.0);
    let mut folded = Fold::<P>::default();
    catch_up(&mut folded, reader, at, &mut |seq| {
        bar.at(seq.0);
        std::ops::ControlFlow::Continue(())
    })?;
    drop(bar);
    if let Health::Poisoned { seq, reason } = folded.health() {
        note(format_args!(
            "warning: {} stops before seq {seq}, which can't be folded: {reason}",
            P::NAME
        ));
    }
    Ok(folded)
}

/// The rules that a node here would dispatch by; only without one are they asked for.
///
/// # Errors
/// [`Failure`] if the settings can't be used.
pub(crate) fn policy(
    globals: &Globals,
    source: &Source,
    data_dir: &Path,
) -> Result<Policy, Failure> {
    let config = match source {
        // It goes by its own, and says what follows from them.
        Source::Node(_) => Config::default(),
        Source::Files(_) => globals.settings_to_read_by(data_dir)?,
    };
    Ok(config.policy())
}

/// What a task waits for, in a few words.
pub(crate) fn held_by(held: &Held) -> String {
    match held {
        Held::Paused { why: None, .. } => "queue paused".to_owned(),
        Held::Paused { why: Some(why), .. } => format!("queue paused: {}", escape(why)),
        Held::Dependency { task } => format!("after {task}"),
        Held::NotBefore { until } => format!("not before {until}"),
        Held::Backoff { until } => format!("pause until {until}"),
        Held::RateKey { key, until } => format!("rate of {key} until {until}"),
        Held::ConcurrencyKey { key } => format!("{key} in use"),
    }
}

/// One task, now or as of a position, with what it wrote last and why that run failed.
///
/// # Errors
/// [`ErrorCode::NotFound`] if there is none with this id.
pub(crate) fn task(
    source: &Source,
    id: &Id,
    at: Option<Seq>,
    policy: &Policy,
) -> Result<TaskView, Failure> {
    if let Source::Node(node) = source {
        return match node.wait(node.client().task(id, at)) {
            Err(Failure::Error(e)) if e.code == ErrorCode::NotFound => {
                match begins_with(node, id, at)? {
                    Some(meant) => node.wait(node.client().task(&meant, at)),
                    None => Err(absent(id, *e)),
                }
            }
            other => other,
        };
    }
    let reader = source.reader();
    let folded = fold::<Tasks>(reader, at)?;
    let tasks = folded.state();
    let task = match tasks.get(id) {
        Some(task) => Some(task),
        None => {
            let all = tasks.iter().rev().map(|task| &task.id);
            let meant = only(id, all.filter(|other| other.starts_with(id.as_str())))?;
            meant.and_then(|meant| tasks.get(&meant))
        }
    };
    let task = task.ok_or_else(|| {
        let error = ApiError::new(ErrorCode::NotFound, format!("there is no task {id}"));
        absent(
            id,
            error.hint("see `ledger task list` for the tasks there are"),
        )
    })?;
    let mut view = held::view(tasks, policy, task, clock::now());
    let details = view.details().map(|seq| event_at(reader, seq));
    let details: Vec<_> = details
        .filter_map(Result::transpose)
        .collect::<Result<_, _>>()?;
    view.add(details);
    Ok(view)
}

/// Shortest beginning of an id that stands for it.
const SHORTEST: usize = 8;
/// Candidates that an error names.
const NAMED: usize = 5;

/// The task that is meant for a command that acts on it: the one with this id, else the only one whose
/// id begins with it.
///
/// # Errors
/// [`ErrorCode::Usage`] if several are meant, [`ErrorCode::NotFound`] if none is.
pub(crate) fn meant(node: &Node, given: &Id) -> Result<Id, Failure> {
    match node.wait(node.client().task(given, None)) {
        Ok(_) => Ok(given.clone()),
        Err(Failure::Error(e)) if e.code == ErrorCode::NotFound => {
            let found = begins_with(node, given, None)?;
            found.ok_or_else(|| absent(given, *e))
        }
        Err(error) => Err(error),
    }
}

/// That there is no such task. Where too little of an id was given to stand for one, that is said.
fn absent(given: &Id, error: ApiError) -> Failure {
    if given.len() < SHORTEST {
        let hint = format!(
            "see `ledger task list` for the tasks there are; the beginning of an id needs \
             {SHORTEST} characters"
        );
        return error.hint(hint).into();
    }
    error.into()
}

fn begins_with(node: &Node, given: &Id, at: Option<Seq>) -> Result<Option<Id>, Failure> {
    if given.len() < SHORTEST {
        return Ok(None);
    }
    let query = TaskQuery {
        prefix: Some(given.to_string()),
        limit: Some(NAMED + 1),
        at,
        ..TaskQuery::default()
    };
    let found: Vec<TaskView> =
        node.wait(async { node.client().tasks(&query).await?.collect().await })?;
    only(given, found.iter().map(|view| &view.task_id))
}

/// The only one of those whose ids begin with what was given.
fn only<'a>(given: &Id, mut found: impl Iterator<Item = &'a Id>) -> Result<Option<Id>, Failure> {
    if given.len() < SHORTEST {
        return Ok(None);
    }
    let (first, more): (_, Vec<&Id>) = (found.next(), found.take(NAMED).collect());
    let Some(first) = first else {
        return Ok(None);
    };
    if more.is_empty() {
        return Ok(Some(first.clone()));
    }
    let mut named: Vec<&str> = vec![first.as_str()];
    named.extend(more.iter().take(NAMED - 1).map(|id| id.as_str()));
    let others = if more.len() >= NAMED {
        ", and more"
    } else {
        ""
    };
    Err(ApiError::new(
        ErrorCode::Usage,
        format!("{given} is the beginning of several tasks' ids"),
    )
    .because(format!("{}{others}", named.join(", ")))
    .hint("give more of it")
    .into())
}

/// An event and what led to it.
type Caused = (Option<Seq>, Event);

/// The event at a position, if it is there and can be understood.
fn event_at(reader: &dyn LogReader, seq: Seq) -> Result<Option<Caused>, ReadError> {
    let found = for_each_event(reader, seq, |event| {
        let decoded = Event::decode(&event.event).ok();
        std::ops::ControlFlow::Break(decoded.map(|decoded| (event.event.header.cause, decoded)))
    })?;
    Ok(found.break_value().flatten())
}

/// A state in its color.
pub(crate) fn paint_state(paint: Paint, state: &str) -> String {
    match state.parse::<StateName>() {
        Ok(StateName::Running) => paint.active(state),
        Ok(StateName::Completed) => paint.good(state),
        Ok(StateName::Held | StateName::Cancelling | StateName::Cancelled) => paint.warn(state),
        Ok(StateName::Dead) => paint.bad(state),
        Ok(StateName::Queued | StateName::Undecided) | Err(_) => state.to_owned(),
    }
}
