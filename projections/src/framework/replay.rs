//! Reading the log from one position to another: every block checked, decoded in parallel, handed
//! out in order.
//!
//! ```text
//!            +--> helper: check, decode --+
//! reader --> |                            +--> reorder --> fold, in order
//!  (locked)  +--> the folding thread -----+
//! ```
//!
//! Decoding bounds a replay, so all threads decode; the folding thread does so whenever the block
//! that comes next isn't ready, instead of waiting. Blocks in flight are bounded by the number of
//! threads, and so is memory. The first fault in log order ends the replay, whichever thread
//! finds it first.

use std::collections::BTreeMap;
use std::num::NonZero;
use std::ops::ControlFlow;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crossbeam_channel::{Receiver, Sender, bounded};
use ledger_core::chain::ChainKey;
use ledger_core::hash::Hash;
use ledger_core::ids::Seq;
use ledger_core::store::{Block, BlockFault, Blocks, LogReader, ReadError};

use super::decoded::{Buffer, DecodedBlock, Ends, follows, hash_in};
use super::fold::Position;

/// Why a replay did not reach its end. What was handed out before was sound.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// The store can't be read, or what it holds is damaged.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The position to start from is not in this history.
    #[error("seq {seq} has hash {found} in the ledger, not {expected}")]
    Diverged {
        /// Where to start from.
        seq: Seq,
        /// The hash it was thought to have.
        expected: Hash,
        /// The hash it has.
        found: Hash,
    },
    /// The ledger ends before the position asked for.
    #[error("the ledger ends at seq {head}, before seq {wanted}")]
    Beyond {
        /// Where it ends.
        head: Seq,
        /// What was asked for.
        wanted: Seq,
    },
    /// Whoever watched the progress asked to stop.
    #[error("stopped")]
    Stopped,
}

/// A replay shorter than this is done by one thread alone.
const ALONE: u64 = 2_000;

/// Hands the blocks behind `from` to `fold`, in order, until `upto` (or the head as of now) is
/// reached or `fold` breaks off. Payloads are decoded for the kinds `wanted` says yes to. Returns
/// the position reached.
///
/// # Errors
/// [`ReplayError`]; [`ReplayError::Stopped`] if `fold` broke off.
pub fn replay(
    reader: &dyn LogReader,
    from: Position,
    upto: Option<Seq>,
    wanted: &(dyn Fn(&str) -> bool + Sync),
    fold: &mut dyn FnMut(&DecodedBlock) -> ControlFlow<()>,
) -> Result<Position, ReplayError> {
    let head = reader.head()?;
    let end = upto.unwrap_or(head.seq);
    for seq in [from.seq, end] {
        if seq > head.seq {
            return Err(ReplayError::Beyond {
                head: head.seq,
                wanted: seq,
            });
        }
    }
    // Beginning with the block of `from` itself shows whether that position is in this history.
    let source = Source {
        blocks: Mutex::new((0, Some(reader.blocks(from.seq.max(Seq::FIRST))?))),
        key: ChainKey::new(reader.ledger_id()),
        from: from.seq.next(),
        end: end.max(from.seq),
        wanted,
        spare: Mutex::default(),
    };
    let mut joints = Joints {
        at: from,
        last: None,
        end: source.end,
    };
    let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
    let helpers = if end.0.saturating_sub(from.seq.0) < ALONE {
        0
    } else {
        (cores - 1).min(3)
    };
    std::thread::scope(|scope| {
        let (sender, receiver) = bounded(helpers.max(1) * 2);
        for _ in 0..helpers {
            let (source, sender) = (&source, sender.clone());
            scope.spawn(move || source.help(&sender));
        }
        drop(sender);
        // The receiver is dropped when this returns, which ends helpers that still have blocks.
        in_order(&source, receiver, helpers, &mut |block| {
            joints.take(block, fold)
        })
    })?;
    if joints.at.seq < source.end {
        return Err(ReadError::Damaged(format!(
            "its blocks end at seq {}, its head says seq {}",
            joints.at.seq, head.seq
        ))
        .into());
    }
    if joints.at.seq == head.seq && joints.at.hash != head.hash {
        return Err(ReplayError::Diverged {
            seq: head.seq,
            expected: head.hash,
            found: joints.at.hash,
        });
    }
    Ok(joints.at)
}

type Item = Result<DecodedBlock, ReadError>;

/// Blocks to be taken by whichever thread is free, numbered in log order.
struct Source<'a> {
    blocks: Mutex<(u64, Option<Blocks<'a>>)>,
    key: ChainKey,
    from: Seq,
    end: Seq,
    wanted: &'a (dyn Fn(&str) -> bool + Sync),
    /// Memory of blocks that were handed out and are done with.
    spare: Mutex<Vec<Buffer>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Source<'_> {
    /// The next block as read; `None` when there are no more up to the end.
    fn take(&self) -> Option<(u64, Result<Block, ReadError>)> {
        let mut guard = lock(&self.blocks);
        let (number, blocks) = &mut *guard;
        let block = blocks.as_mut()?.next()?;
        let taken = *number;
        *number += 1;
        if block.as_ref().map_or(true, |b| b.last() >= self.end) {
            guard.1 = None;
        }
        Some((taken, block))
    }

    fn decode(&self, block: Result<Block, ReadError>) -> Item {
        let block = block?;
        let seq = block.first();
        let buffer = lock(&self.spare).pop().unwrap_or_default();
        DecodedBlock::reusing(buffer, block, self.key, self.from..=self.end, self.wanted)
            .map_err(|fault| ReadError::Block { seq, fault })
    }

    fn help(&self, sender: &Sender<(u64, Item)>) {
        while let Some((number, block)) = self.take() {
            if sender.send((number, self.decode(block))).is_err() {
                return;
            }
        }
    }
}

