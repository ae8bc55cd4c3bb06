//! What is held against other folds is found the same where it is, and not where it isn't.

use std::cell::Cell;

use ledger_core::event::{OtherFold, PartDigest, RecoveryEvent, RecoveryVerified};
use ledger_core::hash::Hash;
use ledger_core::ids::{Entity, Seq};
use ledger_core::time::Micros;
use projections::checkpoints::Checkpoints;
use projections::framework::{rebuild, unwatched};
use projections::testkit::History;

use super::{at, id, make};
use crate::node::checkpoints::duties::recorded;
use crate::node::checkpoints::{Compared, Reference, compare};
use crate::node::decision::Decision;

/// What everyone makes of a history.
fn digests(history: &History, seq: Seq) -> Vec<PartDigest> {
    let fold = rebuild::<Decision>(history.store(), Some(seq), &mut unwatched).unwrap();
    fold.state().part_digests()
}

fn standby(history: &History, seq: Seq) -> Reference {
    Reference {
        seq,
        with: OtherFold::Standby,
        parts: digests(history, seq),
    }
}

/// The reference that a node would take from the ledger.
fn of_ledger(history: &History) -> Option<Reference> {
    let fold = rebuild::<Checkpoints>(history.store(), None, &mut unwatched).unwrap();
    recorded(fold.state())
}

/// A history with two checkpoints.
struct Told {
    dir: tempfile::TempDir,
    history: History,
}

impl Told {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut history = History::seeded(7, 60);
        make(dir.path(), &mut history, "older");
        (0..30).for_each(|n| history.step(n * 13));
        make(dir.path(), &mut history, "newer");
        (0..10).for_each(|n| history.step(n * 7));
        Self { dir, history }
    }

    fn compare(&self, references: Vec<Reference>) -> Compared {
        let upto = self.history.head().seq;
        compare(&at(&self.dir), self.history.store(), references, upto).unwrap()
    }
}

#[test]
fn what_is_the_same_is_found_the_same_on_the_way_to_the_end() {
    let told = Told::new();
    let recorded = of_ledger(&told.history).unwrap();
    let newer = OtherFold::Checkpoint { name: id("newer") };
    assert_eq!(recorded.with, newer);
    let warm = standby(&told.history, Seq(recorded.seq.0 + 3));
    let compared = told.compare(vec![warm.clone(), recorded.clone()]);
    assert_eq!(compared.diverged, []);
    let same: Vec<_> = compared
        .same
        .iter()
        .map(|one| (one.seq, &one.with))
        .collect();
    assert_eq!(
        same,
        [(recorded.seq, &newer), (warm.seq, &OtherFold::Standby)]
    );
    let none: [&str; 0] = [];
    assert!(compared.same.iter().all(|one| one.incomparable == none));
    // It is not begun with what it is held against.
    assert_eq!(&*compared.checkpoint.unwrap().name, "older");
    let head = told.history.head();
    assert_eq!(
        (compared.position.seq, compared.position.hash),
        (head.seq, head.hash)
    );
    assert_eq!(compared.parts, digests(&told.history, head.seq));
}

#[test]
fn what_differs_is_named_part_by_part() {
    let told = Told::new();
    let mut wrong = standby(&told.history, Seq(40));
    let tasks = wrong
        .parts
        .iter_mut()
        .find(|part| part.name == "tasks")
        .unwrap();
    let right = std::mem::replace(&mut tasks.digest, Hash::ZERO);
    let recorded = of_ledger(&told.history).unwrap();
    let compared = told.compare(vec![wrong, recorded]);
    assert_eq!(
        compared.same.len(),
        1,
        "the other one is held against all the same"
    );
    let [diverged] = &compared.diverged[..] else {
        panic!("{:?}", compared.diverged);
    };
    assert_eq!(
        (diverged.seq, &diverged.with),
        (Seq(40), &OtherFold::Standby)
    );
    let [part] = &diverged.parts[..] else {
        panic!("{:?}", diverged.parts);
    };
    assert_eq!(
        (part.name.as_str(), part.found, part.folded),
        ("tasks", Hash::ZERO, right)
    );
}

#[test]
fn parts_of_other_versions_are_not_compared_and_named() {
    let told = Told::new();
    let mut other = standby(&told.history, Seq(40));
    for part in &mut other.parts {
        match part.name.as_str() {
            "tasks" => {
                part.version += 1;
                part.digest = Hash::ZERO;
            }
            "jobs" => part.name = "works".into(),
            _ => {}
        }
    }
    let compared = told.compare(vec![other]);
    assert_eq!(compared.diverged, []);
    let [same] = &compared.same[..] else {
        panic!("{:?}", compared.same);
    };
    assert_eq!(same.incomparable, ["jobs", "tasks", "works"]);
}

#[test]
fn without_anything_to_hold_it_against_it_is_told_for_the_next_one() {
    let dir = tempfile::tempdir().unwrap();
    let mut history = History::seeded(9, 40);
    let upto = history.head().seq;
    assert_eq!(of_ledger(&history), None);
    // What stands behind the end, or nowhere, is nothing to hold it against.
    let behind = Reference {
        seq: upto.next(),
        ..standby(&history, upto)
    };
    let nowhere = Reference {
        seq: Seq::ZERO,
        ..behind.clone()
    };
    let compared = compare(&at(&dir), history.store(), vec![behind, nowhere], upto).unwrap();
    assert_eq!((compared.same.len(), compared.diverged.len()), (0, 0));
    assert_eq!(compared.position.seq, upto);
    let verified = RecoveryVerified {
        checkpoint: None,
        seq: compared.position.seq,
        hash: compared.position.hash,
        parts: compared.parts.clone(),
        compared: compared.same,
        took_us: Micros(1),
    };
    let node: Entity = "node/a".parse().unwrap();
    history.append(vec![(node, RecoveryEvent::Verified(verified).into())]);
    let recorded = of_ledger(&history).unwrap();
    let told_by = OtherFold::Verified {
        recorded: history.head().seq,
    };
    assert_eq!((recorded.seq, &recorded.with), (upto, &told_by));
    assert_eq!(recorded.parts, compared.parts);
}

#[test]
fn digests_can_be_stopped_at_each_row() {
    let history = History::seeded(3, 60);
    let fold = rebuild::<Decision>(history.store(), None, &mut unwatched).unwrap();
    let whole = fold.state().part_digests();
    let limited = |limit: usize| {
        let asked = Cell::new(0);
        let parts = fold.state().part_digests_while(&|| {
            asked.set(asked.get() + 1);
            asked.get() <= limit
        });
        (parts, asked.get())
    };
    let (all, asked) = limited(usize::MAX);
    assert_eq!(all, Some(whole));
    for limit in 0..asked {
        assert_eq!(limited(limit), (None, limit + 1));
    }
}
