//! The core against fake ports: random histories from a seed, with slow and failing disks, lives
//! that end in the middle, processes that end, hang, vanish or were never begun.
//!
//! After each history everything is healed and must come to an end: every acknowledged task is in
//! the log and has ended, every attempt was begun at most once, nothing left the core before it
//! was durable, the chain verifies, terms rise, and folding the log gives the core's own state.
//! Each seed is run twice and must give the same history to the last hash.

use std::collections::{BTreeMap, BTreeSet};

use ledger_core::chain::{Batch, ChainKey, Head};
use ledger_core::codec;
use ledger_core::envelope::Origin;
use ledger_core::event::*;
use ledger_core::hash::Hash;
use ledger_core::ids::{Entity, Id, LedgerId, Seq, Uuid};
use ledger_core::store::memory::MemoryStore;
use ledger_core::store::{LogReader, LogWriter};
use ledger_core::time::{Micros, Millis, Timestamp};
use projections::framework::{Projection, rebuild, unwatched};
use projections::tasks::ProcessRef;

use super::command::*;
use super::core::{Core, CoreConfig};
use super::decision::Decision;
use super::ports::SeededRandom;
use crate::scheduler::decide::{EndResult, Ended};

const HISTORIES: u64 = 1000;
const STEPS: usize = 120;

/// What an attempt is, in the fake world.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Real {
    Running,
    Ended(i32),
    Vanished,
}

struct World {
    random: SeededRandom,
    ledger: LedgerId,
    store: MemoryStore,
    /// What is in the store, folded.
    mirror: Decision,
    core: Core,
    now: u64,
    life: u64,
    in_flight: Option<Batch>,
    inputs: Vec<Input>,
    attempts: BTreeMap<AttemptId, Real>,
    asked: BTreeMap<RequestId, Command>,
    next_request: u64,
    acknowledged: BTreeMap<Id, Seq>,
    cancelled: BTreeSet<AttemptId>,
    stopped: Option<StopReason>,
    failing: bool,
    trace: Vec<String>,
}

fn pick(random: &mut SeededRandom, below: u64) -> u64 {
    let bytes = random.draw();
    u64::from_le_bytes(bytes[..8].try_into().unwrap()) % below
}

fn fold(store: &MemoryStore) -> Decision {
    rebuild::<Decision>(store, None, &mut unwatched)
        .unwrap()
        .into_state()
}

fn start(
    store: &MemoryStore,
    ledger: LedgerId,
    seed: u64,
    life: u64,
    now: u64,
) -> (Core, Vec<Output>) {
    let mut seed_bytes = [0; 32];
    seed_bytes[..8].copy_from_slice(&seed.to_le_bytes());
    seed_bytes[8..16].copy_from_slice(&life.to_le_bytes());
    let config = CoreConfig {
        ledger,
        head: LogReader::head(store).unwrap(),
        state: fold(store),
        replay: Micros(0),
        max_running: 3,
        tenure: LeaseAcquired {
            holder: Id::new("n").unwrap(),
            pid: 1,
            boot_id: "boot".into(),
            incarnation: life.to_string(),
        },
        started: NodeStarted {
            software: "test".into(),
            host: "h".into(),
            max_running: 3,
        },
        random: Box::new(SeededRandom::new(seed_bytes)),
    };
    Core::start(
        Now {
            wall: Timestamp(now),
        },
        config,
    )
}

impl World {
    fn new(seed: u64) -> Self {
        let ledger = LedgerId(Uuid::from_u128(u128::from(seed)));
        let store = MemoryStore::new(ledger);
        let mut seed_bytes = [7; 32];
        seed_bytes[..8].copy_from_slice(&seed.to_le_bytes());
        let (core, first) = start(&store, ledger, seed, 0, 1_000_000);
        let mut world = Self {
            random: SeededRandom::new(seed_bytes),
            ledger,
            store,
            mirror: Decision::default(),
            core,
            now: 1_000_000,
            life: 0,
            in_flight: None,
            inputs: Vec::new(),
            attempts: BTreeMap::new(),
            asked: BTreeMap::new(),
            next_request: 0,
            acknowledged: BTreeMap::new(),
            cancelled: BTreeSet::new(),
            stopped: None,
            failing: true,
            trace: Vec::new(),
        };
        world.carry_out(first);
        world
    }

