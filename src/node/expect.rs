//! What an append may rest on: where the ledger ends, and the versions of its subjects. Whatever
//! does not hold refuses all of it (optimistic concurrency; the expected version of an event store's
//! streams).
//!
//! Each expectation is held against what was recorded before the append, so that several events
//! about one subject may state the same one.

use ledger_core::ids::Seq;
use projections::subjects::{Forgotten, Subjects};

use super::command::{AppEvent, Rejected};

/// Whether an append rests on what is so.
///
/// # Errors
/// [`Rejected`] with what is so instead.
pub(super) fn check(
    subjects: &Subjects,
    head: Seq,
    expected_head: Option<Seq>,
    events: &[AppEvent],
) -> Result<(), Rejected> {
    if let Some(expected) = expected_head.filter(|expected| *expected != head) {
        return Err(Rejected::Head {
            expected,
            actual: head,
        });
    }
    for event in events {
        let Some(expected) = event.expected else {
            continue;
        };
        let subject = &event.subject;
        match subjects.version(subject.as_str()) {
            Ok(actual) if actual == expected => {}
            Ok(actual) => {
                return Err(Rejected::Version {
                    subject: subject.clone(),
                    expected,
                    actual,
                });
            }
            Err(Forgotten { by }) => {
                return Err(Rejected::Forgotten {
                    subject: subject.clone(),
                    by,
                });
            }
        }
    }
    Ok(())
}

/// Whether what is said to have led to an append has happened when it is decided.
///
/// # Errors
/// [`Rejected::Cause`] if not.
pub(super) fn check_cause(head: Seq, cause: Option<Seq>) -> Result<(), Rejected> {
    match cause {
        Some(cause) if !(Seq::FIRST..=head).contains(&cause) => {
            Err(Rejected::Cause { cause, head })
        }
        Some(_) | None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use ledger_core::ids::Entity;
    use projections::framework::Projection;
    use projections::subjects::Version;

    use super::*;

    fn event(subject: &str, expected: Option<Version>) -> AppEvent {
        AppEvent {
            kind: "app.x".parse().unwrap(),
            subject: Entity::new(subject).unwrap(),
            data: "{}".to_owned(),
            expected,
        }
    }

    fn rows(rows: &[(&str, &str)]) -> Subjects {
        let rows: Vec<_> = rows
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect();
        Subjects::from_rows(&mut rows.into_iter()).unwrap()
    }

    #[test]
    fn what_does_not_hold_is_refused_with_what_is_so() {
        let known = ("00000000000000000007", "\"app/a\"");
        let subjects = rows(&[known]);
        let held = |events: &[AppEvent]| check(&subjects, Seq(9), None, events);
        let at = |seq| Some(Version::At(Seq(seq)));
        let fine = [
            event("app/a", at(7)),
            event("app/b", Some(Version::New)),
            event("app/a", at(7)),
            event("app/c", None),
        ];
        assert_eq!(held(&fine), Ok(()));
        for (subject, expected, actual) in [
            ("app/a", at(6), Version::At(Seq(7))),
            ("app/a", Some(Version::New), Version::At(Seq(7))),
            ("app/b", at(7), Version::New),
        ] {
            // One that fails refuses those before it as well.
            let refused = held(&[event("app/a", at(7)), event(subject, expected)]);
            let rejected = Rejected::Version {
                subject: Entity::new(subject).unwrap(),
                expected: expected.unwrap(),
                actual,
            };
            assert_eq!(refused, Err(rejected));
        }
        assert_eq!(check(&subjects, Seq(9), Some(Seq(9)), &fine), Ok(()));
        let head = check(&subjects, Seq(9), Some(Seq(8)), &fine);
        assert!(matches!(head, Err(Rejected::Head { actual: Seq(9), .. })));

        // Where subjects were forgotten, nobody says that one is new.
        let subjects = rows(&[known, ("forgotten", "5")]);
        for expected in [Some(Version::New), at(4), at(6)] {
            let refused = check(&subjects, Seq(9), None, &[event("app/b", expected)]);
            let is_forgotten = matches!(refused, Err(Rejected::Forgotten { by: Seq(5), .. }));
            assert!(is_forgotten, "{refused:?}");
        }
        assert_eq!(check(&subjects, Seq(9), None, &fine[..1]), Ok(()));
    }
}
