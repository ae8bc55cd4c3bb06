//! Filters against events made by hand, and against random ones.

use ledger_core::envelope::{EventRef, Header};
use ledger_core::hash::Hash;
use ledger_core::ids::EventId;
use proptest::prelude::*;

use super::*;

fn header() -> Header<'static> {
    Header {
        seq: Seq(7),
        term: Term(2),
        recorded_at: Timestamp(1_000_000),
        event_id: "00000000-0000-7000-8000-000000000000"
            .parse::<EventId>()
            .unwrap(),
        kind: "task.submitted",
        version: 1,
        subject: "task/build-7",
        actor: "uid/1000",
        claimed_actor: Some("agent/ada"),
        cause: None,
        correlation: Some("req-1"),
        traceparent: None,
        idempotency_key: None,
    }
}

fn matches(header: Header<'_>, change: impl FnOnce(&mut Filter)) -> bool {
    let event = EventRef {
        header,
        data: r#"{"priority":0,"note":"hello"}"#,
    };
    let mut filter = Filter::default();
    change(&mut filter);
    filter.matches(&ChainedEvent {
        event,
        prev_hash: Hash::ZERO,
        hash: Hash::ZERO,
    })
}

fn fits(expression: &str) -> bool {
    let parsed: Filter = expression.parse().unwrap();
    matches(header(), |filter| *filter = parsed)
}

#[test]
fn fields_narrow_and_values_widen() {
    assert!(matches(header(), |_| ()));
    for yes in [
        "task.*",
        "lease.* task.*",
        "task.submitted subject=task/* term=2 seq=5..9 data.priority=0",
        "actor=uid/1000",
        "actor=agent/*",
        "term=1 term=2",
        "seq=1..2 seq=7",
        "seq=..7",
        "seq=7..",
        "correlation=req-1",
        "grep=hel+o",
        "grep=^task/build",
        "grep=nothing grep=ada",
    ] {
        assert!(fits(yes), "{yes}");
    }
    for no in [
        "lease.*",
        "task.* subject=task/other",
        "term=3",
        "seq=8..",
        "correlation=req-2",
        "grep=nothing",
        "task.* data.priority=1",
        "actor=uid/1",
    ] {
        assert!(!fits(no), "{no}");
    }
}

#[test]
fn time_is_half_open() {
    let at = Timestamp(1_000_000);
    assert!(matches(header(), |f| f.since = Some(at)));
    assert!(!matches(header(), |f| f.until = Some(at)));
    assert!(matches(header(), |f| f.until = Some(Timestamp(at.0 + 1))));
    assert!(!matches(header(), |f| f.since = Some(Timestamp(at.0 + 1))));
}

#[test]
fn faults_are_told_apart() {
    let error = |text: &str| text.parse::<Filter>().unwrap_err();
    assert_eq!(error("seq=9..2"), FilterError::Range("9..2".into()));
    assert_eq!(error("seq=x"), FilterError::Range("x".into()));
    assert_eq!(error("term=-1"), FilterError::Term("-1".into()));
    assert_eq!(error("colour=red"), FilterError::Field("colour".into()));
    assert_eq!(error(""), FilterError::Glob(String::new()));
    assert!(matches!(
        error("correlation=a/b"),
        FilterError::Correlation { .. }
    ));
    let FilterError::Regex { problem, .. } = error("grep=(") else {
        panic!("not a regex error")
    };
    assert_eq!(problem, "unclosed group");
    assert!(matches!(
        parse_regex("\\w{1000}{1000}"),
        Err(FilterError::Regex { .. })
    ));
    assert!(matches!(
        parse_regex(&"a".repeat(1001)),
        Err(FilterError::Regex { .. })
    ));
}

#[test]
fn bounds_hold_all_ranges() {
    let filter: Filter = "seq=5..9 seq=20..30".parse().unwrap();
    assert_eq!(
        filter.bounds(),
        SeqRange {
            first: Seq(5),
            last: Seq(30)
        }
    );
    assert_eq!(
        Filter::default().bounds(),
        SeqRange {
            first: Seq(1),
            last: Seq(u64::MAX)
        }
    );
}

proptest! {
    #[test]
    fn bounds_never_exclude_a_match(
        ranges in prop::collection::vec((1_u64..50, 0_u64..50), 0..4),
        seq in 1_u64..120,
    ) {
        let seqs = ranges.iter().map(|(a, n)| SeqRange { first: Seq(*a), last: Seq(a + n) });
        let filter = Filter { seqs: seqs.collect(), ..Filter::default() };
        let bounds = filter.bounds();
        let found = matches(Header { seq: Seq(seq), ..header() }, |f| *f = filter);
        prop_assert!(!found || (bounds.first.0..=bounds.last.0).contains(&seq));
        let expected = ranges.is_empty() || ranges.iter().any(|(a, n)| (*a..=a + n).contains(&seq));
        prop_assert_eq!(found, expected);
    }

    #[test]
    fn no_expression_panics(text in ".{0,40}") {
        let _ = text.parse::<Filter>();
        let _ = format!("data.{text}").parse::<Condition>();
        let _ = parse_when(&text, Timestamp(0), &jiff::tz::TimeZone::UTC);
    }
}
