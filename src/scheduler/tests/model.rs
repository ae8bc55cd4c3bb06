//! Random histories of the scheduler against a model that knows no queues and no indexes: a list of
//! tasks, looked through from end to end for every question.

mod happening;
mod list;

use std::collections::BTreeSet;

use ledger_core::event::{Attempt, Priority, Terms};
use ledger_core::time::{Micros, Millis, Timestamp};
use projections::framework::Projection;
use projections::tasks::{StateName, Tasks};
use proptest::prelude::*;

use super::super::decide::{MAX_LOST, retry};
use super::super::dispatch::{next_due, perish};
use super::super::held;
use super::super::steer::{pause, resume, set_priority, throttle};
use super::{World, exited, id, outcome};
use happening::{Asked, Happening, happenings};
use list::{BOOST, Entry, INTERVAL, Model, QUANTUM, Stage, policy};

fn name(n: usize) -> String {
    format!("t{n}")
}

fn submit(world: &mut World, model: &mut Model, queue: Priority, asked: Asked) {
    let (n, now) = (model.tasks.len(), world.clock);
    let at = |ms: Option<u64>| ms.map(|ms| now + ms * 1000);
    let depends_on = asked.depends_on.filter(|_| n > 0).map(|on| on % n);
    let (not_before, expires) = (at(asked.not_before), at(asked.expires));
    let terms = Terms {
        max_attempts: asked.max_attempts,
        not_before: not_before.map(Timestamp),
        expires_at: expires.map(Timestamp),
        depends_on: depends_on.map(|on| id(&name(on))).into_iter().collect(),
        rate_key: asked.rated.then(|| id("rate")),
        concurrency_key: asked.concurrency.map(|key| id(&format!("c{key}"))),
        stall_after_ms: None,
    };
    let broken = |on: usize| matches!(model.tasks[on].stage, Stage::Dead | Stage::Cancelled);
    let early = not_before.is_some_and(|from| expires.is_some_and(|to| from >= to));
    let submitted = world.submit_on(&name(n), queue, terms);
    assert_eq!(
        submitted.is_err(),
        early || depends_on.is_some_and(broken),
        "{submitted:?}"
    );
    if submitted.is_err() {
        return;
    }
    model.tasks.push(Entry {
        queue: usize::from(queue.level()),
        stage: Stage::Waits,
        since: (world.clock, world.seq),
        pause_until: 0,
        not_before: not_before.unwrap_or_default(),
        expires,
        depends_on,
        max_attempts: asked.max_attempts,
        rated: asked.rated,
        concurrency: asked.concurrency,
        failed: 0,
        lost: 0,
        attempt: 1,
    });
}

/// One start, or none, in both.
fn dispatch(world: &mut World, model: &mut Model) -> Option<usize> {
    let now = world.clock;
    let all = model.startable(now);
    let started = world.next();
    let Some((task, started)) = started else {
        assert_eq!(all, [], "something could have been started");
        return None;
    };
    let (level, entered, _, raised, n) = all[0];
    let attempt = started.attempt.0;
    assert_eq!(
        (task, started.boost, attempt),
        (name(n), raised, model.tasks[n].attempt)
    );
    assert_eq!(usize::from(started.queue.level()), model.tasks[n].queue);
    assert_eq!(
        started.waited_us,
        Micros(now - model.ready_at(&model.tasks[n]).unwrap())
    );
    // Once in queue 0, it runs before any that entered later: nobody who may be started too came
    // there before the one that was.
    let passed_over = all.iter().filter(|(other, ..)| *other == 0);
    for (_, came, ..) in passed_over {
        assert!(level == 0 && *came >= entered, "{all:?}");
    }
    if model.tasks[n].rated {
        let left = model.tokens(now) - INTERVAL;
        (model.bucket.filled, model.bucket.at) = (left, now);
    }
    model.tasks[n].stage = Stage::Runs;
    Some(n)
}

