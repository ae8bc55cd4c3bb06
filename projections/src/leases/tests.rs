//! Terms follow each other, and rows restore.

use ledger_core::envelope::Header;
use ledger_core::event::{
    Event, LeaseAcquired, LeaseEvent, LeaseLost, LeaseReleased, ReleaseReason,
};
use ledger_core::ids::{EventId, Id, Seq, Term, Uuid};
use ledger_core::time::Timestamp;

use super::Leases;
use crate::framework::Projection;

fn apply(leases: &mut Leases, seq: u64, term: u64, event: LeaseEvent) -> Result<(), String> {
    let header = Header {
        seq: Seq(seq),
        term: Term(term),
        recorded_at: Timestamp(seq),
        event_id: EventId(Uuid::nil()),
        kind: event.kind(),
        version: 1,
        subject: "lease/main",
        actor: "node/a",
        claimed_actor: None,
        cause: None,
        correlation: None,
        traceparent: None,
        idempotency_key: None,
    };
    leases
        .apply(&header, &Event::from(event))
        .map_err(|e| e.reason)
}

fn acquired() -> LeaseEvent {
    LeaseEvent::Acquired(LeaseAcquired {
        holder: Id::new("a").unwrap(),
        pid: 1,
        start_time: None,
        boot_id: "b".into(),
        incarnation: "i".into(),
    })
}

fn released() -> LeaseEvent {
    LeaseEvent::Released(LeaseReleased {
        holder: Id::new("a").unwrap(),
        reason: ReleaseReason::Shutdown,
    })
}

fn lost(term: u64) -> LeaseEvent {
    LeaseEvent::Lost(LeaseLost {
        holder: Id::new("a").unwrap(),
        term: Term(term),
    })
}

#[test]
fn terms_follow_each_other() {
    let mut leases = Leases::default();
    assert_eq!(leases.next_term(), Term(1));
    apply(&mut leases, 2, 1, acquired()).unwrap();
    assert!(
        apply(&mut leases, 3, 1, acquired()).is_err(),
        "a term is acquired once"
    );
    assert!(
        apply(&mut leases, 3, 1, lost(1)).is_err(),
        "the current term is not over"
    );
    assert_eq!(leases.open().unwrap().term, Term(1));
    apply(&mut leases, 3, 2, acquired()).unwrap();
    apply(&mut leases, 4, 2, lost(1)).unwrap();
    assert!(
        apply(&mut leases, 5, 2, lost(1)).is_err(),
        "a term is lost once"
    );
    apply(&mut leases, 5, 2, released()).unwrap();
    assert!(
        apply(&mut leases, 6, 2, released()).is_err(),
        "a term is released once"
    );
    assert!(leases.open().is_none());
    assert_eq!(leases.next_term(), Term(3));

    let mut rows = Vec::new();
    leases.rows(&mut |k, v| rows.push((k.to_owned(), v.to_owned())));
    assert_eq!(Leases::from_rows(&mut rows.into_iter()).unwrap(), leases);
}
