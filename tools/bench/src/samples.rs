//! Ledgers to measure: application events of one size, and the histories of tasks as a node
//! writes them. All of it is computed, so that every run measures the same bytes.

use std::collections::BTreeMap;
use std::path::Path;

use ledger_core::chain::{Batch, BatchBuilder, ChainKey, Head};
use ledger_core::clock;
use ledger_core::envelope::{Draft, Origin};
use ledger_core::event::{
    Attempt, Event, Exec, LEDGER_FORMAT, LedgerCreated, LedgerEvent, Outputs, Payload, Priority,
    ProcessEnd, ProcessEvent, ProcessExited, ProcessRegistered, StreamDigest, TaskCompleted,
    TaskEvent, TaskStarted, TaskSubmitted, Usage, process_subject,
};
use ledger_core::hash::Hash;
use ledger_core::ids::{Entity, Id, Kind, LedgerId, Term};
use ledger_core::store::LogWriter;
use ledger_core::store::durable::DurableStore;
use ledger_core::store::redb::RedbStore;
use ledger_core::time::{Micros, Millis, Timestamp};

use crate::error::{Context, Failure};

/// Bytes of an encoded sample event, header and payload.
pub(crate) const RECORD: usize = 341;
/// Bytes of its payload.
pub(crate) const PAYLOAD: usize = 272;

/// Events of one append when a ledger is filled.
const BATCH: usize = 4096;

/// When the sample ledgers begin.
pub(crate) const EPOCH: Timestamp = Timestamp(1_700_000_000_000_000);

fn entity(text: &str) -> Entity {
    Entity::new(text).expect("the samples' names are entities")
}

fn id(text: &str) -> Id {
    Id::new(text).expect("the samples' names are ids")
}

/// Numbers that look random and are the same in every run (SplitMix64).
#[derive(Debug, Clone)]
pub(crate) struct Noise(pub(crate) u64);

impl Noise {
    /// The next number.
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Ten bytes, as an event's id takes them.
    fn ten(&mut self) -> [u8; 10] {
        let (a, b) = (self.next().to_le_bytes(), self.next().to_le_bytes());
        std::array::from_fn(|i| if i < 8 { a[i] } else { b[i - 8] })
    }

    /// 32 hex digits.
    fn hex(&mut self) -> String {
        format!("{:016x}{:016x}", self.next(), self.next())
    }
}

/// What every sample event has in common.
#[derive(Debug, Clone)]
pub(crate) struct Samples {
    kind: Kind,
    subject: Entity,
    origin: Origin,
    noise: Noise,
}

impl Samples {
    /// Samples from a seed.
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            kind: Kind::new("app.sample").expect("a literal that follows the rule"),
            subject: entity("app/a"),
            origin: Origin::of(entity("agent/a")),
            noise: Noise(seed),
        }
    }

    /// A payload of [`PAYLOAD`] bytes that does not compress away.
    pub(crate) fn payload(&mut self) -> String {
        let noise = &mut self.noise;
        let mut data = format!(
            "{{\"run\":\"{}\",\"tool\":\"shell\",\"input\":\"{}\",\"output\":\"{}\",\"note\":\"",
            noise.hex(),
            noise.hex(),
            noise.hex(),
        );
        while data.len() < PAYLOAD {
            data.push_str(&noise.hex());
        }
        data.truncate(PAYLOAD - 2);
        data.push_str("\"}");
        data
    }

    /// The event with this payload, with an id made at `now`.
    pub(crate) fn draft(&mut self, now: Timestamp, data: String) -> Draft {
        Draft {
            event_id: clock::event_id(now, self.noise.ten()),
            kind: self.kind.clone(),
            version: 1,
            subject: self.subject.clone(),
            origin: self.origin.clone(),
            idempotency_key: None,
            data,
        }
    }

    /// `count` events with payloads of their own.
    pub(crate) fn events(mut self, count: usize) -> impl Iterator<Item = Vec<Draft>> {
        (0..count as u64).map(move |n| {
            let data = self.payload();
            vec![self.draft(Timestamp(EPOCH.0 + n * 10), data)]
        })
    }
}

/// Makes a ledger in `dir`, which must exist and be empty.
///
/// # Errors
/// [`Failure`] if the store refuses.
pub(crate) fn create(dir: &Path) -> Result<RedbStore, Failure> {
    let (ledger_id, genesis) = genesis()?;
    RedbStore::create(dir, ledger_id, &genesis).context("making a ledger to measure")
}