/// Hands the items of all threads to `sink` by number, decoding on this thread too.
fn in_order(
    source: &Source<'_>,
    receiver: Receiver<(u64, Item)>,
    helpers: usize,
    sink: &mut dyn FnMut(&DecodedBlock) -> Result<(), ReplayError>,
) -> Result<(), ReplayError> {
    let mut ready = BTreeMap::new();
    for next in 0.. {
        let item = loop {
            ready.extend(receiver.try_iter());
            if let Some(item) = ready.remove(&next) {
                break item;
            }
            // The item is with a helper, or nobody has taken it yet. Decoding ahead is bounded;
            // past the bound this waits, and whoever has the item sends it.
            if ready.len() <= helpers * 2
                && let Some((number, block)) = source.take()
            {
                ready.insert(number, source.decode(block));
            } else if let Ok((number, item)) = receiver.recv() {
                ready.insert(number, item);
            } else {
                // No helper is left and the source is empty.
                match ready.remove(&next) {
                    Some(item) => break item,
                    None => return Ok(()),
                }
            }
        };
        let block = item?;
        sink(&block)?;
        // No more blocks are ever in flight than buffers were made, so this is bounded too.
        lock(&source.spare).push(block.into_buffer());
    }
    Ok(())
}

/// Checks how blocks join, and how the first joins the position to start from.
struct Joints {
    at: Position,
    last: Option<Ends>,
    end: Seq,
}

impl Joints {
    fn take(
        &mut self,
        decoded: &DecodedBlock,
        fold: &mut dyn FnMut(&DecodedBlock) -> ControlFlow<()>,
    ) -> Result<(), ReplayError> {
        let (block, ends) = (decoded.block(), decoded.ends());
        match self.last {
            None => self.first(decoded)?,
            Some(last) => {
                self.meets(block, last, ends)
                    .map_err(|fault| ReadError::Block {
                        seq: block.first(),
                        fault,
                    })?;
            }
        }
        self.last = Some(ends);
        if decoded.last() <= self.at.seq {
            return Ok(());
        }
        let seq = decoded.last().min(self.end);
        self.at = Position {
            seq,
            hash: decoded.hash_at(seq).unwrap_or(block.last_hash()),
        };
        match fold(decoded) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(ReplayError::Stopped),
        }
    }

    fn first(&self, decoded: &DecodedBlock) -> Result<(), ReplayError> {
        let Position { seq, hash } = self.at;
        let Some(found) = decoded.hash_at(seq) else {
            return Err(ReadError::Block {
                seq: decoded.block().first(),
                fault: BlockFault::Place {
                    expected: seq.max(Seq::FIRST),
                    found: decoded.block().first(),
                },
            }
            .into());
        };
        if found == hash {
            return Ok(());
        }
        Err(ReplayError::Diverged {
            seq,
            expected: hash,
            found,
        })
    }

    fn meets(&self, block: &Block, last: Ends, next: Ends) -> Result<(), BlockFault> {
        let expected = self.at.seq.next();
        if block.first() != expected {
            return Err(BlockFault::Place {
                expected,
                found: block.first(),
            });
        }
        if block.prev_hash() != self.at.hash {
            return Err(BlockFault::Edge {
                seq: block.first(),
                expected: self.at.hash,
                found: block.prev_hash(),
            });
        }
        follows(last.last, next.first, expected)
    }
}

/// The chain hash at `seq`, from the checked block that holds it.
///
/// # Errors
/// [`ReplayError::Read`] if that block can't be read or is damaged, [`ReplayError::Beyond`] if the
/// ledger ends before `seq`.
pub fn hash_at(reader: &dyn LogReader, seq: Seq) -> Result<Hash, ReplayError> {
    if seq == Seq::ZERO {
        return Ok(Hash::ZERO);
    }
    let key = ChainKey::new(reader.ledger_id());
    let block = checked_block(reader, &key, seq)?;
    hash_in(&block, &key, seq).ok_or_else(|| ReadError::Damaged("no block".to_owned()).into())
}

/// The block that holds `seq`, checked.
pub(super) fn checked_block(
    reader: &dyn LogReader,
    key: &ChainKey,
    seq: Seq,
) -> Result<Block, ReplayError> {
    let head = reader.head()?.seq;
    if seq > head {
        return Err(ReplayError::Beyond { head, wanted: seq });
    }
    let block = reader.blocks(seq)?.next().transpose()?;
    let block = block
        .filter(|b| b.first() <= seq && seq <= b.last())
        .ok_or_else(|| ReadError::Damaged(format!("no block holds seq {seq}")))?;
    block.check(key).map_err(|fault| ReadError::Block {
        seq: block.first(),
        fault,
    })?;
    Ok(block)
}
