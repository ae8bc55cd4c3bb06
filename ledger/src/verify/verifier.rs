//! Blocks in, findings out, whoever delivers the blocks: a store, a socket, a file.
//!
//! ```text
//! push ──> chunks ──> workers: each block alone ──> outcomes ──> joined in order, edge to edge
//! ```
//! A block carries the hash at both its edges, so the expensive part needs no order. No more than a
//! few chunks are ever ahead of the one that is joined next, so memory does not grow with the
//! ledger, however unevenly the workers get on.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use super::examine::{Examine, Nothing};

use super::report::{Finding, Place, Report, What};
use crate::chain::{ChainKey, Head};
use crate::codec;
use crate::event::{Event, LEDGER_FORMAT, LedgerEvent};
use crate::hash::Hash;
use crate::ids::{LedgerId, Seq, Term};
use crate::store::{BLOCK_HEADER, Block, BlockFault, Checked, Edge, ReadError};

/// Bytes of blocks that are handed to a worker at once.
const CHUNK: usize = 256 * 1024;
/// Chunks, for each worker, that may be ahead of the one that is joined next.
const AHEAD: usize = 4;
/// How long to wait for a chunk before looking whether its worker is still there.
const PATIENCE: Duration = Duration::from_secs(1);

/// An event known from somewhere else, which the ledger must have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KnownHead {
    /// Where it is known from; named in the finding.
    pub place: Place,
    /// Its position.
    pub seq: Seq,
    /// Its hash.
    pub hash: Hash,
}

/// Takes a ledger's blocks from the first to the last and says what is wrong with them.
pub struct Verifier<'f, E: Examine = Nothing> {
    checks: Arc<Checks<E>>,
    joiner: Joiner<'f, E::Notes>,
    chunk: Vec<Block>,
    chunk_bytes: usize,
    sent: usize,
    pool: Option<Pool<E>>,
}

impl Verifier<'static> {
    /// A verifier of this ledger; with more than one thread, so many workers hash beside the
    /// caller. Every one of `known` must turn up.
    pub fn new(ledger_id: LedgerId, threads: NonZeroUsize, known: Vec<KnownHead>) -> Self {
        Self::examining(ledger_id, threads, known, Nothing, Box::new(|()| {}))
    }
}

impl<'f, E: Examine> Verifier<'f, E> {
    /// As [`Verifier::new`], and what `examiner` notes of each block is given to `fold`, in order,
    /// for as long as nothing is found.
    pub fn examining(
        ledger_id: LedgerId,
        threads: NonZeroUsize,
        known: Vec<KnownHead>,
        examiner: E,
        fold: Box<dyn FnMut(E::Notes) + 'f>,
    ) -> Self {
        let checks = Arc::new(Checks {
            ledger_id,
            key: ChainKey::new(ledger_id),
            known,
            examiner,
        });
        Self {
            pool: (threads.get() > 1).then(|| Pool::new(threads, &checks)),
            joiner: Joiner::new(ledger_id, fold),
            checks,
            chunk: Vec::new(),
            chunk_bytes: 0,
            sent: 0,
        }
    }

    /// Takes the next block.
    pub fn push(&mut self, block: Block) {
        match &mut self.pool {
            None => self.joiner.join(self.checks.check(&block)),
            Some(_) => {
                self.chunk_bytes += block.as_bytes().len();
                self.chunk.push(block);
                if self.chunk_bytes >= CHUNK {
                    self.flush();
                }
            }
        }
    }

    /// Takes note of a place that could not be read.
    pub fn unreadable(&mut self, error: &ReadError) {
        let finding = match error {
            ReadError::Block { seq, fault } => Finding::of_block(*seq, *fault),
            other => Finding::unreadable(&other.to_string()),
        };
        self.joiner.report.add(finding);
    }

    fn flush(&mut self) {
        let Some(pool) = &mut self.pool else { return };
        if self.chunk.is_empty() {
            return;
        }
        let chunk = std::mem::take(&mut self.chunk);
        self.chunk_bytes = 0;
        while self.sent - self.joiner.next_chunk >= AHEAD * pool.threads.len().max(1) {
            match pool.outcomes.recv_timeout(PATIENCE) {
                Ok((index, outcomes)) => self.joiner.take(index, outcomes),
                // What a worker that panicked had in hand never comes.
                Err(_) if pool.threads.iter().any(JoinHandle::is_finished) => break,
                Err(_) => {}
            }
        }
        pool.send(self.sent, chunk);
        self.sent += 1;
        while let Ok((index, outcomes)) = pool.outcomes.try_recv() {
            self.joiner.take(index, outcomes);
        }
    }

