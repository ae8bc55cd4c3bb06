//! Writes the golden fixtures of event encoding v1: one event of every kind, as raw blocks, as
//! JSON lines and as a store.
//!
//! ```text
//! cargo run -p ledger-core --example make_fixtures -- fixtures/v1
//! ```
//!
//! The directory must not exist yet: fixtures of a released format are what old ledgers hold, and
//! are never written again. A new kind gets a fixture of its own beside them.

use std::error::Error;
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::ops::ControlFlow;
use std::path::Path;

use ledger_core::chain::{Batch, BatchBuilder, ChainKey, Head};
use ledger_core::envelope::{Draft, Origin, TraceParent};
use ledger_core::event::{
    Attempt, CheckpointCreated, CheckpointEvent, CheckpointPruned, CheckpointRejected, DeadReason,
    Event, Exec, Failure, JobDue, JobEvent, JobPaused, JobResumed, JobSkipped, LEDGER_FORMAT,
    LadderCause, LadderStep, LeaseAcquired, LeaseEvent, LeaseLost, LeaseReleased, LedgerCreated,
    LedgerEvent, NodeEvent, NodeRecovered, NodeStarted, NodeStopped, Outputs, Payload, Priority,
    ProcessEnd, ProcessEvent, ProcessExited, ProcessLost, ProcessReaped, ProcessRegistered,
    ReleaseReason, SkipReason, StreamDigest, TaskCancelRequested, TaskCancelled, TaskCompleted,
    TaskDead, TaskEvent, TaskFailed, TaskLost, TaskRequeued, TaskRetried, TaskStarted,
    TaskSubmitted, TaskTimedOut, Usage,
};
use ledger_core::hash::Hash;
use ledger_core::ids::{Entity, EventId, Id, Kind, LedgerId, Seq, Term};
use ledger_core::store::redb::RedbStore;
use ledger_core::store::{LogWriter, for_each_event, pack, write_block};
use ledger_core::time::{Micros, Millis, Timestamp};
use uuid::Uuid;

type Outcome<T> = Result<T, Box<dyn Error>>;

const LEDGER: u128 = 0x0198_7654_3210_7abc_8def_0123_4567_89ab;
const BEGUN: u64 = 1_767_225_600_000_000;

fn main() -> Outcome<()> {
    let dir = std::env::args()
        .nth(1)
        .ok_or("give the directory to write")?;
    let dir = Path::new(&dir);
    fs::create_dir_all(dir.parent().unwrap_or(Path::new(".")))?;
    fs::create_dir(dir)?;
    let store_dir = dir.join("store");
    fs::create_dir(&store_dir)?;

    let id = LedgerId(Uuid::from_u128(LEDGER));
    let batches = batches(id)?;
    let mut store = RedbStore::create(&store_dir, id, &batches[0])?;
    for batch in &batches[1..] {
        store.append(batch)?;
    }
    let mut lines = BufWriter::new(File::create_new(dir.join("events.jsonl"))?);
    let walk = for_each_event(&store.reader(), Seq::FIRST, |event| {
        let written = serde_json::to_writer(&mut lines, &event)
            .map_err(Into::into)
            .and_then(|()| Ok(lines.write_all(b"\n")?));
        match written {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => ControlFlow::Break::<Box<dyn Error>>(error),
        }
    })?;
    if let ControlFlow::Break(error) = walk {
        return Err(error);
    }
    lines.flush()?;
    store.close()?;

    let mut blocks = BufWriter::new(File::create_new(dir.join("events.blocks"))?);
    for block in batches.iter().flat_map(|batch| pack(batch, None)) {
        write_block(&mut blocks, &block)?;
    }
    Ok(blocks.flush()?)
}

/// Three terms: the ledger's creation alone, then two in which everything happens.
fn batches(id: LedgerId) -> Outcome<Vec<Batch>> {
    let mut maker = Maker::new(id);
    maker.push(&[ledger_created(id)?])?;
    maker.close(Term(1));
    for part in [lease_and_node()?, tasks()?, processes()?] {
        maker.push(&part)?;
        maker.close(Term(1));
    }
    maker.close(Term(2));
    maker.push(&jobs_and_checkpoints()?)?;
    maker.push(&outsiders()?)?;
    maker.close(Term(2));
    Ok(maker.batches)
}

