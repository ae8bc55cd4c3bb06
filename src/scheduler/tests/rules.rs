//! The rules, one by one.

use ledger_core::event::*;
use ledger_core::time::{Micros, Millis, Timestamp};
use projections::tasks::{Held, StateName};

use super::super::decide::*;
use super::super::dispatch::{next_due, perish};
use super::super::held::view;
use super::super::policy::Rate;
use super::super::steer::{MAX_RETRY_AFTER, pause, set_priority, throttle};
use super::super::terms::{Dependency, MAX_AHEAD, MAX_ATTEMPTS, MAX_DEPENDENCIES};
use super::{World, exited, id, outcome};

use Priority::{Background, Interactive, Standard};

fn name(started: Option<(String, TaskStarted)>) -> Option<String> {
    started.map(|(task, _)| task)
}

impl World {
    fn fail(&mut self, task: &str, runtime: Millis) -> Vec<&'static str> {
        let mut failed = outcome(exited(1), None);
        failed.runtime_us = Micros(runtime.0 * 1000);
        self.end(task, &failed)
    }

    fn held(&self, task: &str) -> Option<Held> {
        let task = self.tasks.get(task).unwrap();
        view(&self.tasks, &self.policy, task, self.now()).held
    }
}

#[test]
fn waiting_raises_a_task_and_its_start_says_so() {
    let mut world = World::default();
    world.submit("b", Background);
    world.pass(Millis(59_000));
    world.submit("s", Standard);
    world.policy.max_running = 1;
    // One level after 60 s: beside those of queue 1 that came after it was raised.
    world.pass(Millis(2_000));
    world.submit("s2", Standard);
    let (first, started) = world.next().unwrap();
    assert_eq!(
        (first.as_str(), started.boost),
        ("s", 0),
        "it came to level 1 before b did"
    );
    world.end("s", &outcome(exited(0), None));
    let (second, started) = world.next().unwrap();
    assert_eq!(
        (second.as_str(), started.boost, started.queue),
        ("b", 1, Background)
    );
    world.end("b", &outcome(exited(0), None));
    assert_eq!(name(world.next()), Some("s2".into()));
}

#[test]
fn once_in_queue_0_a_task_runs_before_any_that_came_there_later() {
    let mut world = World::default();
    world.policy.max_running = 1;
    world.submit("b", Background);
    world.pass(Millis(119_000));
    world.submit("i1", Interactive);
    world.pass(Millis(1_500));
    world.submit("i2", Interactive);
    for (task, boost) in [("i1", 0), ("b", 2), ("i2", 0)] {
        let (next, started) = world.next().unwrap();
        assert_eq!((next.as_str(), started.boost), (task, boost));
        world.end(task, &outcome(exited(0), None));
    }
}

#[test]
fn one_slot_is_kept_for_tasks_of_queue_0_and_for_none_that_was_raised_to_it() {
    let mut world = World::default();
    for task in ["b1", "b2", "b3"] {
        world.submit(task, Background);
    }
    world.pass(Millis(500_000));
    assert_eq!(name(world.dispatch(3)), Some("b1".into()));
    assert_eq!(name(world.dispatch(3)), Some("b2".into()));
    assert_eq!(name(world.dispatch(3)), None, "the last slot is not theirs");
    world.submit("i", Interactive);
    assert_eq!(name(world.dispatch(3)), Some("i".into()));
    world.end("i", &outcome(exited(0), None));
    assert_eq!(name(world.dispatch(3)), None);
    // Where there is one slot only, everybody uses it.
    let mut world = World::default();
    world.submit("b", Background);
    assert_eq!(name(world.dispatch(1)), Some("b".into()));
}

#[test]
fn an_attempt_past_its_quantum_is_demoted_for_the_next() {
    let mut world = World::default();
    let twice = Terms {
        max_attempts: 9,
        ..Terms::default()
    };
    world.submit_on("t", Interactive, twice).unwrap();
    let mut queues = Vec::new();
    for runtime in [2_000, 2_001, 10_000, 10_001, 1_000_000] {
        let (_, started) = world.dispatch(2).unwrap();
        queues.push(started.queue);
        assert_eq!(
            world.fail("t", Millis(runtime)).last(),
            Some(&"task.requeued")
        );
    }
    assert_eq!(
        queues,
        [Interactive, Interactive, Standard, Standard, Background]
    );
    let view = world.tasks.get("t").unwrap().view();
    assert_eq!(
        (view.priority, view.original_priority),
        (Background, Interactive)
    );
    let demoted: Vec<_> = view.attempts.iter().map(|a| a.demoted_to).collect();
    assert_eq!(
        demoted,
        [None, Some(Standard), None, Some(Background), None]
    );
    // A task of its own starts where it was put.
    world.submit("fresh", Interactive);
    assert_eq!(world.dispatch(2).unwrap().1.queue, Interactive);
}

