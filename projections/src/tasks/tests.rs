//! Lives of tasks, legal and not.

use ledger_core::envelope::Header;
use ledger_core::event::*;
use ledger_core::hash::Hash;
use ledger_core::ids::{EventId, Id, Seq, Term, Uuid};
use ledger_core::time::{Micros, Millis, Timestamp};

use super::{Closing, Gates, StateName, TaskState, Tasks};
use crate::framework::Projection;

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
        view.add_closing(failed.into());
        assert_eq!(
            (view.failure, view.outputs),
            (Some(failure), Some(outputs()))
        );
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

fn on_terms(terms: Terms) -> TaskEvent {
    match submitted(Priority::Standard) {
        TaskEvent::Submitted(task) => TaskEvent::Submitted(TaskSubmitted {
            terms: Some(Box::new(terms)),
            ..task
        }),
        other => other,
    }
}

fn depends(on: &[&str]) -> TaskEvent {
    on_terms(Terms {
        depends_on: on.iter().map(|id| Id::new(id).unwrap()).collect(),
        ..Terms::default()
    })
}

fn doomed(dependency: &str) -> TaskEvent {
    TaskEvent::Dead(TaskDead {
        reason: DeadReason::Dependency,
        attempts: 0,
        dependency: Some(Id::new(dependency).unwrap()),
    })
}

impl History {
    fn first(&self, now: u64) -> Option<&str> {
        Priority::ALL.into_iter().find_map(|queue| {
            let first = self.tasks.first_ready(queue, Timestamp(now), &Unlimited);
            first.map(|(_, task)| task.id.as_str())
        })
    }
}

#[test]
fn a_task_waits_until_all_that_it_depends_on_has_completed() {
    let mut h = History::new();
    assert!(
        h.apply("task/c", depends(&["a"])).is_err(),
        "never submitted"
    );
    for id in ["a", "b"] {
        h.apply(&format!("task/{id}"), submitted(Priority::Standard))
            .unwrap();
    }
    h.apply("task/c", depends(&["a", "b"])).unwrap();
    let view = |h: &History| h.tasks.view(h.tasks.get("c").unwrap());
    assert_eq!((view(&h).position, view(&h).ready_at), (None, None));
    assert_eq!(h.tasks.queued_count(Priority::Standard), 3);
    for id in ["a", "b"] {
        let waits_for = h.tasks.waits_for(h.tasks.get("c").unwrap());
        assert_eq!(waits_for.unwrap().id.as_str(), id);
        h.apply(&format!("task/{id}"), started(1)).unwrap();
        h.apply(&format!("task/{id}"), completed(1)).unwrap();
    }
    assert_eq!((h.first(100), view(&h).position), (Some("c"), Some(0)));
    assert_eq!(
        view(&h).ready_at,
        Some(Timestamp(7)),
        "when the last completed"
    );
    assert!(
        h.apply("task/c", doomed("a")).is_err(),
        "nothing is wrong with it"
    );
}

#[test]
fn a_task_is_doomed_by_one_that_ended_otherwise_until_that_is_retried() {
    let mut h = History::new();
    h.apply("task/a", submitted(Priority::Standard)).unwrap();
    h.apply("task/b", depends(&["a"])).unwrap();
    h.apply("task/c", depends(&["b"])).unwrap();
    assert!(h.tasks.first_doomed().is_none());
    h.apply("task/a", started(1)).unwrap();
    h.apply("task/a", failed(1)).unwrap();
    h.apply("task/a", dead(1)).unwrap();
    let pair = |h: &History| {
        let doomed = h.tasks.first_doomed();
        doomed.map(|(task, on)| (task.id.to_string(), on.id.to_string()))
    };
    assert_eq!(pair(&h), Some(("b".into(), "a".into())));
    let retried = |attempt| {
        TaskEvent::Retried(TaskRetried {
            attempt: Attempt(attempt),
        })
    };
    h.apply("task/a", retried(2)).unwrap();
    assert_eq!(pair(&h), None, "it may complete after all");
    let cancelled = TaskEvent::Cancelled(TaskCancelled {
        attempt: None,
        reason: None,
        runtime_us: None,
        outputs: None,
    });
    h.apply("task/a", cancelled).unwrap();
    assert!(
        h.apply("task/c", doomed("b")).is_err(),
        "that one still waits"
    );
    h.apply("task/b", doomed("a")).unwrap();
    assert_eq!(pair(&h), Some(("c".into(), "b".into())));
    h.apply("task/c", doomed("b")).unwrap();
    assert_eq!((pair(&h), h.state("c")), (None, StateName::Dead));
    // Taken out by hand while what it depends on has not completed, it is doomed again.
    h.apply("task/c", retried(1)).unwrap();
    assert_eq!(pair(&h), Some(("c".into(), "b".into())));
}

