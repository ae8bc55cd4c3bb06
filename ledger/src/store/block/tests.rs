//! Blocks from arbitrary bytes, from batches, and with each kind of damage.

use proptest::prelude::*;

use super::*;
use crate::chain::{BatchBuilder, Head};
use crate::ids::LedgerId;
use crate::store::samples::{batch, batch_of, event, largest_event, ledger_id};

fn key() -> ChainKey {
    ChainKey::new(ledger_id(1))
}

fn id() -> LedgerId {
    ledger_id(1)
}

/// One block of three events that begins with seq 1.
fn three() -> Block {
    let batch = batch(id(), Head::EMPTY, Term(3), &[30, 31, 32]);
    let mut blocks = pack(&batch, None);
    assert_eq!(blocks.len(), 1);
    blocks.remove(0)
}

/// The block again, with its bytes changed.
fn changed(block: &Block, change: impl FnOnce(&mut Vec<u8>)) -> Result<Block, BlockFault> {
    let mut bytes = block.as_bytes().to_vec();
    change(&mut bytes);
    Block::parse(bytes)
}

/// A block over these events whose two edges are right: what a careful forger would write.
fn forged(first: Seq, events: &[Vec<u8>]) -> Block {
    let mut links = Links::new(key(), Hash::ZERO);
    let mut bytes = (events.len() as u32).to_le_bytes().to_vec();
    bytes.extend([0; 4]);
    bytes.extend(first.0.to_le_bytes());
    bytes.extend([0; 64]);
    for event in events {
        bytes.extend((event.len() as u32).to_le_bytes());
        bytes.extend(event);
        bytes[48..80].copy_from_slice(&links.next(event).0);
    }
    Block::parse(bytes).unwrap()
}

fn encoded(seq: u64, term: u64, at: u64) -> Vec<u8> {
    let mut out = Vec::new();
    codec::encode(
        &event(seq, 20),
        Seq(seq),
        Term(term),
        Timestamp(at),
        &mut out,
    )
    .unwrap();
    out
}

#[test]
fn a_block_shows_what_was_packed() {
    let block = three();
    assert_eq!(
        (block.first(), block.last(), block.count()),
        (Seq(1), Seq(3), 3)
    );
    assert_eq!(block.prev_hash(), Hash::ZERO);
    let events: Vec<_> = block.events().map(Result::unwrap).collect();
    assert_eq!(events[2].header.seq, Seq(3));
    let mut links = Links::new(key(), Hash::ZERO);
    for (bytes, seq) in block.iter().zip(1..) {
        let hash = links.next(bytes);
        assert_eq!(block.hash_at(&key(), Seq(seq)), Some(hash));
    }
    assert_eq!(block.hash_at(&key(), Seq(0)), None);
    assert_eq!(block.hash_at(&key(), Seq(4)), None);
    let checked = block.check(&key()).unwrap();
    assert_eq!(checked.first.term, Term(3));
    assert_eq!(Block::parse(block.as_bytes().to_vec()).as_ref(), Ok(&block));
}

#[test]
fn frames_that_do_not_fill_the_block_are_refused() {
    let block = three();
    for len in 0..block.as_bytes().len() {
        assert!(
            Block::parse(block.as_bytes()[..len].to_vec()).is_err(),
            "{len}"
        );
    }
    let is_length = |r| matches!(r, Err(BlockFault::Length(_)));
    assert!(is_length(changed(&block, |b| b.push(0))));
    assert!(is_length(changed(&block, |b| b[0] = 2)));
    assert!(is_length(changed(&block, |b| b[0] = 4)));
    assert!(is_length(changed(&block, |b| b[3] = 0xFF)));
    assert!(is_length(changed(&block, |b| b[80] ^= 1)));
    assert!(is_length(changed(&block, |b| b[83] = 0xFF)));
    let is_header = |r| matches!(r, Err(BlockFault::Header));
    assert!(is_header(changed(&block, |b| b[..4].fill(0))));
    assert!(is_header(changed(&block, |b| b[4] = 1)));
    assert!(is_header(changed(&block, |b| b[8..16].fill(0))));
    assert!(is_header(changed(&block, |b| b[8..16].fill(0xFF))));
}

