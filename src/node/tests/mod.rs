//! The core against fake ports: random histories from a seed, with slow and failing disks, lives
//! that end in the middle, processes that end, hang, vanish or were never begun.
//!
//! After each history everything is healed and must come to an end: every acknowledged task is in
//! the log and has ended, every attempt was begun at most once, nothing left the core before it
//! was durable, the chain verifies, terms rise, and folding the log gives the core's own state.
//! Each seed is run twice and must give the same history to the last hash.

mod checks;
mod clock;
mod jobs;
mod world;

use ledger_core::chain::Head;
use ledger_core::ids::Entity;
use ledger_core::store::LogReader;

use super::command::{AppEvent, AppendFailure, AttemptId, Command, Input, StopReason};
use world::{World, fold};

const HISTORIES: u64 = 1000;
const STEPS: usize = 120;

/// One history; returns where it ends and everything that was answered.
fn history(seed: u64) -> (Head, Vec<String>) {
    let mut world = World::new(seed);
    for _ in 0..STEPS {
        if world.stopped.is_some() {
            world.in_flight = None;
            world.reborn(seed);
        }
        world.stir(seed);
    }
    world.heal(seed);
    world.check(seed);
    (LogReader::head(&world.store).unwrap(), world.trace)
}

#[test]
fn a_thousand_random_histories_hold_and_repeat() {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let threads = u64::try_from(threads).unwrap();
    std::thread::scope(|scope| {
        for first in 0..threads {
            scope.spawn(move || {
                for seed in (first..HISTORIES).step_by(usize::try_from(threads).unwrap()) {
                    assert_eq!(history(seed), history(seed), "seed {seed} does not repeat");
                }
            });
        }
    });
}

#[test]
fn a_failed_append_ends_the_core_and_answers_everyone() {
    let mut world = World::new(1);
    world.failing = false;
    world.finish_append();
    world.turn();
    world.submit();
    world.turn();
    world
        .inputs
        .push(Input::AppendFailed(AppendFailure::Full("no space".into())));
    world.turn();
    assert_eq!(
        world.stopped,
        Some(StopReason::AppendFailed(AppendFailure::Full(
            "no space".into()
        )))
    );
    assert!(world.asked.is_empty(), "whoever waited was answered");
    assert!(
        world.trace.last().unwrap().contains("NotLeading"),
        "{:?}",
        world.trace
    );
    world.submit();
    world.turn();
    assert!(
        world.asked.is_empty(),
        "whoever comes later is answered too"
    );
}

#[test]
fn a_core_whose_state_is_not_what_the_ledger_says_stops_and_writes_nothing_more() {
    let mut world = World::new(1);
    world.failing = false;
    world.finish_append();
    world.turn();
    world.submit();
    world.inputs.push(Input::Diverged("tasks".into()));
    world.turn();
    assert_eq!(world.stopped, Some(StopReason::Diverged("tasks".into())));
    assert!(world.asked.is_empty(), "whoever waited was answered");
}

#[test]
fn shutting_down_releases_the_lease_after_everything_is_durable() {
    let mut world = World::new(2);
    world.failing = false;
    world.inputs.push(Input::Shutdown);
    world.turn();
    assert_eq!(world.stopped, None, "nothing is durable yet");
    world.finish_append();
    world.turn();
    world.finish_append();
    world.turn();
    assert_eq!(world.stopped, Some(StopReason::Shutdown));
    let state = fold(&world.store);
    assert!(state.leases.latest().is_some() && state.leases.open().is_none());
}

#[test]
fn what_is_reported_while_it_stops_is_left_to_the_next_life() {
    let mut world = World::new(4);
    world.failing = false;
    for _ in 0..20 {
        world.submit();
        world.turn();
        world.finish_append();
    }
    let task = world.core.state().tasks.open().next().unwrap();
    let attempt = AttemptId {
        task: task.id.clone(),
        attempt: task.run().unwrap().attempt,
    };
    world.inputs.push(Input::Shutdown);
    world.inputs.push(Input::Lost {
        attempt,
        reason: "gone".into(),
        orphans_ended: 0,
    });
    for _ in 0..4 {
        world.turn();
        world.finish_append();
    }
    assert_eq!(world.stopped, Some(StopReason::Shutdown));
    assert!(fold(&world.store).leases.open().is_none());
    assert_eq!(world.check_lives(4), ["task", "attempt", "process"]);
}

#[test]
fn thousands_of_commands_share_a_batch() {
    let mut world = World::new(3);
    world.failing = false;
    world.finish_append();
    for i in 0..3000 {
        let event = AppEvent {
            kind: "app.x".parse().unwrap(),
            subject: Entity::new("app/x").unwrap(),
            data: format!("{{\"i\":{i}}}"),
            expected: None,
        };
        world.ask(Command::Append {
            events: vec![event],
            key: None,
            expected_head: None,
        });
    }
    world.turn();
    let batches = std::iter::from_fn(|| {
        let had = world.in_flight.is_some();
        world.finish_append();
        world.turn();
        had.then_some(())
    });
    assert!(batches.count() <= 2);
    assert!(world.asked.is_empty());
}
