//! A block: some events in order, with the chain hash at its two edges.
//!
//! ```text
//!  0  u32   count of events, at least 1      16  [32]  hash before the first event
//!  4  u32   zero                             48  [32]  hash of the last event
//!  8  u64   seq of the first event           80  count times: u32 length + encoded event
//! ```
//! Integers are little endian. Hashes inside a block are not stored: they follow from the edge.
//! Because both edges are, each block can be checked without the others, and a run of checked
//! blocks whose edges meet is a checked chain.

use std::ops::Range;

use crate::chain::{Batch, ChainKey, Links};
use crate::codec::{self, DecodeError, MAX_EVENT};
use crate::envelope::{EventRef, Header};
use crate::hash::Hash;
use crate::ids::{Seq, Term};
use crate::time::Timestamp;

/// Bytes in front of the first event.
pub const BLOCK_HEADER: usize = 80;
/// A block is closed before it grows beyond this, unless one event alone is larger. Just under
/// 64 KiB: the store rounds values up to powers of two.
pub const BLOCK_CAP: usize = 64 * 1024 - 512;

/// What is wrong with a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BlockFault {
    /// Its bytes end too early, or go on too long.
    #[error("its length does not fit its contents (byte {0})")]
    Length(usize),
    /// A reserved field is set, or it holds no event.
    #[error("its header is malformed")]
    Header,
    /// It stands in the place of another.
    #[error("it begins with seq {found} where seq {expected} belongs")]
    Place {
        /// The seq that belongs here.
        expected: Seq,
        /// The seq it says.
        found: Seq,
    },
    /// An event in it does not decode.
    #[error("seq {seq}: {error}")]
    Event {
        /// The event.
        seq: Seq,
        /// What is wrong with it.
        error: DecodeError,
    },
    /// An event in it has another position.
    #[error("seq {expected} holds an event that says seq {found}")]
    Seq {
        /// Where it stands.
        expected: Seq,
        /// What it says.
        found: Seq,
    },
    /// A term went down.
    #[error("seq {seq} is of term {found}, after term {before}")]
    Term {
        /// The event.
        seq: Seq,
        /// The term before it.
        before: Term,
        /// Its term.
        found: Term,
    },
    /// Time ran backwards.
    #[error("seq {seq} was recorded before the event in front of it")]
    Time {
        /// The event.
        seq: Seq,
    },
    /// The edge does not meet the block before.
    #[error("the hash before seq {seq} should be {expected}, found {found}")]
    Edge {
        /// First seq of the block.
        seq: Seq,
        /// What the block before ends with.
        expected: Hash,
        /// What this block says.
        found: Hash,
    },
    /// The events do not hash to what the block says.
    #[error("the events up to seq {seq} hash to {found}, the block says {expected}")]
    Chain {
        /// Last seq of the block.
        seq: Seq,
        /// What the block says.
        expected: Hash,
        /// What its events hash to.
        found: Hash,
    },
}

/// A structurally sound block: its frames fill its bytes exactly. Hashes are checked by
/// [`Block::check`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    bytes: Vec<u8>,
    count: u32,
}

impl Block {
    /// Takes a block's bytes after checking that its frames fill them.
    ///
    /// # Errors
    /// [`BlockFault::Length`] or [`BlockFault::Header`].
    pub fn parse(bytes: Vec<u8>) -> Result<Self, BlockFault> {
        if bytes.len() < BLOCK_HEADER {
            return Err(BlockFault::Length(bytes.len()));
        }
        let (count, zero) = (read_u32(&bytes, 0), read_u32(&bytes, 4));
        let first = read_u64(&bytes, 8);
        if count == 0 || zero != 0 || first == 0 || first.checked_add(u64::from(count)).is_none() {
            return Err(BlockFault::Header);
        }
        let mut at = BLOCK_HEADER;
        for _ in 0..count {
            if bytes.len() - at < 4 {
                return Err(BlockFault::Length(at));
            }
            let len = read_u32(&bytes, at) as usize;
            if len > MAX_EVENT || bytes.len() - at - 4 < len {
                return Err(BlockFault::Length(at));
            }
            at += 4 + len;
        }
        if at != bytes.len() {
            return Err(BlockFault::Length(at));
        }
        Ok(Self { bytes, count })
    }

