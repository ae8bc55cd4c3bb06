//! Events, blocks, and streams of them.

use std::io::Read;

use crate::chain::{Batch, ChainKey, Head, Links};
use crate::codec::{self, MAX_EVENT};
use crate::envelope::{Draft, EventRef, Origin, TraceParent};
use crate::event::Event;
use crate::ids::{Entity, Id, Kind, LedgerId, Seq, Uuid};
use crate::store::{
    BLOCK_CAP, BLOCK_HEADER, Block, ChainWalk, MAX_BLOCK, pack, read_block, write_block,
};

/// The ledger that blocks are taken to be of.
pub(super) const LEDGER: LedgerId = LedgerId(Uuid::from_u128(7));

/// An encoded event.
pub(super) fn event(data: &[u8]) {
    let Ok(event) = codec::decode(data) else {
        return;
    };
    assert!(data.len() <= MAX_EVENT);
    assert_eq!(codec::peek_seq(data), Some(event.header.seq));
    assert_eq!(encode_again(&event), data, "an event has one encoding");
    let Ok(decoded) = Event::decode(&event) else {
        return;
    };
    let Some((kind, payload)) = decoded.kind_and_data() else {
        return;
    };
    assert_eq!(kind, event.header.kind);
    let written = EventRef {
        data: &payload,
        ..event
    };
    let again = Event::decode(&written).map_err(|e| e.to_string());
    assert_eq!(again, Ok(decoded), "what is written of it reads back");
}

fn encode_again(event: &EventRef<'_>) -> Vec<u8> {
    let h = &event.header;
    let sound = "a decoded name follows its rule";
    let entity = |text: &str| Entity::new(text).expect(sound);
    let id = |text: &str| Id::new(text).expect(sound);
    let draft = Draft {
        event_id: h.event_id,
        kind: Kind::new(h.kind).expect(sound),
        version: h.version,
        subject: entity(h.subject),
        origin: Origin {
            actor: entity(h.actor),
            claimed_actor: h.claimed_actor.map(entity),
            cause: h.cause,
            correlation: h.correlation.map(id),
            traceparent: h.traceparent.map(|t| TraceParent::new(t).expect(sound)),
        },
        idempotency_key: h.idempotency_key.map(id),
        data: event.data.to_owned(),
    };
    let mut out = Vec::new();
    let fits = codec::encode(&draft, h.seq, h.term, h.recorded_at, &mut out);
    fits.expect("it did fit");
    out
}

/// A block.
pub(super) fn block(data: &[u8]) {
    let Ok(block) = Block::parse(data.to_vec()) else {
        return;
    };
    assert_eq!(block.as_bytes(), data);
    assert_eq!(block.iter().count(), block.count() as usize);
    assert_eq!(
        block.last().0 - block.first().0 + 1,
        u64::from(block.count())
    );
    let key = ChainKey::new(LEDGER);
    let mut links = Links::new(key, block.prev_hash());
    for event in block.iter() {
        links.next(event);
    }
    if block.last_hash() != links.last() {
        assert!(block.check(&key).is_err(), "its events are not those");
    }
    let mut mended = data.to_vec();
    mended[48..BLOCK_HEADER].copy_from_slice(&links.last().0);
    let mended = Block::parse(mended).expect("a hash is as good as another");
    let prev = Head {
        seq: Seq(block.first().0 - 1),
        hash: block.prev_hash(),
        ..Head::EMPTY
    };
    let batch = Batch::restore(key, prev, &data[BLOCK_HEADER..]);
    match (mended.check(&key), batch) {
        (Ok(ends), Ok(batch)) => {
            assert_eq!(batch.head().seq, mended.last());
            assert_eq!(batch.head().term, ends.last.term);
            same(key, &mended, &batch);
        }
        (checked, batch) => assert_eq!(checked.err(), batch.err(), "both find the same"),
    }
}

/// A sound block and the batch of its events.
fn same(key: ChainKey, block: &Block, batch: &Batch) {
    for seq in block.first().0..=block.last().0 {
        assert_eq!(block.hash_at(&key, Seq(seq)), batch.hash_at(Seq(seq)));
    }
    let packed = pack(batch, None);
    let mut prev = block.prev_hash();
    for part in &packed {
        assert!(part.as_bytes().len() <= BLOCK_CAP || part.count() == 1);
        assert!(part.as_bytes().len() <= MAX_BLOCK);
        assert_eq!(part.prev_hash(), prev);
        assert!(part.check(&key).is_ok());
        prev = part.last_hash();
    }
    assert_eq!(prev, block.last_hash());
    assert!(packed.iter().flat_map(Block::iter).eq(block.iter()));
    let begins_well = block.first() > Seq::FIRST || block.prev_hash().0 == [0; 32];
    let mut walk = ChainWalk::new(LEDGER);
    let walked = walk.check(block, Seq::ZERO);
    assert_eq!(walked.is_ok(), begins_well);
    assert_eq!(walk.last().is_some(), begins_well);
}

/// Blocks one behind the other.
pub(super) fn stream(data: &[u8]) {
    let (mut at_once, mut in_bits) = (data, Bits(data));
    let mut written = Vec::new();
    loop {
        let (block, same) = (read_block(&mut at_once), read_block(&mut in_bits));
        let text = |read: &Result<Option<Block>, crate::store::ReadError>| match read {
            Ok(block) => format!("{:?}", block.as_ref().map(Block::as_bytes)),
            Err(error) => error.to_string(),
        };
        assert_eq!(text(&block), text(&same), "however it comes");
        let Ok(Some(block)) = block else {
            let ended = matches!(block, Ok(None));
            assert_eq!(ended, written == data, "all of it, or an error");
            break;
        };
        assert!(block.as_bytes().len() <= MAX_BLOCK);
        write_block(&mut written, &block).expect("memory takes it");
        assert!(data.starts_with(&written), "what was read is what was sent");
    }
}

/// Gives no more than three bytes at a time.
struct Bits<'a>(&'a [u8]);

impl Read for Bits<'_> {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        let bit = out.len().min(3);
        self.0.read(&mut out[..bit])
    }
}
