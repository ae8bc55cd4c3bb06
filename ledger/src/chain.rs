//! The hash chain: each event's hash covers its exact stored bytes and the hash before it.
//!
//! `hash = BLAKE3-keyed(key, prev_hash || event bytes)` where
//! `key = BLAKE3-derive-key("opsledger 2026 event chain v1", ledger id)`: the ledger id is in the
//! domain of every hash, so an event of one ledger never fits into another. The hash before the
//! first event is 32 zero bytes.
//!
//! A [`BatchBuilder`] is the only way to a [`Batch`], so that what a store is given is always
//! contiguous, hashed and of one term.

use std::ops::Range;
use std::sync::Arc;

use crate::codec::{self, EncodeError};
use crate::envelope::Draft;
use crate::hash::Hash;
use crate::ids::{LedgerId, Seq, Term};
use crate::store::{BlockFault, Edge};
use crate::time::Timestamp;

/// Context of the key derivation; part of the format.
pub const CHAIN_CONTEXT: &str = "opsledger 2026 event chain v1";

/// The key of one ledger's chain. Not a secret: it separates ledgers, it doesn't sign.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ChainKey([u8; 32]);

impl ChainKey {
    /// The key of this ledger's chain.
    pub fn new(ledger: LedgerId) -> Self {
        Self(blake3::derive_key(CHAIN_CONTEXT, ledger.0.as_bytes()))
    }

    /// The hash of `event`, which follows the event whose hash is `prev`.
    pub fn hash(&self, prev: &Hash, event: &[u8]) -> Hash {
        let mut links = Links::new(*self, *prev);
        links.next(event)
    }
}

impl std::fmt::Debug for ChainKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ChainKey")
    }
}

/// Walks a chain. Keeps one buffer, because hashing one contiguous input is about twice as fast
/// as feeding a hasher piecewise at the size of an event.
#[derive(Debug, Clone)]
pub struct Links {
    key: ChainKey,
    last: Hash,
    buffer: Vec<u8>,
}

impl Links {
    /// A chain whose last known hash is `prev`.
    pub fn new(key: ChainKey, prev: Hash) -> Self {
        Self {
            key,
            last: prev,
            buffer: Vec::with_capacity(1024),
        }
    }

    /// The hash of the next event, which becomes the last known one.
    pub fn next(&mut self, event: &[u8]) -> Hash {
        self.buffer.clear();
        self.buffer.extend_from_slice(&self.last.0);
        self.buffer.extend_from_slice(event);
        self.last = Hash(*blake3::keyed_hash(&self.key.0, &self.buffer).as_bytes());
        self.last
    }

    /// The last known hash.
    pub fn last(&self) -> Hash {
        self.last
    }
}

/// Where a ledger ends: what the next event follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// The last event; 0 in a ledger that has none.
    pub seq: Seq,
    /// Its hash; zero in a ledger that has none.
    pub hash: Hash,
    /// The highest term in it.
    pub term: Term,
    /// When the last event was recorded.
    pub recorded_at: Timestamp,
}

impl Head {
    /// The head of a ledger without events.
    pub const EMPTY: Self = Self {
        seq: Seq::ZERO,
        hash: Hash::ZERO,
        term: Term::ZERO,
        recorded_at: Timestamp(0),
    };
}

/// Encoded, chained events of one term, ready to be appended as one. Clones share them.
#[derive(Debug, Clone)]
pub struct Batch {
    key: ChainKey,
    prev: Head,
    head: Head,
    events: Arc<Events>,
}

/// Encoded events and their hashes.
#[derive(Debug, Clone, Default)]
struct Events {
    /// Each behind its length (u32, little endian): as frames and blocks hold them, so that these
    /// are made by copying.
    framed: Vec<u8>,
    /// Where each ends in `framed`.
    ends: Vec<usize>,
    /// The hash of each.
    hashes: Vec<Hash>,
}

/// Bytes of the length in front of an event.
const LENGTH: usize = 4;

impl Events {
    fn with_room_of(other: &Self) -> Self {
        Self {
            framed: Vec::with_capacity(other.framed.len()),
            ends: Vec::with_capacity(other.ends.len()),
            hashes: Vec::with_capacity(other.hashes.len()),
        }
    }

    /// Where the event at `index` begins with its length.
    fn start(&self, index: usize) -> usize {
        index.checked_sub(1).map_or(0, |before| self.ends[before])
    }

    fn bytes(&self) -> usize {
        self.framed.len() - LENGTH * self.ends.len()
    }

    fn iter(&self) -> impl Iterator<Item = (&[u8], Hash)> {
        let all = (0..self.ends.len()).zip(&self.hashes);
        all.map(|(index, &hash)| (self.at(index), hash))
    }

    /// The bytes of the event at `index`.
    fn at(&self, index: usize) -> &[u8] {
        &self.framed[self.start(index) + LENGTH..self.ends[index]]
    }
}

impl Batch {
    /// The head that this batch follows.
    pub fn prev(&self) -> Head {
        self.prev
    }

