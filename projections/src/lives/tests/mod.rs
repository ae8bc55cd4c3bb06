//! Lives: complete histories are found complete, each fault is found by its name, and memory holds
//! what is open.

mod faults;
mod model;

use ledger_core::chain::{BatchBuilder, ChainKey, Head};
use ledger_core::codec;
use ledger_core::envelope::{Draft, Origin};
use ledger_core::ids::{Entity, EventId, Kind, LedgerId, Seq, Term, Uuid};
use ledger_core::store::{Block, pack};
use ledger_core::time::Timestamp;
use ledger_core::verify::Examine;

use super::{Lives, Outcome};

/// An event, as tests write it: term, kind, subject, payload.
pub(super) type Told = (u64, String, String, String);

/// Blocks of events, a block for each.
pub(super) fn blocks(story: &[Told]) -> Vec<Block> {
    let key = ChainKey::new(LedgerId(Uuid::nil()));
    let mut head = Head::EMPTY;
    let mut blocks = Vec::new();
    for (term, kind, subject, data) in story {
        let draft = Draft {
            event_id: EventId(Uuid::nil()),
            kind: Kind::new(kind).unwrap(),
            version: 1,
            subject: Entity::new(subject).unwrap(),
            origin: Origin::of(Entity::new("node/a").unwrap()),
            idempotency_key: None,
            data: data.clone(),
        };
        let mut builder = BatchBuilder::new(key, head, Term(*term));
        head = builder.push(&[draft], Timestamp(1)).unwrap();
        blocks.extend(pack(&builder.take(), None));
    }
    blocks
}

/// Folds blocks up to `head`; hands the fold to `watch` after each.
pub(super) fn fold(blocks: &[Block], head: Seq, mut watch: impl FnMut(&Lives)) -> Outcome {
    let (examiner, mut lives) = Lives::begin(head);
    for block in blocks {
        let mut notes = Default::default();
        for event in block.iter() {
            examiner.event(&codec::decode(event).unwrap(), &mut notes);
        }
        examiner.block(block, &mut notes);
        lives.fold(notes);
        watch(&lives);
    }
    lives.end()
}

/// What comes of a story.
pub(super) fn outcome(story: &[Told]) -> Outcome {
    fold(&blocks(story), Seq(u64::MAX), |_| {})
}
