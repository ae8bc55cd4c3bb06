//! Tasks from submit to their end without any process: what deciding, appending and folding allow,
//! beside a store that is only given the same events in the same batches.
//!
//! The core of a node is turned as its own thread turns it: what has arrived is decided, one batch
//! is appended with one sync, and only then are orders carried out and replies given. The world
//! outside is left out: a process that is ordered has started and ended at once, and submitters
//! are not connected through a socket.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use ledger_core::chain::{Batch, BatchBuilder, ChainKey};
use ledger_core::clock;
use ledger_core::codec;
use ledger_core::envelope::{Draft, Origin};
use ledger_core::event::{
    Exec, LeaseAcquired, NodeStarted, Outputs, Payload, Priority, ProcessEnd, StreamDigest,
    TaskSubmitted, Usage,
};
use ledger_core::hash::Hash;
use ledger_core::ids::{Entity, Id, Term};
use ledger_core::store::durable::DurableStore;
use ledger_core::store::{LogReader, LogWriter};
use ledger_core::time::{Micros, Millis};
use opsledger::node::command::{AttemptId, Command, Input, Output, Reply, RequestId};
use opsledger::node::core::{Core, CoreConfig, Restored};
use opsledger::node::decision::Decision;
use opsledger::node::ports::{self, SeededRandom};
use opsledger::scheduler::decide::{EndResult, Ended};
use opsledger::scheduler::policy::Policy;
use projections::framework::rebuild;
use projections::tasks::ProcessRef;

use crate::comparison::{Bar, Comparison, params};
use crate::error::{Context, Failure};
use crate::rounds::{Contestant, interleave};
use crate::samples;
use crate::settings::Settings;

/// Submitters, each of which waits for the end of a task before it submits the next.
const SUBMITTERS: [usize; 2] = [1, 64];
/// Tasks that are to end in a second, with the most submitters.
const RATE: f64 = 30_000.0;
/// Or so much of what the store does with the same events.
const BAR: f64 = 0.5;
/// Batches that the store is given again, from their beginning if they run out.
const KEPT: usize = 2_000;

/// Compares a core with the store below it.
///
/// # Errors
/// The first [`Failure`].
pub(crate) fn compare(dir: &Path, settings: &Settings) -> Result<Vec<Comparison>, Failure> {
    let mut comparisons = Vec::new();
    for submitters in SUBMITTERS {
        let recorded = run(dir, submitters, settings.span)?;
        let mut ended = Vec::new();
        let mut contestants = [
            Contestant::new("ours", || {
                let run = run(dir, submitters, settings.span)?;
                ended.push(run.rate(run.ended));
                Ok(run.rate(run.events))
            }),
            Contestant::new("store", || again(dir, &recorded.batches, settings.span)),
        ];
        let figure = format!("tasks, {submitters} submitters");
        let figures = interleave(&figure, settings.rounds, &mut contestants)?;
        drop(contestants);
        let row = |unit, ours: &[f64], theirs, bar| {
            let params = params([("submitters", submitters.into())]);
            Comparison::of_rounds(("tasks", unit), params, ours, theirs, bar)
        };
        let bar = Some(Bar::AtLeast(BAR));
        comparisons.push(row("events/s", &figures[0], ("store", &figures[1]), bar));
        if submitters > 1 {
            let limit = vec![RATE; ended.len()];
            comparisons.push(row("tasks/s", &ended, ("aim", &limit), None));
        }
    }
    Ok(comparisons)
}

/// What came of a run.
struct Run {
    span: Duration,
    ended: u64,
    events: u64,
    /// The first batches.
    batches: Vec<Batch>,
}

impl Run {
    #[expect(
        clippy::cast_precision_loss,
        reason = "far fewer than 2^52 of anything"
    )]
    fn rate(&self, count: u64) -> f64 {
        count as f64 / self.span.as_secs_f64()
    }
}

