//! A block with the payloads decoded that somebody wants, once for all projections that fold it.
//!
//! Decoding is what bounds a replay, so it is kept apart from folding: blocks are decoded on any
//! thread, in any order, and folded in order on one.

use ledger_core::chain::{Batch, ChainKey, Links};
use ledger_core::codec;
use ledger_core::envelope::Header;
use ledger_core::event::Event;
use ledger_core::hash::Hash;
use ledger_core::ids::Seq;
use ledger_core::store::{Block, pack};

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

/// A block whose hashes hold, with the payloads of its events up to [`DecodedBlock::last`].
#[derive(Debug, Clone)]
pub struct DecodedBlock {
    block: Block,
    key: ChainKey,
    first: Seq,
    last: Seq,
    /// One for each event from `first` to `last`.
    payloads: Vec<Payload>,
}

impl DecodedBlock {
    /// Decodes the events of `block` from `from` to `upto` (both included, cut to what the block
    /// has) whose kind is `wanted`. The block must have been checked: what does not decode here
    /// besides a payload is a fault that [`Block::check`] finds.
    pub fn new(
        block: Block,
        key: ChainKey,
        from: Seq,
        upto: Seq,
        wanted: &(dyn Fn(&str) -> bool + Sync),
    ) -> Self {
        let first = block.first().max(from);
        let last = block.last().min(upto);
        let begin = block.first().0;
        let payloads = (begin..=last.0)
            .zip(block.iter())
            .skip_while(|(seq, _)| *seq < first.0)
            .map(|(_, bytes)| decode_payload(bytes, wanted))
            .collect();
        Self {
            block,
            key,
            first,
            last,
            payloads,
        }
    }

    /// The blocks of a batch that was just hashed and made durable by this process: nothing of it
    /// needs checking.
    pub fn of_batch(batch: &Batch, wanted: &(dyn Fn(&str) -> bool + Sync)) -> Vec<Self> {
        pack(batch, None)
            .into_iter()
            .map(|block| Self::new(block, batch.key(), Seq::FIRST, Seq(u64::MAX), wanted))
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

    /// The chain hash at `seq`, which lies in the block or directly before it.
    pub fn hash_at(&self, seq: Seq) -> Option<Hash> {
        hash_in(&self.block, &self.key, seq)
    }

    /// Its events after `seq`, in order: position, header bytes and payload. `None` stands where
    /// a header does not decode.
    pub(crate) fn events_after(
        &self,
        seq: Seq,
    ) -> impl Iterator<Item = (Seq, Option<Header<'_>>, &Payload)> {
        let lead = usize::try_from(self.first.0 - self.block.first().0).unwrap_or(usize::MAX);
        let skip = usize::try_from((seq.0 + 1).saturating_sub(self.first.0)).unwrap_or(usize::MAX);
        (self.first.0..)
            .zip(self.block.iter().skip(lead))
            .zip(&self.payloads)
            .skip(skip)
            .map(|((seq, bytes), payload)| {
                (
                    Seq(seq),
                    codec::decode(bytes).ok().map(|e| e.header),
                    payload,
                )
            })
    }
}

/// The chain hash at `seq` by hashing from the block's own edge; `None` if `seq` is neither in the
/// block nor directly before it.
pub(crate) fn hash_in(block: &Block, key: &ChainKey, seq: Seq) -> Option<Hash> {
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

fn decode_payload(bytes: &[u8], wanted: &(dyn Fn(&str) -> bool + Sync)) -> Payload {
    let event = match codec::decode(bytes) {
        Ok(event) => event,
        Err(error) => return Payload::Fault(error.to_string()),
    };
    if !wanted(event.header.kind) {
        return Payload::Skipped;
    }
    match Event::decode(&event) {
        Ok(Event::Unknown) if Event::known_kinds().any(|kind| kind == event.header.kind) => {
            Payload::Fault(format!(
                "payload version {} of {} is not known to this binary",
                event.header.version, event.header.kind
            ))
        }
        Ok(event) => Payload::Decoded(event),
        Err(error) => Payload::Fault(error.to_string()),
    }
}
