//! Events for tests of stores: small, deterministic, of any size.

use uuid::Uuid;

use crate::chain::{Batch, BatchBuilder, ChainKey, Head};
use crate::codec::MAX_EVENT;
use crate::envelope::{Draft, Origin};
use crate::event::{Event, LEDGER_FORMAT, LedgerCreated, LedgerEvent};
use crate::ids::{Entity, EventId, Id, Kind, LedgerId, Term};
use crate::time::Timestamp;

/// A ledger id for tests.
pub fn ledger_id(n: u128) -> LedgerId {
    LedgerId(Uuid::from_u128(
        0x0190_0000_0000_7000_8000_0000_0000_0000 | n,
    ))
}

fn entity(text: &str) -> Entity {
    Entity::new(text).expect("a literal that follows the rule")
}

fn draft(kind: &str, event_id: u128, subject: Entity, data: String) -> Draft {
    Draft {
        event_id: EventId(Uuid::from_u128(event_id)),
        kind: Kind::new(kind).expect("a literal that follows the rule"),
        version: 1,
        subject,
        origin: Origin::of(entity("system/test")),
        idempotency_key: None,
        data,
    }
}

/// An application's event whose payload has about `size` bytes.
pub fn event(n: u64, size: usize) -> Draft {
    let filler = "x".repeat(size.saturating_sub(20));
    let data = format!("{{\"n\":{n},\"x\":\"{filler}\"}}");
    draft("app.sample", u128::from(n), entity("app/sample"), data)
}

/// An event that is exactly as long as an event may be.
pub fn largest_event(n: u64) -> Draft {
    let mut event = event(n, 100);
    let mut out = Vec::new();
    let size = |event: &Draft, out: &mut Vec<u8>| {
        out.clear();
        crate::codec::encode(event, Head::EMPTY.seq, Term(1), Timestamp(0), out)
            .expect("a small event fits")
    };
    let missing = MAX_EVENT - size(&event, &mut out);
    event
        .data
        .insert_str(event.data.len() - 2, &"y".repeat(missing));
    event
}

/// The batch that a ledger begins with: `ledger.created` at term 0.
pub fn genesis(ledger_id: LedgerId) -> Batch {
    let created = LedgerEvent::Created(LedgerCreated {
        ledger_id,
        format: LEDGER_FORMAT,
        name: Id::new("sample").expect("a literal that follows the rule"),
        software: "0.1.0".into(),
        key_fingerprint: None,
    });
    let (kind, data) = Event::from(created)
        .kind_and_data()
        .expect("ledger.created is an event of ours");
    let drafts = [draft(kind, 1, entity("ledger/main"), data)];
    let mut builder = BatchBuilder::new(ChainKey::new(ledger_id), Head::EMPTY, Term::ZERO);
    builder
        .push(&drafts, Timestamp(1_700_000_000_000_000))
        .expect("the first event is small");
    builder.take()
}

/// A batch behind `head`, one event of each given payload size, a millisecond after it.
pub fn batch(ledger_id: LedgerId, head: Head, term: Term, sizes: &[usize]) -> Batch {
    let drafts: Vec<Draft> = (head.seq.0 + 1..)
        .zip(sizes)
        .map(|(n, &size)| event(n, size))
        .collect();
    batch_of(ledger_id, head, term, &drafts)
}

/// A batch of these events behind `head`, a millisecond after it.
///
/// # Panics
/// If one of them is too large.
pub fn batch_of(ledger_id: LedgerId, head: Head, term: Term, drafts: &[Draft]) -> Batch {
    let mut builder = BatchBuilder::new(ChainKey::new(ledger_id), head, term);
    builder
        .push(drafts, Timestamp(head.recorded_at.0 + 1000))
        .expect("sample events fit");
    builder.take()
}