    /// Seq of the first event.
    pub fn first(&self) -> Seq {
        Seq(read_u64(&self.bytes, 8))
    }

    /// Seq of the last event.
    pub fn last(&self) -> Seq {
        Seq(self.first().0 + u64::from(self.count) - 1)
    }

    /// How many events it has.
    pub fn count(&self) -> u32 {
        self.count
    }

    /// The hash before its first event.
    pub fn prev_hash(&self) -> Hash {
        read_hash(&self.bytes, 16)
    }

    /// The hash of its last event.
    pub fn last_hash(&self) -> Hash {
        read_hash(&self.bytes, 48)
    }

    /// The block's bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Its encoded events, in order.
    pub fn iter(&self) -> BlockIter<'_> {
        BlockIter {
            rest: &self.bytes[BLOCK_HEADER..],
        }
    }

    /// Its events and their seq, decoded.
    pub fn events(&self) -> impl Iterator<Item = Result<EventRef<'_>, BlockFault>> {
        let first = self.first().0;
        self.iter().zip(first..).map(|(bytes, seq)| {
            codec::decode(bytes).map_err(|error| BlockFault::Event {
                seq: Seq(seq),
                error,
            })
        })
    }

    /// The hash of the event at `seq`, as the block's first edge and its events give it (its last
    /// edge, for the last event); `None` if that event is not in it. Checks nothing.
    pub fn hash_at(&self, key: &ChainKey, seq: Seq) -> Option<Hash> {
        if !(self.first()..=self.last()).contains(&seq) {
            return None;
        }
        if seq == self.last() {
            return Some(self.last_hash());
        }
        let mut links = Links::new(*key, self.prev_hash());
        let index = usize::try_from(seq.0 - self.first().0).ok()?;
        let hashes = self.iter().take(index + 1).map(|event| links.next(event));
        hashes.last()
    }

    /// Checks everything that can be checked of one block alone: every event decodes and stands
    /// at its seq, terms and times do not go down, and the events hash from one edge to the other.
    /// Returns its own two ends, for checking how blocks join.
    ///
    /// # Errors
    /// The first [`BlockFault`].
    pub fn check(&self, key: &ChainKey) -> Result<Checked, BlockFault> {
        self.check_each(key, |_| {})
    }

    /// As [`Block::check`]; shows each event on the way, which spares whoever wants to look at them
    /// decoding them again. What was shown is worth nothing if this ends in an error.
    ///
    /// # Errors
    /// The first [`BlockFault`].
    pub fn check_each(
        &self,
        key: &ChainKey,
        mut look: impl FnMut(&EventRef<'_>),
    ) -> Result<Checked, BlockFault> {
        let mut links = Links::new(*key, self.prev_hash());
        let mut seq = self.first();
        let mut ends: Option<Checked> = None;
        for bytes in self.iter() {
            let event = codec::decode(bytes).map_err(|error| BlockFault::Event { seq, error })?;
            if event.header.seq != seq {
                return Err(BlockFault::Seq {
                    expected: seq,
                    found: event.header.seq,
                });
            }
            let edge = Edge::of(&event.header);
            let ends = ends.get_or_insert(Checked {
                first: edge,
                last: edge,
            });
            ends.last.meets(edge, seq)?;
            ends.last = edge;
            links.next(bytes);
            look(&event);
            seq = seq.next();
        }
        if links.last() != self.last_hash() {
            return Err(BlockFault::Chain {
                seq: self.last(),
                expected: self.last_hash(),
                found: links.last(),
            });
        }
        ends.ok_or(BlockFault::Header)
    }
}