struct Maker {
    builder: BatchBuilder,
    key: ChainKey,
    batches: Vec<Batch>,
}

impl Maker {
    fn new(id: LedgerId) -> Self {
        let key = ChainKey::new(id);
        Self {
            builder: BatchBuilder::new(key, Head::EMPTY, Term::ZERO),
            key,
            batches: Vec::new(),
        }
    }

    fn push(&mut self, drafts: &[Draft]) -> Outcome<()> {
        for draft in drafts {
            let seq = self.builder.head().seq.0;
            let mut draft = draft.clone();
            let at = Timestamp(BEGUN + seq * 1_234_567);
            let mut random = [0x5A; 10];
            random[9] = u8::try_from(seq)?;
            draft.event_id = ledger_core::clock::event_id(at, random);
            self.builder.push(&[draft], at)?;
        }
        Ok(())
    }

    /// Ends the batch; the next one is of `term`.
    fn close(&mut self, term: Term) {
        let batch = self.builder.take();
        self.builder = BatchBuilder::new(self.key, batch.head(), term);
        if !batch.is_empty() {
            self.batches.push(batch);
        }
    }
}

fn bare(kind: &str, version: u16, subject: &str, data: String) -> Outcome<Draft> {
    Ok(Draft {
        event_id: EventId(Uuid::nil()),
        kind: Kind::new(kind)?,
        version,
        subject: Entity::new(subject)?,
        origin: Origin::of(Entity::new("node/alpha")?),
        idempotency_key: None,
        data,
    })
}

fn ours(event: impl Into<Event>, subject: &str) -> Outcome<Draft> {
    let (kind, data) = event.into().kind_and_data().ok_or("a kind of ours")?;
    bare(kind, 1, subject, data)
}

fn ledger_created(id: LedgerId) -> Outcome<Draft> {
    let created = LedgerCreated {
        ledger_id: id,
        format: LEDGER_FORMAT,
        name: Id::new("golden")?,
        software: "0.1.0".into(),
        key_fingerprint: Some(Hash::of(b"a public key")),
    };
    ours(LedgerEvent::Created(created), "ledger/golden")
}

fn lease_and_node() -> Outcome<Vec<Draft>> {
    let holder = Id::new("alpha")?;
    let acquired = LeaseAcquired {
        holder: holder.clone(),
        pid: 4242,
        start_time: None,
        boot_id: "2b1c3d4e-0000-4000-8000-00805f9b34fb".into(),
        incarnation: "k3v9".into(),
    };
    let released = LeaseReleased {
        holder: holder.clone(),
        reason: ReleaseReason::Shutdown,
    };
    let lost = LeaseLost {
        holder,
        term: Term(1),
    };
    let started = NodeStarted {
        software: "0.1.0".into(),
        host: "host-ä".into(),
        max_running: 8,
        clock: None,
    };
    let recovered = NodeRecovered {
        replayed: Seq(1),
        replay_us: Micros(812),
        reattached: 1,
        closed: 2,
        lost: 3,
        unstarted: 4,
    };
    let stopped = NodeStopped {
        running: 1,
        queued: 20,
        reason: None,
    };
    Ok(vec![
        ours(LeaseEvent::Acquired(acquired), "lease/main")?,
        ours(LeaseEvent::Lost(lost), "lease/main")?,
        ours(NodeEvent::Started(started), "node/alpha")?,
        ours(NodeEvent::Recovered(recovered), "node/alpha")?,
        ours(NodeEvent::Stopped(stopped), "node/alpha")?,
        ours(LeaseEvent::Released(released), "lease/main")?,
    ])
}

fn outputs() -> Outputs {
    Outputs {
        stdout: StreamDigest {
            bytes: 12,
            blake3: Hash::of(b"hello\nworld\n"),
            tail: "hello\nworld\n".into(),
            dropped_bytes: 7,
            error: Some("no space left".into()),
        },
        stderr: StreamDigest {
            bytes: 0,
            blake3: Hash::of(b""),
            tail: String::new(),
            dropped_bytes: 0,
            error: None,
        },
    }
}

