//! Folding: live, rebuilt, resumed and as of a position are the same; faults are found and named.

mod joints;
mod replay;
mod snapshot;

use std::collections::BTreeMap;

use ledger_core::chain::Head;
use ledger_core::envelope::Header;
use ledger_core::event::Event;
use ledger_core::hash::Hash;
use ledger_core::ids::{Entity, Seq};
use ledger_core::store::LogReader;
use ledger_core::time::{Millis, Timestamp};
use proptest::prelude::*;

use super::*;
use crate::testkit::History;

/// Counts `app.*` events and refuses `app.bad`.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Counter(pub(super) u64);

impl Projection for Counter {
    const NAME: &'static str = "counter";
    const VERSION: u32 = 1;

    fn wants(kind: &str) -> bool {
        kind.starts_with("app.")
    }

    fn apply(&mut self, header: &Header<'_>, event: &Event) -> Result<(), ApplyError> {
        assert_eq!(event, &Event::App);
        if header.kind == "app.bad" {
            let mut error = ApplyError::at(header, "bad");
            // A projection's own idea of the position must not matter.
            error.seq = Seq(0);
            return Err(error);
        }
        self.0 += 1;
        Ok(())
    }

    fn rows(&self, emit: &mut dyn FnMut(&str, &str)) {
        emit("count", &self.0.to_string());
    }

    fn from_rows(rows: &mut dyn Iterator<Item = (String, String)>) -> Result<Self, RestoreError> {
        let (key, value) = rows
            .next()
            .ok_or_else(|| RestoreError::row("count", "missing"))?;
        let count = value
            .parse()
            .map_err(|_| RestoreError::row(key, "not a number"))?;
        Ok(Self(count))
    }
}

/// Counts the events of each subject, `app.*` aside, and keeps its last kind.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Subjects(BTreeMap<String, (u64, String)>);

impl Projection for Subjects {
    const NAME: &'static str = "subjects";
    const VERSION: u32 = 1;

    fn wants(kind: &str) -> bool {
        !kind.starts_with("app.")
    }

    fn apply(&mut self, header: &Header<'_>, event: &Event) -> Result<(), ApplyError> {
        assert_eq!(
            event.kind_and_data().map(|(kind, _)| kind),
            Some(header.kind)
        );
        let entry = self.0.entry(header.subject.to_owned()).or_default();
        *entry = (entry.0 + 1, header.kind.to_owned());
        Ok(())
    }

    fn rows(&self, emit: &mut dyn FnMut(&str, &str)) {
        for (subject, entry) in &self.0 {
            emit(subject, &serde_json::to_string(entry).unwrap());
        }
    }

    fn from_rows(rows: &mut dyn Iterator<Item = (String, String)>) -> Result<Self, RestoreError> {
        let parsed = |(key, value): (String, String)| {
            let entry = serde_json::from_str(&value);
            let entry = entry.map_err(|e| RestoreError::row(&*key, e.to_string()))?;
            Ok((key, entry))
        };
        rows.map(parsed).collect::<Result<_, _>>().map(Self)
    }
}

/// Reads no payload of anything.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct Headers(u64);

impl Projection for Headers {
    const NAME: &'static str = "headers";
    const VERSION: u32 = 1;
    const NEEDS_PAYLOAD: bool = false;

    fn wants(_kind: &str) -> bool {
        true
    }

    fn apply(&mut self, _: &Header<'_>, event: &Event) -> Result<(), ApplyError> {
        assert_eq!(event, &Event::Unknown);
        self.0 += 1;
        Ok(())
    }

    fn rows(&self, emit: &mut dyn FnMut(&str, &str)) {
        emit("events", &self.0.to_string());
    }

    fn from_rows(_: &mut dyn Iterator<Item = (String, String)>) -> Result<Self, RestoreError> {
        Err(RestoreError::row("", "never written"))
    }
}

pub(super) fn app(history: &mut History, kind: &str) {
    let subject = Entity::new("app/x").unwrap();
    history.append_raw(vec![(kind.to_owned(), 1, subject, "{}".to_owned(), None)]);
}

pub(super) fn rows(view: &dyn View) -> Vec<(String, String)> {
    let mut rows = Vec::new();
    view.rows(&mut |k, v| rows.push((k.to_owned(), v.to_owned())));
    rows
}

fn same<P: Projection>(a: &Fold<P>, b: &Fold<P>) {
    assert_eq!(a.position(), b.position());
    assert_eq!(rows(a), rows(b));
    assert_eq!((a.digest(), a.health()), (b.digest(), b.health()));
}

proptest! {
    #[test]
    fn a_time_is_the_last_seq_recorded_by_then(
        choices in prop::collection::vec(any::<u32>(), 0..60),
        pick in any::<prop::sample::Index>(),
        off in -1i64..=1,
    ) {
        let history = History::drawn(&choices);
        let events = history.events();
        let at = events[pick.index(events.len())].at.0.checked_add_signed(off).unwrap();
        let expected = events.iter().rfind(|r| r.at.0 <= at).map_or(Seq::ZERO, |r| r.seq);
        prop_assert_eq!(seq_at(history.store(), Timestamp(at)).unwrap(), expected);
    }

    #[test]
    fn the_hash_at_a_seq_is_the_one_recorded(choices in prop::collection::vec(any::<u32>(), 0..40)) {
        let history = History::drawn(&choices);
        for event in history.events() {
            prop_assert_eq!(hash_at(history.store(), event.seq).unwrap(), event.hash);
        }
        let beyond = hash_at(history.store(), history.head().seq.next());
        let beyond = matches!(beyond, Err(ReplayError::Beyond { .. }));
        prop_assert!(beyond);
    }
}

