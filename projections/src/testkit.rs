//! Histories to test projections against: valid lives of tasks, processes, terms and jobs, drawn
//! from a list of numbers, so that a property test shrinks them and a seed repeats them.
//!
//! A [`History`] keeps its own plain record of what it did ([`History::events`]), apart from any
//! projection, for models to recount.

mod ending;
mod jobs;
mod steering;
mod watching;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use ledger_core::chain::{Batch, BatchBuilder, ChainKey, Head};
use ledger_core::codec;
use ledger_core::envelope::{Draft, Origin};
use ledger_core::event::*;
use ledger_core::hash::Hash;
use ledger_core::ids::{Entity, EventId, Id, Kind, LedgerId, Seq, Term, Uuid};
use ledger_core::store::memory::MemoryStore;
use ledger_core::store::{Block, LogWriter, pack};
use ledger_core::time::{Micros, Millis, Timestamp};

use ending::Ending;

/// One recorded event, as the history meant it.
#[derive(Debug, Clone)]
pub struct Recorded {
    /// Its position.
    pub seq: Seq,
    /// Its chain hash.
    pub hash: Hash,
    /// When it was recorded.
    pub at: Timestamp,
    /// Its term.
    pub term: Term,
    /// The id part of its subject.
    pub subject: String,
    /// Its kind.
    pub kind: String,
    /// Its idempotency key.
    pub key: Option<String>,
    /// What it says.
    pub event: Event,
}

#[derive(Debug, Clone)]
struct Open {
    attempt: u32,
    process: Option<Entity>,
    cancelling: bool,
}

/// A ledger in memory that grows by valid steps.
#[derive(Debug)]
pub struct History {
    store: MemoryStore,
    builder: BatchBuilder,
    key: ChainKey,
    now: Timestamp,
    batches: Vec<Arc<Batch>>,
    events: Vec<Recorded>,
    queued: VecDeque<(Id, u32)>,
    running: BTreeMap<Id, Open>,
    dead: VecDeque<(Id, u32)>,
    lost: BTreeMap<Id, u32>,
    priorities: BTreeMap<Id, Priority>,
    /// Tasks that expire, and are tried more than once.
    patient: BTreeSet<Id>,
    queues_paused: BTreeSet<Priority>,
    paused: BTreeSet<String>,
    defined: BTreeSet<String>,
    checkpoint: Option<Entity>,
    foreign: BTreeMap<Entity, watching::Foreign>,
    drawn: u64,
}

/// An event of any kind: kind, version, subject, payload and idempotency key.
type Raw = (String, u16, Entity, String, Option<Id>);

/// The ledger that histories belong to.
pub const LEDGER: LedgerId = LedgerId(Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0001));

pub(crate) fn id(text: &str) -> Id {
    Id::new(text).expect("the testkit's names are ids")
}

fn entity(kind: &str, name: &str) -> Entity {
    Entity::of(kind, name).expect("the testkit's names are entities")
}

impl Default for History {
    fn default() -> Self {
        Self::new()
    }
}

impl History {
    /// A ledger that was made, is led by node `a` in term 1, and has no work yet.
    pub fn new() -> Self {
        let key = ChainKey::new(LEDGER);
        let mut history = Self {
            store: MemoryStore::new(LEDGER),
            builder: BatchBuilder::new(key, Head::EMPTY, Term::ZERO),
            key,
            now: Timestamp(1_700_000_000_000_000),
            batches: Vec::new(),
            events: Vec::new(),
            queued: VecDeque::new(),
            running: BTreeMap::new(),
            dead: VecDeque::new(),
            lost: BTreeMap::new(),
            priorities: BTreeMap::new(),
            patient: BTreeSet::new(),
            queues_paused: BTreeSet::new(),
            paused: BTreeSet::new(),
            defined: BTreeSet::new(),
            checkpoint: None,
            foreign: BTreeMap::new(),
            drawn: 0,
        };
        let created = LedgerEvent::Created(LedgerCreated {
            ledger_id: LEDGER,
            format: LEDGER_FORMAT,
            name: id("test"),
            software: "0".into(),
            key_fingerprint: None,
        });
        history.append(vec![(entity("ledger", "test"), created.into())]);
        history.lead();
        history
    }

    /// A history of as many steps as there are choices.
    pub fn drawn(choices: &[u32]) -> Self {
        let mut history = Self::new();
        choices.iter().for_each(|&choice| history.step(choice));
        history
    }

    /// A history of `steps` steps from a seed.
    pub fn seeded(seed: u64, steps: usize) -> Self {
        // SplitMix64.
        let mut state = seed;
        let choices = std::iter::repeat_with(|| {
            state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
            let mut z = state;
            z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            (z >> 32) as u32
        });
        let choices: Vec<_> = choices.take(steps).collect();
        Self::drawn(&choices)
    }