fn tasks() -> Outcome<Vec<Draft>> {
    let mut drafts = Vec::new();
    for event in submitted().into_iter().chain(attempted()?) {
        let mut draft = ours(event, "task/build-7")?;
        draft.origin.cause = Some(Seq(2));
        draft.origin.correlation = Some(Id::new("req-1")?);
        drafts.push(draft);
    }
    Ok(drafts)
}

fn submitted() -> [TaskEvent; 3] {
    let full = Exec {
        argv: vec!["sh".into(), "-c".into(), "echo \"hi\" \u{1f40d}".into()],
        env: [("PATH".into(), "/usr/bin".into())].into(),
        cwd: Some("/srv/work".into()),
        stdin: Some("line\n".into()),
    };
    let plain = Exec {
        argv: vec!["true".into()],
        env: [].into(),
        cwd: None,
        stdin: None,
    };
    let submit = |priority, exec| {
        TaskEvent::Submitted(TaskSubmitted {
            priority,
            payload: Payload::Exec(exec),
            max_runtime_ms: Millis(60_000),
            grace_ms: Millis(5_000),
            terms: None,
        })
    };
    [
        submit(Priority::Interactive, full),
        submit(Priority::Standard, plain.clone()),
        submit(Priority::Background, plain),
    ]
}

fn cancelled(attempt: Attempt, runtime_us: Micros) -> [TaskCancelled; 2] {
    let cancelled = TaskCancelled {
        attempt: Some(attempt),
        reason: Some("not needed".into()),
        runtime_us: Some(runtime_us),
        outputs: Some(outputs()),
    };
    let never_ran = TaskCancelled {
        attempt: None,
        reason: None,
        runtime_us: None,
        outputs: None,
    };
    [cancelled, never_ran]
}

fn attempted() -> Outcome<[TaskEvent; 16]> {
    let (attempt, runtime_us) = (Attempt(1), Micros(1_500_000));
    let fail = |failure| {
        TaskEvent::Failed(TaskFailed {
            attempt,
            failure,
            runtime_us,
            outputs: outputs(),
            demoted_to: None,
        })
    };
    let dead = |reason| {
        TaskEvent::Dead(TaskDead {
            reason,
            attempts: 3,
            dependency: None,
        })
    };
    let spawn = Failure::Spawn {
        step: "exec".into(),
        errno: 2,
        message: "No such file or directory".into(),
    };
    let [cancelled, never_ran] = cancelled(attempt, runtime_us);
    Ok([
        TaskEvent::Started(TaskStarted {
            attempt,
            queue: Priority::Interactive,
            node: Id::new("alpha")?,
            waited_us: Micros(731),
            boost: 0,
            rate: None,
        }),
        TaskEvent::Completed(TaskCompleted {
            attempt,
            runtime_us,
            outputs: outputs(),
        }),
        fail(Failure::Exit { code: 3 }),
        fail(Failure::Signal { signal: 11 }),
        fail(spawn),
        TaskEvent::TimedOut(TaskTimedOut {
            attempt,
            max_runtime_ms: Millis(60_000),
            stalled_ms: None,
            runtime_us: Micros(60_000_321),
            outputs: outputs(),
            demoted_to: None,
        }),
        TaskEvent::Lost(TaskLost {
            attempt,
            reason: "the host was rebooted".into(),
        }),
        TaskEvent::Requeued(TaskRequeued {
            attempt: attempt.next(),
            lost: 1,
            backoff: None,
        }),
        TaskEvent::CancelRequested(TaskCancelRequested {
            attempt,
            reason: Some("not needed".into()),
        }),
        TaskEvent::CancelRequested(TaskCancelRequested {
            attempt,
            reason: None,
        }),
        TaskEvent::Cancelled(cancelled),
        TaskEvent::Cancelled(never_ran),
        dead(DeadReason::Failed),
        dead(DeadReason::TimedOut),
        dead(DeadReason::Lost),
        TaskEvent::Retried(TaskRetried {
            attempt: Attempt(4),
        }),
    ])
}