fn end(world: &mut World, model: &mut Model, n: usize, code: i32, runtime: u64) {
    let now = world.clock;
    world.draw = runtime.wrapping_mul(7919);
    let mut outcome = outcome(exited(code), None);
    outcome.runtime_us = Micros(runtime * 1000);
    world.end(&name(n), &outcome);
    let wanted = model.tasks[n].stage == Stage::Runs;
    if code == 0 {
        model.tasks[n].stage = Stage::Completed(world.clock);
        return;
    }
    let task = &mut model.tasks[n];
    let demoted = QUANTUM
        .get(task.queue)
        .is_some_and(|quantum| runtime * 1000 > *quantum);
    task.queue += usize::from(demoted);
    task.failed += 1;
    if !wanted || task.failed >= task.max_attempts {
        task.stage = Stage::Dead;
        return;
    }
    let longest = (1000 << (task.failed - 1)).min(300_000);
    let delay = world.draw % (longest + 1);
    model.requeue(n, world);
    model.tasks[n].pause_until = now + delay * 1000;
}

fn lose(world: &mut World, model: &mut Model, n: usize) {
    world.lose(&name(n));
    if model.tasks[n].stage == Stage::Cancelling {
        model.tasks[n].stage = Stage::Cancelled;
        return;
    }
    model.tasks[n].lost += 1;
    if model.tasks[n].lost > MAX_LOST {
        model.tasks[n].stage = Stage::Dead;
    } else {
        model.requeue(n, world);
    }
}

fn retry_by_hand(world: &mut World, model: &mut Model, n: usize) {
    let task = &model.tasks[n];
    let broken = |on: usize| matches!(model.tasks[on].stage, Stage::Dead | Stage::Cancelled);
    let expired = task.expires.is_some_and(|at| at <= world.clock);
    let possible = task.stage == Stage::Dead && !expired && !task.depends_on.is_some_and(broken);
    let decided = retry(&world.tasks, &id(&name(n)), world.now());
    assert_eq!(decided.is_ok(), possible, "{decided:?} {task:?}");
    if let Ok(decided) = decided {
        // One that was dead before its attempt began has that attempt still before it.
        let begun = !world.tasks.get(&name(n)).unwrap().attempts.is_empty();
        world.apply(decided);
        model.requeue(n, world);
        let attempts = world.tasks.get(&name(n)).unwrap().attempts.len();
        let next = u32::try_from(attempts).unwrap() + 1;
        assert!(begun || next == 1);
        let task = &mut model.tasks[n];
        (task.failed, task.lost, task.attempt) = (0, 0, next);
    }
}

fn move_to(world: &mut World, model: &mut Model, n: usize, queue: Priority) {
    let now = world.clock;
    let task = &model.tasks[n];
    let decided = set_priority(
        &world.tasks,
        &world.policy,
        &id(&name(n)),
        queue,
        world.now(),
    );
    assert_eq!(decided.is_ok(), task.stage == Stage::Waits);
    let Ok(decided) = decided else { return };
    let to = usize::from(queue.level());
    assert_eq!(decided.is_none(), task.queue == to);
    let Some(decided) = decided else { return };
    let ready = model.ready_at(task).filter(|at| *at <= now);
    let carried = ready.filter(|_| to < task.queue).and_then(|ready| {
        let (level, ..) = model.urgency(task.queue, ready, now);
        let steps = u64::try_from(task.queue - to).unwrap();
        (level <= to).then_some(ready + steps * BOOST[task.queue])
    });
    world.apply(decided);
    let task = &mut model.tasks[n];
    (task.queue, task.since) = (to, (carried.unwrap_or(now), world.seq));
}

