//! The fake world around the core: a disk that is slow or fails, processes that end, hang, vanish or
//! were never begun, and lives that end in the middle. What must always hold is asserted here.

mod asking;

use std::collections::{BTreeMap, BTreeSet};

use ledger_core::chain::{Batch, Head};
use ledger_core::codec;
use ledger_core::envelope::Origin;
use ledger_core::event::*;
use ledger_core::hash::Hash;
use ledger_core::ids::{Entity, Id, LedgerId, Seq, Uuid};
use ledger_core::store::memory::MemoryStore;
use ledger_core::store::{LogReader, LogWriter};
use ledger_core::time::{Micros, Timestamp};
use projections::framework::{Projection, rebuild, unwatched};
use projections::tasks::ProcessRef;

use super::super::command::*;
use super::super::core::{Core, CoreConfig, Restored};
use super::super::decision::Decision;
use super::super::ports::SeededRandom;
use crate::scheduler::decide::{EndResult, Ended};
use crate::scheduler::policy::{Policy, Rate};

/// What an attempt is, in the fake world.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Real {
    Running,
    Ended(i32),
    Vanished,
}

/// When the host was booted.
const BOOTED: u64 = 1_700_000_000_000_000;

pub(super) struct World {
    pub(super) random: SeededRandom,
    pub(super) ledger: LedgerId,
    pub(super) store: MemoryStore,
    /// What is in the store, folded.
    pub(super) mirror: Decision,
    pub(super) core: Core,
    /// Time since boot.
    pub(super) now: u64,
    /// How far the wall clock was set.
    pub(super) set_by: i64,
    pub(super) life: u64,
    pub(super) in_flight: Option<Batch>,
    pub(super) inputs: Vec<Input>,
    attempts: BTreeMap<AttemptId, Real>,
    pub(super) asked: BTreeMap<RequestId, Command>,
    pub(super) next_request: u64,
    pub(super) acknowledged: BTreeMap<Id, Seq>,
    /// What applications were told is recorded, with the last event of each append.
    pub(super) appended: Vec<(Seq, Vec<AppEvent>)>,
    pub(super) cancelled: BTreeSet<AttemptId>,
    pub(super) stopped: Option<StopReason>,
    pub(super) failing: bool,
    pub(super) trace: Vec<String>,
}

fn pick(random: &mut SeededRandom, below: u64) -> u64 {
    let bytes = random.draw();
    u64::from_le_bytes(bytes[..8].try_into().unwrap()) % below
}

pub(super) fn fold(store: &MemoryStore) -> Decision {
    rebuild::<Decision>(store, None, &mut unwatched)
        .unwrap()
        .into_state()
}

fn start(
    store: &MemoryStore,
    ledger: LedgerId,
    seed: u64,
    life: u64,
    now: Now,
) -> (Core, Vec<Output>) {
    let mut seed_bytes = [0; 32];
    seed_bytes[..8].copy_from_slice(&seed.to_le_bytes());
    seed_bytes[8..16].copy_from_slice(&life.to_le_bytes());
    let config = CoreConfig {
        ledger,
        head: LogReader::head(store).unwrap(),
        state: fold(store),
        restored: Restored::default(),
        policy: policy(),
        tenure: LeaseAcquired {
            holder: Id::new("n").unwrap(),
            pid: 1,
            start_time: None,
            boot_id: "boot".into(),
            incarnation: life.to_string(),
        },
        ended: None,
        started: NodeStarted {
            software: "test".into(),
            host: "h".into(),
            max_running: 3,
            clock: None,
        },
        random: Box::new(SeededRandom::new(seed_bytes)),
    };
    Core::start(now, config)
}

fn policy() -> Policy {
    let rate = Rate {
        interval: Micros(3_000),
        burst: 2,
    };
    Policy {
        max_running: 3,
        rates: BTreeMap::from([(Id::new("r").unwrap(), rate)]),
        ..Policy::default()
    }
}