fn processes() -> Outcome<Vec<Draft>> {
    let subject = "process/2b1c3d4e-0000-4000-8000-00805f9b34fb.4300.998877";
    let usage = Usage {
        user_us: Micros(12),
        sys_us: Micros(34),
        max_rss_kib: 5678,
    };
    let registered = ProcessRegistered {
        pid: 4300,
        start_time: 998_877,
        boot_id: "2b1c3d4e-0000-4000-8000-00805f9b34fb".into(),
        pgid: 4300,
        shim_pid: 4299,
        shim_start_time: 998_870,
        task: Id::new("build-7")?,
        attempt: Attempt(1),
        max_runtime_ms: Millis(60_000),
    };
    let step = |signal: &str, after, processes| LadderStep {
        signal: signal.into(),
        after_us: Micros(after),
        processes,
    };
    let reaped = |cause, steps| {
        ProcessEvent::Reaped(ProcessReaped {
            cause,
            steps,
            end: ProcessEnd::Signaled { signal: 9 },
            usage,
        })
    };
    let ladder = vec![
        step("SIGTERM", 60_000_100, 3),
        step("SIGKILL", 65_000_200, 1),
    ];
    let events = [
        ProcessEvent::Registered(registered),
        ProcessEvent::Exited(ProcessExited {
            end: ProcessEnd::Exited { code: 0 },
            usage,
        }),
        reaped(LadderCause::MaxRuntime, ladder),
        reaped(LadderCause::Cancel, vec![step("SIGTERM", 5, 1)]),
        reaped(LadderCause::Leftovers, vec![]),
        ProcessEvent::Lost(ProcessLost {
            reason: "its shim ended without an outcome".into(),
            orphans_ended: 2,
        }),
    ];
    events
        .into_iter()
        .map(|event| ours(event, subject))
        .collect()
}

fn jobs_and_checkpoints() -> Outcome<Vec<Draft>> {
    let (job, checkpoint) = ("job/nightly", "checkpoint/auto-1");
    let due_at = Timestamp(BEGUN);
    let skip = |reason| {
        JobEvent::Skipped(JobSkipped {
            due_at,
            reason,
            through: None,
        })
    };
    let due = JobDue {
        due_at,
        task: Id::new("nightly-20260101T000000")?,
    };
    let created = CheckpointCreated {
        seq: Seq(9),
        hash: Hash::of(b"the chain at 9"),
        sha256: "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08".into(),
        bytes: 4096,
        term: None,
        cause: None,
        made_at: None,
        took_us: None,
        system: None,
        parts: Vec::new(),
        tasks: [].into(),
        extra: None,
    };
    let rejected = CheckpointRejected {
        reason: "its SHA-256 differs".into(),
        seq: None,
    };
    Ok(vec![
        ours(JobEvent::Due(due), job)?,
        ours(skip(SkipReason::Overlap), job)?,
        ours(skip(SkipReason::Missed), job)?,
        ours(skip(SkipReason::Paused), job)?,
        ours(
            JobEvent::Paused(JobPaused {
                reason: Some("maintenance".into()),
            }),
            job,
        )?,
        ours(JobEvent::Paused(JobPaused { reason: None }), job)?,
        ours(JobEvent::Resumed(JobResumed { from: None }), job)?,
        ours(CheckpointEvent::Created(created), checkpoint)?,
        ours(CheckpointEvent::Rejected(rejected), checkpoint)?,
        ours(CheckpointEvent::Pruned(CheckpointPruned {}), checkpoint)?,
    ])
}

/// Events that this code carries without knowing them, and one with every optional field.
fn outsiders() -> Outcome<Vec<Draft>> {
    let app = r#"{"amount":1.50,"e":1e3,"neg":-0,"text":"tab\t \u0041 \ud83d\ude00","list":[1,[],{}],"none":null}"#;
    let mut full = bare("app.deploy.done", 7, "app/Shop-1.eu_west", app.to_owned())?;
    full.origin = Origin {
        actor: Entity::new("uid/1000")?,
        claimed_actor: Some(Entity::new("agent/ada")?),
        cause: Some(Seq(3)),
        correlation: Some(Id::new("req-2")?),
        traceparent: TraceParent::new("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
    };
    full.idempotency_key = Some(Id::new("deploy-77")?);
    Ok(vec![
        full,
        bare("app.empty", 1, "app/x", "{}".into())?,
        bare("future.thing", 1, "future/x", r#"{"unknown":true}"#.into())?,
        bare(
            "task.started",
            9,
            "task/build-7",
            r#"{"later":"version"}"#.into(),
        )?,
    ])
}
