//! What the node does itself: attempts without a process.
//!
//! Each runs in a thread of its own, off the core, and comes back as the end of its attempt, like
//! that of a process: with an exit code, and with what it has to say as its output. It begins once
//! its order is durable; if the node goes first, the next one finds the attempt open and records
//! that it is lost, which queues it again. So whatever one does may be done twice.
//!
//! None can be killed. Each looks between its steps at whether it is to stop: because it was asked
//! to, or because its time is over.

mod health_check;
mod ops_refresh;
mod state_checkpoint;
mod zombie_cleanup;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use crossbeam_channel::Sender;
use ledger_core::event::{BuiltinJob, LadderCause, Outputs, ProcessEnd, StreamDigest, Usage};
use ledger_core::hash::Hash;
use ledger_core::store::durable::DurableReader;
use ledger_core::time::Micros;
use projections::framework::ViewWorker;
use tokio::sync::mpsc;

use super::checkpoints::Checkpointer;
use super::command::{AttemptId, BuiltinOrder, Input};
use super::jobs::Faults;
use super::outcome;
use super::ports::Stopwatch;
use super::processes::Effect;
use super::threads::Mail;
use crate::redact;
use crate::scheduler::decide::{EndResult, Ended};
use crate::shim::AttemptDir;

/// Longest tail of an output in an event, in bytes.
const TAIL: usize = 4096;
/// Exit code of one that found something wrong, or could not do its work.
const FOUND: i32 = 1;
/// Exit code of one that panicked, as a Rust program has it.
const PANICKED: i32 = 101;

/// What the node's own jobs see of it.
pub(super) struct World {
    pub(super) data_dir: PathBuf,
    pub(super) reader: DurableReader,
    /// Weak: the views stop when the node does, not when a job is done.
    pub(super) views: Weak<ViewWorker>,
    /// Weak: the port ends when the core has no more to ask of it.
    pub(super) effects: mpsc::WeakUnboundedSender<Effect>,
    pub(super) faults: Arc<Faults>,
    pub(super) checkpointer: Arc<Checkpointer>,
    /// Free bytes below which the disk is too full.
    pub(super) warn_below: u64,
    /// How long the reserve is to be.
    pub(super) reserve: u64,
}

/// What one has to say.
#[derive(Debug, Default)]
struct Report {
    text: String,
    /// Whether something is wrong.
    wrong: bool,
}

impl Report {
    fn line(&mut self, line: impl AsRef<str>) {
        self.text.push_str(line.as_ref());
        self.text.push('\n');
    }

    fn finding(&mut self, finding: impl AsRef<str>) {
        self.wrong = true;
        self.line(format!("finding: {}", finding.as_ref()));
    }
}

/// How long one may go on.
struct Leash {
    stop: Arc<AtomicBool>,
    since: Stopwatch,
    limit: Micros,
}

impl Leash {
    /// Why it is to stop, if it is.
    fn spent(&self) -> Option<LadderCause> {
        if self.stop.load(Ordering::Relaxed) {
            return Some(LadderCause::Cancel);
        }
        (self.since.elapsed() > self.limit).then_some(LadderCause::MaxRuntime)
    }
}

type Running = Arc<Mutex<BTreeMap<AttemptId, Arc<AtomicBool>>>>;

/// Begins and stops what the node does itself.
pub(super) struct Builtins {
    world: Arc<World>,
    running: Running,
    inbox: Sender<Mail>,
}

impl Builtins {
    pub(super) fn new(world: World, inbox: Sender<Mail>) -> Self {
        Self {
            world: Arc::new(world),
            running: Running::default(),
            inbox,
        }
    }

    /// Does it, in a thread of its own; the core is told of the end.
    pub(super) fn begin(&self, order: BuiltinOrder) {
        let stop = Arc::new(AtomicBool::new(false));
        lock(&self.running).insert(order.attempt.clone(), Arc::clone(&stop));
        let (world, running) = (Arc::clone(&self.world), Arc::clone(&self.running));
        let (inbox, attempt) = (self.inbox.clone(), order.attempt.clone());
        let thread = std::thread::Builder::new().name(order.job.name().to_owned());
        let spawned = thread.spawn(move || {
            let ended = carry_out(&world, &order, stop);
            lock(&running).remove(&order.attempt);
            tell(&inbox, order.attempt, ended);
        });
        if let Err(error) = spawned {
            lock(&self.running).remove(&attempt);
            let ended = outcome::never_started("thread", &error);
            tell(&self.inbox, attempt, ended);
        }
    }

    /// Asks one to stop; nothing if it is none of these.
    pub(super) fn cancel(&self, attempt: &AttemptId) {
        if let Some(stop) = lock(&self.running).get(attempt) {
            stop.store(true, Ordering::Relaxed);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn tell(inbox: &Sender<Mail>, attempt: AttemptId, ended: Ended) {
    let outcome = Box::new(ended);
    // A core that has gone leaves it to the next, which finds the attempt open.
    let _ = inbox.send(Mail::Tell(Input::Ended { attempt, outcome }));
}

/// Does what is ordered, and keeps what it says as its output.
fn carry_out(world: &World, order: &BuiltinOrder, stop: Arc<AtomicBool>) -> Ended {
    let leash = Leash {
        stop,
        since: Stopwatch::start(),
        limit: Micros(order.max_runtime.0.saturating_mul(1000)),
    };
    let done = catch_unwind(AssertUnwindSafe(|| match order.job {
        BuiltinJob::ZombieCleanup => zombie_cleanup::run(world, &leash, order.at),
        BuiltinJob::HealthCheck => health_check::run(world, &leash),
        BuiltinJob::OpsRefresh => ops_refresh::run(world, &leash),
        BuiltinJob::StateCheckpoint => state_checkpoint::run(world, &leash),
    }));
    let (report, code) = match done {
        Ok(report) if report.wrong => (report, FOUND),
        Ok(report) => (report, 0),
        Err(_) => {
            tracing::error!(job = order.job.name(), "a job of the node's own panicked");
            (Report::default(), PANICKED)
        }
    };
    let stdout = keep(world, &order.attempt, &redact::text(&report.text));
    Ended {
        process: None,
        result: EndResult::Ran(ProcessEnd::Exited { code }),
        ladder: leash.spent().map(|cause| (cause, Vec::new())),
        runtime_us: leash.since.elapsed(),
        usage: Usage::default(),
        outputs: Outputs {
            stdout,
            stderr: outcome::nothing(),
        },
    }
}

/// Writes an output where those of processes are, so that it is read like theirs.
fn keep(world: &World, attempt: &AttemptId, text: &str) -> StreamDigest {
    let written = AttemptDir::new(&world.data_dir, &attempt.task, attempt.attempt.0)
        .and_then(|dir| dir.create().map(|()| dir))
        .map_err(|error| error.to_string())
        .and_then(|dir| {
            let mut file = File::create_new(dir.stdout_path()).map_err(|e| e.to_string())?;
            file.write_all(text.as_bytes()).map_err(|e| e.to_string())
        });
    let mut from = text.len().saturating_sub(TAIL);
    while !text.is_char_boundary(from) {
        from += 1;
    }
    StreamDigest {
        bytes: text.len() as u64,
        blake3: Hash::of(text.as_bytes()),
        tail: text[from..].to_owned(),
        dropped_bytes: 0,
        error: written.err(),
    }
}
