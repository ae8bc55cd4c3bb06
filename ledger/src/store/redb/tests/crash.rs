//! Power failures at every moment, and disks that fail: what was acknowledged is there, and
//! nothing is there by halves.
//!
//! A crash is a place in the record of a simulated disk (`crate::store::sim`): everything up to the
//! last sync is on disk, and of what came after any part may be (the idea of redb's own crash
//! tests).

use std::ops::ControlFlow;

use super::super::*;
use crate::hash::Hash;
use crate::ids::{Seq, Term};
use crate::store::for_each_event;
use crate::store::redb::sim::{new_store, open_over};
use crate::store::samples::{batch, genesis, ledger_id};
use crate::store::sim::{Chance, Disk, Fails, Image, Name, Op, Platter};

const ID: u128 = 1;

fn empty_store() -> Image {
    let id = ledger_id(ID);
    Image::from([(Name::Store, new_store(id, &genesis(id)).unwrap())])
}

fn head_file(head: Head) -> HeadFile {
    HeadFile {
        ledger_id: ledger_id(ID),
        seq: head.seq,
        hash: head.hash,
    }
}

fn open(disk: &Disk, said: HeadFile) -> Result<RedbStore, OpenError> {
    let file = disk.file(Name::Store);
    let check = |reader: &RedbReader| check_head_file(reader, Ok(said));
    open_over(file.clone(), Arc::new(file), check).map(|(store, ())| store)
}

fn hashes(store: &RedbStore) -> Vec<Hash> {
    let mut hashes = Vec::new();
    let walk = for_each_event(&store.reader(), Seq::FIRST, |e| -> ControlFlow<()> {
        hashes.push(e.hash);
        ControlFlow::Continue(())
    });
    assert!(walk.is_ok(), "{walk:?}");
    hashes
}

/// A run of appends: the heads it went through, and when (by operations of the disk) each became
/// known to the outside.
struct Run {
    base: Image,
    ops: Vec<Op>,
    /// Head, and the operation count at which it was acknowledged.
    acknowledged: Vec<(Head, usize)>,
    hashes: Vec<Hash>,
}

/// Appends batches of many shapes, closes, opens and appends again.
fn run() -> Run {
    let base = empty_store();
    let disk = Disk::holding(&base);
    let first = genesis(ledger_id(ID)).head();
    let mut acknowledged = vec![(first, 0)];
    let mut all = Vec::new();
    for shapes in [&[1, 1, 3, 40, 1, 200, 1, 1][..], &[2, 90, 1, 1]] {
        let last = acknowledged.last().unwrap().0;
        let mut store = open(&disk, head_file(last)).unwrap();
        for &count in shapes {
            let batch = batch(ledger_id(ID), store.head(), Term(1), &vec![300; count]);
            let head = store.append(&batch).unwrap();
            acknowledged.push((head, disk.ops()));
        }
        all = hashes(&store);
        store.close().unwrap();
    }
    let ops = disk.record();
    Run {
        base,
        ops,
        acknowledged,
        hashes: all,
    }
}

impl Run {
    /// The image must open, with everything that was acknowledged when `at` operations were done,
    /// in whole batches, and take more.
    fn check(&self, image: &Image, at: usize, what: &str) {
        let known: Vec<Head> = self
            .acknowledged
            .iter()
            .filter(|(_, done)| *done <= at)
            .map(|(head, _)| *head)
            .collect();
        let last = *known.last().unwrap();
        let disk = Disk::holding(image);
        let mut store = match open(&disk, head_file(last)) {
            Ok(store) => store,
            Err(error) => panic!("{what}: {error}"),
        };
        let head = store.head();
        assert!(head.seq >= last.seq, "{what}: acknowledged events are gone");
        let whole = self.acknowledged.iter().any(|(known, _)| *known == head);
        assert!(whole, "{what}: half a batch at seq {}", head.seq);
        let found = hashes(&store);
        assert!(self.hashes.starts_with(&found), "{what}: other events");
        assert_eq!(found.len() as u64, head.seq.0, "{what}");
        let more = batch(ledger_id(ID), head, Term(2), &[20; 5]);
        let after = store.append(&more).unwrap();
        store.close().unwrap();
        // A head file that lags as far as it can is no reason to refuse.
        let store = open(&disk, head_file(known[0])).unwrap();
        assert_eq!(store.head(), after, "{what}");
        assert_eq!(hashes(&store).len() as u64, after.seq.0, "{what}");
    }
}

#[test]
fn nothing_acknowledged_is_lost_in_a_crash_at_any_moment() {
    let run = run();
    let syncs = run
        .ops
        .iter()
        .filter(|op| matches!(op, Op::Sync(_)))
        .count();
    assert!(syncs > 12, "{syncs} syncs");
    let mut platter = Platter::new(&run.base, &run.ops);
    for at in 0..=run.ops.len() {
        platter.advance(at);
        let check = |what: &str, keep: &mut dyn FnMut() -> bool| {
            run.check(&platter.image(keep), at, &format!("at {at}, {what}"));
        };
        check("nothing unsynced", &mut || false);
        check("all written", &mut || true);
        // Just before a sync the most is in flight.
        let rounds = match run.ops.get(at) {
            Some(Op::Sync(_)) => 12,
            _ => 1,
        };
        for seed in 0..rounds {
            let mut some = Chance::new(at as u64 * 100 + seed);
            check(&format!("seed {seed}"), &mut || some.coin());
        }
    }
}