/// A new ledger as a node has it, with a journal.
///
/// # Errors
/// [`Failure`] if the disk refuses.
pub(crate) fn create_durable(dir: &Path) -> Result<DurableStore, Failure> {
    let (ledger_id, genesis) = genesis()?;
    DurableStore::create(dir, ledger_id, &genesis).context("making a ledger to measure")
}

fn genesis() -> Result<(LedgerId, Batch), Failure> {
    let ledger_id = clock::new_ledger_id();
    let mut builder = BatchBuilder::new(ChainKey::new(ledger_id), Head::EMPTY, Term::ZERO);
    let created = created(ledger_id);
    builder
        .push(&[created], EPOCH)
        .context("encoding the ledger's first event")?;
    Ok((ledger_id, builder.take()))
}

fn created(ledger_id: LedgerId) -> Draft {
    let event = LedgerEvent::Created(LedgerCreated {
        ledger_id,
        format: LEDGER_FORMAT,
        name: id("bench"),
        software: env!("CARGO_PKG_VERSION").into(),
        key_fingerprint: None,
    });
    let mut samples = Samples::new(0);
    let mut draft = samples.draft(EPOCH, event.to_json());
    draft.kind = Kind::new(event.kind()).expect("the families' kinds follow the rule of kinds");
    draft.subject = entity("ledger/bench");
    draft
}

/// Fills a ledger with decisions, each of one or several events, many of them in one append.
/// Returns how many events it then holds.
///
/// # Errors
/// [`Failure`] if the store refuses.
pub(crate) fn fill(
    store: &mut impl LogWriter,
    decisions: impl Iterator<Item = Vec<Draft>>,
) -> Result<u64, Failure> {
    let key = ChainKey::new(store.ledger_id());
    let mut builder = BatchBuilder::new(key, store.head(), Term(1));
    let mut now = store.head().recorded_at;
    for drafts in decisions {
        now.0 += 10;
        builder.push(&drafts, now).context("encoding events")?;
        if builder.len() >= BATCH {
            store.append(&builder.take()).context("filling a ledger")?;
        }
    }
    if !builder.is_empty() {
        store.append(&builder.take()).context("filling a ledger")?;
    }
    Ok(store.head().seq.0)
}

/// Tasks between being submitted and started, and between started and ended, in [`histories`].
const IN_QUEUE: u64 = 12;
const RUNNING: u64 = 6;

/// What a node writes while it runs `tasks` tasks: submitted, started, registered, and exited and
/// completed in one decision; some always wait and some always run.
pub(crate) fn histories(tasks: u64) -> impl Iterator<Item = Vec<Draft>> {
    let mut samples = Samples::new(1);
    (0..tasks + IN_QUEUE + RUNNING).flat_map(move |n| {
        let mut decisions = Vec::new();
        if n < tasks {
            decisions.push(vec![submitted(n)]);
        }
        if let Some(task) = n.checked_sub(IN_QUEUE).filter(|&task| task < tasks) {
            decisions.push(vec![started(task)]);
            decisions.push(vec![registered(task)]);
        }
        if let Some(task) = n.checked_sub(IN_QUEUE + RUNNING) {
            decisions.push(vec![exited(task), completed(task, &mut samples.noise)]);
        }
        let mut draft = |(subject, event): (Entity, Event)| {
            let (kind, data) = event
                .kind_and_data()
                .expect("the samples are events of our own families");
            let mut draft = samples.draft(Timestamp(EPOCH.0 + n), data);
            draft.kind = Kind::new(kind).expect("the families' kinds follow the rule of kinds");
            draft.subject = subject;
            draft
        };
        let decisions: Vec<Vec<Draft>> = decisions
            .into_iter()
            .map(|events| events.into_iter().map(&mut draft).collect())
            .collect();
        decisions
    })
}

fn task_id(n: u64) -> Id {
    id(&clock::event_id(Timestamp(EPOCH.0 + n), Noise(n).ten()).to_string())
}

fn task(n: u64) -> Entity {
    entity(&format!("task/{}", task_id(n)))
}

const BOOT: &str = "5f3a0c52-6c1b-4c7e-9d52-0b5c6e0f7a11";

fn pid(n: u64) -> i32 {
    i32::try_from(1000 + n % 4_000_000).expect("fewer than four million")
}

