//! A wall clock that is set while the core works, or between two of its lives: what would expire by
//! that alone waits for a second reading, and what only takes its time goes on.

use ledger_core::event::{Event, NodeEvent, Priority, Settled, TaskSubmitted, Terms};
use ledger_core::ids::{Id, Seq};
use ledger_core::store::LogReader;
use ledger_core::time::Millis;
use projections::tasks::StateName;

use super::super::command::Command;
use super::world::{World, builtin, fold};

const MINUTE: u64 = 60_000_000;
const HOUR: i64 = 3_600_000_000;

impl World {
    /// A world in which one queue is held, and in it a task that expires in half an hour.
    fn with_one_that_expires(seed: u64) -> Self {
        let mut world = Self::new(seed);
        world.failing = false;
        world.calm();
        let (queue, reason) = (Priority::Standard, None);
        world.ask(Command::PauseQueue { queue, reason });
        let expires_at = Some(world.time().wall.plus(Millis(1_800_000)));
        let terms = Terms {
            expires_at,
            ..Terms::default()
        };
        world.ask(Command::Submit {
            task_id: Id::new("brief").ok(),
            task: TaskSubmitted {
                priority: queue,
                payload: builtin(),
                max_runtime_ms: Millis(1000),
                grace_ms: Millis(10),
                terms: Some(Box::new(terms)),
            },
            key: None,
        });
        world.calm();
        assert_eq!(world.state_of("brief"), StateName::Queued);
        world
    }

    fn state_of(&self, task: &str) -> StateName {
        fold(&self.store).tasks.get(task).unwrap().view().state
    }

    /// What was said of the clock.
    fn clock_events(&self) -> Vec<&'static str> {
        let blocks = self.store.blocks(Seq::FIRST).unwrap();
        let mut found = Vec::new();
        for block in blocks.map(Result::unwrap) {
            let events = block.events().map(|event| Event::decode(&event.unwrap()));
            found.extend(events.filter_map(|event| match event.unwrap() {
                Event::Node(NodeEvent::ClockStepped(_)) => Some("stepped"),
                Event::Node(NodeEvent::ClockSettled(settled)) => Some(match settled.outcome {
                    Settled::Followed => "followed",
                    Settled::Reverted => "reverted",
                }),
                _ => None,
            }));
        }
        found
    }

    /// Waits for what the core itself waits for.
    fn wait(&mut self) {
        let wait = self.core.next_due(self.time()).unwrap();
        self.now += wait.0;
        self.calm();
    }
}

#[test]
fn what_expires_by_a_step_alone_waits_for_a_second_reading() {
    let mut world = World::with_one_that_expires(21);
    world.set_by = HOUR;
    world.calm();
    assert_eq!(world.clock_events(), ["stepped"]);
    world.now += MINUTE - 1;
    world.calm();
    assert_eq!(world.state_of("brief"), StateName::Queued);
    world.wait();
    assert_eq!(world.clock_events(), ["stepped", "followed"]);
    assert_eq!(world.state_of("brief"), StateName::Dead);
    world.heal(21);
    world.check(21);
}

#[test]
fn a_step_that_is_taken_back_expires_nothing() {
    let mut world = World::with_one_that_expires(22);
    world.set_by = HOUR;
    world.calm();
    world.set_by = 0;
    world.wait();
    assert_eq!(world.clock_events(), ["stepped", "reverted"]);
    assert_eq!(world.state_of("brief"), StateName::Queued);
    world.heal(22);
    world.check(22);
}

#[test]
fn a_clock_that_is_set_back_gives_what_expires_its_hour() {
    let mut world = World::with_one_that_expires(23);
    world.set_by = -HOUR;
    world.calm();
    world.wait();
    assert_eq!(world.clock_events(), ["stepped", "followed"]);
    // Half an hour and the one that the clock was set back.
    world.now += 88 * MINUTE;
    world.calm();
    assert_eq!(world.state_of("brief"), StateName::Queued);
    world.wait();
    assert_eq!(world.state_of("brief"), StateName::Dead);
    world.heal(23);
    world.check(23);
}

#[test]
fn a_step_that_no_node_saw_is_seen_by_the_next() {
    let mut world = World::with_one_that_expires(24);
    world.set_by = HOUR;
    world.reborn(24);
    world.calm();
    assert_eq!(world.clock_events(), ["stepped"]);
    assert_eq!(world.state_of("brief"), StateName::Queued);
    // Dying settles nothing.
    world.reborn(24);
    world.calm();
    assert_eq!(world.clock_events(), ["stepped", "stepped"]);
    assert_eq!(world.state_of("brief"), StateName::Queued);
    world.wait();
    assert_eq!(world.clock_events(), ["stepped", "stepped", "followed"]);
    world.reborn(24);
    world.calm();
    assert_eq!(world.clock_events().len(), 3, "it has settled for good");
    world.heal(24);
    world.check(24);
}