#[test]
fn failures_are_tried_again_after_a_growing_pause_until_they_are_too_many() {
    let mut world = World::default();
    let terms = Terms {
        max_attempts: 3,
        ..Terms::default()
    };
    world.submit_on("t", Standard, terms).unwrap();
    for (draw, longest) in [(u64::MAX, 1_000), (1_999, 2_000)] {
        world.dispatch(2).unwrap();
        world.draw = draw;
        let now = world.now();
        assert_eq!(world.fail("t", Millis(1)).last(), Some(&"task.requeued"));
        let delay = draw % (longest + 1);
        let until = now.plus(Millis(delay));
        assert_eq!(world.held("t"), Some(Held::Backoff { until }));
        assert_eq!(
            next_due(&world.tasks, &world.policy, world.now()),
            Some(until)
        );
        assert_eq!(name(world.dispatch(2)), None);
        // The clock goes on between a decision and the question for the next.
        for late in [0, 1] {
            world.clock = until.0 + late;
            let due = next_due(&world.tasks, &world.policy, world.now());
            assert_eq!(due, Some(world.now()), "what is overdue is due");
        }
        assert_eq!(world.held("t"), None);
    }
    world.dispatch(2).unwrap();
    assert_eq!(world.fail("t", Millis(1)).last(), Some(&"task.dead"));
    // By hand it has all of them again.
    let decided = retry(&world.tasks, &id("t"), world.now()).unwrap();
    world.apply(decided);
    world.dispatch(2).unwrap();
    assert_eq!(world.fail("t", Millis(1)).last(), Some(&"task.requeued"));
}

#[test]
fn one_that_was_to_be_cancelled_is_not_tried_again() {
    let mut world = World::default();
    let terms = Terms {
        max_attempts: 3,
        ..Terms::default()
    };
    world.submit_on("t", Standard, terms).unwrap();
    world.dispatch(2).unwrap();
    world.cancel("t").unwrap();
    assert_eq!(world.fail("t", Millis(1)).last(), Some(&"task.dead"));
}

#[test]
fn a_rate_lets_through_its_burst_and_then_one_for_each_interval() {
    let mut world = World::default();
    world.policy.max_running = 100;
    let rate = Rate {
        interval: Micros(1_000_000),
        burst: 2,
    };
    world.policy.rates.insert(id("k"), rate);
    let keyed = || Terms {
        rate_key: Some(id("k")),
        ..Terms::default()
    };
    for n in 0..5 {
        world
            .submit_on(&format!("r{n}"), Standard, keyed())
            .unwrap();
    }
    world.submit("free", Background);
    let begun = world.now();
    assert_eq!(name(world.next()), Some("r0".into()));
    assert_eq!(name(world.next()), Some("r1".into()));
    assert_eq!(
        name(world.next()),
        Some("free".into()),
        "others are not held"
    );
    assert_eq!(name(world.next()), None);
    let Some(Held::RateKey { until, .. }) = world.held("r2") else {
        panic!("{:?}", world.held("r2"))
    };
    assert_eq!(until, Timestamp(begun.0 + 1_000_000));
    assert_eq!(
        next_due(&world.tasks, &world.policy, world.now()),
        Some(until)
    );
    world.clock = until.0;
    assert_eq!(name(world.next()), Some("r2".into()));
    assert_eq!(name(world.next()), None);

    // A task that was told to come back later holds the key for all.
    let (tasks, now) = (&world.tasks, world.now());
    let decided = throttle(tasks, &id("r2"), Attempt(1), Millis(30_000), now).unwrap();
    world.apply(decided);
    let until = now.plus(Millis(30_000));
    assert!(matches!(world.held("r3"), Some(Held::RateKey { until: u, .. }) if u == until));
    world.clock = until.0;
    assert_eq!(name(world.next()), Some("r3".into()));
    assert_eq!(name(world.next()), Some("r4".into()), "it was full again");
}

