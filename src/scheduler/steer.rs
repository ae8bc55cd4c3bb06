//! What somebody asks for while a task waits or runs: another queue, a pause, more time for a rate
//! key.

use ledger_core::event::{
    Attempt, Priority, QueueEvent, QueuePaused, QueueResumed, TaskEvent, TaskReprioritized,
    TaskThrottled, queue_subject,
};
use ledger_core::ids::{Id, task_subject};
use ledger_core::time::{Millis, Timestamp};
use projections::tasks::{TaskState, Tasks};

use super::decide::Refusal;
use super::policy::Policy;
use crate::decided::Decided;

/// Longest `retry_after`: 7 days.
pub const MAX_RETRY_AFTER: Millis = Millis(7 * 24 * 3_600_000);

/// Moves a queued task to another queue. It stands there as if it had come just now; but if its wait
/// had raised it that far already, from when it had.
///
/// # Errors
/// [`Refusal`] if there is no such task or it does not wait.
pub fn set_priority(
    tasks: &Tasks,
    policy: &Policy,
    id: &Id,
    priority: Priority,
    now: Timestamp,
) -> Result<Option<Decided>, Refusal> {
    let task = tasks.get(id).ok_or_else(|| Refusal::Unknown(id.clone()))?;
    if !matches!(task.state, TaskState::Queued { .. }) {
        return Err(Refusal::State {
            task: id.clone(),
            state: task.view().state.as_str(),
            why: "only a task that waits can be moved to another queue",
        });
    }
    let before = task.priority;
    if before == priority {
        return Ok(None);
    }
    let ready_at = tasks.ready_at(task).filter(|at| *at <= now);
    let raised = ready_at.and_then(|ready_at| {
        let (urgency, _) = policy.urgency(before, ready_at, now);
        let step = policy.queue(before).boost_after?;
        let up = before.level().checked_sub(priority.level())?;
        let entered = ready_at.plus(Millis(step.0.saturating_mul(u64::from(up))));
        (urgency.level <= priority.level()).then_some(entered)
    });
    let moved = TaskReprioritized {
        priority,
        before,
        since: raised.unwrap_or(now),
    };
    Ok(Some(Decided::new(
        task_subject(id),
        TaskEvent::Reprioritized(moved),
    )))
}

/// Holds a queue. Nothing follows if it is held already.
pub fn pause(tasks: &Tasks, queue: Priority, reason: Option<String>) -> Option<Decided> {
    let paused = QueueEvent::Paused(QueuePaused { reason });
    let news = tasks.pause(queue).is_none();
    news.then(|| Decided::new(queue_subject(queue), paused))
}

/// Serves a queue again. Nothing follows if it is not held.
pub fn resume(tasks: &Tasks, queue: Priority, reason: Option<String>) -> Option<Decided> {
    let resumed = QueueEvent::Resumed(QueueResumed { reason });
    let news = tasks.pause(queue).is_some();
    news.then(|| Decided::new(queue_subject(queue), resumed))
}

/// A running attempt says that whoever limits the rate of its key wants it to wait.
///
/// # Errors
/// [`Refusal`] if that attempt does not run, or its task has no rate key.
pub fn throttle(
    tasks: &Tasks,
    id: &Id,
    attempt: Attempt,
    retry_after: Millis,
    now: Timestamp,
) -> Result<Decided, Refusal> {
    let task = tasks.get(id).ok_or_else(|| Refusal::Unknown(id.clone()))?;
    if task.run().is_none_or(|run| run.attempt != attempt) {
        return Err(Refusal::State {
            task: id.clone(),
            state: task.view().state.as_str(),
            why: "only the attempt that runs can report for it",
        });
    }
    let rate_key = task.rate_key().cloned().ok_or_else(|| {
        Refusal::Invalid(format!(
            "task {id} has no rate key that could be held; submit it with one"
        ))
    })?;
    if retry_after.0 == 0 || retry_after > MAX_RETRY_AFTER {
        return Err(Refusal::Invalid(
            "retry_after must be between 1ms and 7d".into(),
        ));
    }
    let throttled = TaskThrottled {
        attempt,
        rate_key,
        retry_after_ms: retry_after,
        until: now.plus(retry_after),
    };
    Ok(Decided::new(
        task_subject(id),
        TaskEvent::Throttled(throttled),
    ))
}