fn step(world: &mut World, model: &mut Model, what: Happening) {
    let waits_or_runs = |t: &Entry| matches!(t.stage, Stage::Waits | Stage::Runs);
    let is_open = |t: &Entry| matches!(t.stage, Stage::Runs | Stage::Cancelling);
    match what {
        Happening::Submit(queue, asked) => submit(world, model, queue, asked),
        Happening::Dispatch => drop(dispatch(world, model)),
        Happening::End(n, code, runtime) => {
            if let Some(n) = model.pick(n, is_open) {
                end(world, model, n, code, runtime);
            }
        }
        Happening::Lose(n) => {
            if let Some(n) = model.pick(n, is_open) {
                lose(world, model, n);
            }
        }
        Happening::Cancel(n) => {
            if let Some(n) = model.pick(n, |_| true) {
                let task = &mut model.tasks[n];
                let cancelled = world.cancel(&name(n));
                let possible = waits_or_runs(task) || task.stage == Stage::Cancelling;
                assert_eq!(cancelled.is_ok(), possible);
                task.stage = match task.stage {
                    Stage::Waits => Stage::Cancelled,
                    Stage::Runs => Stage::Cancelling,
                    ended => ended,
                };
            }
        }
        Happening::Retry(n) => {
            if let Some(n) = model.pick(n, |_| true) {
                retry_by_hand(world, model, n);
            }
        }
        Happening::Move(n, queue) => {
            if let Some(n) = model.pick(n, |_| true) {
                move_to(world, model, n, queue);
            }
        }
        Happening::Toggle(queue) => {
            let level = usize::from(queue.level());
            let paused = model.paused.contains(&level);
            let [first, second] = [pause, resume].map(|f| f(&world.tasks, queue, None));
            assert_eq!((first.is_some(), second.is_some()), (!paused, paused));
            world.apply(first.or(second).unwrap());
            if !model.paused.remove(&level) {
                model.paused.insert(level);
            }
        }
        Happening::Throttle(n, time) => {
            if let Some(n) = model.pick(n, |_| true) {
                let now = world.now();
                let attempt = Attempt(model.tasks[n].attempt);
                let (task, time) = (id(&name(n)), Millis(time));
                let decided = throttle(&world.tasks, &task, attempt, time, now);
                let possible = is_open(&model.tasks[n]) && model.tasks[n].rated;
                assert_eq!(decided.is_ok(), possible, "{decided:?}");
                if let Ok(decided) = decided {
                    world.apply(decided);
                    let until = now.0 + time.0 * 1000;
                    model.bucket.held_until = model.bucket.held_until.max(until);
                }
            }
        }
        Happening::Pass(time) => world.pass(Millis(time)),
    }
    let mut perishing = model.perishing(world.clock);
    while let Some(decided) = perish(&world.tasks, world.now()) {
        let n: usize = decided.subject.id()[1..].parse().unwrap();
        assert!(perishing.contains(&n), "{decided:?}");
        world.apply(decided);
        model.tasks[n].stage = Stage::Dead;
        // Whoever depends on it perishes with it, and time has passed.
        perishing = model.perishing(world.clock);
    }
    assert_eq!(perishing, BTreeSet::new());
}

fn rows(tasks: &Tasks) -> Vec<(String, String)> {
    let mut rows = Vec::new();
    tasks.rows(&mut |key, value| rows.push((key.to_owned(), value.to_owned())));
    rows
}

/// What people are told is what the model says.
fn check_told(world: &World, model: &Model) {
    let now = world.now();
    for (n, task) in model.tasks.iter().enumerate() {
        let told = held::view(
            &world.tasks,
            &world.policy,
            world.tasks.get(&name(n)).unwrap(),
            now,
        );
        let ready = model.ready_at(task).is_some_and(|at| at <= now.0);
        let held = model.paused.contains(&task.queue) || !ready || !model.keys_open(task, now.0);
        let state = match task.stage {
            Stage::Waits if held => StateName::Held,
            Stage::Waits => StateName::Queued,
            Stage::Runs => StateName::Running,
            Stage::Cancelling => StateName::Cancelling,
            Stage::Completed(_) => StateName::Completed,
            Stage::Cancelled => StateName::Cancelled,
            Stage::Dead => StateName::Dead,
        };
        assert_eq!(
            (told.state, told.held.is_some()),
            (state, state == StateName::Held)
        );
        assert_eq!(usize::from(told.priority.level()), task.queue);
        let place = |t: &Entry| model.ready_at(t).map(|at| (at, t.since.1));
        let before = |other: &&Entry| {
            let beside = other.stage == Stage::Waits && other.queue == task.queue;
            beside && place(other).is_some_and(|p| Some(p) < place(task))
        };
        let position = place(task).filter(|_| task.stage == Stage::Waits);
        let position = position.map(|_| model.tasks.iter().filter(before).count() as u64);
        assert_eq!(told.position, position);
    }
    for waits in held::waits(&world.tasks, &world.policy, now) {
        let of_queue = |t: &&Entry| t.queue == usize::from(waits.queue.level());
        let waiting = model
            .tasks
            .iter()
            .filter(|t| t.stage == Stage::Waits)
            .filter(of_queue);
        let views = waiting.clone().count() as u64;
        assert_eq!(waits.waiting + waits.held, views);
    }
}

