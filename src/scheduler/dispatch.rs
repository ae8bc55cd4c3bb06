//! What happens by itself: the task that runs next, the tasks that never will, and when to look
//! again.
//!
//! Multi-level feedback queues (Corbató's; Solaris and Linux before CFS had them): strictly by queue,
//! first in first out inside one, and what waits long enough rises. Inside a queue the one that has
//! waited longest is always the first to rise, so comparing the heads of the three queues finds the
//! most urgent of all, and no event and no timer is spent on waiting.

use ledger_core::event::{DeadReason, Priority, TaskDead, TaskEvent, TaskStarted};
use ledger_core::ids::{Id, task_subject};
use ledger_core::time::Timestamp;
use projections::tasks::{Task, TaskState, Tasks};

use super::policy::{Policy, Urgency};
use crate::decided::Decided;

/// The task that runs next, if one may and there is room.
///
/// Of all that may be started the most urgent is: that of the lowest level, then who came to that
/// level first, then who was queued first.
pub fn dispatch(tasks: &Tasks, policy: &Policy, node: &Id, now: Timestamp) -> Option<Decided> {
    let gates = policy.gates(tasks);
    let heads = served(tasks, policy).filter_map(|queue| {
        let (place, task) = tasks.first_ready(queue, now, &gates)?;
        let (urgency, boost) = policy.urgency(queue, place.ready_at, now);
        Some((urgency, place, boost, task))
    });
    let (_, place, boost, task) = heads
        .min_by_key(|(Urgency { level, entered }, place, ..)| (*level, *entered, place.since))?;
    let TaskState::Queued { next, .. } = task.state else {
        return None;
    };
    let started = TaskStarted {
        attempt: next,
        queue: task.priority,
        node: node.clone(),
        waited_us: now.since(place.ready_at),
        boost,
        rate: policy.rate_use(tasks, task.rate_key(), now),
    };
    Some(Decided::new(
        task_subject(&task.id),
        TaskEvent::Started(started),
    ))
}

/// The queues that something may be started from.
fn served<'a>(tasks: &'a Tasks, policy: &'a Policy) -> impl Iterator<Item = Priority> + 'a {
    let queues = Priority::ALL.into_iter();
    queues.filter(|queue| tasks.pause(*queue).is_none() && policy.has_room(tasks, *queue))
}

/// A task that waits for what will never be: it has expired, or one that it depends on has ended
/// without completing.
pub fn perish(tasks: &Tasks, now: Timestamp) -> Option<Decided> {
    let doomed = tasks.first_doomed().map(|(task, on)| (task, Some(on)));
    let (task, on) = doomed.or_else(|| Some((tasks.first_expired(now)?, None)))?;
    let dead = TaskDead {
        reason: match on {
            Some(_) => DeadReason::Dependency,
            None => DeadReason::Expired,
        },
        attempts: attempts_of(task),
        dependency: on.map(|on| on.id.clone()),
    };
    Some(Decided::new(task_subject(&task.id), TaskEvent::Dead(dead)))
}

fn attempts_of(task: &Task) -> u32 {
    task.attempts.last().map_or(0, |last| last.attempt.0)
}

/// When [`dispatch`] or [`perish`] has something to decide, if nothing else happens before: `now` if
/// they have at once.
pub fn next_due(tasks: &Tasks, policy: &Policy, now: Timestamp) -> Option<Timestamp> {
    let start = next_start(tasks, policy, now);
    start.into_iter().chain(tasks.next_expiry()).min()
}

/// The same, but for tasks that expire.
pub fn next_start(tasks: &Tasks, policy: &Policy, now: Timestamp) -> Option<Timestamp> {
    if tasks.first_doomed().is_some() {
        return Some(now);
    }
    let gates = policy.gates(tasks);
    let ready = served(tasks, policy).filter_map(|queue| tasks.next_ready(queue, now, &gates));
    ready.min()
}