#[test]
fn a_crash_while_repairing_loses_nothing_either() {
    let run = run();
    // In the middle of the run, just before a sync, with torn pages.
    let middle = run.ops.len() / 2;
    let at = (middle..run.ops.len())
        .find(|&n| matches!(run.ops[n], Op::Sync(_)))
        .unwrap();
    let known = run.acknowledged.iter().rev().find(|(_, done)| *done <= at);
    let known = head_file(known.unwrap().0);
    let mut platter = Platter::new(&run.base, &run.ops);
    platter.advance(at);
    for seed in 0..6 {
        let mut some = Chance::new(seed);
        let image = platter.image(&mut || some.coin());
        let disk = Disk::holding(&image);
        drop(open(&disk, known).unwrap());
        let repair = disk.record();
        assert!(!repair.is_empty());
        let mut platter = Platter::new(&image, &repair);
        for again in 0..=repair.len() {
            platter.advance(again);
            for keep in 0..3 {
                let mut some = Chance::new(seed * 1000 + again as u64 + keep);
                let torn = platter.image(&mut || keep == 0 || some.coin());
                let what = format!("seed {seed}, repair crashed at {again}");
                run.check(&torn, at, &what);
            }
        }
    }
}

/// What became of a run of appends on a disk that fails.
struct Failed {
    disk: Disk,
    error: AppendError,
    /// What was acknowledged before the failure.
    acknowledged: Head,
    /// Where the ledger would end had it not failed.
    hoped: Head,
    /// Whether the commit had been synced already when something after it failed.
    synced: bool,
}

/// Appends until the disk fails at its `n`th change; `None` if that is never reached.
fn fail_at(n: usize, fails: Fails) -> Option<Failed> {
    let disk = Disk::holding(&empty_store());
    let first = genesis(ledger_id(ID)).head();
    let mut store = open(&disk, head_file(first)).unwrap();
    disk.fail_after(n, fails, io::ErrorKind::StorageFull);
    for count in [1, 30, 2, 120, 1] {
        let head = store.head();
        let next = batch(ledger_id(ID), head, Term(1), &vec![300; count]);
        let begun = disk.ops();
        if let Err(error) = store.append(&next) {
            assert_eq!(store.head(), head, "a failed append leaves the head");
            let again = store.append(&next);
            assert!(matches!(again, Err(AppendError::Io(_))), "{again:?}");
            drop(store);
            let failed_at = disk.heal().unwrap();
            let before = &disk.record()[begun..failed_at];
            let synced = before.iter().any(|op| matches!(op, Op::Sync(_)));
            return Some(Failed {
                disk,
                error,
                acknowledged: head,
                hoped: next.head(),
                synced,
            });
        }
    }
    None
}

#[test]
fn a_failed_append_is_reported_and_undone() {
    let (mut tried, mut undone) = (0, 0);
    while let Some(failed) = fail_at(tried, Fails::Once) {
        let what = format!("failed at change {tried}");
        assert!(matches!(failed.error, AppendError::Full(_)), "{what}");
        let store = open(&failed.disk, head_file(failed.acknowledged)).unwrap();
        // What is in the page cache now looks as if the append had never been tried, unless the
        // failure came when all of it was on disk.
        if store.head() == failed.hoped {
            assert!(failed.synced, "{what}");
        } else {
            assert_eq!(store.head(), failed.acknowledged, "{what}");
            undone += 1;
        }
        assert_eq!(hashes(&store).len() as u64, store.head().seq.0);
        tried += 1;
    }
    assert!(undone > 20, "{undone} of {tried}");
}

#[test]
fn a_disk_that_stays_broken_loses_nothing_acknowledged() {
    let mut tried = 0;
    while let Some(failed) = fail_at(tried, Fails::ForGood) {
        assert!(matches!(failed.error, AppendError::Full(_)));
        let store = open(&failed.disk, head_file(failed.acknowledged)).unwrap();
        assert!([failed.acknowledged, failed.hoped].contains(&store.head()));
        assert_eq!(hashes(&store).len() as u64, store.head().seq.0);
        tried += 1;
    }
    assert!(tried > 20, "{tried}");
}

#[test]
fn a_trial_leaves_the_disk_alone_until_it_is_accepted() {
    let run = run();
    let at = run.ops.len() / 2;
    let mut platter = Platter::new(&run.base, &run.ops);
    platter.advance(at);
    let image = platter.image(&mut || true);
    let disk = Disk::holding(&image);
    let beyond = HeadFile {
        seq: Seq(1_000_000),
        ..head_file(run.acknowledged[0].0)
    };
    assert!(matches!(open(&disk, beyond), Err(OpenError::Damaged(_))));
    assert_eq!(disk.ops(), 0);
    assert!(disk.live() == image);
}
