//! The table against a naive one, and what it refuses.

use ledger_core::envelope::Header;
use ledger_core::event::Event;
use ledger_core::ids::{EventId, Seq, Term, Uuid};
use ledger_core::time::Timestamp;
use proptest::prelude::*;

use super::{Forgotten, Subjects, Version};
use crate::framework::Projection;

fn apply(subjects: &mut Subjects, seq: u64, subject: &str) {
    let header = Header {
        seq: Seq(seq),
        term: Term(1),
        recorded_at: Timestamp(seq),
        event_id: EventId(Uuid::nil()),
        kind: "app.x",
        version: 1,
        subject,
        actor: "human/ada",
        claimed_actor: None,
        cause: None,
        correlation: None,
        traceparent: None,
        idempotency_key: None,
    };
    subjects.apply(&header, &Event::Unknown).unwrap();
}

fn rows(subjects: &Subjects) -> Vec<(String, String)> {
    let mut rows = Vec::new();
    subjects.rows(&mut |k, v| rows.push((k.to_owned(), v.to_owned())));
    rows
}

proptest! {
    #[test]
    fn it_remembers_those_that_changed_last_and_never_guesses(
        changes in prop::collection::vec(0_u8..40, 1..200),
        capacity in 1_usize..24,
    ) {
        let mut subjects = Subjects::with_capacity(capacity);
        // The last change of every subject, for ever; oldest first.
        let mut all: Vec<(String, u64)> = Vec::new();
        let mut forgotten = 0;
        for (seq, change) in (1_u64..).zip(changes) {
            let subject = format!("app/s{change}");
            apply(&mut subjects, seq, &subject);
            all.retain(|(s, _)| *s != subject);
            all.push((subject, seq));
            let remembered = all.iter().filter(|(_, v)| *v > forgotten).count();
            if remembered > capacity {
                let kept = capacity - capacity / 8;
                forgotten = all[all.len() - kept - 1].1;
            }
            prop_assert!(subjects.len() <= capacity);
            for (subject, version) in &all {
                let expected = if *version > forgotten {
                    Ok(Version::At(Seq(*version)))
                } else {
                    Err(Forgotten { by: Seq(forgotten) })
                };
                prop_assert_eq!(subjects.version(subject), expected);
            }
            let never = match forgotten {
                0 => Ok(Version::New),
                by => Err(Forgotten { by: Seq(by) }),
            };
            prop_assert_eq!(subjects.version("app/never"), never);
            let rows = rows(&subjects);
            prop_assert!(rows.windows(2).all(|pair| pair[0].0 < pair[1].0));
            let mut restored = Subjects::from_rows(&mut rows.into_iter()).unwrap();
            restored.capacity = capacity;
            prop_assert_eq!(&restored, &subjects);
        }
    }
}

#[test]
fn only_what_applications_record_counts() {
    assert!(Subjects::wants("app.deploy"));
    for kind in ["task.submitted", "apps.x", "application"] {
        assert!(!Subjects::wants(kind), "{kind}");
    }
}

#[test]
fn versions_are_read_as_they_are_written() {
    for (text, version) in [("new", Version::New), ("7", Version::At(Seq(7)))] {
        assert_eq!(text.parse(), Ok(version));
        assert_eq!(version.to_string(), text);
        assert_eq!(Version::from(Seq::from(version)), version);
    }
    for bad in ["", "0", "-1", "New", "1.5", "18446744073709551616"] {
        assert!(bad.parse::<Version>().is_err(), "{bad}");
    }
}

#[test]
fn rows_that_nothing_writes_are_refused() {
    let one = ("00000000000000000005", "\"app/x\"");
    for bad in [
        ("now", "\"app/y\""),
        ("00000000000000000005", "\"app/y\""),
        ("00000000000000000004", "\"app/y\""),
        ("00000000000000000006", "\"app/x\""),
        ("00000000000000000006", "\"app\""),
        ("00000000000000000006", "[]"),
        ("forgotten", "5"),
        ("forgotten", "0"),
        ("forgotten", "-1"),
    ] {
        let rows = [one, bad].map(|(k, v)| (k.to_owned(), v.to_owned()));
        assert!(
            Subjects::from_rows(&mut rows.into_iter()).is_err(),
            "{bad:?}"
        );
    }
    for rows in [
        vec![("forgotten", "5")],
        vec![
            one,
            ("forgotten", "4"),
            ("00000000000000000006", "\"app/y\""),
        ],
    ] {
        let rows: Vec<_> = rows
            .into_iter()
            .map(|(k, v)| (k.to_owned(), v.to_owned()))
            .collect();
        assert!(
            Subjects::from_rows(&mut rows.clone().into_iter()).is_err(),
            "{rows:?}"
        );
    }
}