/// The core is woken when there is something to decide, and not before.
fn check_due(world: &mut World, model: &mut Model) {
    while dispatch(world, model).is_some() {}
    let Some(due) = next_due(&world.tasks, &world.policy, world.now()) else {
        return;
    };
    assert!(due > world.now(), "nothing is left to decide now");
    world.clock = due.0 - 1;
    assert!(model.startable(world.clock).is_empty() && model.perishing(world.clock).is_empty());
    assert_eq!(perish(&world.tasks, world.now()), None);
    assert_eq!(dispatch(world, model), None);
    world.clock = due.0;
    let perishes = perish(&world.tasks, world.now()).is_some();
    assert!(
        perishes || !model.startable(world.clock).is_empty(),
        "woken for nothing"
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn the_scheduler_agrees_with_a_list_of_tasks(
        max_running in 1_usize..6,
        history in happenings(),
    ) {
        let mut world = World {
            policy: policy(max_running),
            ..World::default()
        };
        let mut model = Model::new(max_running);
        for what in history {
            step(&mut world, &mut model, what);
            prop_assert_eq!(world.tasks.open_count(), model.open().count());
            prop_assert!(world.tasks.open_count() <= max_running);
        }
        check_told(&world, &model);
        let restored = Tasks::from_rows(&mut rows(&world.tasks).into_iter()).unwrap();
        prop_assert_eq!(rows(&restored), rows(&world.tasks));
        // What was restored decides alike, to the end.
        world.tasks = restored;
        check_told(&world, &model);
        check_due(&mut world, &mut model);
    }

    #[test]
    fn whatever_waits_is_run_in_the_end(
        max_running in 1_usize..6,
        history in happenings(),
    ) {
        let mut world = World {
            policy: policy(max_running),
            ..World::default()
        };
        let mut model = Model::new(max_running);
        for what in history {
            step(&mut world, &mut model, what);
        }
        for queue in Priority::ALL {
            if model.paused.contains(&usize::from(queue.level())) {
                step(&mut world, &mut model, Happening::Toggle(queue));
            }
        }
        for _ in 0..5000 {
            step(&mut world, &mut model, Happening::End(0, 0, 1));
            let started = dispatch(&mut world, &mut model);
            if started.is_none() && model.open().count() == 0 {
                let Some(due) = next_due(&world.tasks, &world.policy, world.now()) else {
                    break;
                };
                world.clock = due.0;
            }
        }
        let waiting = model.tasks.iter().filter(|t| t.stage == Stage::Waits);
        prop_assert_eq!(waiting.count(), 0);
    }
}

/// Every event of a task at every moment of its life: what the state does not allow is refused and
/// changes nothing, so that no history leads to a state that is none.
#[test]
fn impossible_transitions_are_refused_by_the_fold() {
    use super::impossible::{allowed, every_event, life};
    for stage in life() {
        for event in every_event() {
            let mut world = stage.world();
            let before = rows(&world.tasks);
            let applied = world.try_apply("t", &event);
            assert_eq!(
                applied.is_ok(),
                allowed(stage, &event),
                "{stage:?}: {event:?}"
            );
            if applied.is_err() {
                assert_eq!(rows(&world.tasks), before);
            }
        }
    }
}