    fn durable(&self) -> Seq {
        LogReader::head(&self.store).unwrap().seq
    }

    fn ask(&mut self, command: Command) {
        self.next_request += 1;
        let id = RequestId(self.next_request);
        self.asked.insert(id, command.clone());
        let origin = Origin::of(Entity::new("uid/7").unwrap());
        self.inputs.push(Input::Request {
            id,
            origin,
            command,
        });
    }

    /// Something happens.
    fn stir(&mut self, seed: u64) {
        self.now += pick(&mut self.random, 5_000);
        match pick(&mut self.random, 16) {
            0..=4 => self.submit(),
            5 => self.cancel_something(),
            6 => self.retry_something(),
            7 => self.append_something(),
            8..=10 => self.end_something(),
            11..=13 => self.finish_append(),
            14 if self.failing && pick(&mut self.random, 4) == 0 => self.die(seed),
            _ => {}
        }
        // Sometimes several things arrive in one turn.
        if pick(&mut self.random, 3) > 0 {
            self.turn();
        }
    }

    fn submit(&mut self) {
        let n = pick(&mut self.random, 40);
        let key = (n % 5 == 0).then(|| Id::new(format!("k{}", n % 3)).unwrap());
        let argv = if n % 11 == 0 {
            Vec::new()
        } else {
            vec!["x".into()]
        };
        let task = TaskSubmitted {
            priority: Priority::ALL[usize::try_from(n % 3).unwrap()],
            payload: Payload::Exec(Exec {
                argv,
                env: BTreeMap::new(),
                cwd: None,
                stdin: None,
            }),
            max_runtime_ms: Millis(1000),
            grace_ms: Millis(10),
        };
        let task_id = (n % 4 > 0).then(|| Id::new(format!("t{n}")).unwrap());
        self.ask(Command::Submit { task_id, task, key });
    }

    fn some_task(&mut self) -> Option<Id> {
        let ids: Vec<Id> = self
            .core
            .state()
            .tasks
            .iter()
            .map(|t| t.id.clone())
            .collect();
        let len = u64::try_from(ids.len()).unwrap();
        (len > 0).then(|| ids[usize::try_from(pick(&mut self.random, len)).unwrap()].clone())
    }

    fn cancel_something(&mut self) {
        if let Some(task_id) = self.some_task() {
            self.ask(Command::AwaitEnd {
                task_id: task_id.clone(),
            });
            self.ask(Command::Cancel {
                task_id,
                reason: Some("enough".into()),
            });
        }
    }

    fn retry_something(&mut self) {
        if let Some(task_id) = self.some_task() {
            self.ask(Command::Retry { task_id });
        }
    }

    fn append_something(&mut self) {
        let size = usize::try_from(pick(&mut self.random, 70_000)).unwrap();
        let event = AppEvent {
            kind: "app.x".parse().unwrap(),
            subject: Entity::new("app/x").unwrap(),
            data: format!("{{\"a\":\"{}\"}}", "x".repeat(size)),
        };
        let expected_head =
            (size % 2 == 0).then(|| Seq(self.durable().0 + pick(&mut self.random, 2)));
        self.ask(Command::Append {
            events: vec![event.clone(), event],
            key: None,
            expected_head,
        });
    }

    fn end_something(&mut self) {
        let running: Vec<_> = self
            .attempts
            .iter()
            .filter(|(_, real)| **real == Real::Running)
            .map(|(id, _)| id.clone())
            .collect();
        let len = u64::try_from(running.len()).unwrap();
        if len == 0 {
            return;
        }
        let id = running[usize::try_from(pick(&mut self.random, len)).unwrap()].clone();
        let real = match pick(&mut self.random, 5) {
            0 if self.failing => Real::Vanished,
            1 => Real::Ended(3),
            _ => Real::Ended(0),
        };
        self.attempts.insert(id.clone(), real);
        self.report(&id);
    }

