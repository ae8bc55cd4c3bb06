//! Processes that are killed, power that fails and calls that fail, at every step of storing, naming
//! and collecting: an event never names a blob that is not durably there.

use std::io::{self, Read as _};
use std::sync::Arc;

use super::sim::SimDisk;
use super::{LIMITS, ledger, naming};
use crate::blobs::{BlobDir, BlobError, BlobRef, BlobStore, CollectError, Collecting, MediaType};
use crate::ids::Seq;
use crate::store::LogWriter as _;
use crate::store::memory::MemoryStore;
use crate::store::sim::Chance;
use crate::time::{Millis, Timestamp};

/// What is stored, one of it twice.
const CONTENTS: [&str; 4] = ["one", "two", "three", "one"];
const NOW: Timestamp = Timestamp(1_000_000_000);

fn open(disk: &SimDisk) -> Result<BlobStore, BlobError> {
    BlobStore::over(Arc::new(disk.clone()), LIMITS)
}

/// A life of a store: blobs are stored in two writes, named, and collected. `named` is called when an
/// event that names one would be durable.
fn live(
    disk: &SimDisk,
    log: &mut MemoryStore,
    named: &mut dyn FnMut(&BlobRef),
) -> Result<(), BlobError> {
    let store = open(disk)?;
    let mut name = |reference: &BlobRef| {
        let batch = naming(log.head(), std::slice::from_ref(reference));
        log.append(&batch).unwrap();
        named(reference);
    };
    for content in CONTENTS {
        let (front, back) = content.as_bytes().split_at(2);
        let mut upload = store.begin()?;
        upload.write(front)?;
        upload.write(back)?;
        let stored = upload.finish(MediaType::unknown())?;
        name(&stored.reference);
    }
    // One that nobody names.
    drop(store.put(b"garbage", MediaType::unknown())?);
    // One that is named later, as whoever has uploaded it does.
    let later = store.put(b"later", MediaType::unknown())?.reference;
    let lease = store.lease(&later, NOW)?;
    name(&later);
    drop(lease);
    let collected = store.collect(&*log, NOW, Millis(0), Collecting::Remove, &|| true);
    match collected {
        Ok(report) => assert_eq!((report.named, report.removed), (4, 1)),
        Err(CollectError::Blob(error)) => return Err(error),
        Err(error) => panic!("{error}"),
    }
    Ok(())
}

fn is_there(disk: &SimDisk, named: &BlobRef) -> bool {
    let dir = BlobDir::over(Arc::new(disk.clone()));
    let mut bytes = Vec::new();
    let read = dir
        .read(named.blake3)
        .map(|mut b| b.read_to_end(&mut bytes));
    matches!(read, Ok(Ok(_))) && bytes.len() as u64 == named.bytes
}

/// What a power failure leaves: nothing unsynced, all of it, some of it.
fn crashes(disk: &SimDisk, ops: usize) -> Vec<SimDisk> {
    let mut some = Chance::new(ops as u64 + 1);
    let mut left = vec![
        disk.crashed_at(ops, &mut || false),
        disk.crashed_at(ops, &mut || true),
    ];
    left.extend((0..6).map(|_| disk.crashed_at(ops, &mut || some.coin())));
    left
}

#[test]
fn what_is_named_is_there_whenever_the_power_fails() {
    let disk = SimDisk::default();
    let mut named = Vec::new();
    live(&disk, &mut ledger(), &mut |r| {
        named.push((disk.ops(), r.clone()));
    })
    .unwrap();
    assert_eq!(named.len(), 5);
    let mut lost = 0;
    for ops in 0..=disk.ops() {
        for left in crashes(&disk, ops) {
            for (at, reference) in &named {
                let there = is_there(&left, reference);
                assert!(there || *at > ops, "{} ops, {reference:?}", ops);
                lost += usize::from(!there);
            }
        }
    }
    assert!(lost > 100, "the disk forgets nothing: {lost}");
}

#[test]
fn whoever_comes_after_a_kill_names_what_is_durable_and_nothing_else() {
    let disk = SimDisk::default();
    let mut all = Vec::new();
    live(&disk, &mut ledger(), &mut |r| all.push(r.clone())).unwrap();
    let mut found = 0;
    for ops in 0..=disk.ops() {
        let next = disk.killed_at(ops);
        let store = open(&next).unwrap();
        for wanted in &all {
            match store.lease(wanted, NOW) {
                // Its bytes were synced before it had its name, so they need not be looked at.
                Ok(_lease) => {
                    found += 1;
                    for left in crashes(&next, next.ops()) {
                        assert!(is_there(&left, wanted), "killed after {ops} ops");
                    }
                }
                Err(error) => assert!(matches!(error, BlobError::Missing(_)), "{error}"),
            }
        }
        // It goes on, and nothing of the unfinished is in its way.
        live(&next, &mut ledger(), &mut |_| {}).unwrap();
    }
    assert!(found > 50, "{found}");
}

