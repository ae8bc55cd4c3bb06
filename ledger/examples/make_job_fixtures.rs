//! Writes the golden events of jobs: every kind that says what a job is and what becomes of it, as
//! JSON lines.
//!
//! ```sh
//! cargo run -p ledger-core --example make_job_fixtures -- fixtures/v1/jobs.jsonl
//! ```
//! They are never written anew: what is there is what version 1 wrote.

#![allow(missing_docs, reason = "an example has no API")]

use std::collections::BTreeMap;
use std::error::Error;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::ops::ControlFlow;

use ledger_core::chain::{BatchBuilder, ChainKey, Head};
use ledger_core::clock::event_id;
use ledger_core::envelope::{Draft, Origin};
use ledger_core::event::{
    Builtin, BuiltinJob, Event, Exec, JobChanged, JobDefined, JobDue, JobEvent, JobPaused,
    JobRemoved, JobResumed, JobSkipped, JobSpec, JobTriggered, LEDGER_FORMAT, LeaseAcquired,
    LeaseEvent, LedgerCreated, LedgerEvent, Missed, Overlap, Payload, Priority, Schedule,
    SkipReason, TaskEvent, TaskSubmitted,
};
use ledger_core::ids::{Entity, Id, Kind, LedgerId, Seq, Term};
use ledger_core::store::memory::MemoryStore;
use ledger_core::store::{LogWriter, for_each_event};
use ledger_core::time::{Millis, Timestamp};
use uuid::Uuid;

type Outcome<T> = Result<T, Box<dyn Error>>;

const LEDGER: LedgerId = LedgerId(Uuid::from_u128(0x0198_7654_3210_7abc_8def_0123_4567_89ad));
const BEGUN: u64 = 1_767_225_600_000_000;

