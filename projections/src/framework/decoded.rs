//! A block that was checked, with the payloads decoded that somebody wants: once for all
//! projections that fold it.
//!
//! Decoding is what bounds a replay, so it is kept apart from folding: blocks are decoded on any
//! thread, in any order, and folded in order on one. Headers are decoded in the same pass that
//! checks them and kept as places in the block's bytes, so that folding does not decode them again.

use std::num::NonZeroU16;
use std::ops::RangeInclusive;

use ledger_core::chain::{Batch, ChainKey, Links};
use ledger_core::codec;
use ledger_core::envelope::{EventRef, Header};
use ledger_core::event::Event;
use ledger_core::hash::Hash;
use ledger_core::ids::{EventId, Seq, Term};
use ledger_core::store::{Block, BlockFault, pack};
use ledger_core::time::Timestamp;

/// What became of one event's payload.
#[derive(Debug, Clone, PartialEq)]
#[expect(
    clippy::large_enum_variant,
    reason = "nearly all are decoded; a box would cost an allocation for each event"
)]
pub enum Payload {
    /// Nobody wants this kind.
    Skipped,
    /// Decoded; [`Event::Unknown`] for a kind that this binary does not know.
    Decoded(Event),
    /// Known and wanted, and does not decode: the reason. Poison to whoever wants it.
    Fault(String),
}

/// Term and time of a block's first and last event, which must not go down where blocks join.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ends {
    pub(super) first: (Term, Timestamp),
    pub(super) last: (Term, Timestamp),
}

/// Memory for the events of a block.
#[derive(Debug, Default)]
pub(super) struct Buffer(Vec<(Envelope, Payload)>);

/// A block whose hashes hold, with its events of the range that is to be folded.
#[derive(Debug, Clone)]
pub struct DecodedBlock {
    block: Block,
    key: ChainKey,
    ends: Ends,
    first: Seq,
    last: Seq,
    /// One for each event from `first` to `last`.
    events: Vec<(Envelope, Payload)>,
}

impl DecodedBlock {
    /// Checks all that [`Block::check`] checks and decodes, in the same pass, the payloads of the
    /// events in `range` (cut to what the block has) whose kind is `wanted`.
    ///
    /// # Errors
    /// The first [`BlockFault`].
    pub fn new(
        block: Block,
        key: ChainKey,
        range: RangeInclusive<Seq>,
        wanted: &(dyn Fn(&str) -> bool + Sync),
    ) -> Result<Self, BlockFault> {
        Self::reusing(Buffer::default(), block, key, range, wanted)
    }

    /// [`DecodedBlock::new`] in the memory of one that is done with: blocks are large, and asking
    /// for their memory anew costs a sixth of a replay.
    pub(super) fn reusing(
        Buffer(mut events): Buffer,
        block: Block,
        key: ChainKey,
        range: RangeInclusive<Seq>,
        wanted: &(dyn Fn(&str) -> bool + Sync),
    ) -> Result<Self, BlockFault> {
        let first = block.first().max(*range.start());
        let last = block.last().min(*range.end());
        let count = (last.0 + 1).saturating_sub(first.0);
        events.reserve(usize::try_from(count).unwrap_or(0));
        let mut links = Links::new(key, block.prev_hash());
        let mut ends: Option<Ends> = None;
        for (seq, bytes) in (block.first().0..).map(Seq).zip(block.iter()) {
            let event = codec::decode(bytes).map_err(|error| BlockFault::Event { seq, error })?;
            let edge = (event.header.term, event.header.recorded_at);
            if event.header.seq != seq {
                return Err(BlockFault::Seq {
                    expected: seq,
                    found: event.header.seq,
                });
            }
            let ends = ends.get_or_insert(Ends {
                first: edge,
                last: edge,
            });
            follows(ends.last, edge, seq)?;
            ends.last = edge;
            links.next(bytes);
            if (first..=last).contains(&seq) {
                let envelope = Envelope::new(&event.header, bytes, block.as_bytes());
                events.push((envelope, decode_payload(&event, wanted)));
            }
        }
        if links.last() != block.last_hash() {
            return Err(BlockFault::Chain {
                seq: block.last(),
                expected: block.last_hash(),
                found: links.last(),
            });
        }
        Ok(Self {
            key,
            ends: ends.ok_or(BlockFault::Header)?,
            first,
            last,
            events,
            block,
        })
    }

