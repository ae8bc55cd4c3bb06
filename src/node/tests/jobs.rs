//! Jobs in the core: work of the node's own that ends with its node, and a clock that is set back.

use ledger_core::event::{Event, JobEvent, SkipReason};
use ledger_core::ids::{Id, Seq};
use ledger_core::store::LogReader;

use super::super::command::Command;
use super::world::{World, fold};

const SECOND: u64 = 1_000_000;

impl World {
    /// Turns and writes until nothing is left to do.
    fn calm(&mut self) {
        for _ in 0..8 {
            self.turn();
            self.finish_append();
        }
    }

    fn job_events(&self) -> Vec<JobEvent> {
        let blocks = self.store.blocks(Seq::FIRST).unwrap();
        let mut found = Vec::new();
        for block in blocks.map(Result::unwrap) {
            let events = block.events().map(|event| Event::decode(&event.unwrap()));
            found.extend(events.filter_map(|event| match event {
                Ok(Event::Job(event)) => Some(event),
                _ => None,
            }));
        }
        found
    }
}

fn world(seed: u64) -> World {
    let mut world = World::new(seed);
    world.failing = false;
    world.calm();
    let jobs = World::jobs_of(1, 1);
    world.ask(Command::DefineJobs { jobs });
    world.calm();
    world
}

#[test]
fn what_the_node_did_itself_is_lost_with_it_and_done_again() {
    let mut world = world(11);
    let job = Id::new("j0").unwrap();
    world.ask(Command::TriggerJob { job });
    // Ordered, durable and begun; its end never arrives.
    for _ in 0..8 {
        world.turn();
        if world.core.state().tasks.open_count() == 1 && !world.inputs.is_empty() {
            let begun = fold(&world.store).tasks.open_count();
            if begun == 1 {
                break;
            }
        }
        world.finish_append();
    }
    assert_eq!(fold(&world.store).tasks.open_count(), 1);
    world.in_flight = None;
    world.reborn(11);
    world.heal(11);
    let state = fold(&world.store);
    let task = state.tasks.iter().next().unwrap();
    assert!(task.is_ended());
    assert_eq!((task.attempts.len(), task.lost), (2, 1));
    world.check(11);
}

#[test]
fn a_clock_that_is_set_back_runs_nothing_twice() {
    let mut world = world(12);
    world.now += 3 * SECOND;
    world.calm();
    let runs = |world: &World| {
        let events = world.job_events();
        events
            .iter()
            .filter(|e| matches!(e, JobEvent::Due(_)))
            .count()
    };
    let before = runs(&world);
    assert!(before > 0);
    world.now -= 2 * SECOND;
    world.calm();
    assert_eq!(
        runs(&world),
        before,
        "it waits until the clock has caught up"
    );
    // Asked to go on at once, it meets what it has run already, and leaves that out.
    let job = || Id::new("j0").unwrap();
    world.ask(Command::PauseJob {
        job: job(),
        reason: None,
    });
    world.ask(Command::ResumeJob { job: job() });
    for _ in 0..4 {
        world.now += SECOND;
        world.calm();
    }
    let repeated = |e: &JobEvent| matches!(e, JobEvent::Skipped(skipped) if skipped.reason == SkipReason::Repeated);
    assert!(world.job_events().iter().any(repeated));
    assert!(runs(&world) > before);
    world.heal(12);
    world.check(12);
}