/// What the order of terms and times needs to know of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Edge {
    /// Its term.
    pub term: Term,
    /// When it was recorded.
    pub recorded_at: Timestamp,
}

impl Edge {
    /// The edge that this event is.
    pub fn of(header: &Header<'_>) -> Self {
        Self {
            term: header.term,
            recorded_at: header.recorded_at,
        }
    }

    /// Whether `next`, at `seq`, may follow this one.
    ///
    /// # Errors
    /// [`BlockFault::Term`] or [`BlockFault::Time`].
    pub fn meets(self, next: Self, seq: Seq) -> Result<(), BlockFault> {
        if next.term < self.term {
            return Err(BlockFault::Term {
                seq,
                before: self.term,
                found: next.term,
            });
        }
        if next.recorded_at < self.recorded_at {
            return Err(BlockFault::Time { seq });
        }
        Ok(())
    }
}

/// The two ends of a block that checked out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Checked {
    /// Its first event.
    pub first: Edge,
    /// Its last event.
    pub last: Edge,
}

/// Iterates over a block's encoded events.
#[derive(Debug, Clone)]
pub struct BlockIter<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for BlockIter<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        // Lengths were checked by `Block::parse`, so both splits succeed until the end.
        let (len, rest) = self.rest.split_at_checked(4)?;
        let (event, rest) = rest.split_at_checked(read_u32(len, 0) as usize)?;
        self.rest = rest;
        Some(event)
    }
}

/// Packs a batch into blocks of at most [`BLOCK_CAP`] bytes. `tail` is the store's last block if
/// the batch may be joined to it: the first block returned then replaces it.
pub fn pack(batch: &Batch, tail: Option<&Block>) -> Vec<Block> {
    let mut planner = Planner::new(BLOCK_CAP);
    if let (Some(base), false) = (tail, batch.is_empty()) {
        planner.open = Some(BlockPlan::behind(base));
    }
    planner.add(batch, batch.prev().seq);
    let blocks = planner.finish();
    blocks.iter().map(BlockPlan::to_block).collect()
}

/// Packs the events behind `after` of batches that follow each other into blocks of at most `cap`
/// bytes, and no more than one that could still be joined by more events: the last.
pub(super) fn pack_after(batches: &[Batch], after: Seq, cap: usize) -> Vec<Block> {
    let blocks = plan_after(batches, after, cap);
    blocks.iter().map(BlockPlan::to_block).collect()
}

/// As [`pack_after`], without making the blocks.
pub(super) fn plan_after(batches: &[Batch], after: Seq, cap: usize) -> Vec<BlockPlan<'_>> {
    let mut planner = Planner::new(cap);
    for batch in batches {
        planner.add(batch, after);
    }
    planner.finish()
}

/// A block to be made: where its events are.
#[derive(Debug)]
pub(super) struct BlockPlan<'a> {
    /// What it begins with.
    base: Option<&'a Block>,
    /// Events by their index in a batch, in order.
    pieces: Vec<(&'a Batch, Range<usize>)>,
    first: Seq,
    prev_hash: Hash,
    last_hash: Hash,
    count: u32,
    len: usize,
}

impl<'a> BlockPlan<'a> {
    fn new(first: Seq, prev_hash: Hash) -> Self {
        Self {
            base: None,
            pieces: Vec::new(),
            first,
            prev_hash,
            last_hash: prev_hash,
            count: 0,
            len: BLOCK_HEADER,
        }
    }

    fn behind(base: &'a Block) -> Self {
        Self {
            base: Some(base),
            last_hash: base.last_hash(),
            count: base.count,
            len: base.bytes.len(),
            ..Self::new(base.first(), base.prev_hash())
        }
    }