impl World {
    pub(super) fn new(seed: u64) -> Self {
        let ledger = LedgerId(Uuid::from_u128(u128::from(seed)));
        let store = MemoryStore::new(ledger);
        let mut seed_bytes = [7; 32];
        seed_bytes[..8].copy_from_slice(&seed.to_le_bytes());
        let now = Now {
            wall: Timestamp(BOOTED + 1_000_000),
            boot: Micros(1_000_000),
        };
        let (core, first) = start(&store, ledger, seed, 0, now);
        let mut world = Self {
            random: SeededRandom::new(seed_bytes),
            ledger,
            store,
            mirror: Decision::default(),
            core,
            now: 1_000_000,
            set_by: 0,
            life: 0,
            in_flight: None,
            inputs: Vec::new(),
            attempts: BTreeMap::new(),
            asked: BTreeMap::new(),
            next_request: 0,
            acknowledged: BTreeMap::new(),
            appended: Vec::new(),
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

    pub(super) fn ask(&mut self, command: Command) {
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
    pub(super) fn stir(&mut self, seed: u64) {
        self.now += pick(&mut self.random, 5_000);
        match pick(&mut self.random, 20) {
            0..=4 => self.submit(),
            5 => self.cancel_something(),
            6 => self.retry_something(),
            7 => self.append_something(),
            8..=10 => self.end_something(),
            11..=13 => self.finish_append(),
            14 if self.failing && pick(&mut self.random, 4) == 0 => self.die(seed),
            15 => self.inputs.push(Input::Hold),
            16 => self.define_jobs(),
            17 => self.now += pick(&mut self.random, 4_000_000),
            18 if self.failing && pick(&mut self.random, 8) == 0 => self.set_clock(),
            18 | 19 => self.steer_something(),
            _ => {}
        }
        // Sometimes several things arrive in one turn.
        if pick(&mut self.random, 3) > 0 {
            self.turn();
        }
    }

    /// Somebody sets the wall clock, by up to two hours; it stays so for a while or for good.
    fn set_clock(&mut self) {
        let by = pick(&mut self.random, 14_400_000_000);
        self.set_by = match pick(&mut self.random, 3) {
            0 => 0,
            _ => i64::try_from(by).unwrap() - 7_200_000_000,
        };
        self.now += pick(&mut self.random, 90_000_000);
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

    pub(super) fn finish_append(&mut self) {
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

    pub(super) fn reborn(&mut self, seed: u64) {
        self.life += 1;
        self.inputs.clear();
        self.asked.clear();
        self.stopped = None;
        let (core, first) = start(&self.store, self.ledger, seed, self.life, self.time());
        self.core = core;
        self.carry_out(first);
    }

    pub(super) fn time(&self) -> Now {
        Now {
            wall: Timestamp((BOOTED + self.now).saturating_add_signed(self.set_by)),
            boot: Micros(self.now),
        }
    }

    pub(super) fn turn(&mut self) {
        let inputs = std::mem::take(&mut self.inputs);
        let outputs = self.core.step(self.time(), inputs);
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
                Output::Do(order) => self.begin_builtin(&order.attempt),
                Output::Recover(order, boot) => {
                    assert_eq!(boot, BootOfOrder::Current);
                    self.report(&order.attempt);
                    self.begin_if_unstarted(&order.attempt);
                }
                Output::Settled(id) => {
                    assert!(self.ended(&id), "settled before its end was durable");
                }
                Output::Cancel(id) => {
                    assert!(self.ordered(&id), "cancel before its event was durable");
                    self.cancelled.insert(id.clone());
                    if self.attempts.get(&id) == Some(&Real::Running) {
                        self.attempts.insert(id.clone(), Real::Ended(0));
                        self.report(&id);
                    }
                }
                // Nobody asks for a process of others in this world.
                Output::Watch(_) | Output::Unwatch(_) | Output::Reap(_) => {
                    panic!("nothing is watched here")
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

    /// Whether the end of an attempt is in the log.
    fn ended(&self, id: &AttemptId) -> bool {
        self.mirror.tasks.get(&id.task).is_some_and(|task| {
            let mut records = task.attempts.iter();
            records.any(|record| record.attempt == id.attempt)
        })
    }

    fn begin(&mut self, id: &AttemptId) {
        assert!(self.ordered(id), "started before its order was durable");
        let before = self.attempts.insert(id.clone(), Real::Running);
        assert_eq!(before, None, "{id:?} was started twice");
        self.report(id);
    }

    /// What the node does itself ends well at once, unless its life ends first.
    fn begin_builtin(&mut self, id: &AttemptId) {
        assert!(self.ordered(id), "done before its order was durable");
        let before = self.attempts.insert(id.clone(), Real::Ended(0));
        assert_eq!(before, None, "{id:?} was done twice");
        self.inputs.push(Input::Ended {
            attempt: id.clone(),
            outcome: Box::new(Ended {
                process: None,
                ..outcome(id, 0, None)
            }),
        });
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
                if let Command::Append { events, .. } = command {
                    self.appended.push((head.seq, events));
                }
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
            Err(Rejected::Version {
                expected, actual, ..
            }) => assert_ne!(expected, actual),
            Err(Rejected::TooLarge(_)) => assert!(matches!(command, Command::Append { .. })),
            Err(_) => {}
        }
    }

    /// No more faults and no more jobs, for those never end by themselves: everything that was
    /// accepted must come to its end.
    pub(super) fn heal(&mut self, seed: u64) {
        self.failing = false;
        for _ in 0..10_000 {
            if self.stopped.is_some() {
                self.in_flight = None;
                self.reborn(seed);
            }
            self.end_something();
            self.finish_append();
            for queue in Priority::ALL {
                if self.core.state().tasks.pause(queue).is_some() {
                    let reason = None;
                    self.ask(Command::ResumeQueue { queue, reason });
                }
            }
            let jobs = &self.core.state().jobs;
            if jobs.iter().any(|job| job.definition.is_some()) {
                let jobs = BTreeMap::new();
                self.ask(Command::DefineJobs { jobs });
            }
            self.turn();
            // Nothing happens any more but what the clock brings.
            if let Some(wait) = self.core.next_due(self.time()) {
                self.now += wait.0;
            }
            // On disk as well: what a turn held back is written in the next.
            let ended = |state: &Decision| state.tasks.iter().all(|t| t.is_ended());
            let all_ended = ended(self.core.state()) && ended(&self.mirror);
            let idle = self.in_flight.is_none() && self.inputs.is_empty();
            if idle && self.stopped.is_none() && all_ended {
                return;
            }
        }
        panic!("seed {seed}: the history does not come to its end");
    }
}

pub(super) fn builtin() -> Payload {
    Payload::Builtin(Builtin {
        job: BuiltinJob::HealthCheck,
    })
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
