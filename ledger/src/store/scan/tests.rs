//! The walk against a memory store and against blocks that were tampered with.

use super::*;
use crate::ids::Term;
use crate::store::memory::MemoryStore;
use crate::store::samples::{batch, ledger_id};
use crate::store::{LogWriter, conformance};

fn blocks(store: &MemoryStore) -> Vec<Block> {
    store
        .blocks(Seq::ZERO)
        .unwrap()
        .map(Result::unwrap)
        .collect()
}

fn store() -> MemoryStore {
    let mut store = MemoryStore::new(ledger_id(1));
    for term in [1, 1, 2] {
        let batch = batch(ledger_id(1), LogWriter::head(&store), Term(term), &[50; 4]);
        store.append(&batch).unwrap();
    }
    store
}

#[test]
fn the_memory_store_conforms() {
    conformance::run(&mut || {
        let store = MemoryStore::new(ledger_id(1));
        (Box::new(store.clone()), std::sync::Arc::new(store))
    });
}

#[test]
fn a_walk_joins_blocks_and_refuses_what_does_not_follow() {
    let blocks = blocks(&store());
    let mut walk = ChainWalk::new(ledger_id(1));
    for block in &blocks {
        assert_eq!(walk.check(block, Seq::ZERO).unwrap().len(), 4);
    }
    assert_eq!(walk.last(), Some((Seq(12), blocks[2].last_hash())));

    let mut walk = ChainWalk::new(ledger_id(1));
    walk.check(&blocks[0], Seq::ZERO).unwrap();
    let fault = |r: Result<Vec<ChainedEvent<'_>>, ReadError>| match r {
        Err(ReadError::Block { fault, .. }) => fault,
        other => panic!("{other:?}"),
    };
    assert!(matches!(
        fault(walk.check(&blocks[2], Seq::ZERO)),
        BlockFault::Place {
            expected: Seq(5),
            found: Seq(9)
        }
    ));
    let mut forged = blocks[1].as_bytes().to_vec();
    forged[16] ^= 1;
    let forged = Block::parse(forged).unwrap();
    assert!(matches!(
        fault(walk.check(&forged, Seq::ZERO)),
        BlockFault::Edge { seq: Seq(5), .. }
    ));
    // A walk that begins in the middle has nothing to hold the edge against, but the hashes.
    let mut middle = ChainWalk::new(ledger_id(1));
    assert!(matches!(
        fault(middle.check(&forged, Seq::ZERO)),
        BlockFault::Chain { .. }
    ));
    let mut other = ChainWalk::new(ledger_id(2));
    assert!(matches!(
        fault(other.check(&blocks[0], Seq::ZERO)),
        BlockFault::Chain { .. }
    ));
}

#[test]
fn nothing_of_a_damaged_block_is_shown() {
    let sound = blocks(&store());
    let mut bytes = sound[1].as_bytes().to_vec();
    let last = bytes.len() - 3;
    bytes[last] ^= 1;
    let damaged = Damaged {
        store: store(),
        blocks: vec![sound[0].clone(), Block::parse(bytes).unwrap()],
    };
    let mut shown = 0;
    let walked = for_each_event(&damaged, Seq::FIRST, |_| {
        shown += 1;
        ControlFlow::<()>::Continue(())
    });
    assert!(matches!(
        walked,
        Err(ReadError::Block {
            seq: Seq(5),
            fault: BlockFault::Chain { .. }
        })
    ));
    assert_eq!(shown, 4);
}

#[test]
fn a_cut_tail_and_a_missing_beginning_are_found() {
    for keep in [0..2, 1..3, 0..0] {
        let cut = Damaged {
            blocks: blocks(&store())[keep].to_vec(),
            store: store(),
        };
        let walked = for_each_event(&cut, Seq::FIRST, |_| ControlFlow::<()>::Continue(()));
        assert!(walked.is_err());
    }
}

/// A store whose blocks are not what its head says.
struct Damaged {
    store: MemoryStore,
    blocks: Vec<Block>,
}

impl LogReader for Damaged {
    fn ledger_id(&self) -> LedgerId {
        ledger_id(1)
    }
    fn head(&self) -> Result<crate::chain::Head, ReadError> {
        LogReader::head(&self.store)
    }
    fn blocks(&self, _: Seq) -> Result<crate::store::Blocks<'_>, ReadError> {
        Ok(Box::new(self.blocks.iter().cloned().map(Ok)))
    }
}
