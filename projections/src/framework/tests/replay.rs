//! Replaying in parallel: order, the first fault, positions, breaking off.

use std::ops::ControlFlow;

use ledger_core::chain::Head;
use ledger_core::ids::{LedgerId, Seq};
use ledger_core::store::memory::MemoryStore;
use ledger_core::store::{Block, BlockFault, Blocks, LogReader, ReadError};

use super::Subjects;
use crate::framework::{Position, ReplayError, rebuild, replay, unwatched};
use crate::testkit::History;

type Change = Box<dyn Fn(usize, Block) -> Option<Result<Block, ReadError>> + Send + Sync>;

/// A store whose blocks are changed on the way out; the number counts from 0.
struct Tampered {
    store: MemoryStore,
    change: Change,
}

impl LogReader for Tampered {
    fn ledger_id(&self) -> LedgerId {
        LogReader::ledger_id(&self.store)
    }
    fn head(&self) -> Result<Head, ReadError> {
        LogReader::head(&self.store)
    }
    fn blocks(&self, from: Seq) -> Result<Blocks<'_>, ReadError> {
        let blocks = self.store.blocks(from)?.enumerate();
        Ok(Box::new(
            blocks.filter_map(|(i, block)| (self.change)(i, block.unwrap())),
        ))
    }
}

fn long() -> History {
    let history = History::seeded(7, 4000);
    assert!(
        history.head().seq.0 > 3000,
        "long enough to be decoded in parallel"
    );
    history
}

fn faulty(
    history: &History,
    change: impl Fn(usize, Block) -> Option<Result<Block, ReadError>> + Send + Sync + 'static,
) -> (Vec<Seq>, ReplayError) {
    let reader = Tampered {
        store: history.store().clone(),
        change: Box::new(change),
    };
    let mut seen = Vec::new();
    let result = replay(&reader, Position::START, None, &|_| true, &mut |block| {
        seen.extend((block.first().0..=block.last().0).map(Seq));
        ControlFlow::Continue(())
    });
    (seen, result.unwrap_err())
}

#[test]
fn blocks_come_in_order_whichever_thread_decodes_them() {
    let history = long();
    for _ in 0..5 {
        let mut next = Seq::FIRST;
        let end = replay(
            history.store(),
            Position::START,
            None,
            &|_| true,
            &mut |b| {
                assert_eq!(b.first(), next);
                next = b.last().next();
                ControlFlow::Continue(())
            },
        );
        assert_eq!(end.unwrap(), Position::from(history.head()));
        assert_eq!(next, history.head().seq.next());
    }
}

#[test]
fn the_first_fault_in_log_order_ends_it_and_all_before_was_handed_out() {
    let history = long();
    let firsts: Vec<_> = history
        .store()
        .blocks(Seq::FIRST)
        .unwrap()
        .map(|b| b.unwrap().first())
        .collect();
    let flip = |i, block: Block| {
        let mut bytes = block.as_bytes().to_vec();
        if i == 500 || i == 501 || i == 900 {
            *bytes.last_mut().unwrap() ^= 1;
        }
        Some(Block::parse(bytes).map_err(|fault| ReadError::Block {
            seq: block.first(),
            fault,
        }))
    };
    for _ in 0..5 {
        let (seen, error) = faulty(&history, flip);
        let ReplayError::Read(ReadError::Block { seq, .. }) = error else {
            panic!("{error}");
        };
        assert_eq!(seq, firsts[500]);
        assert_eq!(seen, (1..firsts[500].0).map(Seq).collect::<Vec<_>>());
    }
    let (seen, error) = faulty(&history, |i, block| (i != 300).then_some(Ok(block)));
    let place = matches!(
        error,
        ReplayError::Read(ReadError::Block {
            fault: BlockFault::Place { .. },
            ..
        })
    );
    assert!(place, "{error}");
    assert_eq!(seen.last(), Some(&Seq(firsts[300].0 - 1)));
    let (_, error) = faulty(&history, |i, block| {
        Some(if i < 300 {
            Ok(block)
        } else {
            Err(ReadError::Damaged("torn".to_owned()))
        })
    });
    assert!(error.to_string().contains("torn"), "{error}");
    let (_, error) = faulty(&history, |i, block| (i < 300).then_some(Ok(block)));
    assert!(error.to_string().contains("its blocks end at"), "{error}");
    let (_, error) = faulty(&history, |_, _| None);
    assert!(
        error.to_string().contains("its blocks end at seq 0"),
        "{error}"
    );
}

#[test]
fn a_block_of_another_history_does_not_join() {
    let history = long();
    // The same ledger and the same seq, another past: a sound block that does not meet.
    let other = History::seeded(8, 100);
    let blocks = |history: &History| {
        let blocks = history.store().blocks(Seq::FIRST).unwrap();
        blocks.map(Result::unwrap).collect::<Vec<_>>()
    };
    let (ours, theirs) = (blocks(&history), blocks(&other));
    let same_place = |block: &Block| {
        let theirs = theirs.iter().find(|b| b.first() == block.first());
        theirs
            .filter(|b| b.prev_hash() != block.prev_hash())
            .cloned()
    };
    let (at, foreign) = (ours.iter().enumerate())
        .find_map(|(i, block)| same_place(block).map(|foreign| (i, foreign)))
        .unwrap();
    let expected = BlockFault::Edge {
        seq: foreign.first(),
        expected: ours[at].prev_hash(),
        found: foreign.prev_hash(),
    };
    let (_, error) = faulty(&history, move |i, block| {
        Some(Ok(if i == at { foreign.clone() } else { block }))
    });
    let ReplayError::Read(ReadError::Block { fault, .. }) = error else {
        panic!("{error}");
    };
    assert_eq!(fault, expected);
}

#[test]
fn positions_that_are_not_in_the_log_are_refused() {
    let history = History::seeded(3, 50);
    let head = history.head();
    let go = |from: Position, upto: Option<Seq>| {
        replay(history.store(), from, upto, &|_| true, &mut |_| {
            ControlFlow::Continue(())
        })
    };
    let at = Position::from(head);
    assert_eq!(go(at, None).unwrap(), at);
    assert_eq!(
        go(Position::START, Some(Seq::ZERO)).unwrap(),
        Position::START
    );
    let beyond = go(Position::START, Some(head.seq.next()));
    assert!(
        matches!(beyond, Err(ReplayError::Beyond { .. })),
        "{beyond:?}"
    );
    for event in history.events() {
        let wrong = Position {
            seq: event.seq,
            hash: ledger_core::hash::Hash::of(b"wrong"),
        };
        let result = go(wrong, None);
        assert!(
            matches!(result, Err(ReplayError::Diverged { seq, .. }) if seq == event.seq),
            "{result:?}"
        );
        let right = Position {
            hash: event.hash,
            ..wrong
        };
        assert_eq!(go(right, None).unwrap(), at);
    }
}

#[test]
fn it_can_be_broken_off() {
    let history = long();
    let mut blocks = 0;
    let result = rebuild::<Subjects>(history.store(), None, &mut |_| {
        blocks += 1;
        if blocks == 10 {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    });
    assert!(matches!(result, Err(ReplayError::Stopped)));
    assert_eq!(blocks, 10);
    let empty = MemoryStore::new(crate::testkit::LEDGER);
    let nothing = rebuild::<Subjects>(&empty, None, &mut unwatched).unwrap();
    assert_eq!(nothing.position(), Position::START);
}