    /// Ends the verification. `head` is where the store says that it ends; it must not say more
    /// than was there.
    pub fn finish(mut self, head: Head) -> Report {
        self.flush();
        if let Some(pool) = self.pool.take() {
            for (index, outcomes) in pool.end() {
                self.joiner.take(index, outcomes);
            }
        }
        let mut joiner = self.joiner;
        if joiner.next_chunk != self.sent {
            joiner
                .report
                .add(Finding::unreadable("a verifying thread ended early"));
        }
        joiner.end(head, &self.checks.known)
    }
}

/// What is checked of each block alone.
struct Checks<E> {
    ledger_id: LedgerId,
    key: ChainKey,
    known: Vec<KnownHead>,
    examiner: E,
}

/// What became of a block.
struct Outcome<N> {
    first: Seq,
    last: Seq,
    prev_hash: Hash,
    last_hash: Hash,
    /// Bytes of its encoded events.
    bytes: u64,
    checked: Result<Checked, BlockFault>,
    findings: Vec<Finding>,
    notes: N,
}

impl<E: Examine> Checks<E> {
    fn check(&self, block: &Block) -> Outcome<E::Notes> {
        let framing = BLOCK_HEADER + 4 * block.count() as usize;
        let mut findings = Vec::new();
        let mut notes = E::Notes::default();
        let checked = block.check_each(&self.key, |event| self.examiner.event(event, &mut notes));
        if checked.is_ok() {
            self.examiner.block(block, &mut notes);
            findings.extend(self.first_events(block));
            let range = block.first()..=block.last();
            for known in self.known.iter().filter(|k| range.contains(&k.seq)) {
                let found = block.hash_at(&self.key, known.seq);
                if let Some(found) = found.filter(|&found| found != known.hash) {
                    findings.push(Finding::of_known(
                        known.place,
                        known.seq,
                        known.hash,
                        Ok(found),
                    ));
                }
            }
        }
        Outcome {
            first: block.first(),
            last: block.last(),
            prev_hash: block.prev_hash(),
            last_hash: block.last_hash(),
            bytes: (block.as_bytes().len() - framing) as u64,
            checked,
            findings,
            notes,
        }
    }

    /// The rules for seq 1 and 2 in a block that is sound otherwise.
    fn first_events(&self, block: &Block) -> Option<Finding> {
        if block.first() > Seq(2) {
            return None;
        }
        let place = Place::Block {
            first: block.first(),
            at: None,
        };
        let mut seqs = block.first().0..;
        for bytes in block.iter().take(2) {
            let event = codec::decode(bytes).ok()?;
            let seq = Seq(seqs.next()?);
            if seq == Seq::FIRST {
                let created = match Event::decode(&event) {
                    Ok(Event::Ledger(LedgerEvent::Created(created))) => {
                        format!("ledger.created of {}", created.ledger_id)
                            + &(match created.format {
                                LEDGER_FORMAT => String::new(),
                                other => format!(" in format {other}"),
                            })
                    }
                    Ok(_) => event.header.kind.to_owned(),
                    Err(error) => error.to_string(),
                };
                let found = format!("{created} at term {}", event.header.term);
                let expected = format!("ledger.created of {} at term 0", self.ledger_id);
                if found != expected {
                    return Some(Finding {
                        seq: Some(seq),
                        place,
                        what: What::Genesis,
                        expected,
                        found,
                    });
                }
            } else if seq == Seq(2) && event.header.term == Term::ZERO {
                return Some(Finding {
                    seq: Some(seq),
                    place,
                    what: What::Term,
                    expected: "term 1 or later".into(),
                    found: "term 0".into(),
                });
            }
        }
        None
    }
}

/// Puts outcomes back in order and joins the blocks' edges.
struct Joiner<'f, N> {
    report: Report,
    early: BTreeMap<usize, Vec<Outcome<N>>>,
    next_chunk: usize,
    /// The edge of the last block, if that block was sound.
    edge: Option<Edge>,
    fold: Box<dyn FnMut(N) + 'f>,
}

impl<'f, N> Joiner<'f, N> {
    fn new(ledger_id: LedgerId, fold: Box<dyn FnMut(N) + 'f>) -> Self {
        Self {
            report: Report::new(Some(ledger_id)),
            early: BTreeMap::new(),
            next_chunk: 0,
            edge: None,
            fold,
        }
    }

    fn take(&mut self, index: usize, outcomes: Vec<Outcome<N>>) {
        self.early.insert(index, outcomes);
        while let Some(outcomes) = self.early.remove(&self.next_chunk) {
            self.next_chunk += 1;
            for outcome in outcomes {
                self.join(outcome);
            }
        }
    }

