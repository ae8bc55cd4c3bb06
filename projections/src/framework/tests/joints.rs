//! How blocks join in a replay: each is sound in itself, and what is wrong is only how it follows
//! the one before. A reader that hands out such blocks is refused at that joint, and everything
//! before it was handed on.

use std::ops::ControlFlow;

use ledger_core::chain::{BatchBuilder, ChainKey, Head};
use ledger_core::envelope::{Draft, Origin};
use ledger_core::hash::Hash;
use ledger_core::ids::{Entity, EventId, Kind, LedgerId, Seq, Term, Uuid};
use ledger_core::store::{Block, BlockFault, Blocks, LogReader, ReadError, pack};
use ledger_core::time::Timestamp;

use crate::framework::{Position, ReplayError, replay};
use crate::testkit::LEDGER;

/// Events of each block.
const EVENTS: u64 = 3;
/// Blocks of a replay that one thread does alone, and of one that several do.
const LENGTHS: [u64; 2] = [20, 800];

/// Hands out whatever it was given.
struct Given {
    blocks: Vec<Block>,
    head: Head,
}

impl LogReader for Given {
    fn ledger_id(&self) -> LedgerId {
        LEDGER
    }
    fn head(&self) -> Result<Head, ReadError> {
        Ok(self.head)
    }
    fn blocks(&self, from: Seq) -> Result<Blocks<'_>, ReadError> {
        let skipped = move |block: &&Block| block.last() < from;
        let blocks = self.blocks.iter().skip_while(skipped);
        Ok(Box::new(blocks.cloned().map(Ok)))
    }
}

/// A block of `count` events behind `head`, recorded at `at`; and where the ledger then ends.
fn block(head: Head, term: u64, at: u64, count: u64, data: &str) -> (Block, Head) {
    let mut builder = BatchBuilder::new(ChainKey::new(LEDGER), head, Term(term));
    let drafts: Vec<_> = (0..count)
        .map(|n| Draft {
            event_id: EventId(Uuid::from_u128(u128::from(head.seq.0 + n))),
            kind: Kind::new("app.note").unwrap(),
            version: 1,
            subject: Entity::new("app/x").unwrap(),
            origin: Origin::of(Entity::new("human/ada").unwrap()),
            idempotency_key: None,
            data: data.to_owned(),
        })
        .collect();
    let head = builder.push(&drafts, Timestamp(at)).unwrap();
    let mut blocks = pack(&builder.take(), None);
    assert_eq!(blocks.len(), 1);
    (blocks.remove(0), head)
}

/// Term and time of the block with this number; neither goes down.
type Edges = fn(u64) -> (u64, u64);

/// A chain of blocks with the head behind each. `edges` may lie about what was before.
fn chain(count: u64, edges: impl Fn(u64) -> (u64, u64)) -> (Vec<Block>, Vec<Head>) {
    let mut heads = vec![Head::EMPTY];
    let mut blocks = Vec::new();
    for n in 0..count {
        let (term, at) = edges(n);
        // A builder would not record before its head; one that does not know better does.
        let head = Head {
            recorded_at: Timestamp(0),
            ..heads[heads.len() - 1]
        };
        let (block, head) = block(head, term, at, EVENTS, "{}");
        blocks.push(block);
        heads.push(head);
    }
    (blocks, heads)
}

fn rising(n: u64) -> (u64, u64) {
    (1 + n / 7, 1000 + n / 3)
}

/// Replays; returns what was handed on, and how it ended.
fn replayed(
    blocks: Vec<Block>,
    head: Head,
    from: Position,
) -> (Vec<Seq>, Result<Position, ReplayError>) {
    let reader = Given { blocks, head };
    let mut seen = Vec::new();
    let result = replay(&reader, from, None, &|_| true, &mut |block| {
        seen.extend((block.first().0..=block.last().0).map(Seq));
        ControlFlow::Continue(())
    });
    (seen, result)
}

/// The replay from the first event on is refused at the block with this number, for this reason.
fn refused(blocks: Vec<Block>, head: Head, number: usize, expected: &BlockFault) {
    let before = number.checked_sub(1).map_or(0, |n| blocks[n].last().0);
    let at = blocks[number].first();
    let (seen, result) = replayed(blocks, head, Position::START);
    match result {
        Err(ReplayError::Read(ReadError::Block { seq, fault })) => {
            assert_eq!((seq, &fault), (at, expected));
        }
        other => panic!("{expected:?}: {other:?}"),
    }
    assert_eq!(seen, (1..=before).map(Seq).collect::<Vec<_>>());
}

#[test]
fn terms_and_times_may_stand_still_or_rise() {
    let all: [Edges; 3] = [rising, |_| (1, 5), |n| (n + 1, 5)];
    for (count, edges) in LENGTHS.into_iter().flat_map(|n| all.map(|e| (n, e))) {
        let (blocks, heads) = chain(count, edges);
        let head = heads[heads.len() - 1];
        let (seen, end) = replayed(blocks, head, Position::START);
        assert_eq!(end.unwrap(), Position::from(head));
        assert_eq!(seen.len() as u64, count * EVENTS);
    }
}

