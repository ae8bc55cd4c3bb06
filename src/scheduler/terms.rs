//! Whether the terms of a submission can be kept.

use ledger_core::event::Terms;
use ledger_core::ids::Id;
use ledger_core::time::{Millis, Timestamp};
use projections::tasks::{StateName, Tasks};

use super::check::{Part, Unfit};
use super::decide::{MAX_RUNTIME, Refusal};

/// Most attempts that a task may ask for.
pub const MAX_ATTEMPTS: u32 = 1000;
/// Most tasks that a task may depend on.
pub const MAX_DEPENDENCIES: usize = 100;
/// Furthest that `not_before` and `expires_at` may lie ahead: ten years. Beyond that a time is far
/// more likely to be a mistake in its unit.
pub const MAX_AHEAD: Millis = Millis(10 * 365 * 24 * 3_600_000);

/// Shortest `stall_after`. What a tree has done is looked at a few times within it; CPU time is
/// counted in ticks of 10 ms.
pub const MIN_STALL_AFTER: Millis = Millis(100);

/// What is wrong with a dependency.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Dependency {
    /// The task itself. A longer circle can't be made, because what a task depends on must be there
    /// before it.
    #[error("it can't depend on itself")]
    Itself,
    /// Nobody has submitted it.
    #[error("there is no task {0} to depend on")]
    Unknown(Id),
    /// It has ended, and did not complete.
    #[error("task {task} is {}, so what depends on it would never run", .state.as_str())]
    Broken {
        /// The task.
        task: Id,
        /// How it ended.
        state: StateName,
    },
}

/// Checks what of terms can be told from themselves.
///
/// # Errors
/// What is wrong with them.
pub(super) fn check_alone(terms: &Terms) -> Result<(), Unfit> {
    if !(1..=MAX_ATTEMPTS).contains(&terms.max_attempts) {
        return Unfit::err(
            Part::MaxAttempts,
            format!("must be from 1 to {MAX_ATTEMPTS}"),
        );
    }
    if terms
        .stall_after_ms
        .is_some_and(|after| !(MIN_STALL_AFTER..=MAX_RUNTIME).contains(&after))
    {
        return Unfit::err(Part::StallAfter, "must be between 100ms and 30d");
    }
    if terms.depends_on.len() > MAX_DEPENDENCIES {
        let why = format!("names at most {MAX_DEPENDENCIES} other tasks");
        return Unfit::err(Part::DependsOn, why);
    }
    Ok(())
}

/// Checks terms by the time and the other tasks, after [`check_alone`]; those that ask for nothing unusual become none.
///
/// # Errors
/// [`Refusal`] if they can't be kept or make no sense.
pub(super) fn check(
    tasks: &Tasks,
    id: &Id,
    terms: Option<Box<Terms>>,
    now: Timestamp,
) -> Result<Option<Box<Terms>>, Refusal> {
    let Some(mut terms) = terms.filter(|terms| **terms != Terms::default()) else {
        return Ok(None);
    };
    let invalid = |why: String| Err(Refusal::Invalid(why));
    let latest = now.plus(MAX_AHEAD);
    for (name, at) in [
        ("not_before", terms.not_before),
        ("expires_at", terms.expires_at),
    ] {
        if at.is_some_and(|at| at > latest) {
            return invalid(format!("{name} is more than ten years ahead"));
        }
    }
    if let Some(at) = terms.expires_at.filter(|at| *at <= now) {
        return invalid(format!("it has expired already, at {at}"));
    }
    if let (Some(from), Some(to)) = (terms.not_before, terms.expires_at)
        && from >= to
    {
        return invalid(format!(
            "it would expire ({to}) before it may be started ({from})"
        ));
    }
    let mut named = std::collections::BTreeSet::new();
    terms.depends_on.retain(|on| named.insert(on.clone()));
    for on in &terms.depends_on {
        check_dependency(tasks, id, on).map_err(|fault| Refusal::Dependency {
            task: id.clone(),
            fault,
        })?;
    }
    Ok(Some(terms))
}

/// Whether a task may depend on another.
pub(super) fn check_dependency(tasks: &Tasks, id: &Id, on: &Id) -> Result<(), Dependency> {
    if on == id {
        return Err(Dependency::Itself);
    }
    let task = tasks.get(on);
    let task = task.ok_or_else(|| Dependency::Unknown(on.clone()))?;
    match task.view().state {
        state @ (StateName::Dead | StateName::Cancelled) => Err(Dependency::Broken {
            task: on.clone(),
            state,
        }),
        StateName::Queued
        | StateName::Held
        | StateName::Running
        | StateName::Cancelling
        | StateName::Undecided
        | StateName::Completed => Ok(()),
    }
}
