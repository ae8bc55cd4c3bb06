//! Walking the events in order, with the chain checked before anything is handed on.
//!
//! Every read of the ledger goes through here: a block's events are hashed from its first edge,
//! the last hash is compared with its second, and its first with the block before, and only then
//! is the first event of the block shown to anyone.

use std::ops::ControlFlow;

use super::block::Edge;
use super::{Block, BlockFault, LogReader, ReadError};
use crate::chain::{ChainKey, Links};
use crate::codec;
use crate::envelope::ChainedEvent;
use crate::hash::Hash;
use crate::ids::{LedgerId, Seq};

/// Checks blocks as they come, each against the one before it.
#[derive(Debug, Clone)]
pub struct ChainWalk {
    key: ChainKey,
    /// The last event of the last block: its position, hash, term and time.
    last: Option<(Seq, Hash, Edge)>,
    hashes: Vec<Hash>,
}

impl ChainWalk {
    /// A walk that may begin anywhere: the first block's first edge is taken as given, unless it
    /// is the ledger's first.
    pub fn new(ledger: LedgerId) -> Self {
        Self {
            key: ChainKey::new(ledger),
            last: None,
            hashes: Vec::new(),
        }
    }

    /// The last event that was checked.
    pub fn last(&self) -> Option<(Seq, Hash)> {
        self.last.map(|(seq, hash, _)| (seq, hash))
    }

    /// Checks a block; returns its events from `from` on with their hashes.
    ///
    /// # Errors
    /// [`ReadError::Block`]: the block is damaged, or not the one that follows.
    pub fn check<'b>(
        &mut self,
        block: &'b Block,
        from: Seq,
    ) -> Result<Vec<ChainedEvent<'b>>, ReadError> {
        self.check_block(block, from)
            .map_err(|fault| ReadError::Block {
                seq: block.first(),
                fault,
            })
    }

    fn check_block<'b>(
        &mut self,
        block: &'b Block,
        from: Seq,
    ) -> Result<Vec<ChainedEvent<'b>>, BlockFault> {
        let (first, prev) = match self.last {
            Some((seq, hash, _)) => (seq.next(), hash),
            None if block.first() == Seq::FIRST => (Seq::FIRST, Hash::ZERO),
            None => (block.first(), block.prev_hash()),
        };
        if block.first() != first {
            return Err(BlockFault::Place {
                expected: first,
                found: block.first(),
            });
        }
        if block.prev_hash() != prev {
            return Err(BlockFault::Edge {
                seq: first,
                expected: prev,
                found: block.prev_hash(),
            });
        }
        let mut links = Links::new(self.key, prev);
        self.hashes.clear();
        self.hashes.extend(block.iter().map(|e| links.next(e)));
        if links.last() != block.last_hash() {
            return Err(BlockFault::Chain {
                seq: block.last(),
                expected: block.last_hash(),
                found: links.last(),
            });
        }
        let mut events = Vec::with_capacity(block.count() as usize);
        let (mut seq, mut prev_hash) = (first, prev);
        let mut edge = self.last.map(|(_, _, edge)| edge);
        for (bytes, &hash) in block.iter().zip(&self.hashes) {
            let event = codec::decode(bytes).map_err(|error| BlockFault::Event { seq, error })?;
            if event.header.seq != seq {
                return Err(BlockFault::Seq {
                    expected: seq,
                    found: event.header.seq,
                });
            }
            let here = Edge::of(&event.header);
            if let Some(before) = edge {
                before.meets(here, seq)?;
            }
            edge = Some(here);
            if seq >= from {
                events.push(ChainedEvent {
                    event,
                    prev_hash,
                    hash,
                });
            }
            prev_hash = hash;
            seq = seq.next();
        }
        self.last = edge.map(|edge| (block.last(), block.last_hash(), edge));
        Ok(events)
    }
}

/// Shows every event from `from` on to `f`, in order, until it breaks or the ledger ends; each is
/// checked against the chain first. `from` may lie anywhere; 0 and 1 mean the beginning.
///
/// # Errors
/// [`ReadError`] at the first thing that is not as it was written; a ledger that ends before the
/// head it had when the walk began is damaged too.
pub fn for_each_event<B>(
    reader: &dyn LogReader,
    from: Seq,
    mut f: impl FnMut(ChainedEvent<'_>) -> ControlFlow<B>,
) -> Result<ControlFlow<B>, ReadError> {
    let head = reader.head()?;
    let mut walk = ChainWalk::new(reader.ledger_id());
    let from = from.max(Seq::FIRST);
    for block in reader.blocks(from)? {
        let block = block?;
        if walk.last.is_none() && block.first() > from {
            return Err(ReadError::Block {
                seq: block.first(),
                fault: BlockFault::Place {
                    expected: from,
                    found: block.first(),
                },
            });
        }
        for event in walk.check(&block, from)? {
            if let ControlFlow::Break(value) = f(event) {
                return Ok(ControlFlow::Break(value));
            }
        }
    }
    match walk.last() {
        None if from > head.seq => Ok(ControlFlow::Continue(())),
        Some((seq, hash)) if seq > head.seq || (seq, hash) == (head.seq, head.hash) => {
            Ok(ControlFlow::Continue(()))
        }
        last => Err(ReadError::Damaged(format!(
            "its events end at seq {}, its head is seq {}",
            last.map_or(Seq::ZERO, |(seq, _)| seq),
            head.seq
        ))),
    }
}

#[cfg(test)]
mod tests;