/// Turns a core for a while, each round in a ledger of its own.
fn run(dir: &Path, submitters: usize, span: Duration) -> Result<Run, Failure> {
    let home = tempfile::tempdir_in(dir).context("making a directory for a ledger")?;
    let store = samples::create_durable(home.path())?;
    let (mut world, mut inputs) = World::start(store, submitters)?;
    let begun = Instant::now();
    while begun.elapsed() < span {
        inputs = world.turn(inputs)?;
    }
    let run = Run {
        span: begun.elapsed(),
        ended: world.ended,
        events: world.events,
        batches: world.batches,
    };
    world.store.close().context("closing a ledger")?;
    Ok(run)
}

struct World {
    core: Core,
    store: DurableStore,
    submitter: Origin,
    task: TaskSubmitted,
    request: u64,
    ended: u64,
    events: u64,
    batches: Vec<Batch>,
}

impl World {
    /// A node that leads, and what its submitters ask for first.
    fn start(store: DurableStore, submitters: usize) -> Result<(Self, Vec<Input>), Failure> {
        let reader = store.reader();
        let mut unwatched = |_| std::ops::ControlFlow::Continue(());
        let fold = rebuild::<Decision>(&reader, None, &mut unwatched);
        let fold = fold.map_err(|e| Failure::new(format!("folding the ledger: {e}")))?;
        let name = |name: &str| Id::new(name).context("naming something");
        let config = CoreConfig {
            ledger: store.ledger_id(),
            head: reader.head().context("reading the ledger")?,
            state: fold.state().clone(),
            restored: Restored::default(),
            policy: Policy {
                max_running: 4 * submitters,
                ..Policy::default()
            },
            tenure: LeaseAcquired {
                holder: name("bench")?,
                pid: 1,
                start_time: None,
                boot_id: "bench".into(),
                incarnation: "0".into(),
            },
            ended: None,
            started: NodeStarted {
                software: "bench".into(),
                host: "bench".into(),
                max_running: 4,
                clock: None,
            },
            random: Box::new(SeededRandom::new([7; 32])),
        };
        let (core, outputs) = Core::start(ports::now(), config);
        let mut world = Self {
            core,
            store,
            submitter: Origin::of(Entity::of("uid", "1000").context("naming a user")?),
            task: task(),
            request: 0,
            ended: 0,
            events: 0,
            batches: Vec::new(),
        };
        let mut inputs = world.carry_out(outputs)?;
        for _ in 0..submitters {
            let submit = world.submit();
            inputs.push(submit);
        }
        Ok((world, inputs))
    }

    /// One turn; returns what arrives for the next.
    fn turn(&mut self, inputs: Vec<Input>) -> Result<Vec<Input>, Failure> {
        let outputs = self.core.step(ports::now(), inputs);
        self.carry_out(outputs)
    }

    fn carry_out(&mut self, outputs: Vec<Output>) -> Result<Vec<Input>, Failure> {
        let mut inputs = Vec::with_capacity(2 * outputs.len());
        for output in outputs {
            match output {
                Output::Append(batch) => {
                    let head = self.store.append(&batch).context("appending")?;
                    self.events += batch.len() as u64;
                    if self.batches.len() < KEPT {
                        self.batches.push(batch);
                    }
                    inputs.push(Input::Durable(head));
                }
                Output::Start(order) => {
                    let process = process(&order.attempt);
                    inputs.push(Input::Started {
                        attempt: order.attempt.clone(),
                        process: process.clone(),
                    });
                    inputs.push(Input::Ended {
                        attempt: order.attempt,
                        outcome: Box::new(outcome(process)),
                    });
                }
                // There is nobody to be released.
                Output::Settled(_) => {}
                Output::Reply { result, .. } => {
                    let reply =
                        result.map_err(|e| Failure::new(format!("a task was refused: {e}")))?;
                    inputs.push(self.answered(reply));
                }
                Output::Do(_)
                | Output::Recover(..)
                | Output::Cancel(_)
                | Output::Watch(_)
                | Output::Unwatch(_)
                | Output::Reap(_)
                | Output::Stopped(_) => {
                    return Err(Failure::new("a core does what nobody asked for"));
                }
            }
        }
        Ok(inputs)
    }