    /// The store that holds it; a clone shares its contents.
    pub fn store(&self) -> &MemoryStore {
        &self.store
    }

    /// What was appended, batch by batch.
    pub fn batches(&self) -> &[Arc<Batch>] {
        &self.batches
    }

    /// The blocks that a store would keep it in, one for each batch.
    pub fn blocks(&self) -> Vec<Block> {
        let batches = self.batches.iter();
        batches.flat_map(|batch| pack(batch, None)).collect()
    }

    /// What was recorded, event by event.
    pub fn events(&self) -> &[Recorded] {
        &self.events
    }

    /// Where it ends.
    pub fn head(&self) -> Head {
        self.builder.head()
    }

    /// When its last event was recorded.
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// Lets time pass.
    pub fn pass(&mut self, time: Millis) {
        self.now = self.now.plus(time);
    }

    /// Takes the step that `choice` stands for, as far as it is possible now.
    pub fn step(&mut self, choice: u32) {
        let (action, pick) = (choice % 20, choice / 20);
        self.pass(Millis(u64::from(pick % 1000)));
        match action {
            0..=4 => self.submit(pick),
            5..=9 => self.start(),
            10 | 11 => self.register(pick),
            12 | 13 => self.end(pick, Ending::Completed),
            14 => self.end(pick, Ending::Failed),
            15 => self.end(pick, Ending::TimedOut),
            16 => self.end(pick, Ending::Lost),
            17 => self.cancel(pick),
            18 => self.retry(),
            _ => self.other(pick),
        }
    }

    /// Appends events of this subject as one batch.
    pub fn append(&mut self, events: Vec<(Entity, Event)>) {
        let drafts = events.into_iter().map(|(subject, event)| {
            let (kind, data) = event
                .kind_and_data()
                .unwrap_or(("app.note", "{\"text\":\"hello\"}".to_owned()));
            (kind.to_owned(), 1, subject, data, None)
        });
        let drafts = drafts.collect();
        self.append_raw(drafts);
    }

    /// Appends events of any kind, version and payload as one batch; the last part is the
    /// idempotency key.
    pub fn append_raw(&mut self, events: Vec<Raw>) {
        let drafts: Vec<_> = events
            .into_iter()
            .map(|(kind, version, subject, data, idempotency_key)| {
                self.drawn += 1;
                Draft {
                    event_id: EventId(Uuid::from_u128(u128::from(self.drawn))),
                    kind: Kind::new(kind).expect("the testkit's kinds are kinds"),
                    version,
                    subject,
                    origin: Origin::of(entity("human", "ada")),
                    idempotency_key,
                    data,
                }
            })
            .collect();
        self.push(&drafts);
    }

    fn push(&mut self, drafts: &[Draft]) {
        self.builder
            .push(drafts, self.now)
            .expect("events are small");
        let batch = Arc::new(self.builder.take());
        for (bytes, hash) in batch.events() {
            let event = codec::decode(bytes).expect("what was encoded decodes");
            let header = event.header;
            self.events.push(Recorded {
                seq: header.seq,
                hash,
                at: header.recorded_at,
                term: header.term,
                subject: header.subject_id().to_owned(),
                kind: header.kind.to_owned(),
                key: header.idempotency_key.map(str::to_owned),
                event: Event::decode(&event).unwrap_or(Event::Unknown),
            });
        }
        self.store
            .append(&batch)
            .expect("the builder follows the store");
        self.batches.push(batch);
    }

    fn submit(&mut self, pick: u32) {
        let submitted = self.submission(pick);
        self.append_raw(vec![submitted]);
    }

    /// Some task.
    fn template(pick: u32) -> TaskSubmitted {
        TaskSubmitted {
            priority: Priority::ALL[pick as usize % 3],
            payload: Payload::Exec(Exec {
                argv: vec!["echo".into(), format!("\"{pick}\"\n")],
                env: BTreeMap::from([("A".into(), "b".into())]),
                cwd: None,
                stdin: None,
            }),
            max_runtime_ms: Millis(30_000),
            grace_ms: Millis(5_000),
            terms: None,
        }
    }

    /// The submission of a new task, which waits from here on.
    fn submission(&mut self, pick: u32) -> Raw {
        self.drawn += 1;
        let name = id(&format!("t{}", self.drawn));
        let mut task = Self::template(pick);
        task.terms = pick.is_multiple_of(5).then(|| {
            self.patient.insert(name.clone());
            Box::new(Terms {
                max_attempts: 3,
                expires_at: Some(self.now.plus(Millis(60_000))),
                rate_key: Some(id("provider")),
                ..Terms::default()
            })
        });
        let priority = task.priority;
        let submitted = TaskEvent::Submitted(task);
        let (kind, data) = (submitted.kind().to_owned(), submitted.to_json());
        let key = pick.is_multiple_of(2).then(|| id(&format!("key-{name}")));
        let subject = entity("task", &name);
        self.priorities.insert(name.clone(), priority);
        self.queued.push_back((name, 1));
        (kind, 1, subject, data, key)
    }