#[test]
fn each_damage_has_its_fault() {
    let check = |block: &Block| block.check(&key()).unwrap_err();
    let block = three();
    let edge = changed(&block, |b| b[20] ^= 1).unwrap();
    assert!(matches!(
        check(&edge),
        BlockFault::Chain { seq: Seq(3), .. }
    ));
    let end = changed(&block, |b| b[60] ^= 1).unwrap();
    assert!(matches!(check(&end), BlockFault::Chain { .. }));
    let payload = changed(&block, |b| {
        let at = b.len() - 4;
        b[at] ^= 1;
    });
    assert!(matches!(check(&payload.unwrap()), BlockFault::Chain { .. }));
    let encoding = changed(&block, |b| b[84] = 2).unwrap();
    assert!(matches!(
        check(&encoding),
        BlockFault::Event { seq: Seq(1), .. }
    ));
    let moved = changed(&block, |b| b[8] = 9).unwrap();
    assert!(matches!(
        check(&moved),
        BlockFault::Seq {
            expected: Seq(9),
            found: Seq(1)
        }
    ));
    let other = ChainKey::new(ledger_id(2));
    assert!(matches!(block.check(&other), Err(BlockFault::Chain { .. })));

    assert!(
        forged(Seq(1), &[encoded(1, 1, 5), encoded(2, 1, 5)])
            .check(&key())
            .is_ok()
    );
    let term = forged(Seq(1), &[encoded(1, 2, 5), encoded(2, 1, 5)]);
    assert!(matches!(check(&term), BlockFault::Term { seq: Seq(2), .. }));
    let time = forged(Seq(1), &[encoded(1, 1, 5), encoded(2, 1, 4)]);
    assert_eq!(check(&time), BlockFault::Time { seq: Seq(2) });
    let gap = forged(Seq(1), &[encoded(1, 1, 5), encoded(3, 1, 5)]);
    assert!(matches!(check(&gap), BlockFault::Seq { found: Seq(3), .. }));
}

#[test]
fn the_largest_event_has_a_block_of_its_own() {
    let drafts = [event(1, 10), largest_event(2), event(3, 10)];
    let blocks = pack(&batch_of(id(), Head::EMPTY, Term(1), &drafts), None);
    let sizes: Vec<_> = blocks
        .iter()
        .map(|b| (b.count(), b.as_bytes().len()))
        .collect();
    assert_eq!(blocks.len(), 3, "{sizes:?}");
    assert_eq!(sizes[1], (1, BLOCK_HEADER + 4 + MAX_EVENT));
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(
        mut bytes in proptest::collection::vec(any::<u8>(), 0..600),
        count in 0u32..4,
    ) {
        let _ = Block::parse(bytes.clone());
        // With a plausible header more of the parser is reached.
        if bytes.len() >= BLOCK_HEADER + 4 {
            bytes[..4].copy_from_slice(&count.to_le_bytes());
            bytes[4..8].fill(0);
            bytes[13..16].fill(0);
            let rest = bytes.len() - BLOCK_HEADER - 4;
            bytes[80..84].copy_from_slice(&(rest as u32).to_le_bytes());
            if let Ok(block) = Block::parse(bytes) {
                prop_assert_eq!(block.iter().count() as u32, block.count());
                prop_assert!(block.check(&key()).is_err());
            }
        }
    }

    #[test]
    fn a_changed_byte_never_panics_and_is_always_found(at: prop::sample::Index, bits in 1u8..) {
        let block = three();
        let at = at.index(block.as_bytes().len());
        // Bytes 16 to 48 and 8 to 16 are found by the edge and the place, here by the hash.
        let found = changed(&block, |b| b[at] ^= bits).and_then(|b| b.check(&key()).map(|_| ()));
        prop_assert!(found.is_err(), "byte {}", at);
    }

    #[test]
    fn batches_come_out_as_they_went_in(
        batches in proptest::collection::vec(
            proptest::collection::vec(prop_oneof![0usize..300, 0usize..40_000], 1..8), 1..8),
        join: bool,
    ) {
        let mut builder = BatchBuilder::new(key(), Head::EMPTY, Term(1));
        let mut blocks: Vec<Block> = Vec::new();
        let mut expected: Vec<(Vec<u8>, Hash)> = Vec::new();
        for sizes in &batches {
            for &size in sizes {
                builder.push(&[event(1, size)], Timestamp(7)).unwrap();
            }
            let batch = builder.take();
            expected.extend(batch.events().map(|(e, h)| (e.to_vec(), h)));
            let tail = if join { blocks.pop() } else { None };
            blocks.extend(pack(&batch, tail.as_ref()));
        }
        let mut links = Links::new(key(), Hash::ZERO);
        let mut next = Seq::FIRST;
        let mut found = Vec::new();
        for block in &blocks {
            prop_assert!(block.as_bytes().len() <= BLOCK_CAP || block.count() == 1);
            prop_assert_eq!((block.first(), block.prev_hash()), (next, links.last()));
            prop_assert!(block.check(&key()).is_ok());
            found.extend(block.iter().map(|e| (e.to_vec(), links.next(e))));
            prop_assert_eq!(block.last_hash(), links.last());
            next = block.last().next();
        }
        prop_assert!(found == expected);
    }
}
