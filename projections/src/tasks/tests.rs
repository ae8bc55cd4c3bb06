//! Lives of tasks, legal and not.

use ledger_core::envelope::Header;
use ledger_core::event::*;
use ledger_core::hash::Hash;
use ledger_core::ids::{EventId, Id, Seq, Term, Uuid};
use ledger_core::time::{Micros, Millis, Timestamp};

use super::{Closing, Gates, StateName, TaskState, Tasks};
use crate::framework::Projection;

mod waiting;

/// Nothing is held by a key.
struct Unlimited;

impl Gates for Unlimited {
    fn rate_opens(&self, _: &Id) -> Timestamp {
        Timestamp(0)
    }

    fn has_room(&self, _: &Id) -> bool {
        true
    }
}

struct History {
    tasks: Tasks,
    seq: u64,
}

impl History {
    fn new() -> Self {
        Self {
            tasks: Tasks::default(),
            seq: 0,
        }
    }

    fn apply(&mut self, subject: &str, event: impl Into<Event>) -> Result<(), String> {
        let event = event.into();
        let (kind, _) = event.kind_and_data().unwrap();
        let header = Header {
            seq: Seq(self.seq + 1),
            term: Term(1),
            recorded_at: Timestamp(self.seq + 1),
            event_id: EventId(Uuid::nil()),
            kind,
            version: 1,
            subject,
            actor: "human/ada",
            claimed_actor: None,
            cause: None,
            correlation: None,
            traceparent: None,
            idempotency_key: None,
        };
        let mut before = Vec::new();
        self.tasks
            .rows(&mut |k, v| before.push((k.to_owned(), v.to_owned())));
        let result = self.tasks.apply(&header, &event).map_err(|e| e.reason);
        let mut rows = Vec::new();
        self.tasks
            .rows(&mut |k, v| rows.push((k.to_owned(), v.to_owned())));
        match &result {
            Ok(()) => self.seq += 1,
            Err(_) => assert_eq!(rows, before, "a refused event changes nothing"),
        }
        let restored = Tasks::from_rows(&mut rows.into_iter()).unwrap();
        assert_eq!(restored.tasks, self.tasks.tasks);
        assert_eq!(restored.open, self.tasks.open);
        assert_eq!(restored.dependents, self.tasks.dependents);
        assert_eq!(restored.doomed, self.tasks.doomed);
        assert_eq!(restored.expiries, self.tasks.expiries);
        for queue in Priority::ALL {
            let count = |tasks: &Tasks| tasks.standing(queue, Timestamp(u64::MAX), &Unlimited);
            assert_eq!(count(&restored), count(&self.tasks));
        }
        result
    }

    fn state(&self, id: &str) -> StateName {
        self.tasks.get(id).unwrap().view().state
    }
}

fn submitted(priority: Priority) -> TaskEvent {
    TaskEvent::Submitted(TaskSubmitted {
        priority,
        payload: Payload::Exec(Exec {
            argv: vec!["true".into()],
            env: Default::default(),
            cwd: None,
            stdin: None,
        }),
        max_runtime_ms: Millis(1000),
        grace_ms: Millis(100),
        terms: None,
    })
}

fn started(attempt: u32) -> TaskEvent {
    TaskEvent::Started(TaskStarted {
        attempt: Attempt(attempt),
        queue: Priority::Standard,
        node: Id::new("n").unwrap(),
        waited_us: Micros(1),
        boost: 0,
        rate: None,
    })
}

fn outputs() -> Outputs {
    let stream = StreamDigest {
        bytes: 0,
        blake3: Hash::of(b""),
        tail: String::new(),
        dropped_bytes: 0,
        error: None,
    };
    Outputs {
        stdout: stream.clone(),
        stderr: stream,
    }
}

fn completed(attempt: u32) -> TaskEvent {
    TaskEvent::Completed(TaskCompleted {
        attempt: Attempt(attempt),
        runtime_us: Micros(5),
        outputs: outputs(),
    })
}

fn failed(attempt: u32) -> TaskEvent {
    TaskEvent::Failed(TaskFailed {
        attempt: Attempt(attempt),
        failure: Failure::Exit { code: 3 },
        runtime_us: Micros(5),
        outputs: outputs(),
        demoted_to: None,
    })
}

fn dead(attempts: u32) -> TaskEvent {
    TaskEvent::Dead(TaskDead {
        reason: DeadReason::Failed,
        attempts,
        dependency: None,
    })
}