    /// Makes a checkpoint, or prunes the last one if there is one.
    fn checkpoint(&mut self) {
        let event = match self.checkpoint.take() {
            Some(kept) => (kept, CheckpointEvent::Pruned(CheckpointPruned {})),
            None => {
                let created = CheckpointEvent::Created(CheckpointCreated {
                    seq: self.head().seq,
                    hash: self.head().hash,
                    sha256: "0".repeat(64),
                    bytes: 1,
                    term: Some(self.head().term),
                    cause: Some(CheckpointCause::Events),
                    made_at: Some(self.head().recorded_at),
                    took_us: None,
                    system: None,
                    parts: Vec::new(),
                    tasks: [].into(),
                    extra: None,
                });
                let name = entity("checkpoint", &format!("c{}", self.head().seq));
                self.checkpoint = Some(name.clone());
                (name, created)
            }
        };
        self.append(vec![(event.0, event.1.into())]);
    }

    fn start(&mut self) {
        let Some((name, attempt)) = self.queued.pop_front() else {
            return;
        };
        let started = TaskEvent::Started(TaskStarted {
            attempt: Attempt(attempt),
            queue: self.priorities[&name],
            node: id("a"),
            waited_us: Micros(self.drawn * 977 % 5_000_000),
            boost: 0,
            rate: None,
        });
        self.append(vec![(entity("task", &name), started.into())]);
        let open = Open {
            attempt,
            process: None,
            cancelling: false,
        };
        self.running.insert(name, open);
    }

    fn picked(&self, pick: u32) -> Option<Id> {
        let at = pick as usize % self.running.len().max(1);
        self.running.keys().nth(at).cloned()
    }

    fn register(&mut self, pick: u32) {
        let Some(name) = self.picked(pick) else {
            return;
        };
        let Some(open) = self.running.get_mut(&name).filter(|o| o.process.is_none()) else {
            return;
        };
        self.drawn += 1;
        let pid = i32::try_from(self.drawn).expect("histories are short");
        let subject = process_subject("boot", pid, 7).expect("the boot id is an id");
        open.process = Some(subject.clone());
        let registered = ProcessEvent::Registered(ProcessRegistered {
            pid,
            start_time: 7,
            boot_id: "boot".into(),
            pgid: pid,
            shim_pid: 1,
            shim_start_time: 7,
            task: name,
            attempt: Attempt(open.attempt),
            max_runtime_ms: Millis(30_000),
        });
        self.append(vec![(subject, registered.into())]);
    }

    fn end(&mut self, pick: u32, ending: Ending) {
        let Some(name) = self.picked(pick) else {
            return;
        };
        let Some(open) = self.running.remove(&name) else {
            return;
        };
        let runtime_us = Micros(u64::from(pick) * 31);
        let attempt = Attempt(open.attempt);
        let lost = self.lost.entry(name.clone()).or_default();
        *lost += u32::from(ending == Ending::Lost);
        let lost = *lost;
        let task = entity("task", &name);
        let mut events = Vec::new();
        if let Some(process) = &open.process {
            if let Some(outlived) = ending.outlived(&name, &open, pick) {
                events.push((process.clone(), outlived.into()));
            }
            events.push((process.clone(), ending.process(&open).into()));
        }
        let queue = self.priorities[&name];
        let demoted_to = (pick.is_multiple_of(3) && queue == Priority::Interactive)
            .then_some(Priority::Standard);
        if matches!(ending, Ending::Failed | Ending::TimedOut) {
            self.priorities
                .insert(name.clone(), demoted_to.unwrap_or(queue));
        }
        let closing = ending.task(attempt, runtime_us, demoted_to);
        events.push((task.clone(), closing.into()));
        let dead = match ending {
            Ending::Completed | Ending::Cancelled => None,
            Ending::Failed if self.patient.contains(&name) && pick.is_multiple_of(2) => {
                let delay_ms = Millis(u64::from(pick % 1000));
                let requeued = TaskRequeued {
                    attempt: attempt.next(),
                    lost,
                    backoff: Some(Backoff {
                        delay_ms,
                        until: self.now.plus(delay_ms),
                    }),
                };
                events.push((task.clone(), TaskEvent::Requeued(requeued).into()));
                self.queued.push_back((name.clone(), attempt.0 + 1));
                None
            }
            Ending::Failed => Some(DeadReason::Failed),
            Ending::TimedOut => Some(DeadReason::TimedOut),
            Ending::Lost if lost <= 3 => {
                let requeued = TaskRequeued {
                    attempt: attempt.next(),
                    lost,
                    backoff: None,
                };
                events.push((task.clone(), TaskEvent::Requeued(requeued).into()));
                self.queued.push_back((name.clone(), attempt.0 + 1));
                None
            }
            Ending::Lost => Some(DeadReason::Lost),
        };
        if let Some(reason) = dead {
            let event = TaskEvent::Dead(TaskDead {
                reason,
                attempts: attempt.0,
                dependency: None,
            });
            events.push((task, event.into()));
            self.dead.push_back((name, attempt.0));
        }
        self.append(events);
    }

