//! Disks that fail at every single operation of opening, appending and sealing: it is told, nothing
//! that was acknowledged or shown is lost, and what failed is there whole or not at all.

use std::io;

use super::super::*;
use super::world::{TINY, hashes, new_ledger, next, on_two_threads, open, try_hashes, verified};
use crate::hash::Hash;
use crate::store::ReadError;
use crate::store::sim::{Chance, Disk, Fails, Image, Name, Platter};

/// Batches that fill a segment, seal, need a segment of their own, and use one again.
const BATCHES: [&[usize]; 9] = [
    &[30],
    &[300; 3],
    &[250; 6],
    &[150; 8],
    &[200; 25],
    &[30, 30],
    &[250; 7],
    &[100; 12],
    &[30],
];

/// What is known outside of a store whose disk has failed.
struct Known {
    /// What was on the disk in the beginning.
    base: Image,
    /// What was acknowledged.
    acknowledged: Vec<Hash>,
    /// The append that failed: its events, and why.
    failed: Option<(Vec<Hash>, AppendError)>,
}

/// What became of a run of appends on a disk that fails.
struct Outcome {
    known: Known,
    disk: Disk,
    store: DurableStore,
    /// How many appends were acknowledged.
    appends: usize,
    /// How many had been when the sealed part's file failed.
    seal_failed: Option<usize>,
}

/// Appends until an append fails, on a disk that does so after `calls` calls.
fn fail_after(calls: usize, fails: Fails, kind: io::ErrorKind) -> Outcome {
    let base = new_ledger();
    let disk = Disk::holding(&base);
    let mut store = open(&disk, TINY).unwrap();
    let mut known = Known {
        base,
        acknowledged: hashes(&store.reader()),
        failed: None,
    };
    let (mut appends, mut seal_failed) = (0, None);
    disk.fail_after(calls, fails, kind);
    for sizes in BATCHES {
        let batch = next(&store, sizes);
        let events = batch.events().map(|(_, hash)| hash);
        match store.append(&batch) {
            Ok(_) => {
                known.acknowledged.extend(events);
                appends += 1;
            }
            Err(error) => {
                known.failed = Some((events.collect(), error));
                assert!(store.append(&batch).is_err(), "it goes on");
                break;
            }
        }
        if disk.failed_on() == Some(Name::Store) {
            seal_failed.get_or_insert(appends);
        }
    }
    Outcome {
        known,
        disk,
        store,
        appends,
        seal_failed,
    }
}

impl Outcome {
    fn check(self, kind: io::ErrorKind, what: &str) {
        if let Some((_, error)) = &self.known.failed {
            let full = matches!(error, AppendError::Full(_));
            assert_eq!(full, kind == io::ErrorKind::StorageFull, "{what}: {error}");
        }
        if let Some(appends) = self.seal_failed {
            assert_eq!(
                self.appends, appends,
                "{what}: the next append did not tell"
            );
        }
        match try_hashes(&self.store.reader()) {
            Ok(shown) => assert!(shown == self.known.acknowledged, "{what}: shown"),
            Err(error) => assert!(matches!(error, ReadError::Io(_)), "{what}: {error}"),
        }
        let killed = self.disk.fork();
        self.known.lives_on(&killed, &format!("{what}, killed"));
        drop(self.store);
        self.disk.heal();
        self.known.lives_on(&self.disk, &format!("{what}, closed"));
    }
}

impl Known {
    /// What may be there: all that was acknowledged, and perhaps the batch that failed.
    fn may_be(&self, found: &[Hash]) -> bool {
        let hoped = self.failed.iter().flat_map(|(events, _)| events);
        let hoped: Vec<Hash> = self.acknowledged.iter().chain(hoped).copied().collect();
        found == self.acknowledged || found == hoped
    }

    /// The power fails; or the next process finds what the kernel shows, goes on, and then the
    /// power fails.
    fn lives_on(&self, disk: &Disk, what: &str) {
        for image in crashes(&self.base, disk) {
            let disk = Disk::holding(&image);
            let report = verified(&disk);
            assert!(report.is_intact(), "{what}: {:?}", report.findings);
            let found = hashes(&open(&disk, TINY).unwrap().reader());
            assert!(self.may_be(&found), "{what}: after a power failure");
        }
        let disk = disk.fork();
        let mut store = open(&disk, TINY).unwrap();
        let shown = hashes(&store.reader());
        assert!(self.may_be(&shown), "{what}: opened again");
        self.stays(&disk, &shown, &format!("{what}, opened"));
        for sizes in [&[40; 2][..], &[220; 12]] {
            store.append(&next(&store, sizes)).unwrap();
            let shown = hashes(&store.reader());
            self.stays(&disk, &shown, &format!("{what}, gone on"));
        }
    }