    /// The blocks of a batch.
    ///
    /// # Errors
    /// The first [`BlockFault`]; a batch that a builder made has none.
    pub fn of_batch(
        batch: &Batch,
        wanted: &(dyn Fn(&str) -> bool + Sync),
    ) -> Result<Vec<Self>, BlockFault> {
        let all = Seq::FIRST..=Seq(u64::MAX);
        pack(batch, None)
            .into_iter()
            .map(|block| Self::new(block, batch.key(), all.clone(), wanted))
            .collect()
    }

    /// The first event that may be folded from it.
    pub fn first(&self) -> Seq {
        self.first
    }

    /// The last event that may be folded from it.
    pub fn last(&self) -> Seq {
        self.last
    }

    /// The block it was made from.
    pub fn block(&self) -> &Block {
        &self.block
    }

    /// The memory of it, for another.
    pub(super) fn into_buffer(mut self) -> Buffer {
        self.events.clear();
        Buffer(self.events)
    }

    pub(super) fn ends(&self) -> Ends {
        self.ends
    }

    /// The chain hash at `seq`, which lies in the block or directly before it.
    pub fn hash_at(&self, seq: Seq) -> Option<Hash> {
        hash_in(&self.block, &self.key, seq)
    }

    /// Its events after `seq` that may be folded, in order.
    pub fn events_after(&self, seq: Seq) -> impl Iterator<Item = (Header<'_>, &Payload)> {
        let skip = (seq.0 + 1).saturating_sub(self.first.0);
        (self.first.0..)
            .zip(&self.events)
            .skip(usize::try_from(skip).unwrap_or(usize::MAX))
            .map(|(seq, (envelope, payload))| {
                (envelope.header(Seq(seq), self.block.as_bytes()), payload)
            })
    }
}

/// Whether an event at `seq` may follow one, by term and time.
pub(super) fn follows(
    (term, time): (Term, Timestamp),
    (next_term, next_time): (Term, Timestamp),
    seq: Seq,
) -> Result<(), BlockFault> {
    if next_term < term {
        return Err(BlockFault::Term {
            seq,
            before: term,
            found: next_term,
        });
    }
    if next_time < time {
        return Err(BlockFault::Time { seq });
    }
    Ok(())
}

/// The chain hash at `seq` by hashing from the block's own edge; `None` if `seq` is neither in the
/// block nor directly before it.
pub(super) fn hash_in(block: &Block, key: &ChainKey, seq: Seq) -> Option<Hash> {
    if seq == block.last() {
        return Some(block.last_hash());
    }
    let count = (seq.0 + 1).checked_sub(block.first().0)?;
    if count > u64::from(block.count()) {
        return None;
    }
    let mut links = Links::new(*key, block.prev_hash());
    for bytes in block.iter().take(usize::try_from(count).ok()?) {
        links.next(bytes);
    }
    Some(links.last())
}

fn decode_payload(event: &EventRef<'_>, wanted: &(dyn Fn(&str) -> bool + Sync)) -> Payload {
    let Header { kind, version, .. } = event.header;
    if !wanted(kind) {
        return Payload::Skipped;
    }
    match Event::decode(event) {
        Ok(Event::Unknown) if Event::known_kinds().any(|known| known == kind) => Payload::Fault(
            format!("payload version {version} of {kind} is not known to this binary"),
        ),
        Ok(event) => Payload::Decoded(event),
        Err(error) => Payload::Fault(error.to_string()),
    }
}

/// A header without its borrows: texts as places in the event's bytes.
#[derive(Debug, Clone, Copy)]
struct Envelope {
    /// Where the event begins in the block.
    start: u32,
    version: u16,
    kind: Place,
    subject: Place,
    actor: Place,
    claimed_actor: Option<Place>,
    correlation: Option<Place>,
    traceparent: Option<Place>,
    idempotency_key: Option<Place>,
    cause: Option<Seq>,
    term: Term,
    recorded_at: Timestamp,
    event_id: EventId,
}

impl Envelope {
    /// Of `header`, which borrows from `event`, which borrows from `block`.
    fn new(header: &Header<'_>, event: &[u8], block: &[u8]) -> Self {
        let start = event.as_ptr().addr() - block.as_ptr().addr();
        let place = |text| Place::of(text, event);
        Self {
            start: u32::try_from(start).expect("a block is far smaller than 4 GiB"),
            version: header.version,
            kind: place(header.kind),
            subject: place(header.subject),
            actor: place(header.actor),
            claimed_actor: header.claimed_actor.map(place),
            correlation: header.correlation.map(place),
            traceparent: header.traceparent.map(place),
            idempotency_key: header.idempotency_key.map(place),
            cause: header.cause,
            term: header.term,
            recorded_at: header.recorded_at,
            event_id: header.event_id,
        }
    }