fn registered(attempt: u32) -> ProcessEvent {
    ProcessEvent::Registered(ProcessRegistered {
        pid: 7,
        start_time: 8,
        boot_id: "b".into(),
        pgid: 7,
        shim_pid: 6,
        shim_start_time: 8,
        task: Id::new("a").unwrap(),
        attempt: Attempt(attempt),
        max_runtime_ms: Millis(1000),
    })
}

#[test]
fn a_task_that_fails_is_retried_and_completes() {
    let mut h = History::new();
    h.apply("task/a", submitted(Priority::Standard)).unwrap();
    assert_eq!(
        (h.state("a"), h.tasks.queued_count(Priority::Standard)),
        (StateName::Queued, 1)
    );
    h.apply("task/a", started(1)).unwrap();
    assert_eq!(
        (
            h.tasks.open_count(),
            h.tasks.queued_count(Priority::Standard)
        ),
        (1, 0)
    );
    h.apply("process/b.7.8", registered(1)).unwrap();
    assert_eq!(
        h.tasks
            .get("a")
            .unwrap()
            .run()
            .unwrap()
            .process
            .as_ref()
            .unwrap()
            .pid,
        7
    );
    assert!(
        h.apply("process/b.7.8", registered(1)).is_err(),
        "one process an attempt"
    );
    h.apply("task/a", failed(1)).unwrap();
    assert!(h.apply("task/a", started(2)).is_err(), "nothing was queued");
    h.apply("task/a", dead(1)).unwrap();
    assert_eq!((h.state("a"), h.tasks.open_count()), (StateName::Dead, 0));
    assert_eq!(h.tasks.get("a").unwrap().view().exit_code, Some(3));
    h.apply(
        "task/a",
        TaskEvent::Retried(TaskRetried {
            attempt: Attempt(2),
        }),
    )
    .unwrap();
    h.apply("task/a", started(2)).unwrap();
    h.apply("task/a", completed(2)).unwrap();
    let task = h.tasks.get("a").unwrap();
    assert!(task.is_ended());
    assert_eq!(
        task.attempts.iter().map(|a| a.closing).collect::<Vec<_>>(),
        [Closing::Exit(3), Closing::Completed]
    );
}

#[test]
fn a_retry_by_hand_begins_a_fresh_count_of_losses() {
    let mut h = History::new();
    let lost = |attempt| {
        TaskEvent::Lost(TaskLost {
            attempt: Attempt(attempt),
            reason: "gone".into(),
        })
    };
    h.apply("task/a", submitted(Priority::Standard)).unwrap();
    h.apply("task/a", started(1)).unwrap();
    h.apply("task/a", lost(1)).unwrap();
    let requeued = TaskEvent::Requeued(TaskRequeued {
        attempt: Attempt(2),
        lost: 1,
        backoff: None,
    });
    h.apply("task/a", requeued).unwrap();
    h.apply("task/a", started(2)).unwrap();
    h.apply("task/a", failed(2)).unwrap();
    h.apply("task/a", dead(2)).unwrap();
    assert_eq!(h.tasks.get("a").unwrap().lost, 1);
    let retried = TaskEvent::Retried(TaskRetried {
        attempt: Attempt(3),
    });
    h.apply("task/a", retried).unwrap();
    let view = h.tasks.get("a").unwrap().view();
    assert_eq!((view.lost, view.attempts.len()), (0, 2));
    assert_eq!((view.ended_at, view.dead_reason), (None, None));
    h.apply("task/a", started(3)).unwrap();
    h.apply("task/a", lost(3)).unwrap();
    assert_eq!(h.tasks.get("a").unwrap().lost, 1);
}

#[test]
fn what_was_not_started_has_the_code_that_a_shell_gives() {
    for (step, errno, code) in [
        ("exec", 2, 127),
        ("exec", 13, 126),
        ("exec", 8, 126),
        ("working_directory", 13, 127),
        ("fork", 11, 127),
    ] {
        let mut h = History::new();
        h.apply("task/a", submitted(Priority::Standard)).unwrap();
        h.apply("task/a", started(1)).unwrap();
        let failure = Failure::Spawn {
            step: step.into(),
            errno,
            message: "why".into(),
        };
        let failed = TaskEvent::Failed(TaskFailed {
            attempt: Attempt(1),
            failure: failure.clone(),
            runtime_us: Micros(0),
            outputs: outputs(),
            demoted_to: None,
        });
        h.apply("task/a", failed.clone()).unwrap();
        let mut view = h.tasks.get("a").unwrap().view();
        assert_eq!(view.exit_code, Some(code), "{step} {errno}");
        assert_eq!((&view.failure, &view.outputs), (&None, &None));
        view.add([(Some(Seq(2)), Event::from(failed))]);
        assert_eq!(
            (view.failure, view.outputs),
            (Some(failure), Some(outputs()))
        );
    }
}

