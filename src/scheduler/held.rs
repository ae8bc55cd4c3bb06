//! Why a task is not started: told to people, decided by nothing here.

use ledger_core::event::Priority;
use ledger_core::time::Timestamp;
use projections::tasks::{Gates, Held, Standing, StateName, Task, TaskState, TaskView, Tasks};
use serde::{Deserialize, Serialize};

use super::policy::Policy;

/// What a queued task waits for besides its turn. If there are several things, the one that an
/// operator can do most about.
pub fn held(tasks: &Tasks, policy: &Policy, task: &Task, now: Timestamp) -> Option<Held> {
    let TaskState::Queued { backoff_until, .. } = task.state else {
        return None;
    };
    if let Some(pause) = tasks.pause(task.priority) {
        return Some(Held::Paused {
            since: pause.at,
            why: pause.reason.clone(),
        });
    }
    if let Some(on) = tasks.waits_for(task) {
        return Some(Held::Dependency {
            task: on.id.clone(),
        });
    }
    let until = tasks.ready_at(task)?;
    if until > now {
        return Some(if backoff_until == Some(until) {
            Held::Backoff { until }
        } else {
            Held::NotBefore { until }
        });
    }
    let gates = policy.gates(tasks);
    if let Some(key) = task.rate_key() {
        let until = gates.rate_opens(key);
        if until > now {
            let key = key.clone();
            return Some(Held::RateKey { key, until });
        }
    }
    let key = task.concurrency_key().filter(|key| !gates.has_room(key))?;
    Some(Held::ConcurrencyKey { key: key.clone() })
}

/// A task as it is shown: with what it waits for, and how far its wait has raised it.
pub fn view(tasks: &Tasks, policy: &Policy, task: &Task, now: Timestamp) -> TaskView {
    let mut view = tasks.view(task);
    if view.state != StateName::Queued {
        return view;
    }
    view.held = held(tasks, policy, task, now);
    if view.held.is_some() {
        view.state = StateName::Held;
    }
    if let Some(ready_at) = view.ready_at {
        (_, view.boost) = policy.urgency(task.priority, ready_at, now);
    }
    view
}

/// How many of a queue's tasks wait for what.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueWaits {
    /// The queue.
    pub queue: Priority,
    /// Could be started if there were room.
    pub waiting: u64,
    /// Are held.
    pub held: u64,
    /// Of those: because the queue is paused.
    pub held_paused: u64,
    /// Of those: until other tasks complete.
    pub held_dependency: u64,
    /// Of those: until a time, their own or the end of a pause between attempts.
    pub held_time: u64,
    /// Of those: until a rate or concurrency key lets them through.
    pub held_key: u64,
}

/// How many of each queue's tasks wait for what, most urgent queue first.
pub fn waits(tasks: &Tasks, policy: &Policy, now: Timestamp) -> Vec<QueueWaits> {
    let count = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
    let one = |queue: Priority| {
        let Standing {
            dependent,
            early,
            keyed,
            ready,
        } = tasks.standing(queue, now, &policy.gates(tasks));
        if tasks.pause(queue).is_some() {
            let all = count(dependent + early + keyed + ready);
            return QueueWaits {
                queue,
                waiting: 0,
                held: all,
                held_paused: all,
                held_dependency: 0,
                held_time: 0,
                held_key: 0,
            };
        }
        QueueWaits {
            queue,
            waiting: count(ready),
            held: count(dependent + early + keyed),
            held_paused: 0,
            held_dependency: count(dependent),
            held_time: count(early),
            held_key: count(keyed),
        }
    };
    Priority::ALL.into_iter().map(one).collect()
}