#[test]
fn reports_are_taken_from_the_attempt_that_runs_and_has_a_key() {
    let mut world = World::running("plain");
    let keyed = Terms {
        rate_key: Some(id("k")),
        ..Terms::default()
    };
    world.submit_on("keyed", Standard, keyed).unwrap();
    let report = |world: &World, task: &str, attempt, time| {
        throttle(
            &world.tasks,
            &id(task),
            Attempt(attempt),
            Millis(time),
            world.now(),
        )
    };
    let state = |refusal| matches!(refusal, Err(Refusal::State { .. }));
    let invalid = |refusal| matches!(refusal, Err(Refusal::Invalid(_)));
    assert!(invalid(report(&world, "plain", 1, 5)), "no key");
    assert!(state(report(&world, "keyed", 1, 5)), "it waits");
    world.dispatch(9).unwrap();
    assert!(state(report(&world, "keyed", 2, 5)), "another attempt");
    assert!(invalid(report(&world, "keyed", 1, 0)));
    assert!(invalid(report(&world, "keyed", 1, MAX_RETRY_AFTER.0 + 1)));
    assert!(report(&world, "keyed", 1, MAX_RETRY_AFTER.0).is_ok());
    assert_eq!(
        report(&world, "nobody", 1, 5),
        Err(Refusal::Unknown(id("nobody")))
    );
}

#[test]
fn a_concurrency_key_keeps_its_tasks_apart_and_no_others() {
    let mut world = World::default();
    world.policy.concurrency.insert(id("two"), 2);
    let keyed = |key| Terms {
        concurrency_key: Some(id(key)),
        ..Terms::default()
    };
    for (task, key) in [
        ("a1", "one"),
        ("a2", "one"),
        ("b1", "two"),
        ("b2", "two"),
        ("b3", "two"),
    ] {
        world.submit_on(task, Standard, keyed(key)).unwrap();
    }
    let started: Vec<_> = std::iter::from_fn(|| name(world.dispatch(9))).collect();
    assert_eq!(started, ["a1", "b1", "b2"]);
    assert_eq!(
        world.held("a2"),
        Some(Held::ConcurrencyKey { key: id("one") })
    );
    world.end("b1", &outcome(exited(0), None));
    assert_eq!(name(world.dispatch(9)), Some("b3".into()));
    world.end("a1", &outcome(exited(0), None));
    assert_eq!(name(world.dispatch(9)), Some("a2".into()));
}

#[test]
fn a_queue_may_have_a_limit_of_its_own() {
    let mut world = World::default();
    world.policy.queues[1].max_running = Some(1);
    world.submit("s1", Standard);
    world.submit("s2", Standard);
    world.submit("b", Background);
    let started: Vec<_> = std::iter::from_fn(|| name(world.dispatch(9))).collect();
    assert_eq!(started, ["s1", "b"]);
}

#[test]
fn a_paused_queue_is_passed_over() {
    let mut world = World::default();
    world.submit("s", Standard);
    world.submit("b", Background);
    let decided = pause(&world.tasks, Standard, Some("quiet".into())).unwrap();
    world.apply(decided);
    assert!(pause(&world.tasks, Standard, None).is_none());
    assert!(matches!(
        world.held("s"),
        Some(Held::Paused { why: Some(_), .. })
    ));
    let started: Vec<_> = std::iter::from_fn(|| name(world.dispatch(9))).collect();
    assert_eq!(started, ["b"]);
    assert_eq!(next_due(&world.tasks, &world.policy, world.now()), None);
}

#[test]
fn what_can_not_run_any_more_perishes_and_names_the_cause() {
    let mut world = World::default();
    let on = |task: &str| Terms {
        depends_on: vec![id(task)],
        ..Terms::default()
    };
    world.submit("a", Standard);
    world.submit_on("b", Standard, on("a")).unwrap();
    world.submit_on("c", Standard, on("b")).unwrap();
    world.cancel("a").unwrap();
    let mut perished = Vec::new();
    while let Some(decided) = perish(&world.tasks, world.now()) {
        perished.push(decided.subject.id().to_owned());
        world.apply(decided);
    }
    assert_eq!(perished, ["b", "c"]);
    let view = world.tasks.get("c").unwrap().view();
    assert_eq!(view.dead_reason, Some(DeadReason::Dependency));
    assert_eq!(view.dead_dependency, Some(id("b")));
    assert!(matches!(
        retry(&world.tasks, &id("c"), world.now()),
        Err(Refusal::Dependency {
            fault: Dependency::Broken { .. },
            ..
        })
    ));

    let expires_at = Some(world.now().plus(Millis(5)));
    let terms = Terms {
        expires_at,
        ..Terms::default()
    };
    world.submit_on("e", Standard, terms).unwrap();
    assert_eq!(perish(&world.tasks, world.now()), None);
    world.pass(Millis(5));
    let decided = perish(&world.tasks, world.now()).unwrap();
    world.apply(decided);
    assert_eq!(world.state("e"), StateName::Dead);
    let again = retry(&world.tasks, &id("e"), world.now());
    assert!(matches!(
        again,
        Err(Refusal::State {
            state: "expired",
            ..
        })
    ));
}