#[test]
fn a_task_whose_time_has_not_come_stands_behind_all_that_wait() {
    let mut h = History::new();
    let at = |at| Some(Timestamp(at));
    let late = Terms {
        not_before: at(50),
        expires_at: at(60),
        ..Terms::default()
    };
    h.apply("task/late", on_terms(late)).unwrap();
    h.apply("task/soon", submitted(Priority::Standard)).unwrap();
    assert_eq!(h.first(10), Some("soon"));
    let next = |h: &History, now| {
        h.tasks
            .next_ready(Priority::Standard, Timestamp(now), &Unlimited)
    };
    assert_eq!(next(&h, 10), at(10), "one could be started at once");
    h.apply("task/soon", started(1)).unwrap();
    assert_eq!((h.first(49), next(&h, 49)), (None, at(50)));
    assert_eq!((h.first(50), next(&h, 50)), (Some("late"), at(50)));
    assert_eq!(h.tasks.next_expiry(), at(60));
    assert!(h.tasks.first_expired(Timestamp(59)).is_none());
    assert_eq!(
        h.tasks.first_expired(Timestamp(60)).unwrap().id.as_str(),
        "late"
    );
    let moved = |priority, since| {
        TaskEvent::Reprioritized(TaskReprioritized {
            priority,
            before: Priority::Standard,
            since: Timestamp(since),
        })
    };
    h.apply("task/late", moved(Priority::Interactive, 3))
        .unwrap();
    let view = h.tasks.view(h.tasks.get("late").unwrap());
    let queues = (view.priority, view.original_priority, view.ready_at);
    assert_eq!(queues, (Priority::Interactive, Priority::Standard, at(50)));
    assert!(
        h.apply("task/soon", moved(Priority::Background, 3))
            .is_err(),
        "it runs"
    );
}

#[test]
fn pauses_and_rates_are_remembered_and_queues_are_paused_once() {
    let mut h = History::new();
    let pause = QueueEvent::Paused(QueuePaused {
        reason: Some("why".into()),
    });
    let resume = QueueEvent::Resumed(QueueResumed { reason: None });
    assert!(h.apply("queue/standard", resume.clone()).is_err());
    h.apply("queue/standard", pause.clone()).unwrap();
    assert!(h.apply("queue/standard", pause.clone()).is_err());
    assert!(h.apply("queue/other", pause).is_err());
    assert!(h.tasks.pause(Priority::Standard).is_some());
    h.apply("queue/standard", resume).unwrap();
    assert!(h.tasks.pause(Priority::Standard).is_none());

    let key = Id::new("k").unwrap();
    h.apply("task/a", submitted(Priority::Standard)).unwrap();
    let throttled = |attempt, until| {
        TaskEvent::Throttled(TaskThrottled {
            attempt: Attempt(attempt),
            rate_key: Id::new("k").unwrap(),
            retry_after_ms: Millis(1),
            until: Timestamp(until),
        })
    };
    assert!(
        h.apply("task/a", throttled(1, 9)).is_err(),
        "it does not run"
    );
    let TaskEvent::Started(start) = started(1) else {
        return;
    };
    let rate = Some(RateUse {
        key: key.clone(),
        full_at: Timestamp(77),
    });
    h.apply("task/a", TaskEvent::Started(TaskStarted { rate, ..start }))
        .unwrap();
    assert!(
        h.apply("task/a", throttled(2, 9)).is_err(),
        "another attempt"
    );
    h.apply("task/a", throttled(1, 90)).unwrap();
    h.apply("task/a", throttled(1, 80)).unwrap();
    let state = h.tasks.rate(&key);
    assert_eq!(
        (state.full_at, state.held_until),
        (Timestamp(77), Timestamp(90))
    );
}