    /// Tells the core what is so.
    fn report(&mut self, id: &AttemptId) {
        let attempt = id.clone();
        self.inputs.push(match self.attempts.get(id) {
            None => Input::Unstarted(attempt),
            Some(Real::Running) => Input::Started {
                attempt,
                process: process(id),
            },
            Some(Real::Ended(code)) => {
                let cause = self
                    .cancelled
                    .contains(id)
                    .then_some((LadderCause::Cancel, vec![]));
                Input::Ended {
                    attempt,
                    outcome: Box::new(outcome(id, *code, cause)),
                }
            }
            Some(Real::Vanished) => Input::Lost {
                attempt,
                reason: "gone".into(),
                orphans_ended: 0,
            },
        });
    }

    fn write(&mut self, batch: &Batch) -> Head {
        for (bytes, _) in batch.events() {
            let event = codec::decode(bytes).unwrap();
            self.mirror
                .apply(&event.header, &Event::decode(&event).unwrap())
                .unwrap();
        }
        self.store.append(batch).unwrap()
    }

    fn finish_append(&mut self) {
        let Some(batch) = self.in_flight.take() else {
            return;
        };
        if self.failing && pick(&mut self.random, 40) == 0 {
            // The disk may have taken it or not; the core can't know.
            if pick(&mut self.random, 2) == 0 {
                self.write(&batch);
            }
            self.inputs
                .push(Input::AppendFailed(AppendFailure::Io("broken".into())));
            return;
        }
        let head = self.write(&batch);
        self.inputs.push(Input::Durable(head));
    }

    /// The node is killed: what is in memory is gone, what is in flight may be on disk or not.
    fn die(&mut self, seed: u64) {
        if let Some(batch) = self.in_flight.take()
            && pick(&mut self.random, 2) == 0
        {
            self.write(&batch);
        }
        self.reborn(seed);
    }

    fn reborn(&mut self, seed: u64) {
        self.life += 1;
        self.inputs.clear();
        self.asked.clear();
        self.stopped = None;
        let (core, first) = start(&self.store, self.ledger, seed, self.life, self.now);
        self.core = core;
        self.carry_out(first);
    }

    fn turn(&mut self) {
        let inputs = std::mem::take(&mut self.inputs);
        let outputs = self.core.step(
            Now {
                wall: Timestamp(self.now),
            },
            inputs,
        );
        self.carry_out(outputs);
    }

    fn carry_out(&mut self, outputs: Vec<Output>) {
        for output in outputs {
            match output {
                Output::Append(batch) => {
                    assert!(self.in_flight.is_none(), "one batch at a time");
                    assert!(!batch.is_empty());
                    self.in_flight = Some(batch);
                }
                Output::Reply { id, result } => self.replied(id, result),
                Output::Start(order) => self.begin(&order.attempt),
                Output::Recover(order, boot) => {
                    assert_eq!(boot, BootOfOrder::Current);
                    self.report(&order.attempt);
                    self.begin_if_unstarted(&order.attempt);
                }
                Output::Cancel(id) => {
                    assert!(self.ordered(&id), "cancel before its event was durable");
                    self.cancelled.insert(id.clone());
                    if self.attempts.get(&id) == Some(&Real::Running) {
                        self.attempts.insert(id.clone(), Real::Ended(0));
                        self.report(&id);
                    }
                }
                Output::Stopped(reason) => self.stopped = Some(reason),
            }
        }
    }

    /// Whether the order for an attempt is in the log.
    fn ordered(&self, id: &AttemptId) -> bool {
        self.mirror.tasks.get(&id.task).is_some_and(|task| {
            task.run().is_some_and(|run| run.attempt == id.attempt)
                || task
                    .attempts
                    .iter()
                    .any(|record| record.attempt == id.attempt)
        })
    }

    fn begin(&mut self, id: &AttemptId) {
        assert!(self.ordered(id), "started before its order was durable");
        let before = self.attempts.insert(id.clone(), Real::Running);
        assert_eq!(before, None, "{id:?} was started twice");
        self.report(id);
    }

    fn begin_if_unstarted(&mut self, id: &AttemptId) {
        if !self.attempts.contains_key(id) {
            self.begin(id);
        }
    }