fn process(n: u64) -> Entity {
    process_subject(BOOT, pid(n), 5_000_000 + n).expect("the samples' boot id is an id")
}

fn queue(n: u64) -> Priority {
    Priority::ALL[usize::try_from(Noise(n).next() % 3).expect("less than three")]
}

fn submitted(n: u64) -> (Entity, Event) {
    let command = format!("cargo test --package part-{} -- --nocapture", n % 97);
    let event = TaskEvent::Submitted(TaskSubmitted {
        priority: queue(n),
        payload: Payload::Exec(Exec {
            argv: vec!["/bin/sh".into(), "-c".into(), command],
            env: BTreeMap::from([("RUN".to_owned(), format!("agent-{}", n % 90))]),
            cwd: Some(format!("/srv/agents/{}", n % 90)),
            stdin: None,
        }),
        max_runtime_ms: Millis(30_000),
        grace_ms: Millis(5_000),
        terms: None,
    });
    (task(n), event.into())
}

fn started(n: u64) -> (Entity, Event) {
    let event = TaskEvent::Started(TaskStarted {
        attempt: Attempt::FIRST,
        queue: queue(n),
        node: id("primary"),
        waited_us: Micros(Noise(n).next() % 5_000_000),
        boost: 0,
        rate: None,
    });
    (task(n), event.into())
}

fn registered(n: u64) -> (Entity, Event) {
    let event = ProcessEvent::Registered(ProcessRegistered {
        pid: pid(n),
        start_time: 5_000_000 + n,
        boot_id: BOOT.into(),
        pgid: pid(n),
        shim_pid: pid(n) - 1,
        shim_start_time: 5_000_000 + n,
        task: task_id(n),
        attempt: Attempt::FIRST,
        max_runtime_ms: Millis(30_000),
    });
    (process(n), event.into())
}

fn exited(n: u64) -> (Entity, Event) {
    let event = ProcessEvent::Exited(ProcessExited {
        end: ProcessEnd::Exited { code: 0 },
        usage: Usage {
            user_us: Micros(Noise(n).next() % 900_000),
            sys_us: Micros(Noise(n + 1).next() % 90_000),
            max_rss_kib: 3_000 + n % 50_000,
        },
    });
    (process(n), event.into())
}

fn completed(n: u64, noise: &mut Noise) -> (Entity, Event) {
    let stream = |tail: String| StreamDigest {
        bytes: tail.len() as u64,
        blake3: Hash::of(tail.as_bytes()),
        tail,
        dropped_bytes: 0,
        error: None,
    };
    let passed = noise.next() % 400;
    let event = TaskEvent::Completed(TaskCompleted {
        attempt: Attempt::FIRST,
        runtime_us: Micros(noise.next() % 20_000_000),
        outputs: Outputs {
            stdout: stream(format!("test result: ok. {passed} passed; 0 failed\n")),
            stderr: stream(String::new()),
        },
    });
    (task(n), event.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use ledger_core::store::LogReader;
    use projections::framework::{Health, rebuild, unwatched};
    use projections::tasks::Tasks;

    #[test]
    fn a_sample_event_has_the_size_that_is_told() {
        let mut samples = Samples::new(7);
        let data = samples.payload();
        assert_eq!(data.len(), PAYLOAD);
        assert!(serde_json::from_str::<serde_json::Value>(&data).is_ok());
        let mut builder = BatchBuilder::new(
            ChainKey::new(clock::new_ledger_id()),
            Head::EMPTY,
            Term::ZERO,
        );
        builder.push(&[samples.draft(EPOCH, data)], EPOCH).unwrap();
        assert_eq!(builder.byte_len(), RECORD);
    }

    #[test]
    fn histories_fold() {
        let dir = tempfile::tempdir().unwrap();
        let mut store = create(dir.path()).unwrap();
        let events = fill(&mut store, histories(100)).unwrap();
        assert_eq!(events, 501);
        let reader = store.reader();
        let fold = rebuild::<Tasks>(&reader, None, &mut unwatched).unwrap();
        assert_eq!(fold.health(), &Health::Following);
        assert_eq!(fold.position().seq, reader.head().unwrap().seq);
        assert_eq!(fold.state().len(), 100);
        assert!(fold.state().iter().all(projections::tasks::Task::is_ended));
    }
}