    fn cancel(&mut self, pick: u32) {
        if pick.is_multiple_of(2)
            && let Some((name, _)) = self.queued.pop_back()
        {
            let cancelled = TaskEvent::Cancelled(TaskCancelled {
                attempt: None,
                reason: Some("not needed".into()),
                runtime_us: None,
                outputs: None,
            });
            self.append(vec![(entity("task", &name), cancelled.into())]);
            return;
        }
        let Some(name) = self.picked(pick) else {
            return;
        };
        let Some(open) = self.running.get_mut(&name) else {
            return;
        };
        if open.cancelling {
            self.end(pick, Ending::Cancelled);
            return;
        }
        open.cancelling = true;
        let asked = TaskEvent::CancelRequested(TaskCancelRequested {
            attempt: Attempt(open.attempt),
            reason: None,
        });
        self.append(vec![(entity("task", &name), asked.into())]);
    }

    fn retry(&mut self) {
        if let Some((name, attempts)) = self.dead.pop_front() {
            self.lost.remove(&name);
            let next = attempts + 1;
            let retried = TaskEvent::Retried(TaskRetried {
                attempt: Attempt(next),
            });
            self.append(vec![(entity("task", &name), retried.into())]);
            self.queued.push_back((name, next));
        }
    }

    fn other(&mut self, pick: u32) {
        let job = entity("job", &format!("j{}", pick % 3));
        match pick % 12 {
            6 => self.pause_queue(pick),
            7 => self.reprioritize(pick),
            8 => self.throttle(pick),
            9 => self.expire(),
            10 | 11 => self.watch(pick / 12),
            0 => self.lead(),
            1 => self.append(vec![
                (entity("app", "x"), Event::App),
                (entity("app", "y"), Event::App),
            ]),
            2 => self.due(job, pick),
            3 | 4 => self.pause(job),
            _ => self.checkpoint(),
        }
    }

    /// What is appended from here on is of the next term.
    pub fn next_term(&mut self) {
        let head = self.head();
        self.builder = BatchBuilder::new(self.key, head, head.term.next());
    }

    /// The next term begins, after the one before was given back (odd terms) or lost.
    pub fn lead(&mut self) {
        let before = self.head().term;
        let lease = entity("lease", "main");
        let released = !before.0.is_multiple_of(2);
        if released {
            let event = LeaseEvent::Released(LeaseReleased {
                holder: id("a"),
                reason: ReleaseReason::Shutdown,
            });
            self.append(vec![(lease.clone(), event.into())]);
        }
        self.next_term();
        let acquired = LeaseEvent::Acquired(LeaseAcquired {
            holder: id("a"),
            pid: 1,
            start_time: None,
            boot_id: "boot".into(),
            incarnation: format!("i{before}"),
        });
        let started = NodeEvent::Started(NodeStarted {
            software: "0".into(),
            host: "h".into(),
            max_running: 4,
            clock: None,
        });
        let mut events = vec![(lease.clone(), acquired.into())];
        if !released && before > Term::ZERO {
            let lost = LeaseEvent::Lost(LeaseLost {
                holder: id("a"),
                term: before,
            });
            events.push((lease, lost.into()));
        }
        events.push((entity("node", "a"), started.into()));
        self.append(events);
        let reattached = u32::try_from(self.running.len()).expect("histories are short");
        // As it is told now, and as it was before.
        let recovered = if self.head().term.0.is_multiple_of(2) {
            Event::from(RecoveryEvent::Completed(RecoveryCompleted {
                checkpoint: None,
                rejected: 0,
                upto: self.head().seq,
                replayed: self.head().seq.0,
                open_us: Micros(1),
                restore_us: Micros(0),
                replay_us: Micros(1),
                reconcile_us: Micros(1),
                reattached,
                closed: 0,
                lost: 0,
                requeued: 0,
                unstarted: 0,
            }))
        } else {
            Event::from(NodeEvent::Recovered(NodeRecovered {
                replayed: self.head().seq,
                replay_us: Micros(1),
                reattached,
                closed: 0,
                lost: 0,
                unstarted: 0,
            }))
        };
        self.append(vec![(entity("node", "a"), recovered)]);
    }
}