#[test]
fn how_another_task_was_ended_is_not_told_of_this_one() {
    let mut h = History::new();
    h.apply("task/a", submitted(Priority::Standard)).unwrap();
    h.apply("task/a", started(1)).unwrap();
    let closing = Event::from(completed(1));
    h.apply("task/a", completed(1)).unwrap();
    let reaped = ProcessReaped {
        cause: LadderCause::MaxRuntime,
        steps: Vec::new(),
        end: ProcessEnd::Signaled { signal: 15 },
        usage: Usage::default(),
    };
    let reap = Event::from(ProcessEvent::Reaped(reaped.clone()));
    let view = h.tasks.get("a").unwrap().view();
    for (cause, told) in [
        (Some(Seq(2)), Some(reaped)),
        (Some(Seq(1)), None),
        (None, None),
    ] {
        let mut view = view.clone();
        view.add([(Some(Seq(2)), closing.clone()), (cause, reap.clone())]);
        assert_eq!(view.reaped, told, "{cause:?}");
    }
}

#[test]
fn impossible_transitions_are_refused() {
    let mut h = History::new();
    assert!(h.apply("task/a", started(1)).is_err(), "never submitted");
    h.apply("task/a", submitted(Priority::Background)).unwrap();
    assert!(
        h.apply("task/a", submitted(Priority::Standard)).is_err(),
        "submitted twice"
    );
    assert!(h.apply("task/a", completed(1)).is_err(), "not running");
    assert!(h.apply("task/a", dead(0)).is_err(), "not failed");
    assert!(
        h.apply("task/a", started(2)).is_err(),
        "attempts start at 1"
    );
    assert!(
        h.apply("process/b.7.8", registered(1)).is_err(),
        "not ordered"
    );
    h.apply("task/a", started(1)).unwrap();
    assert!(h.apply("task/a", started(1)).is_err(), "started twice");
    assert!(h.apply("task/a", completed(2)).is_err(), "another attempt");
    let retried = TaskEvent::Retried(TaskRetried {
        attempt: Attempt(2),
    });
    assert!(h.apply("task/a", retried).is_err(), "not dead");
    let cancelled = |attempt| {
        TaskEvent::Cancelled(TaskCancelled {
            attempt,
            reason: None,
            runtime_us: None,
            outputs: None,
        })
    };
    assert!(
        h.apply("task/a", cancelled(None)).is_err(),
        "an attempt runs"
    );
    let cancel = TaskEvent::CancelRequested(TaskCancelRequested {
        attempt: Attempt(1),
        reason: None,
    });
    h.apply("task/a", cancel.clone()).unwrap();
    assert!(h.apply("task/a", cancel).is_err(), "asked for already");
    h.apply("task/a", cancelled(Some(Attempt(1)))).unwrap();
    assert_eq!(h.state("a"), StateName::Cancelled);
    assert!(h.apply("task/a", started(2)).is_err(), "ended for good");
}

#[test]
fn queues_are_first_in_first_out() {
    let mut h = History::new();
    for id in ["x", "y", "z"] {
        h.apply(&format!("task/{id}"), submitted(Priority::Standard))
            .unwrap();
    }
    let first = h
        .tasks
        .first_ready(Priority::Standard, Timestamp(9), &Unlimited);
    assert_eq!(first.unwrap().1.id.as_str(), "x");
    h.apply("task/x", started(1)).unwrap();
    let lost = TaskEvent::Lost(TaskLost {
        attempt: Attempt(1),
        reason: "gone".into(),
    });
    h.apply("task/x", lost).unwrap();
    h.apply(
        "task/x",
        TaskEvent::Requeued(TaskRequeued {
            attempt: Attempt(2),
            lost: 1,
            backoff: None,
        }),
    )
    .unwrap();
    let order: Vec<_> = ["y", "z", "x"]
        .map(|id| h.tasks.view(h.tasks.get(id).unwrap()).position)
        .to_vec();
    assert_eq!(
        order,
        [Some(0), Some(1), Some(2)],
        "a requeued task goes to the end"
    );
    assert!(matches!(
        h.tasks.get("x").unwrap().state,
        TaskState::Queued {
            next: Attempt(2),
            ..
        }
    ));
}
