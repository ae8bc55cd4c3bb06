//! Every event of a task at every moment of its life, and which of them may follow.

use ledger_core::event::*;
use ledger_core::time::{Micros, Millis, Timestamp};

use super::{World, exited, id, outcome, submission};
use projections::tasks::StateName;

/// The moments of a life, between batches.
pub(super) fn life() -> Vec<Moment> {
    let told_apart = |state: &StateName| *state != StateName::Held;
    let all = StateName::ALL.into_iter().filter(told_apart);
    let mut all: Vec<_> = all.map(Moment).collect();
    all.push(Moment(StateName::Undecided));
    all
}

/// A task named `t` in a state.
#[derive(Debug, Clone, Copy)]
pub(super) struct Moment(StateName);

impl Moment {
    pub(super) fn world(self) -> World {
        if self.0 != StateName::Undecided {
            return super::in_state(self.0);
        }
        let mut world = super::in_state(StateName::Running);
        let task = world.tasks.get("t").unwrap();
        let run = task.run().unwrap();
        let ended = outcome(exited(1), None);
        let all = super::super::decide::ended(task, run, &ended, &world.policy, world.now(), 0);
        let closing = all.into_iter().find(|d| d.subject.as_str() == "task/t");
        world.apply(closing.unwrap());
        world
    }
}

/// One event of each kind, for the attempt that is open or comes next.
pub(super) fn every_event() -> Vec<TaskEvent> {
    let attempt = Attempt(1);
    let outputs = outcome(exited(0), None).outputs;
    let dead = |reason, dependency| {
        TaskEvent::Dead(TaskDead {
            reason,
            attempts: 1,
            dependency,
        })
    };
    let cancelled = |attempt| {
        TaskEvent::Cancelled(TaskCancelled {
            attempt,
            reason: None,
            runtime_us: None,
            outputs: None,
        })
    };
    vec![
        TaskEvent::Submitted(submission(Priority::Standard)),
        TaskEvent::Started(TaskStarted {
            attempt,
            queue: Priority::Standard,
            node: id("n"),
            waited_us: Micros(0),
            boost: 0,
            rate: None,
        }),
        TaskEvent::Completed(TaskCompleted {
            attempt,
            runtime_us: Micros(1),
            outputs: outputs.clone(),
        }),
        TaskEvent::Failed(TaskFailed {
            attempt,
            failure: Failure::Exit { code: 1 },
            runtime_us: Micros(1),
            outputs: outputs.clone(),
            demoted_to: None,
        }),
        TaskEvent::TimedOut(TaskTimedOut {
            attempt,
            max_runtime_ms: Millis(1),
            stalled_ms: None,
            runtime_us: Micros(1),
            outputs,
            demoted_to: None,
        }),
        TaskEvent::Lost(TaskLost {
            attempt,
            reason: "gone".into(),
        }),
        TaskEvent::Requeued(TaskRequeued {
            attempt: attempt.next(),
            lost: 0,
            backoff: None,
        }),
        TaskEvent::CancelRequested(TaskCancelRequested {
            attempt,
            reason: None,
        }),
        cancelled(None),
        cancelled(Some(attempt)),
        dead(DeadReason::Failed, None),
        dead(DeadReason::Dependency, Some(id("other"))),
        dead(DeadReason::Expired, None),
        TaskEvent::Retried(TaskRetried {
            attempt: attempt.next(),
        }),
        TaskEvent::Reprioritized(TaskReprioritized {
            priority: Priority::Background,
            before: Priority::Standard,
            since: Timestamp(1),
        }),
        TaskEvent::Throttled(TaskThrottled {
            attempt,
            rate_key: id("k"),
            retry_after_ms: Millis(1),
            until: Timestamp(1),
        }),
    ]
}

/// Whether an event may follow, as the description of a life has it.
pub(super) fn allowed(Moment(state): Moment, event: &TaskEvent) -> bool {
    let queued = state == StateName::Queued;
    let running = state == StateName::Running;
    let open = running || state == StateName::Cancelling;
    let undecided = state == StateName::Undecided;
    match event {
        // The same id again.
        TaskEvent::Submitted(_) => false,
        TaskEvent::Started(_) | TaskEvent::Reprioritized(_) => queued,
        TaskEvent::Completed(_)
        | TaskEvent::Failed(_)
        | TaskEvent::TimedOut(_)
        | TaskEvent::Lost(_)
        | TaskEvent::Throttled(_) => open,
        TaskEvent::CancelRequested(_) => running,
        TaskEvent::Cancelled(e) if e.attempt.is_none() => queued,
        TaskEvent::Cancelled(_) => open,
        TaskEvent::Requeued(_) => undecided,
        // This task neither depends on another nor expires.
        TaskEvent::Dead(e) => undecided && e.reason == DeadReason::Failed,
        TaskEvent::Retried(_) => state == StateName::Dead,
    }
}
