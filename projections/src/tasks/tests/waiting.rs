//! What tasks wait for: their terms, what they depend on, pauses and rates.

use super::*;

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