    fn replied(&mut self, id: RequestId, result: Result<Reply, Rejected>) {
        let command = self
            .asked
            .remove(&id)
            .expect("every request is answered once");
        self.trace.push(format!("{id:?} {result:?}"));
        match result {
            Ok(Reply::Submitted { task_id, head, .. }) => {
                assert!(
                    head.seq <= self.durable(),
                    "acknowledged before it was durable"
                );
                self.acknowledged.insert(task_id, head.seq);
            }
            Ok(Reply::Recorded(head) | Reply::Unchanged(head)) => {
                assert!(
                    head.seq <= self.durable(),
                    "acknowledged before it was durable"
                );
            }
            Ok(Reply::Replayed(seq)) => {
                assert!(seq <= self.durable(), "acknowledged before it was durable");
                assert!(matches!(command, Command::Submit { key: Some(_), .. }));
            }
            Ok(Reply::TaskEnded(view)) => {
                let closed = view
                    .attempts
                    .last()
                    .map_or(view.submitted, |last| last.closed);
                assert!(
                    closed <= self.durable(),
                    "an end was told before it was durable"
                );
                assert!(view.ended_at.is_some());
            }
            Err(Rejected::TooLarge(_)) => assert!(matches!(command, Command::Append { .. })),
            Err(_) => {}
        }
    }

    /// No more faults: everything that was accepted must come to its end.
    fn heal(&mut self, seed: u64) {
        self.failing = false;
        for _ in 0..10_000 {
            if self.stopped.is_some() {
                self.in_flight = None;
                self.reborn(seed);
            }
            self.end_something();
            self.finish_append();
            self.turn();
            let tasks = &self.core.state().tasks;
            let idle = self.in_flight.is_none() && self.inputs.is_empty();
            if idle && self.stopped.is_none() && tasks.iter().all(|t| t.is_ended()) {
                return;
            }
        }
        panic!("seed {seed}: the history does not come to its end");
    }

    fn check(&self, seed: u64) {
        let durable = fold(&self.store);
        for (task, seq) in &self.acknowledged {
            let task = durable.tasks.get(task);
            let task = task.unwrap_or_else(|| panic!("seed {seed}: an acknowledged task is gone"));
            assert_eq!(task.submitted, *seq);
            assert!(task.is_ended(), "seed {seed}: {} has not ended", task.id);
        }
        assert_eq!(
            rows(&durable),
            rows(self.core.state()),
            "seed {seed}: the fold differs"
        );
        let key = ChainKey::new(self.ledger);
        let mut prev = Hash::ZERO;
        let mut term = None;
        for block in self.store.blocks(Seq::FIRST).unwrap() {
            let block = block.unwrap();
            assert_eq!(block.prev_hash(), prev);
            block.check(&key).unwrap();
            prev = block.last_hash();
            for event in block.events() {
                let header = event.unwrap().header;
                if Some(header.term) != term {
                    assert!(term.is_none_or(|before| header.term > before));
                    assert_eq!(
                        header.kind, "lease.acquired",
                        "a term begins with its lease"
                    );
                    term = Some(header.term);
                }
            }
        }
    }
}

fn rows(state: &Decision) -> Vec<(String, String)> {
    let mut rows = Vec::new();
    state.rows(&mut |key, value| rows.push((key.to_owned(), value.to_owned())));
    rows
}

fn process(id: &AttemptId) -> ProcessRef {
    ProcessRef {
        pid: i32::try_from(id.attempt.0).unwrap(),
        start_time: 1,
        boot_id: format!("boot-{}", id.task),
        shim_pid: 1,
        shim_start_time: 1,
    }
}

fn outcome(id: &AttemptId, code: i32, ladder: Option<(LadderCause, Vec<LadderStep>)>) -> Ended {
    let stream = StreamDigest {
        bytes: 0,
        blake3: Hash::of(b""),
        tail: String::new(),
        dropped_bytes: 0,
        error: None,
    };
    Ended {
        process: Some(process(id)),
        result: EndResult::Ran(ProcessEnd::Exited { code }),
        ladder,
        runtime_us: Micros(5),
        usage: Usage::default(),
        outputs: Outputs {
            stdout: stream.clone(),
            stderr: stream,
        },
    }
}

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
fn thousands_of_commands_share_a_batch() {
    let mut world = World::new(3);
    world.failing = false;
    world.finish_append();
    for i in 0..3000 {
        let event = AppEvent {
            kind: "app.x".parse().unwrap(),
            subject: Entity::new("app/x").unwrap(),
            data: format!("{{\"i\":{i}}}"),
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