    /// The head after it.
    pub fn head(&self) -> Head {
        self.head
    }

    /// The chain it belongs to.
    pub fn key(&self) -> ChainKey {
        self.key
    }

    /// How many events it has.
    pub fn len(&self) -> usize {
        self.events.ends.len()
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.events.ends.is_empty()
    }

    /// Bytes of all its encoded events.
    pub fn byte_len(&self) -> usize {
        self.events.bytes()
    }

    /// The position and the encoded length of each of its events.
    pub(crate) fn sizes(&self) -> impl Iterator<Item = (Seq, usize)> {
        let ends = &self.events.ends;
        let starts = std::iter::once(0).chain(ends.iter().copied());
        let lengths = starts.zip(ends).map(|(start, &end)| end - start - LENGTH);
        (self.prev.seq.0 + 1..).map(Seq).zip(lengths)
    }

    /// Some of its events by index, each behind its length (u32, little endian).
    pub(crate) fn framed(&self, range: Range<usize>) -> &[u8] {
        &self.events.framed[self.events.start(range.start)..self.events.start(range.end)]
    }

    /// The hash of the event at `seq`, which is in it or the one before it.
    pub(crate) fn hash_at(&self, seq: Seq) -> Option<Hash> {
        let index = seq.0.checked_sub(self.prev.seq.0)?;
        match usize::try_from(index).ok()?.checked_sub(1) {
            None => Some(self.prev.hash),
            Some(index) => self.events.hashes.get(index).copied(),
        }
    }

    /// A batch that was written before: `body` holds its encoded events, each behind its length
    /// (u32, little endian). Its hashes are computed from `prev`.
    ///
    /// # Errors
    /// [`BlockFault`] if they are not the events of one batch that follows `prev`.
    pub(crate) fn restore(key: ChainKey, prev: Head, body: &[u8]) -> Result<Self, BlockFault> {
        let mut head = prev;
        let (mut ends, mut hashes) = (Vec::new(), Vec::new());
        let mut links = Links::new(key, prev.hash);
        let mut rest = body;
        while !rest.is_empty() {
            let at = body.len() - rest.len();
            let split = rest.split_first_chunk::<4>().and_then(|(len, rest)| {
                rest.split_at_checked(usize::try_from(u32::from_le_bytes(*len)).ok()?)
            });
            let (event, behind) = split.ok_or(BlockFault::Length(at))?;
            rest = behind;
            let seq = head.seq.next();
            let header = codec::decode(event)
                .map_err(|error| BlockFault::Event { seq, error })?
                .header;
            if header.seq != seq {
                return Err(BlockFault::Seq {
                    expected: seq,
                    found: header.seq,
                });
            }
            let before = Edge {
                term: head.term,
                recorded_at: head.recorded_at,
            };
            before.meets(Edge::of(&header), seq)?;
            ends.push(body.len() - rest.len());
            hashes.push(links.next(event));
            head = Head {
                seq,
                hash: links.last(),
                term: header.term,
                recorded_at: header.recorded_at,
            };
        }
        let events = Events {
            framed: body.to_vec(),
            ends,
            hashes,
        };
        Ok(Self {
            key,
            prev,
            head,
            events: Arc::new(events),
        })
    }

    /// Batches that follow each other as one; `None` if there are none.
    pub(crate) fn join<'a>(batches: impl IntoIterator<Item = &'a Self>) -> Option<Self> {
        let mut batches = batches.into_iter();
        let mut whole = batches.next()?.clone();
        let mut all = Events::clone(&whole.events);
        for Self {
            prev, head, events, ..
        } in batches
        {
            debug_assert_eq!(prev.hash, whole.head.hash);
            let before = all.framed.len();
            all.framed.extend_from_slice(&events.framed);
            all.ends.extend(events.ends.iter().map(|end| before + end));
            all.hashes.extend_from_slice(&events.hashes);
            whole.head = *head;
        }
        whole.events = Arc::new(all);
        Some(whole)
    }

    /// The encoded bytes and the hash of its events, in order.
    pub fn events(&self) -> impl Iterator<Item = (&[u8], Hash)> {
        self.events.iter()
    }

    /// The bytes of some of its events, by index.
    pub(crate) fn events_in(&self, range: Range<usize>) -> impl DoubleEndedIterator<Item = &[u8]> {
        range.map(|index| {
            let (start, end) = (self.events.start(index), self.events.ends[index]);
            &self.events.framed[start + LENGTH..end]
        })
    }
}

/// Collects events into a [`Batch`], giving each its position, time and hash.
#[derive(Debug)]
pub struct BatchBuilder {
    key: ChainKey,
    prev: Head,
    head: Head,
    events: Events,
    links: Links,
}

impl BatchBuilder {
    /// A batch that follows `head`, written in `term`.
    pub fn new(key: ChainKey, head: Head, term: Term) -> Self {
        Self {
            key,
            prev: head,
            head: Head { term, ..head },
            events: Events::default(),
            links: Links::new(key, head.hash),
        }
    }

