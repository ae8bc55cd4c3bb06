//! Paused by a restore or an import, until it is resumed.

use ledger_core::envelope::Header;
use ledger_core::event::{Event, LedgerEvent, LedgerImported, LedgerRestored, LedgerResumed};
use ledger_core::hash::Hash;
use ledger_core::ids::{EventId, Id, Seq, Term, Uuid};
use ledger_core::time::Timestamp;

use super::{PausedBy, Standing};
use crate::framework::Projection;

fn apply(standing: &mut Standing, seq: u64, event: LedgerEvent) -> Result<(), String> {
    let header = Header {
        seq: Seq(seq),
        term: Term(1),
        recorded_at: Timestamp(seq),
        event_id: EventId(Uuid::nil()),
        kind: event.kind(),
        version: 1,
        subject: "ledger/a",
        actor: "uid/0",
        claimed_actor: None,
        cause: None,
        correlation: None,
        traceparent: None,
        idempotency_key: None,
    };
    standing
        .apply(&header, &Event::from(event))
        .map_err(|e| e.reason)
}

fn restored() -> LedgerEvent {
    LedgerEvent::Restored(LedgerRestored {
        backup: Id::new("b").unwrap(),
        seq: Seq(1),
        hash: Hash::ZERO,
        made_at: Timestamp(1),
        incarnation: "i".into(),
    })
}

fn imported() -> LedgerEvent {
    LedgerEvent::Imported(LedgerImported {
        seq: Seq(1),
        hash: Hash::ZERO,
        incarnation: "i".into(),
    })
}

fn resumed() -> LedgerEvent {
    LedgerEvent::Resumed(LedgerResumed { reason: None })
}

#[test]
fn a_restore_pauses_until_it_is_resumed_and_leaves_its_mark() {
    let mut standing = Standing::default();
    assert_eq!((standing.paused(), standing.inherited()), (None, Seq(0)));
    assert!(apply(&mut standing, 5, resumed()).is_err());
    apply(&mut standing, 5, restored()).unwrap();
    assert_eq!(standing.paused().unwrap().by, PausedBy::Restore);
    // From a backup that was itself never resumed.
    apply(&mut standing, 8, imported()).unwrap();
    let paused = standing.paused().unwrap();
    assert_eq!((paused.by, paused.since), (PausedBy::Import, Seq(8)));

    let mut rows = Vec::new();
    standing.rows(&mut |k, v| rows.push((k.to_owned(), v.to_owned())));
    assert_eq!(
        Standing::from_rows(&mut rows.into_iter()).unwrap(),
        standing
    );

    apply(&mut standing, 9, resumed()).unwrap();
    assert_eq!((standing.paused(), standing.inherited()), (None, Seq(8)));
    assert!(apply(&mut standing, 10, resumed()).is_err());
}