    /// What a submitter asks for next.
    fn answered(&mut self, reply: Reply) -> Input {
        if let Reply::Submitted { task_id, .. } = reply {
            return self.ask(Command::AwaitEnd { task_id });
        }
        self.ended += 1;
        self.submit()
    }

    fn submit(&mut self) -> Input {
        self.ask(Command::Submit {
            task_id: None,
            task: self.task.clone(),
            key: None,
        })
    }

    fn ask(&mut self, command: Command) -> Input {
        self.request += 1;
        Input::Request {
            id: RequestId(self.request),
            origin: self.submitter.clone(),
            command,
        }
    }
}

fn task() -> TaskSubmitted {
    TaskSubmitted {
        priority: Priority::Standard,
        payload: Payload::Exec(Exec {
            argv: vec!["/bin/true".into()],
            env: BTreeMap::new(),
            cwd: None,
            stdin: None,
        }),
        max_runtime_ms: Millis(30_000),
        grace_ms: Millis(5_000),
        terms: None,
    }
}

fn process(attempt: &AttemptId) -> ProcessRef {
    let number = attempt.task.as_str().bytes();
    let number = number.fold(0_u64, |sum, byte| {
        sum.wrapping_mul(31).wrapping_add(byte.into())
    });
    ProcessRef {
        pid: 4242,
        start_time: number,
        boot_id: "5d2c7ba1-6f0e-4a1b-9c53-0f6b1f6f2b11".into(),
        shim_pid: 4241,
        shim_start_time: number,
    }
}

fn outcome(process: ProcessRef) -> Ended {
    let stream = StreamDigest {
        bytes: 0,
        blake3: Hash::of(b""),
        tail: String::new(),
        dropped_bytes: 0,
        error: None,
    };
    Ended {
        process: Some(process),
        result: EndResult::Ran(ProcessEnd::Exited { code: 0 }),
        ladder: None,
        runtime_us: Micros(1234),
        usage: Usage::default(),
        outputs: Outputs {
            stdout: stream.clone(),
            stderr: stream,
        },
    }
}

/// Appends the same events in the same batches, made anew, for a while; returns events a second.
fn again(dir: &Path, batches: &[Batch], span: Duration) -> Result<f64, Failure> {
    let home = tempfile::tempdir_in(dir).context("making a directory for a ledger")?;
    let mut store = samples::create_durable(home.path())?;
    let batches: Vec<Vec<Draft>> = batches.iter().map(drafts).collect::<Result<_, _>>()?;
    let key = ChainKey::new(store.ledger_id());
    let mut builder = BatchBuilder::new(key, store.head(), Term(1));
    let begun = Instant::now();
    let mut events = 0;
    for drafts in batches.iter().cycle() {
        if begun.elapsed() >= span {
            break;
        }
        builder
            .push(drafts, clock::now())
            .context("encoding events")?;
        store.append(&builder.take()).context("appending")?;
        events += drafts.len() as u64;
    }
    let run = Run {
        span: begun.elapsed(),
        ended: 0,
        events,
        batches: Vec::new(),
    };
    store.close().context("closing a ledger")?;
    Ok(run.rate(run.events))
}

/// What a batch's events were made of.
fn drafts(batch: &Batch) -> Result<Vec<Draft>, Failure> {
    let draft = |(bytes, _): (&[u8], _)| -> Result<Draft, Failure> {
        let event = codec::decode(bytes).context("decoding an event")?;
        let header = event.header;
        Ok(Draft {
            event_id: header.event_id,
            kind: header.kind.parse().context("a kind")?,
            version: header.version,
            subject: header.subject.parse().context("a subject")?,
            origin: Origin {
                cause: header.cause,
                ..Origin::of(header.actor.parse().context("an actor")?)
            },
            idempotency_key: None,
            data: event.data.to_owned(),
        })
    };
    batch.events().map(draft).collect()
}
