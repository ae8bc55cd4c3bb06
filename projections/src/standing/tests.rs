//! Paused by a restore or an import, until it is resumed.

use ledger_core::envelope::Header;
use ledger_core::event::{
    ClockSettled, ClockStepped, Event, HostClock, LedgerEvent, LedgerImported, LedgerRestored,
    LedgerResumed, NodeEvent, NodeStarted, Settled,
};
use ledger_core::hash::Hash;
use ledger_core::ids::{EventId, Id, Seq, Term, Uuid};
use ledger_core::time::Timestamp;

use super::{PausedBy, Standing};
use crate::framework::Projection;

fn apply(standing: &mut Standing, seq: u64, event: LedgerEvent) -> Result<(), String> {
    apply_any(standing, seq, event.kind(), &Event::from(event.clone()))
}

fn apply_any(standing: &mut Standing, seq: u64, kind: &str, event: &Event) -> Result<(), String> {
    let header = Header {
        seq: Seq(seq),
        term: Term(1),
        recorded_at: Timestamp(seq),
        event_id: EventId(Uuid::nil()),
        kind,
        version: 1,
        subject: "ledger/a",
        actor: "uid/0",
        claimed_actor: None,
        cause: None,
        correlation: None,
        traceparent: None,
        idempotency_key: None,
    };
    standing.apply(&header, event).map_err(|e| e.reason)
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

#[test]
fn the_clock_is_that_of_the_last_node_until_a_step_settles() {
    let clock = |booted_at| HostClock {
        boot_id: "b".into(),
        booted_at: Timestamp(booted_at),
    };
    let started = |clock| {
        NodeEvent::Started(NodeStarted {
            software: "s".into(),
            host: "h".into(),
            max_running: 1,
            clock,
        })
    };
    let stepped = NodeEvent::ClockStepped(ClockStepped {
        wall: Timestamp(9),
        expected: Timestamp(5),
    });
    let settled = NodeEvent::ClockSettled(ClockSettled {
        outcome: Settled::Followed,
        wall: Timestamp(9),
        clock: clock(5),
    });
    let told = [
        (started(Some(clock(1))), Some(1)),
        (stepped, Some(1)),
        (settled, Some(5)),
        (started(None), None),
        (started(Some(clock(7))), Some(7)),
    ];
    let mut standing = Standing::default();
    for (seq, (event, expected)) in (1..).zip(told) {
        assert!(Standing::wants(event.kind()));
        let kind = event.kind();
        apply_any(&mut standing, seq, kind, &Event::from(event)).unwrap();
        assert_eq!(standing.clock().cloned(), expected.map(clock));
    }
    let mut rows = Vec::new();
    standing.rows(&mut |key, value| rows.push((key.to_owned(), value.to_owned())));
    let restored = Standing::from_rows(&mut rows.into_iter()).unwrap();
    assert_eq!(restored, standing);
}
