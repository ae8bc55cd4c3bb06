//! The sequencer: decisions become events, events become batches, replies wait for the disk.
//!
//! **Speculative fold, durable watermark.** State runs ahead of the disk by the batch in flight
//! and the batch being built; what anyone else sees never does. While one batch is being written
//! everything that arrives is folded into the next, so that thousands of commands share one fsync
//! and an idle node writes at once. (Group commit; the watermark is the idea of a log's high
//! watermark in replicated logs.)

use std::collections::VecDeque;

use ledger_core::chain::{BatchBuilder, ChainKey, Head};
use ledger_core::clock;
use ledger_core::codec::{self, EncodeError};
use ledger_core::envelope::{Draft, Origin};
use ledger_core::event::Event;
use ledger_core::ids::{Entity, Id, Kind, LedgerId, Seq, Term};
use ledger_core::time::Timestamp;
use projections::framework::Projection;

use super::command::{Output, Rejected, Reply, RequestId};
use super::decision::Decision;
use super::ports::Random;
use crate::decided::Decided;

/// Why a decision was not recorded.
pub(super) enum RecordError {
    /// An event does not fit: the request is refused, nothing changed.
    Encode(EncodeError),
    /// The events were encoded and do not fold: the state can't be trusted any more.
    Fold(String),
}

/// One event that is ready to be recorded.
pub(super) struct Entry {
    pub(super) subject: Entity,
    pub(super) kind: Kind,
    pub(super) data: String,
    pub(super) event: Event,
}

impl From<Decided> for Entry {
    fn from(decided: Decided) -> Self {
        let (kind, data) = decided
            .event
            .kind_and_data()
            .expect("decisions are events of our own families, which have a kind");
        let kind = Kind::new(kind).expect("the families' kinds follow the rule of kinds");
        Self {
            subject: decided.subject,
            kind,
            data,
            event: decided.event,
        }
    }
}

/// A reply that waits for the disk.
struct Pending {
    after: Seq,
    id: RequestId,
    result: Result<Reply, Rejected>,
}

pub(super) struct Sequencer {
    /// Folded up to the end of the batch being built.
    pub(super) state: Decision,
    builder: BatchBuilder,
    in_flight: bool,
    held: bool,
    durable: Head,
    pending: VecDeque<Pending>,
    random: Box<dyn Random>,
}

impl Sequencer {
    pub(super) fn new(
        ledger: LedgerId,
        head: Head,
        term: Term,
        state: Decision,
        random: Box<dyn Random>,
    ) -> Self {
        Self {
            state,
            builder: BatchBuilder::new(ChainKey::new(ledger), head, term),
            in_flight: false,
            held: false,
            durable: head,
            pending: VecDeque::new(),
            random,
        }
    }

    /// Where the ledger ends, disk or not.
    pub(super) fn head(&self) -> Head {
        self.builder.head()
    }

    /// What is on disk.
    pub(super) fn durable(&self) -> Seq {
        self.durable.seq
    }

    /// Whether everything recorded is on disk.
    pub(super) fn is_settled(&self) -> bool {
        self.durable.seq == self.builder.head().seq
    }

    /// A new id for something that was decided at `at`.
    pub(super) fn new_id(&mut self, at: Timestamp) -> Id {
        let id = clock::event_id(at, self.random.bytes());
        Id::new(id.to_string()).expect("a UUID is made of characters that an id may have")
    }

    /// A number drawn by chance.
    pub(super) fn draw(&mut self) -> u64 {
        let [a, b, c, d, e, f, g, h, ..] = self.random.bytes();
        u64::from_le_bytes([a, b, c, d, e, f, g, h])
    }

    /// Records events as one: encodes them into the batch being built and folds them. The key, if
    /// there is one, is carried by the last event, whose receipt is then the receipt of all.
    pub(super) fn record(
        &mut self,
        now: Timestamp,
        origin: &Origin,
        key: Option<&Id>,
        entries: Vec<Entry>,
    ) -> Result<Head, RecordError> {
        let from = self.builder.len();
        let last = entries.len().saturating_sub(1);
        let mut events = Vec::with_capacity(entries.len());
        let mut drafts = Vec::with_capacity(entries.len());
        for (i, entry) in entries.into_iter().enumerate() {
            drafts.push(Draft {
                event_id: clock::event_id(now, self.random.bytes()),
                kind: entry.kind,
                version: 1,
                subject: entry.subject,
                origin: origin.clone(),
                idempotency_key: key.filter(|_| i == last).cloned(),
                data: entry.data,
            });
            events.push(entry.event);
        }
        let head = self
            .builder
            .push(&drafts, now)
            .map_err(RecordError::Encode)?;
        for (bytes, event) in self.builder.events_from(from).zip(&events) {
            let folded = codec::decode(bytes)
                .map_err(|e| e.to_string())
                .and_then(|e| {
                    self.state
                        .apply(&e.header, event)
                        .map_err(|e| e.to_string())
                });
            folded.map_err(RecordError::Fold)?;
        }
        Ok(head)
    }

    /// Answers a request once everything up to `after` is on disk.
    pub(super) fn reply(&mut self, after: Seq, id: RequestId, result: Result<Reply, Rejected>) {
        self.pending.push_back(Pending { after, id, result });
    }

    /// The batch in flight is on disk.
    pub(super) fn durable_at(&mut self, head: Head) {
        self.in_flight = false;
        self.durable = head;
    }

    /// Keeps the batch that is being built through the next flush.
    pub(super) fn hold(&mut self) {
        self.held = true;
    }

    /// Hands out what the disk allows: replies that waited, and the next batch.
    pub(super) fn flush(&mut self, outputs: &mut Vec<Output>) {
        // Replies are queued in the order of what they wait for, so the first that has to wait
        // ends the round.
        while self
            .pending
            .front()
            .is_some_and(|p| p.after <= self.durable.seq)
        {
            if let Some(Pending { id, result, .. }) = self.pending.pop_front() {
                outputs.push(Output::Reply { id, result });
            }
        }
        let held = std::mem::take(&mut self.held);
        if !held && !self.in_flight && !self.builder.is_empty() {
            self.in_flight = true;
            outputs.push(Output::Append(self.builder.take()));
        }
    }

    /// Everyone who still waits; for a node that stops leading.
    pub(super) fn abandon(&mut self) -> impl Iterator<Item = RequestId> {
        std::mem::take(&mut self.pending).into_iter().map(|p| p.id)
    }
}