#[test]
fn whatever_fails_is_told_and_nothing_is_named_in_vain() {
    for kind in [io::ErrorKind::Other, io::ErrorKind::StorageFull] {
        for calls in 0.. {
            let disk = SimDisk::default();
            disk.fail_after(calls, kind);
            let mut named = Vec::new();
            let outcome = live(&disk, &mut ledger(), &mut |r| named.push(r.clone()));
            if !disk.has_failed() {
                outcome.unwrap();
                assert!(calls > 40, "{calls}");
                break;
            }
            if let Err(error) = &outcome {
                let full = matches!(error, BlobError::Full(_));
                assert_eq!(full, kind == io::ErrorKind::StorageFull, "{error}");
            }
            for left in crashes(&disk, disk.ops()) {
                for reference in &named {
                    assert!(is_there(&left, reference), "{kind}, call {calls}");
                }
                // The next life begins well on whatever is left.
                live(&left, &mut ledger(), &mut |_| {}).unwrap();
            }
        }
    }
}

#[test]
fn after_a_sync_that_failed_nothing_is_stored_or_named() {
    let disk = SimDisk::default();
    let store = open(&disk).unwrap();
    let stored = store.put(b"x", MediaType::unknown()).unwrap();
    let mut failed = 0;
    // Storing what is there again makes: create, write, sync, make, rename, sync of names.
    for calls in 0..8 {
        disk.fail_after(calls, io::ErrorKind::Other);
        let again = store.put(b"x", MediaType::unknown());
        if let Err(BlobError::Failed(_)) = again {
            failed += 1;
            let named = store.lease(&stored.reference, NOW);
            assert!(matches!(named, Err(BlobError::Failed(_))), "{named:?}");
        }
    }
    assert!(failed > 0);
    let store = open(&disk.killed_at(disk.ops())).unwrap();
    store.lease(&stored.reference, NOW).unwrap();
}

#[test]
fn a_collection_never_takes_what_somebody_is_about_to_name() {
    let disk = SimDisk::default();
    let store = open(&disk).unwrap();
    let mut log = ledger();
    let collect = |log: &MemoryStore| {
        let collected = store.collect(log, NOW, Millis(0), Collecting::Remove, &|| true);
        collected.unwrap()
    };
    // The lease is held while the event is on its way.
    let held = store.put(b"held", MediaType::unknown()).unwrap();
    let report = collect(&log);
    assert_eq!((report.leased, report.removed), (1, 0));
    log.append(&naming(log.head(), std::slice::from_ref(&held.reference)))
        .unwrap();
    drop(held.lease);
    let report = collect(&log);
    assert_eq!((report.named, report.removed), (1, 0));
    assert!(is_there(&disk, &held.reference));

    // The lease ends while a collection runs that has read the log before the event was there.
    let racing = store.put(b"racing", MediaType::unknown()).unwrap();
    let (reference, mut lease) = (racing.reference, Some(racing.lease));
    let late = Late {
        log: log.clone(),
        then: std::sync::Mutex::new(Box::new(move || drop(lease.take()))),
    };
    let report = store
        .collect(&late, NOW, Millis(0), Collecting::Remove, &|| true)
        .unwrap();
    assert_eq!((report.leased, report.removed), (1, 0));
    assert!(is_there(&disk, &reference));
    // Nobody has named it after all, so the next one takes it; and naming it is refused.
    assert_eq!(collect(&log).removed, 1);
    let refused = store.lease(&reference, NOW).unwrap_err();
    assert!(matches!(refused, BlobError::Missing(_)), "{refused}");
    // Stored again it is there again.
    let again = store.put(b"racing", MediaType::unknown()).unwrap();
    assert_eq!(again.reference, reference);
    assert_eq!(collect(&log).leased, 1);
}

/// A log after whose reading something happens.
struct Late<R> {
    log: R,
    then: std::sync::Mutex<Box<dyn FnMut() + Send>>,
}

impl<R: crate::store::LogReader> crate::store::LogReader for Late<R> {
    fn ledger_id(&self) -> crate::ids::LedgerId {
        self.log.ledger_id()
    }
    fn head(&self) -> Result<crate::chain::Head, crate::store::ReadError> {
        let head = self.log.head();
        (self.then.lock().unwrap())();
        head
    }
    fn blocks(&self, from: Seq) -> Result<crate::store::Blocks<'_>, crate::store::ReadError> {
        self.log.blocks(from)
    }
}