#[test]
fn a_time_between_events_far_apart() {
    let mut history = History::new();
    history.pass(Millis(1000));
    app(&mut history, "app.a");
    let first = history.events()[0].at;
    let store = history.store();
    let before = history.head().seq.0 - 1;
    assert_eq!(seq_at(store, Timestamp(first.0 - 1)).unwrap(), Seq::ZERO);
    assert_eq!(seq_at(store, first).unwrap(), Seq(before));
    assert_eq!(
        seq_at(store, Timestamp(first.0 + 500)).unwrap(),
        Seq(before)
    );
    assert_eq!(
        seq_at(store, Timestamp::MAX).unwrap(),
        store.head().unwrap().seq
    );
}

#[test]
fn poison_stops_a_fold_before_it() {
    let mut history = History::new();
    app(&mut history, "app.a");
    let before = history.head();
    app(&mut history, "app.bad");
    app(&mut history, "app.a");
    let rebuilt = rebuild::<Counter>(history.store(), None, &mut unwatched).unwrap();
    let poisoned = Health::Poisoned {
        seq: before.seq.next(),
        reason: "bad".to_owned(),
    };
    assert_eq!(rebuilt.state(), &Counter(1));
    assert_eq!(rebuilt.position(), Position::from(before));
    assert_eq!(rebuilt.health(), &poisoned);
    // Live, and it never moves again.
    let mut live = Fold::<Counter>::default();
    for batch in history.batches() {
        for block in DecodedBlock::of_batch(batch, &Counter::wants).unwrap() {
            let at = live.position().seq;
            let result = live.apply_block(&block);
            assert_eq!(
                result.is_err(),
                block.last() > before.seq,
                "{at}: {result:?}"
            );
        }
    }
    same(&live, &rebuilt);
    assert!(catch_up(&mut live, history.store(), None, &mut unwatched).is_ok());
    same(&live, &rebuilt);
    // Whoever doesn't want it goes on.
    let others = rebuild::<Subjects>(history.store(), None, &mut unwatched).unwrap();
    assert_eq!(others.position(), Position::from(history.head()));
}

#[test]
fn payloads_that_do_not_decode_are_poison_to_whoever_wants_them() {
    for (version, data, says) in [
        (1, "{\"priority\":7}", "does not decode"),
        (2, "{}", "payload version 2 of task.submitted is not known"),
    ] {
        let mut history = History::new();
        let task = Entity::new("task/x").unwrap();
        let kind = "task.submitted".to_owned();
        history.append_raw(vec![(kind, version, task, data.to_owned(), None)]);
        let tasks = rebuild::<Subjects>(history.store(), None, &mut unwatched).unwrap();
        let Health::Poisoned { seq, reason } = tasks.health() else {
            panic!("followed");
        };
        assert_eq!(*seq, history.head().seq);
        assert!(reason.contains(says), "{reason}");
        let counter = rebuild::<Counter>(history.store(), None, &mut unwatched).unwrap();
        assert_eq!(counter.health(), &Health::Following);
        let headers = rebuild::<Headers>(history.store(), None, &mut unwatched).unwrap();
        assert_eq!(headers.state().0, history.head().seq.0);
    }
}

#[test]
fn gaps_and_other_histories_are_refused() {
    let mut history = History::new();
    app(&mut history, "app.a");
    app(&mut history, "app.b");
    let blocks: Vec<_> = history
        .batches()
        .iter()
        .flat_map(|batch| DecodedBlock::of_batch(batch, &Counter::wants).unwrap())
        .collect();
    let mut fold = Fold::<Counter>::default();
    fold.apply_block(&blocks[0]).unwrap();
    let before = (fold.position(), fold.state().clone());
    let gap = FoldError::Gap {
        expected: blocks[0].last().next(),
        found: blocks[2].first(),
    };
    assert_eq!(fold.apply_block(&blocks[2]), Err(gap));
    fold.apply_block(&blocks[0]).unwrap();
    assert_eq!((fold.position(), fold.state().clone()), before);
    // The same events after another past.
    let other = Position {
        seq: before.0.seq,
        hash: Hash::of(b"another past"),
    };
    let mut fold = Fold::resume(Counter(0), other);
    let result = fold.apply_block(&blocks[1]);
    assert!(
        matches!(result, Err(FoldError::Diverged { .. })),
        "{result:?}"
    );
    let result = catch_up(&mut fold, history.store(), None, &mut unwatched);
    assert!(
        matches!(result, Err(ReplayError::Diverged { .. })),
        "{result:?}"
    );
    assert_eq!(fold.position(), other);
    assert_eq!(Position::from(Head::EMPTY), Position::START);
}

#[test]
fn views_are_compared_by_rows() {
    let mut history = History::new();
    let a = rebuild::<Counter>(history.store(), None, &mut unwatched).unwrap();
    app(&mut history, "app.a");
    let b = rebuild::<Counter>(history.store(), None, &mut unwatched).unwrap();
    assert_eq!(compare(&b, &b.clone()), None);
    let difference = compare(&a, &b).unwrap();
    assert_eq!(difference.key, "count");
    assert_eq!(
        (difference.live.as_deref(), difference.rebuilt.as_deref()),
        (Some("0"), Some("1"))
    );
    // Many rows, one of which is missing near the end.
    let keys = |n: usize| {
        let mut history = History::new();
        (0..n).for_each(|_| history.step(0));
        rebuild::<Subjects>(history.store(), None, &mut unwatched).unwrap()
    };
    let difference = compare(&keys(2000), &keys(1999)).unwrap();
    assert_eq!(
        (difference.live.is_some(), difference.rebuilt),
        (true, None)
    );
}