    fn join(&mut self, outcome: Outcome<N>) {
        let report = &mut self.report;
        let (last, first) = (report.head, outcome.first);
        let next = Seq(last.seq.0.saturating_add(1));
        if first != next {
            let fault = BlockFault::Place {
                expected: next,
                found: first,
            };
            report.add(Finding::of_block(first, fault));
        } else if outcome.prev_hash != last.hash {
            let fault = BlockFault::Edge {
                seq: first,
                expected: last.hash,
                found: outcome.prev_hash,
            };
            report.add(Finding::of_block(first, fault));
        }
        match &outcome.checked {
            Err(fault) => report.add(Finding::of_block(first, *fault)),
            Ok(checked) => {
                if let Some(edge) = self.edge
                    && let Err(fault) = edge.meets(checked.first, first)
                {
                    report.add(Finding::of_block(first, fault));
                }
            }
        }
        for finding in outcome.findings {
            report.add(finding);
        }
        if report.is_intact() {
            (self.fold)(outcome.notes);
        }
        // Whatever was wrong with it, the next block is held against this one's end, so that one
        // fault is one finding.
        report.blocks += 1;
        report.events += outcome.last.0 - first.0 + 1;
        report.bytes += outcome.bytes;
        report.head.seq = outcome.last;
        report.head.hash = outcome.last_hash;
        self.edge = outcome.checked.ok().map(|checked| checked.last);
        if let Some(edge) = self.edge {
            report.head.term = edge.term;
            report.head.recorded_at = edge.recorded_at;
        }
    }

    fn end(self, head: Head, known: &[KnownHead]) -> Report {
        let mut report = self.report;
        let end = report.head;
        let store = KnownHead {
            place: Place::Head,
            seq: head.seq,
            hash: head.hash,
        };
        for known in known.iter().chain(std::iter::once(&store)) {
            if known.seq > end.seq || known.seq == Seq::ZERO {
                let cut = Finding::of_known(known.place, known.seq, known.hash, Err(end.seq));
                if !report.findings.contains(&cut) {
                    report.add(cut);
                }
            }
        }
        if head.seq == end.seq && head != end && report.is_intact() {
            let show = |h: Head| {
                format!(
                    "seq {}, hash {}, term {}, recorded at {}",
                    h.seq, h.hash, h.term, h.recorded_at
                )
            };
            report.add(Finding {
                seq: Some(end.seq),
                place: Place::Head,
                what: What::Replaced,
                expected: show(head),
                found: show(end),
            });
        }
        report
    }
}

type Job = (usize, Vec<Block>);
type Done<E> = (usize, Vec<Outcome<<E as Examine>::Notes>>);

/// Threads that check chunks of blocks.
struct Pool<E: Examine> {
    jobs: SyncSender<Job>,
    outcomes: Receiver<Done<E>>,
    threads: Vec<JoinHandle<()>>,
    /// Checks in this thread if no worker could be started or all have ended.
    fallback: (Arc<Checks<E>>, Sender<Done<E>>),
}

impl<E: Examine> Pool<E> {
    fn new(threads: NonZeroUsize, checks: &Arc<Checks<E>>) -> Self {
        // Few enough that the blocks in flight are a few MiB.
        let (jobs, inbox) = sync_channel::<Job>(2 * threads.get());
        let (done, outcomes) = channel();
        let inbox = Arc::new(Mutex::new(inbox));
        let threads = (0..threads.get())
            .filter_map(|_| {
                let (inbox, done) = (Arc::clone(&inbox), done.clone());
                let checks = Arc::clone(checks);
                std::thread::Builder::new()
                    .name("verify".into())
                    .spawn(move || work(&checks, &inbox, &done))
                    .ok()
            })
            .collect();
        Self {
            jobs,
            outcomes,
            threads,
            fallback: (Arc::clone(checks), done),
        }
    }

    fn send(&self, index: usize, chunk: Vec<Block>) {
        if let Err(unsent) = self.jobs.send((index, chunk)) {
            let (checks, done) = &self.fallback;
            let (index, chunk) = unsent.0;
            let outcomes = chunk.iter().map(|block| checks.check(block)).collect();
            // The receiver is in this very struct.
            let _ = done.send((index, outcomes));
        }
    }

    /// Waits for what is still being checked.
    fn end(self) -> impl Iterator<Item = Done<E>> {
        drop(self.jobs);
        drop(self.fallback);
        for thread in self.threads {
            // A worker that panicked is noticed by the outcome it did not deliver.
            let _ = thread.join();
        }
        self.outcomes.into_iter()
    }
}

fn work<E: Examine>(checks: &Checks<E>, inbox: &Mutex<Receiver<Job>>, done: &Sender<Done<E>>) {
    loop {
        let job = inbox.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok((index, chunk)) = job else { return };
        let outcomes = chunk.iter().map(|block| checks.check(block)).collect();
        if done.send((index, outcomes)).is_err() {
            return;
        }
    }
}
