//! Jobs in the core: work of the node's own that ends with its node, and a clock that is set back.

use ledger_core::event::{Event, JobEvent, SkipReason};
use ledger_core::ids::{Id, Seq};
use ledger_core::store::LogReader;

use super::super::command::Command;
use super::world::{World, fold};

const SECOND: u64 = 1_000_000;
const HOUR: i64 = 3_600_000_000;

impl World {
    /// Turns and writes until nothing is left to do.
    pub(super) fn calm(&mut self) {
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

/// A world with those of three jobs whose bit is set.
fn world(seed: u64, bits: u64) -> World {
    let mut world = World::new(seed);
    world.failing = false;
    world.calm();
    let jobs = World::jobs_of(bits, 1);
    world.ask(Command::DefineJobs { jobs });
    world.calm();
    world
}

#[test]
fn what_the_node_did_itself_is_lost_with_it_and_done_again() {
    let mut world = world(11, 1);
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

fn runs(world: &World) -> usize {
    let events = world.job_events();
    let due = events.iter().filter(|e| matches!(e, JobEvent::Due(_)));
    due.count()
}

#[test]
fn a_clock_that_is_set_back_runs_nothing_twice() {
    let (mut world, job) = (world(12, 4), || Id::new("j2").unwrap());
    world.now += 3 * SECOND;
    world.calm();
    let before = runs(&world);
    assert!(before > 0);
    world.set_by = -2_000_000;
    world.calm();
    assert_eq!(
        runs(&world),
        before,
        "it waits until the clock has caught up"
    );
    // Asked to go on at once, it meets what it has run already, and leaves that out.
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

#[test]
fn an_interval_goes_on_though_the_clock_is_set_back() {
    let mut world = world(13, 1);
    world.now += SECOND;
    world.calm();
    let mut before = runs(&world);
    world.set_by = -HOUR;
    for _ in 0..100 {
        // The log's time goes slower, and nothing else.
        world.now += 2 * SECOND;
        world.calm();
        assert!(runs(&world) > before, "{before} runs");
        before = runs(&world);
    }
    world.heal(13);
    world.check(13);
}
