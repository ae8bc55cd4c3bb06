//! The window against a naive one, and what it refuses.

use ledger_core::envelope::Header;
use ledger_core::event::Event;
use ledger_core::ids::{EventId, Seq, Term, Uuid};
use ledger_core::time::Timestamp;
use proptest::prelude::*;

use super::{Idempotency, WINDOW_US};
use crate::framework::{ApplyError, Projection};

fn apply(window: &mut Idempotency, seq: u64, at: u64, key: Option<&str>) -> Result<(), ApplyError> {
    let header = Header {
        seq: Seq(seq),
        term: Term(1),
        recorded_at: Timestamp(at),
        event_id: EventId(Uuid::nil()),
        kind: "app.x",
        version: 1,
        subject: "app/x",
        actor: "human/ada",
        claimed_actor: None,
        cause: None,
        correlation: None,
        traceparent: None,
        idempotency_key: key,
    };
    window.apply(&header, &Event::Unknown)
}

fn rows(window: &Idempotency) -> Vec<(String, String)> {
    let mut rows = Vec::new();
    window.rows(&mut |k, v| rows.push((k.to_owned(), v.to_owned())));
    rows
}

proptest! {
    #[test]
    fn it_remembers_what_a_naive_window_does(
        steps in prop::collection::vec((0u64..WINDOW_US / 2, prop::option::of(0u8..12)), 1..80),
        capacity in 1usize..8,
    ) {
        let mut window = Idempotency::with_capacity(capacity);
        // Every accepted use of a key, for ever.
        let mut used: Vec<(String, u64, u64)> = Vec::new();
        let mut now = 1;
        for (seq, (wait, key)) in (1u64..).zip(steps) {
            now += wait;
            let key = key.map(|k| format!("k{k}"));
            // As of this event: not too old, and among the latest `capacity` of those.
            let young = |used: &[(String, u64, u64)]| {
                let young: Vec<_> = used.iter().filter(|u| now - u.2 <= WINDOW_US).cloned().collect();
                young[young.len().saturating_sub(capacity)..].to_vec()
            };
            let known = young(&used);
            let taken = key.as_ref().is_some_and(|k| known.iter().any(|u| u.0 == *k));
            let before = window.clone();
            let result = apply(&mut window, seq, now, key.as_deref());
            prop_assert_eq!(result.is_err(), taken);
            if taken {
                prop_assert_eq!(&window, &before);
            } else if let Some(key) = key {
                used.push((key, seq, now));
            }
            if !taken {
                let known = young(&used);
                prop_assert_eq!(window.len(), known.len());
                for (key, seq, _) in &known {
                    prop_assert_eq!(window.lookup(key), Some(Seq(*seq)));
                }
            }
            let rows = rows(&window);
            prop_assert!(rows.windows(2).all(|pair| pair[0].0 < pair[1].0));
            let mut restored = Idempotency::from_rows(&mut rows.into_iter()).unwrap();
            restored.capacity = capacity;
            prop_assert_eq!(restored, window.clone());
        }
    }
}

#[test]
fn a_key_is_remembered_for_a_day_to_the_microsecond() {
    let mut window = Idempotency::default();
    apply(&mut window, 1, 5, Some("a")).unwrap();
    apply(&mut window, 2, 5 + WINDOW_US, None).unwrap();
    assert_eq!(window.lookup("a"), Some(Seq(1)));
    let error = apply(&mut window, 3, 5 + WINDOW_US, Some("a")).unwrap_err();
    assert_eq!(error.seq, Seq(3));
    apply(&mut window, 3, 6 + WINDOW_US, Some("a")).unwrap();
    assert_eq!(window.lookup("a"), Some(Seq(3)));
}

#[test]
fn rows_that_nothing_writes_are_refused() {
    let one = ("00000000000000000001", "[\"a\",5]");
    for bad in [
        ("now", "1"),
        ("00000000000000000002", "[\"a\",5]"),
        ("00000000000000000002", "[\"b\",4]"),
        ("00000000000000000001", "[\"b\",5]"),
        ("00000000000000000002", "[\"../b\",5]"),
        ("00000000000000000002", "[\"b\"]"),
    ] {
        let rows = [one, bad].map(|(k, v)| (k.to_owned(), v.to_owned()));
        assert!(
            Idempotency::from_rows(&mut rows.into_iter()).is_err(),
            "{bad:?}"
        );
    }
}