    /// Adds the events of one decision, all or none. They are recorded at `now`, or at the time
    /// of the event before them if the clock stands behind it. Returns the position and hash of
    /// the last.
    ///
    /// # Errors
    /// [`EncodeError`] if one of them does not fit; none of them is then in the batch.
    pub fn push(&mut self, drafts: &[Draft], now: Timestamp) -> Result<Head, EncodeError> {
        let Events {
            framed,
            ends,
            hashes,
        } = &mut self.events;
        let (count, bytes) = (ends.len(), framed.len());
        let recorded_at = now.max(self.head.recorded_at);
        let mut seq = self.head.seq;
        for draft in drafts {
            seq = seq.next();
            let start = framed.len();
            framed.extend_from_slice(&[0; LENGTH]);
            if let Err(e) = codec::encode(draft, seq, self.head.term, recorded_at, framed) {
                ends.truncate(count);
                framed.truncate(bytes);
                return Err(e);
            }
            let len = framed.len() - start - LENGTH;
            let len = u32::try_from(len).expect("encoded events are at most 65,535 bytes");
            framed[start..start + LENGTH].copy_from_slice(&len.to_le_bytes());
            ends.push(framed.len());
        }
        let mut start = bytes;
        for &end in &ends[count..] {
            hashes.push(self.links.next(&framed[start + LENGTH..end]));
            start = end;
        }
        if !drafts.is_empty() {
            self.head = Head {
                seq,
                hash: self.links.last(),
                recorded_at,
                ..self.head
            };
        }
        Ok(self.head)
    }

    /// The head after all that was added so far.
    pub fn head(&self) -> Head {
        self.head
    }

    /// How many events were added so far.
    pub fn len(&self) -> usize {
        self.events.ends.len()
    }

    /// Whether nothing was added so far.
    pub fn is_empty(&self) -> bool {
        self.events.ends.is_empty()
    }

    /// Bytes of all events added so far.
    pub fn byte_len(&self) -> usize {
        self.events.bytes()
    }

    /// The events added at and after index `from`, as encoded bytes.
    pub fn events_from(&self, from: usize) -> impl Iterator<Item = &[u8]> {
        // Not skipped to: a turn adds thousands of events one by one.
        (from..self.events.ends.len()).map(|index| self.events.at(index))
    }

    /// The finished batch; the builder goes on behind it.
    pub fn take(&mut self) -> Batch {
        let next = Events::with_room_of(&self.events);
        let batch = Batch {
            key: self.key,
            prev: self.prev,
            head: self.head,
            events: Arc::new(std::mem::replace(&mut self.events, next)),
        };
        self.prev = self.head;
        batch
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::envelope::Origin;
    use crate::ids::{Entity, EventId, Kind};
    use uuid::Uuid;

    fn draft(data: String) -> Draft {
        Draft {
            event_id: EventId(Uuid::nil()),
            kind: Kind::new("app.x").unwrap(),
            version: 1,
            subject: Entity::new("app/x").unwrap(),
            origin: Origin::of(Entity::new("system/test").unwrap()),
            idempotency_key: None,
            data,
        }
    }

    fn builder() -> BatchBuilder {
        let key = ChainKey::new(LedgerId(Uuid::from_u128(7)));
        BatchBuilder::new(key, Head::EMPTY, Term(1))
    }

    #[test]
    fn a_refused_decision_leaves_the_batch_as_it_was() {
        let mut b = builder();
        let head = b.push(&[draft("{}".into())], Timestamp(5)).unwrap();
        let huge = draft(format!("{{\"a\":\"{}\"}}", "x".repeat(codec::MAX_EVENT)));
        assert!(b.push(&[draft("{}".into()), huge], Timestamp(6)).is_err());
        assert_eq!((b.head(), b.len()), (head, 1));
        let next = b.push(&[draft("{\"b\":1}".into())], Timestamp(7)).unwrap();
        let batch = b.take();
        let mut links = Links::new(batch.key(), Hash::ZERO);
        for (bytes, hash) in batch.events() {
            assert_eq!(links.next(bytes), hash);
        }
        assert_eq!(links.last(), next.hash);
    }

    #[test]
    fn time_never_runs_backwards_and_batches_join() {
        let mut b = builder();
        b.push(&[draft("{}".into())], Timestamp(50)).unwrap();
        let first = b.take();
        let head = b.push(&[draft("{}".into())], Timestamp(10)).unwrap();
        assert_eq!(head.recorded_at, Timestamp(50));
        assert_eq!(b.take().prev(), first.head());
    }

    #[test]
    fn another_ledger_has_other_hashes() {
        let a = ChainKey::new(LedgerId(Uuid::from_u128(1)));
        let b = ChainKey::new(LedgerId(Uuid::from_u128(2)));
        assert_ne!(a.hash(&Hash::ZERO, b"x"), b.hash(&Hash::ZERO, b"x"));
    }
}