fn main() -> Outcome<()> {
    let path = std::env::args().nth(1).ok_or("give the file to write")?;
    let mut store = MemoryStore::new(LEDGER);
    append(&mut store, Term::ZERO, vec![created()?])?;
    let mut events = vec![acquired()?];
    events.extend(definitions()?);
    events.extend(runs()?);
    append(&mut store, Term(1), events)?;
    let mut lines = BufWriter::new(File::create_new(path)?);
    let walk = for_each_event(&store, Seq::FIRST, |event| {
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
    Ok(lines.flush()?)
}

fn append(store: &mut MemoryStore, term: Term, events: Vec<(String, Event)>) -> Outcome<()> {
    let head: Head = LogWriter::head(store);
    let mut builder = BatchBuilder::new(ChainKey::new(LEDGER), head, term);
    for (subject, event) in events {
        let seq = builder.head().seq.0;
        let at = Timestamp(BEGUN + seq * 1_234_567);
        let (kind, data) = event.kind_and_data().ok_or("a kind of ours")?;
        let mut random = [0x5A; 10];
        random[9] = u8::try_from(seq)?;
        let draft = Draft {
            event_id: event_id(at, random),
            kind: Kind::new(kind)?,
            version: 1,
            subject: Entity::new(subject)?,
            origin: Origin::of(Entity::new("node/alpha")?),
            idempotency_key: None,
            data,
        };
        builder.push(&[draft], at)?;
    }
    store.append(&builder.take())?;
    Ok(())
}

fn created() -> Outcome<(String, Event)> {
    let created = LedgerCreated {
        ledger_id: LEDGER,
        format: LEDGER_FORMAT,
        name: Id::new("jobs")?,
        software: "opsledger 0.1.0".into(),
        key_fingerprint: None,
    };
    let event = LedgerEvent::Created(created).into();
    Ok((format!("ledger/{LEDGER}"), event))
}

fn acquired() -> Outcome<(String, Event)> {
    let acquired = LeaseAcquired {
        holder: Id::new("alpha")?,
        pid: 7,
        start_time: None,
        boot_id: "3f6f2c1e-0000-4000-8000-000000000000".into(),
        incarnation: "0a".into(),
    };
    Ok(("lease/main".into(), LeaseEvent::Acquired(acquired).into()))
}

fn job(name: &str, event: JobEvent) -> (String, Event) {
    (format!("job/{name}"), event.into())
}

fn builtin(job: BuiltinJob) -> TaskSubmitted {
    TaskSubmitted {
        priority: Priority::Interactive,
        payload: Payload::Builtin(Builtin { job }),
        max_runtime_ms: Millis(60_000),
        grace_ms: Millis(5_000),
        terms: None,
    }
}

fn nightly() -> TaskSubmitted {
    TaskSubmitted {
        priority: Priority::Background,
        payload: Payload::Exec(Exec {
            argv: vec!["git".into(), "bundle".into()],
            env: BTreeMap::new(),
            cwd: Some("/srv/repo".into()),
            stdin: None,
        }),
        max_runtime_ms: Millis(600_000),
        grace_ms: Millis(5_000),
        terms: None,
    }
}

fn definitions() -> Outcome<Vec<(String, Event)>> {
    let from = Timestamp(BEGUN);
    let mut told = Vec::new();
    // Those that there were when these were written.
    let own = [
        BuiltinJob::ZombieCleanup,
        BuiltinJob::HealthCheck,
        BuiltinJob::OpsRefresh,
    ];
    for builtin_job in own {
        let spec = JobSpec {
            schedule: Schedule::Every {
                every_ms: Millis(300_000),
            },
            overlap: Overlap::Skip,
            missed: Missed::RunOnce,
            task: builtin(builtin_job),
            source: "built in".into(),
        };
        let defined = JobEvent::Defined(JobDefined { spec, from });
        told.push(job(builtin_job.name(), defined));
    }
    let mut spec = JobSpec {
        schedule: Schedule::Cron {
            expression: "30 2 * * *".into(),
            time_zone: "Australia/Lord_Howe".into(),
        },
        overlap: Overlap::Queue,
        missed: Missed::RunAll { at_most: 3 },
        task: nightly(),
        source: "jobs.d/nightly.toml".into(),
    };
    let defined = JobDefined {
        spec: spec.clone(),
        from,
    };
    told.push(job("nightly", JobEvent::Defined(defined)));
    spec.missed = Missed::Skip;
    spec.overlap = Overlap::CancelRunning;
    let from = None;
    let changed = JobChanged {
        spec: spec.clone(),
        from,
    };
    told.push(job("nightly", JobEvent::Changed(changed)));
    let from = Some(Timestamp(BEGUN + 1_000_000));
    told.push(job("nightly", JobEvent::Changed(JobChanged { spec, from })));
    let removed = JobEvent::Removed(JobRemoved {});
    told.push(job("ops-refresh", removed));
    Ok(told)
}

fn runs() -> Outcome<Vec<(String, Event)>> {
    let due_at = Timestamp(BEGUN + 300_000_000);
    let submitted = |task: &Id, of: TaskSubmitted| {
        let event = TaskEvent::Submitted(of).into();
        (format!("task/{task}"), event)
    };
    let due = Id::new("health-check-20260101T000500Z")?;
    let by_hand = Id::new("nightly-manual-20260101T000501Z")?;
    let skipped = |reason, through| {
        let skipped = JobSkipped {
            due_at,
            reason,
            through,
        };
        job("nightly", JobEvent::Skipped(skipped))
    };
    let resumed = |from| job("nightly", JobEvent::Resumed(JobResumed { from }));
    let paused = || job("nightly", JobEvent::Paused(JobPaused { reason: None }));
    let due_event = JobDue {
        due_at,
        task: due.clone(),
    };
    let triggered = JobTriggered {
        task: by_hand.clone(),
    };
    Ok(vec![
        job("health-check", JobEvent::Due(due_event)),
        submitted(&due, builtin(BuiltinJob::HealthCheck)),
        job("nightly", JobEvent::Triggered(triggered)),
        submitted(&by_hand, nightly()),
        skipped(
            SkipReason::Missed,
            Some(Timestamp(due_at.0 + 86_400_000_000)),
        ),
        skipped(SkipReason::Repeated, None),
        skipped(SkipReason::Refused, None),
        paused(),
        resumed(Some(due_at)),
        paused(),
        resumed(None),
    ])
}