#[test]
fn a_term_that_goes_down_between_blocks_is_refused() {
    for count in LENGTHS {
        let at = count / 2;
        let (blocks, heads) = chain(count, |n| {
            let (term, time) = rising(n);
            (if n < at { term + 1000 } else { term }, time)
        });
        let (term, _) = rising(at);
        let (before, _) = rising(at - 1);
        let number = usize::try_from(at).unwrap();
        let fault = BlockFault::Term {
            seq: Seq(at * EVENTS + 1),
            before: Term(before + 1000),
            found: Term(term),
        };
        refused(blocks, heads[heads.len() - 1], number, &fault);
    }
}

#[test]
fn a_time_that_goes_down_between_blocks_is_refused() {
    for count in LENGTHS {
        let at = count / 2;
        // By a single microsecond, and back to what it was after one block.
        let (blocks, heads) = chain(count, |n| (1, if n == at { 999 } else { 1000 }));
        let number = usize::try_from(at).unwrap();
        let fault = BlockFault::Time {
            seq: Seq(at * EVENTS + 1),
        };
        refused(blocks, heads[heads.len() - 1], number, &fault);
    }
}

#[test]
fn edges_that_do_not_meet_are_refused() {
    for count in LENGTHS {
        let (mut blocks, heads) = chain(count, rising);
        let number = usize::try_from(count / 2).unwrap();
        let (term, time) = rising(count / 2);
        // What stands there follows another event of the same place.
        let (_, other) = block(
            heads[number - 1],
            term,
            time,
            EVENTS,
            "{\"another\":\"past\"}",
        );
        let (foreign, _) = block(other, term, time, EVENTS, "{}");
        assert_eq!(foreign.first(), blocks[number].first());
        let fault = BlockFault::Edge {
            seq: foreign.first(),
            expected: heads[number].hash,
            found: other.hash,
        };
        blocks[number] = foreign;
        refused(blocks, heads[heads.len() - 1], number, &fault);
    }
}

#[test]
fn blocks_that_jump_are_refused() {
    for count in LENGTHS {
        let (blocks, heads) = chain(count, rising);
        let head = heads[heads.len() - 1];
        let at = usize::try_from(count / 2).unwrap();
        let place = |expected: Seq, found: &Block| BlockFault::Place {
            expected,
            found: found.first(),
        };
        let belongs = blocks[at].first();
        // One is missing.
        let mut gap = blocks.clone();
        gap.remove(at);
        refused(gap, head, at, &place(belongs, &blocks[at + 1]));
        // One comes twice.
        let mut twice = blocks.clone();
        twice.insert(at, blocks[at - 1].clone());
        refused(twice, head, at, &place(belongs, &blocks[at - 1]));
        // Two have changed places.
        let mut swapped = blocks.clone();
        swapped.swap(at, at + 1);
        refused(swapped, head, at, &place(belongs, &blocks[at + 1]));
        // One begins with the last event of the one before.
        let mut overlapping = blocks.clone();
        let (term, time) = rising(count / 2);
        let before = Head {
            seq: Seq(belongs.0 - 2),
            ..heads[at - 1]
        };
        (overlapping[at], _) = block(before, term, time, EVENTS + 1, "{}");
        let fault = place(belongs, &overlapping[at]);
        refused(overlapping, head, at, &fault);
        // The first is not the first.
        let later = blocks[1..].to_vec();
        refused(later, head, 0, &place(Seq::FIRST, &blocks[1]));
    }
}

#[test]
fn what_does_not_hold_the_position_to_start_from_is_refused() {
    for count in LENGTHS {
        let (blocks, heads) = chain(count, rising);
        let head = heads[heads.len() - 1];
        let from = Position::from(heads[4]);
        // From within the history everything goes as from its beginning …
        let (seen, end) = replayed(blocks.clone(), head, from);
        assert_eq!(end.unwrap(), Position::from(head));
        assert_eq!(seen.first(), Some(&from.seq.next()));
        // … but not on a reader that begins behind it, however well the rest joins.
        let (seen, result) = replayed(blocks[5..].to_vec(), head, from);
        let Err(ReplayError::Read(ReadError::Block { fault, .. })) = result else {
            panic!("{result:?}");
        };
        let expected = BlockFault::Place {
            expected: from.seq,
            found: blocks[5].first(),
        };
        assert_eq!((fault, seen.len()), (expected, 0));
        // The position itself must be of this history.
        let other = Position {
            hash: Hash::of(b"another past"),
            ..from
        };
        let (seen, result) = replayed(blocks, head, other);
        let diverged = matches!(result, Err(ReplayError::Diverged { seq, .. }) if seq == from.seq);
        assert!(diverged && seen.is_empty(), "{result:?}");
    }
}
