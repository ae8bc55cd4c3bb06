//! Writes the golden events of the scheduler's later kinds and fields, as JSON lines.
//!
//! ```text
//! cargo run -p ledger-core --example make_scheduler_fixtures -- fixtures/v1/scheduler.jsonl
//! ```
//!
//! The file must not exist yet: fixtures of a released format are never written again.

mod golden;

use ledger_core::event::{
    Attempt, Backoff, DeadReason, Event, Exec, Failure, Outputs, Payload, Priority, QueueEvent,
    QueuePaused, QueueResumed, RateUse, StreamDigest, TaskDead, TaskEvent, TaskFailed,
    TaskReprioritized, TaskRequeued, TaskStarted, TaskSubmitted, TaskThrottled, TaskTimedOut,
    Terms, queue_subject,
};
use ledger_core::hash::Hash;
use ledger_core::ids::{Entity, Id, task_subject};
use ledger_core::time::{Micros, Millis, Timestamp};

use golden::{BEGUN, Outcome};

fn main() -> Outcome<()> {
    golden::write(0x5C, events()?)
}

fn events() -> Outcome<Vec<(Entity, Event)>> {
    let task = task_subject(&Id::new("t-1")?);
    let mut all: Vec<(Entity, Event)> = Vec::new();
    for terms in all_terms()? {
        let submitted = TaskEvent::Submitted(TaskSubmitted {
            priority: Priority::Standard,
            payload: Payload::Exec(Exec {
                argv: vec!["true".into()],
                env: [].into(),
                cwd: None,
                stdin: None,
            }),
            max_runtime_ms: Millis(60_000),
            grace_ms: Millis(5_000),
            terms: Some(Box::new(terms)),
        });
        all.push((task.clone(), submitted.into()));
    }
    all.extend(attempts()?.map(|event| (task.clone(), event.into())));
    let queue = queue_subject(Priority::Background);
    let reason = || Some("quiet hours".to_owned());
    for event in [
        QueueEvent::Paused(QueuePaused { reason: reason() }),
        QueueEvent::Paused(QueuePaused { reason: None }),
        QueueEvent::Resumed(QueueResumed { reason: reason() }),
        QueueEvent::Resumed(QueueResumed { reason: None }),
    ] {
        all.push((queue.clone(), event.into()));
    }
    Ok(all)
}

fn all_terms() -> Outcome<[Terms; 3]> {
    let at = |seconds: u64| Some(Timestamp(BEGUN + seconds * 1_000_000));
    Ok([
        Terms {
            max_attempts: 5,
            not_before: at(60),
            expires_at: at(3600),
            depends_on: vec![Id::new("t-0")?, Id::new("t-00")?],
            rate_key: Some(Id::new("provider.example")?),
            concurrency_key: Some(Id::new("repository-7")?),
            stall_after_ms: None,
        },
        Terms {
            max_attempts: 2,
            ..Terms::default()
        },
        Terms {
            depends_on: vec![Id::new("t-0")?],
            ..Terms::default()
        },
    ])
}

fn attempts() -> Outcome<[TaskEvent; 9]> {
    let (attempt, runtime_us) = (Attempt(1), Micros(2_500_000));
    let key = Id::new("provider.example")?;
    let at = |micros: u64| Timestamp(BEGUN + micros);
    let started = |boost, rate| {
        TaskEvent::Started(TaskStarted {
            attempt,
            queue: Priority::Background,
            node: Id::new("alpha").unwrap_or_else(|_| key.clone()),
            waited_us: Micros(61_000_731),
            boost,
            rate,
        })
    };
    let rate = RateUse {
        key: key.clone(),
        full_at: at(1_000_001),
    };
    let dead = |reason, dependency| {
        TaskEvent::Dead(TaskDead {
            reason,
            attempts: 0,
            dependency,
        })
    };
    Ok([
        started(1, None),
        started(2, Some(rate)),
        TaskEvent::Failed(TaskFailed {
            attempt,
            failure: Failure::Exit { code: 1 },
            runtime_us,
            outputs: outputs(),
            demoted_to: Some(Priority::Standard),
        }),
        TaskEvent::TimedOut(TaskTimedOut {
            attempt,
            max_runtime_ms: Millis(60_000),
            stalled_ms: None,
            runtime_us,
            outputs: outputs(),
            demoted_to: Some(Priority::Background),
        }),
        TaskEvent::Requeued(TaskRequeued {
            attempt: attempt.next(),
            lost: 0,
            backoff: Some(Backoff {
                delay_ms: Millis(730),
                until: at(3_230_000),
            }),
        }),
        dead(DeadReason::Dependency, Some(Id::new("t-0")?)),
        dead(DeadReason::Expired, None),
        TaskEvent::Reprioritized(TaskReprioritized {
            priority: Priority::Interactive,
            before: Priority::Background,
            since: at(17),
        }),
        TaskEvent::Throttled(TaskThrottled {
            attempt,
            rate_key: key.clone(),
            retry_after_ms: Millis(30_000),
            until: at(32_500_000),
        }),
    ])
}

fn outputs() -> Outputs {
    let nothing = StreamDigest {
        bytes: 0,
        blake3: Hash::of(b""),
        tail: String::new(),
        dropped_bytes: 0,
        error: None,
    };
    Outputs {
        stdout: nothing.clone(),
        stderr: nothing,
    }
}
