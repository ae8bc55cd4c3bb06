//! "As of a time" as a position: order comes from seq alone, so a time is turned into the seq that
//! the log had come to by then.

use ledger_core::chain::ChainKey;
use ledger_core::ids::Seq;
use ledger_core::store::{Block, BlockFault, LogReader, ReadError};
use ledger_core::time::Timestamp;

use super::replay::{ReplayError, checked_block};

/// The last event recorded at or before `time`; 0 if none was. Recorded times never run backwards,
/// so this probes some blocks instead of reading all: about log2 of their number.
///
/// # Errors
/// [`ReplayError::Read`] if a block that it looks at can't be read or is damaged.
pub fn seq_at(reader: &dyn LogReader, time: Timestamp) -> Result<Seq, ReplayError> {
    let key = ChainKey::new(reader.ledger_id());
    let head = reader.head()?;
    if head.recorded_at <= time {
        return Ok(head.seq);
    }
    // Events up to `before` were recorded by then; those from `after` on were not.
    let (mut before, mut after) = (Seq::ZERO, head.seq);
    while after.0 - before.0 > 1 {
        let middle = Seq(before.0 + (after.0 - before.0) / 2);
        let block = checked_block(reader, &key, middle)?;
        match last_in(&block, time)? {
            None => after = block.first(),
            Some(seq) if seq < block.last() => return Ok(seq),
            Some(seq) => before = seq,
        }
    }
    Ok(before)
}

/// The last event of a block recorded at or before `time`.
fn last_in(block: &Block, time: Timestamp) -> Result<Option<Seq>, ReplayError> {
    let mut last = None;
    for (event, seq) in block.events().zip(block.first().0..) {
        let event = event.map_err(|fault: BlockFault| ReadError::Block {
            seq: block.first(),
            fault,
        })?;
        if event.header.recorded_at > time {
            break;
        }
        last = Some(Seq(seq));
    }
    Ok(last)
}