    fn push(&mut self, batch: &'a Batch, index: usize, size: usize) {
        match self.pieces.last_mut() {
            Some((last, range)) if std::ptr::eq(*last, batch) => range.end = index + 1,
            _ => self.pieces.push((batch, index..index + 1)),
        }
        self.count += 1;
        self.len += 4 + size;
    }

    /// Its first event.
    pub(super) fn first(&self) -> Seq {
        self.first
    }

    /// Its last event, and the hash of that.
    pub(super) fn last(&self) -> (Seq, Hash) {
        (
            Seq(self.first.0 + u64::from(self.count) - 1),
            self.last_hash,
        )
    }

    /// How many bytes it will have.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Bytes of its encoded events alone.
    pub(super) fn event_bytes(&self) -> u64 {
        (self.len - BLOCK_HEADER - 4 * self.count as usize) as u64
    }

    /// The events that are not in what it begins with.
    pub(super) fn events(&self) -> impl DoubleEndedIterator<Item = &'a [u8]> {
        let pieces = self.pieces.iter();
        pieces.flat_map(|(batch, range)| batch.events_in(range.clone()))
    }

    /// Makes the block, in [`BlockPlan::len`] bytes.
    pub(super) fn write(&self, out: &mut [u8]) {
        let mut at = BLOCK_HEADER;
        let mut put = |bytes: &[u8]| {
            out[at..at + bytes.len()].copy_from_slice(bytes);
            at += bytes.len();
        };
        if let Some(base) = self.base {
            put(&base.bytes[BLOCK_HEADER..]);
        }
        for (batch, range) in &self.pieces {
            put(batch.framed(range.clone()));
        }
        debug_assert_eq!(at, self.len);
        out[..4].copy_from_slice(&self.count.to_le_bytes());
        out[4..8].copy_from_slice(&[0; 4]);
        out[8..16].copy_from_slice(&self.first.0.to_le_bytes());
        out[16..48].copy_from_slice(&self.prev_hash.0);
        out[48..80].copy_from_slice(&self.last_hash.0);
    }

    fn to_block(&self) -> Block {
        let mut bytes = vec![0; self.len];
        self.write(&mut bytes);
        Block {
            bytes,
            count: self.count,
        }
    }
}

struct Planner<'a> {
    blocks: Vec<BlockPlan<'a>>,
    open: Option<BlockPlan<'a>>,
    cap: usize,
}

impl<'a> Planner<'a> {
    fn new(cap: usize) -> Self {
        Self {
            blocks: Vec::new(),
            open: None,
            cap,
        }
    }

    /// Adds the events of a batch that stand behind `after`.
    fn add(&mut self, batch: &'a Batch, after: Seq) {
        let before = |seq: Seq| {
            let hash = batch.hash_at(Seq(seq.0 - 1));
            hash.expect("the hash before an event of a batch is in it or before it")
        };
        for (index, (seq, size)) in batch.sizes().enumerate() {
            if seq <= after {
                continue;
            }
            let full = |open: &BlockPlan<'_>| open.len + 4 + size > self.cap;
            if self.open.as_ref().is_some_and(full) {
                self.close(before(seq));
            }
            self.open
                .get_or_insert_with(|| BlockPlan::new(seq, before(seq)))
                .push(batch, index, size);
        }
        if let Some(open) = &mut self.open {
            open.last_hash = batch.head().hash;
        }
    }

    fn close(&mut self, last_hash: Hash) {
        if let Some(mut open) = self.open.take() {
            open.last_hash = last_hash;
            self.blocks.push(open);
        }
    }

    fn finish(mut self) -> Vec<BlockPlan<'a>> {
        self.blocks.extend(self.open);
        self.blocks
    }
}

fn read_u32(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("the slice has 4 bytes"))
}

fn read_u64(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("the slice has 8 bytes"))
}

fn read_hash(bytes: &[u8], at: usize) -> Hash {
    Hash(
        bytes[at..at + 32]
            .try_into()
            .expect("the slice has 32 bytes"),
    )
}

#[cfg(test)]
mod tests;