    fn header<'a>(&self, seq: Seq, block: &'a [u8]) -> Header<'a> {
        let event = &block[self.start as usize..];
        let text = |place: Place| place.text(event);
        Header {
            seq,
            term: self.term,
            recorded_at: self.recorded_at,
            event_id: self.event_id,
            kind: text(self.kind),
            version: self.version,
            subject: text(self.subject),
            actor: text(self.actor),
            claimed_actor: self.claimed_actor.map(text),
            cause: self.cause,
            correlation: self.correlation.map(text),
            traceparent: self.traceparent.map(text),
            idempotency_key: self.idempotency_key.map(text),
        }
    }
}

/// Where a text lies in an event. A text has at least one byte, so there is room for "none".
#[derive(Debug, Clone, Copy)]
struct Place {
    at: u16,
    len: NonZeroU16,
}

impl Place {
    /// The place of `text`, which borrows from `event`.
    fn of(text: &str, event: &[u8]) -> Self {
        let at = text.as_ptr().addr() - event.as_ptr().addr();
        let at = u16::try_from(at).expect("an event is shorter than 64 KiB");
        let len = u16::try_from(text.len()).ok().and_then(NonZeroU16::new);
        let len = len.expect("a name has 1 to 193 bytes");
        Self { at, len }
    }

    fn text(self, event: &[u8]) -> &str {
        let (at, len) = (usize::from(self.at), usize::from(self.len.get()));
        std::str::from_utf8(&event[at..at + len]).expect("a text was borrowed from this place")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testkit::{History, LEDGER};
    use ledger_core::store::LogReader;

    /// A larger block than the store's own of one batch each.
    fn block() -> Block {
        let history = History::seeded(9, 12);
        let mut joined: Option<Block> = None;
        for batch in history.batches() {
            let blocks = pack(batch, joined.as_ref());
            assert_eq!(blocks.len(), 1);
            joined = blocks.into_iter().next();
        }
        let block = joined.unwrap();
        assert_eq!(block.last(), history.store().head().unwrap().seq);
        block
    }

    fn whole(block: &Block) -> Result<DecodedBlock, BlockFault> {
        let (key, all) = (ChainKey::new(LEDGER), Seq::ZERO..=Seq(u64::MAX));
        DecodedBlock::new(block.clone(), key, all, &|_| true)
    }

    #[test]
    fn it_finds_what_the_block_itself_finds() {
        let block = block();
        let (good, key) = (block.as_bytes(), ChainKey::new(LEDGER));
        let mut faults = 0;
        for at in 0..good.len() {
            for mask in [1 << (at % 8), 0x80] {
                let mut bad = good.to_vec();
                bad[at] ^= mask;
                let Ok(bad) = Block::parse(bad) else { continue };
                let found = whole(&bad).map(|_| ());
                assert_eq!(found, bad.check(&key).map(|_| ()), "byte {at}");
                faults += usize::from(found.is_err());
            }
        }
        assert!(
            faults > good.len(),
            "nearly every change is a fault of its own"
        );
    }

    #[test]
    fn headers_and_payloads_come_back_as_they_were() {
        let block = block();
        let decoded = whole(&block).unwrap();
        let expected: Vec<_> = block.events().map(Result::unwrap).collect();
        let found: Vec<_> = decoded.events_after(Seq::ZERO).collect();
        assert_eq!(found.len(), expected.len());
        for ((header, payload), event) in found.iter().zip(&expected) {
            assert_eq!(*header, event.header);
            assert_eq!(**payload, Payload::Decoded(Event::decode(event).unwrap()));
        }
        let first = expected[0].header;
        let last = expected[expected.len() - 1].header;
        let ends = Ends {
            first: (first.term, first.recorded_at),
            last: (last.term, last.recorded_at),
        };
        assert_eq!(decoded.ends(), ends);
        // A part of it, nothing wanted.
        let (key, part) = (ChainKey::new(LEDGER), Seq(4)..=Seq(7));
        let part = DecodedBlock::new(block, key, part, &|_| false).unwrap();
        assert_eq!((part.first(), part.last()), (Seq(4), Seq(7)));
        let seqs: Vec<_> = part
            .events_after(Seq(5))
            .map(|(h, p)| (h.seq, p.clone()))
            .collect();
        assert_eq!(
            seqs,
            [(Seq(6), Payload::Skipped), (Seq(7), Payload::Skipped)]
        );
    }
}