    /// What was shown is what a power failure leaves.
    fn stays(&self, disk: &Disk, shown: &[Hash], what: &str) {
        for image in crashes(&self.base, disk) {
            let found = hashes(&open(&Disk::holding(&image), TINY).unwrap().reader());
            assert!(found == shown, "{what}, and the power failed");
        }
    }
}

/// What power failures now leave: nothing of what was not synced, all of it, some of it.
fn crashes(base: &Image, disk: &Disk) -> Vec<Image> {
    let record = disk.record();
    let mut platter = Platter::new(base, &record);
    platter.advance(record.len());
    let mut some = Chance::new(record.len() as u64);
    let mut images = vec![platter.image(&mut || false), platter.image(&mut || true)];
    images.extend((0..3).map(|_| platter.image(&mut || some.coin())));
    images
}

#[test]
fn whatever_fails_in_an_append_is_told_and_nothing_is_lost() {
    let cases = [
        (Fails::Once, io::ErrorKind::StorageFull),
        (Fails::Once, io::ErrorKind::Other),
        (Fails::ForGood, io::ErrorKind::Other),
        (Fails::Syncs, io::ErrorKind::Other),
        (Fails::Growth, io::ErrorKind::StorageFull),
    ];
    on_two_threads(2, |halves| {
        for half in halves {
            for (fails, kind) in cases {
                let mut told = 0;
                for calls in (half..).step_by(2) {
                    let outcome = fail_after(calls, fails, kind);
                    if !outcome.disk.has_failed() {
                        assert!(outcome.known.failed.is_none());
                        break;
                    }
                    told += usize::from(outcome.known.failed.is_some());
                    outcome.check(kind, &format!("{fails:?} after {calls} calls"));
                }
                assert!(told > 20, "{fails:?}: {told}");
            }
        }
    });
}

/// A ledger that was closed, one that was killed, and one whose power failed.
fn ledgers() -> Vec<(Image, Vec<Hash>)> {
    let base = new_ledger();
    let disk = Disk::holding(&base);
    let mut store = open(&disk, TINY).unwrap();
    for sizes in BATCHES {
        store.append(&next(&store, sizes)).unwrap();
    }
    let found = hashes(&store.reader());
    let killed = disk.fork();
    store.close().unwrap();
    let crashed = crashes(&base, &killed);
    [
        disk.live(),
        killed.live(),
        crashed[0].clone(),
        crashed[2].clone(),
    ]
    .into_iter()
    .map(|image| (image, found.clone()))
    .collect()
}

#[test]
fn whatever_fails_while_opening_is_told_and_nothing_is_lost() {
    let cases = [Fails::Once, Fails::ForGood, Fails::Syncs, Fails::Growth];
    for (image, events) in ledgers() {
        for fails in cases {
            let mut told = 0;
            for calls in 0.. {
                let what = format!("{fails:?} after {calls} calls");
                let disk = Disk::holding(&image);
                disk.reads_fail_too();
                disk.fail_after(calls, fails, io::ErrorKind::Other);
                match open(&disk, TINY) {
                    Ok(_) if !disk.has_failed() => break,
                    Ok(store) => assert_eq!(store.head().seq.0, events.len() as u64, "{what}"),
                    Err(error) => {
                        assert!(matches!(error, OpenError::Io { .. }), "{what}: {error}");
                        told += 1;
                    }
                }
                disk.heal();
                for image in crashes(&image, &disk) {
                    let found = hashes(&open(&Disk::holding(&image), TINY).unwrap().reader());
                    assert!(found == events, "{what}, and the power failed");
                }
                assert!(
                    hashes(&open(&disk, TINY).unwrap().reader()) == events,
                    "{what}"
                );
            }
            assert!(told > 3 || fails == Fails::Growth, "{fails:?}: {told}");
        }
    }
}