/// A world some time after its beginning, in which one task waits and one was cancelled.
fn with_others() -> World {
    let mut world = World::default();
    world.pass(Millis(1_000_000));
    world.submit("done", Standard);
    world.submit("gone", Standard);
    world.cancel("gone").unwrap();
    world
}

#[test]
fn times_and_numbers_that_can_not_be_kept_are_refused() {
    let mut world = with_others();
    let now = world.now();
    let at = |ms| Some(now.plus(Millis(ms)));
    let times = |not_before, expires_at| Terms {
        not_before,
        expires_at,
        ..Terms::default()
    };
    let attempts = |max_attempts| Terms {
        max_attempts,
        ..Terms::default()
    };
    let stalls = |after| Terms {
        stall_after_ms: Some(after),
        ..Terms::default()
    };
    for (what, terms) in [
        ("max_attempts must be from 1", attempts(0)),
        ("max_attempts must be from 1", attempts(MAX_ATTEMPTS + 1)),
        ("max_attempts must be from 1", attempts(u32::MAX)),
        ("stall_after must be between", stalls(Millis(99))),
        ("stall_after must be between", stalls(Millis(0))),
        (
            "stall_after must be between",
            stalls(Millis(MAX_RUNTIME.0 + 1)),
        ),
        ("it has expired", times(None, Some(now))),
        ("it has expired", times(None, Some(Timestamp(0)))),
        ("would expire", times(at(5), at(5))),
        ("ten years", times(at(MAX_AHEAD.0 + 1), None)),
        ("ten years", times(None, Some(Timestamp::MAX))),
    ] {
        let refusal = world.submit_on("t", Standard, terms).unwrap_err();
        assert!(refusal.to_string().contains(what), "{refusal}");
    }
    let edges = times(at(5), at(6));
    world.submit_on("t", Standard, edges).unwrap();
    world
        .submit_on("u", Standard, attempts(MAX_ATTEMPTS))
        .unwrap();
}

#[test]
fn dependencies_that_can_not_be_met_are_refused() {
    let mut world = with_others();
    let on = |names: Vec<String>| Terms {
        depends_on: names.iter().map(|name| id(name)).collect(),
        ..Terms::default()
    };
    let with_done = |other: &str| on(vec!["done".into(), other.into()]);
    for (what, terms) in [
        ("it can't depend on itself", with_done("t")),
        ("there is no task never", with_done("never")),
        ("task gone is cancelled", with_done("gone")),
        (
            "at most 100",
            on((0..=MAX_DEPENDENCIES).map(|n| format!("x{n}")).collect()),
        ),
    ] {
        let refusal = world.submit_on("t", Standard, terms).unwrap_err();
        assert!(refusal.to_string().contains(what), "{refusal}");
    }
    world.submit_on("t", Standard, with_done("done")).unwrap();
    assert_eq!(world.tasks.get("t").unwrap().depends_on(), [id("done")]);
}

#[test]
fn a_task_moved_by_hand_stands_behind_those_that_are_there() {
    let mut world = World::default();
    world.submit("b", Background);
    world.submit("i", Interactive);
    let moved = |world: &World, task: &str, to| {
        set_priority(&world.tasks, &world.policy, &id(task), to, world.now())
    };
    assert_eq!(moved(&world, "b", Background), Ok(None));
    let decided = moved(&world, "b", Interactive).unwrap().unwrap();
    world.apply(decided);
    let order: Vec<_> = std::iter::from_fn(|| name(world.dispatch(9))).collect();
    assert_eq!(order, ["i", "b"]);
    assert!(
        matches!(moved(&world, "b", Standard), Err(Refusal::State { .. })),
        "it runs"
    );
    assert_eq!(moved(&world, "x", Standard), Err(Refusal::Unknown(id("x"))));
    // One that had waited itself there keeps its place.
    let mut world = World::default();
    world.submit("b", Background);
    world.pass(Millis(121_000));
    world.submit("i", Interactive);
    let decided = moved(&world, "b", Interactive).unwrap().unwrap();
    world.apply(decided);
    let order: Vec<_> = std::iter::from_fn(|| name(world.dispatch(9))).collect();
    assert_eq!(order, ["b", "i"]);
}
