//! Readers beside the sealer, and appends that it holds up: in the background as it is used, on
//! disks that can be stopped and broken.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::super::*;
use super::world::{TINY, hashes, new_ledger, next, open, try_hashes};
use crate::ids::Term;
use crate::merkle::TreeSize;
use crate::store::LogTree;
use crate::store::conformance;
use crate::store::for_each_event;
use crate::store::samples::batch;
use crate::store::sim::{Disk, Fails, Name};

const BESIDE: Settings = Settings {
    sealing: SealIn::Background,
    ..TINY
};

/// Whatever is not sealed is too much.
const IMPATIENT: Settings = Settings {
    lag_bytes: 0,
    seal_bytes: 0,
    ..TINY
};

fn background(settings: Settings) -> (Disk, DurableStore) {
    let disk = Disk::holding(&new_ledger());
    let store = open(&disk, settings).unwrap();
    (disk, store)
}

#[test]
fn it_conforms_with_blocks_that_move_all_the_time() {
    for sealing in [SealIn::Background, SealIn::Foreground] {
        for lag_bytes in [0, 1, 4096, 64 * 1024] {
            let settings = Settings {
                lag_bytes,
                sealing,
                ..TINY
            };
            conformance::run(&mut || {
                let (_, store) = background(settings);
                let reader = Arc::new(store.reader());
                (Box::new(store), reader)
            });
        }
    }
}

/// Each batch is as many events as its first seq says: readers can tell whether it is whole.
fn count(first: Seq) -> usize {
    1 + (first.0 % 5) as usize
}

/// Looks at everything from some event on. Whether there were events on both sides of the seam.
fn look(reader: &DurableReader, n: usize) -> bool {
    let (least, sealed) = (reader.head().unwrap(), reader.sealed());
    let from = [Seq::FIRST, sealed, sealed.next(), least.seq][n % 4];
    let mut last = Seq::ZERO;
    let walked = for_each_event(reader, from, |event| {
        last = event.event.header.seq;
        std::ops::ControlFlow::<()>::Continue(())
    });
    assert!(walked.is_ok(), "{walked:?}");
    assert!(last >= least.seq, "what was shown stays");
    let mut whole = Seq::FIRST;
    while whole < last {
        whole = Seq(whole.0 + count(whole.next()) as u64);
    }
    assert_eq!(whole, last, "half a batch");
    sealed > Seq::FIRST && sealed < last
}

#[test]
fn readers_see_whole_batches_while_the_sealed_part_grows() {
    let (_, mut store) = background(BESIDE);
    let reader = store.reader();
    let done = AtomicBool::new(false);
    let looks = AtomicUsize::new(0);
    let looking = || {
        while !done.load(Ordering::Acquire) {
            let n = looks.load(Ordering::Relaxed);
            looks.fetch_add(usize::from(look(&reader, n)), Ordering::Relaxed);
        }
    };
    std::thread::scope(|scope| {
        let readers = [scope.spawn(looking), scope.spawn(looking)];
        let mut batches = 0;
        // Until the readers have seen enough, or one has seen too much.
        while batches < 500 || looks.load(Ordering::Relaxed) < 100 {
            let sizes = vec![60; count(store.head().seq.next())];
            store.append(&next(&store, &sizes)).unwrap();
            batches += 1;
            if readers.iter().any(|reader| reader.is_finished()) {
                break;
            }
        }
        done.store(true, Ordering::Release);
    });
    look(&reader, 0);
    // The sealer may be behind by some 600 of these events.
    assert!(reader.sealed() > Seq(500));
}

/// Large enough that events are hashed for the tree before they are sealed.
const AHEAD: Settings = Settings {
    segment_bytes: 256 * 1024,
    seal_bytes: 300 * 1024,
    block_cap: 16 * 1024,
    lag_bytes: 1024 * 1024,
    sealing: SealIn::Background,
    structure: Structure::Trusted,
};

#[test]
fn the_tree_is_the_same_however_far_it_is_hashed_ahead() {
    let (_, mut store) = background(AHEAD);
    let reader = store.reader();
    for n in 0..120 {
        let sizes = vec![2000; [1, 7, 40][n % 3]];
        store.append(&next(&store, &sizes)).unwrap();
        if n % 8 == 0 {
            // Nobody else appends, but blocks are sealed between the two.
            let tree = reader.tree().unwrap();
            let all = LogTree::of_blocks(reader.blocks(Seq::FIRST).unwrap()).unwrap();
            assert_eq!(tree.head(store.ledger_id()), all.head(store.ledger_id()));
        }
    }
    let tail = Arc::clone(&store.tail);
    // Sealed with leaves made before, and none of them missing.
    tail.wait_until_hashed_to(Seq(store.head().seq.0 - 40));
    assert!(reader.sealed() > Seq(500), "{}", reader.sealed());
    let (root, sealed) = (reader.tree().unwrap().root(), reader.sealed());
    let stored = reader
        .tree()
        .unwrap()
        .root_at(TreeSize::of(sealed))
        .unwrap();
    let all = LogTree::of_blocks(reader.blocks(Seq::FIRST).unwrap()).unwrap();
    assert_eq!(all.root(), root);
    assert_eq!(all.root_at(TreeSize::of(sealed)).unwrap(), stored);
}

#[test]
fn an_append_waits_for_a_sealer_that_can_not_keep_up() {
    const BATCH: usize = 400;
    let settings = Settings {
        lag_bytes: 6000,
        ..BESIDE
    };
    let (disk, mut store) = background(settings);
    let (reader, tail) = (store.reader(), Arc::clone(&store.tail));
    let begun = reader.event_bytes();
    disk.hold(Name::Store);
    std::thread::scope(|scope| {
        let appending = scope.spawn(|| {
            for _ in 0..60 {
                store.append(&next(&store, &[BATCH])).unwrap();
            }
            store
        });
        let waits = tail.wait_until_an_append_waits(Seq(61));
        let (held, sealed) = (reader.event_bytes(), reader.sealed());
        // Whatever was found, nobody must be left waiting.
        disk.release();
        assert!(waits, "all was appended, and nothing was sealed");
        assert_eq!(sealed, Seq::FIRST);
        let bound = settings.lag_bytes + 2 * BATCH;
        assert!(held - begun <= bound as u64, "{held} bytes");
        assert!(held - begun > settings.lag_bytes as u64, "{held} bytes");
        let store = appending.join().unwrap();
        assert_eq!(store.head().seq, Seq(61));
        assert!(reader.sealed() > Seq::FIRST);
        store.close().unwrap();
    });
}

#[test]
fn no_bounds_make_an_append_wait_for_ever() {
    for sealing in [SealIn::Background, SealIn::Foreground] {
        for lag_bytes in [0, 100, 3000] {
            for seal_bytes in [0, 1000, 20_000] {
                for block_cap in [100, 1024, 60_000] {
                    let settings = Settings {
                        segment_bytes: 4096,
                        seal_bytes,
                        block_cap,
                        lag_bytes,
                        sealing,
                        structure: Structure::Trusted,
                    };
                    let (disk, mut store) = background(settings);
                    for size in [10, 3000, 200, 50_000, 10, 10, 4000] {
                        store.append(&next(&store, &[size])).unwrap();
                    }
                    let (head, found) = (store.head(), hashes(&store.reader()));
                    store.close().unwrap();
                    // What is left over is more than these bounds allow.
                    let mut store = open(&disk, IMPATIENT).unwrap();
                    assert_eq!((store.head(), hashes(&store.reader())), (head, found));
                    store.append(&next(&store, &[10])).unwrap();
                }
            }
        }
    }
}

#[test]
fn a_sealer_in_step_leaves_too_little_to_seal() {
    let (_, mut store) = background(BESIDE);
    for _ in 0..20 {
        store.append(&next(&store, &[300, 500])).unwrap();
        store.wait_until_in_step().unwrap();
        let sealed = store.tail.bounds().sealed.event_bytes;
        let left = usize::try_from(store.reader().event_bytes() - sealed).unwrap();
        assert!(left < BESIDE.seal_bytes + BESIDE.block_cap, "{left}");
        assert!(store.tail.work().is_none());
    }
    assert!(store.reader().sealed() > Seq::FIRST);
    store.close().unwrap();
}

#[test]
fn a_sealer_that_fails_fails_the_next_append() {
    for kind in [io::ErrorKind::StorageFull, io::ErrorKind::Other] {
        for waits in [true, false] {
            let settings = Settings {
                lag_bytes: if waits { 4000 } else { usize::MAX },
                ..BESIDE
            };
            let (disk, mut store) = background(settings);
            let tail = Arc::clone(&store.tail);
            // The sealer finds a broken disk and nobody else does.
            disk.fail_after(0, Fails::SyncsOf(Name::Store), kind);
            let mut found = hashes(&store.reader());
            let error = loop {
                let batch = next(&store, &[300]);
                match store.append(&batch) {
                    Ok(_) => found.extend(batch.events().map(|(_, hash)| hash)),
                    Err(error) => break error,
                }
                if !waits && tail.work().is_some() {
                    assert!(store.wait_until_in_step().is_err());
                }
            };
            assert_eq!(
                matches!(error, AppendError::Full(_)),
                kind == io::ErrorKind::StorageFull
            );
            assert!(
                error.to_string().contains("disk is full")
                    || error.to_string().contains("sealing failed"),
                "{error}"
            );
            match try_hashes(&store.reader()) {
                Ok(shown) => assert!(shown == found, "what was acknowledged is shown"),
                // redb reads nothing more from its file after a failed write.
                Err(error) => assert!(error.to_string().contains("earlier write"), "{error}"),
            }
            let again = batch(store.ledger_id(), store.head(), Term(1), &[1]);
            assert!(store.append(&again).is_err());
            assert!(store.close().is_err(), "closing tells of it too");
            disk.heal();
            let store = open(&disk, BESIDE).unwrap();
            assert!(
                hashes(&store.reader()) == found,
                "nothing acknowledged is lost"
            );
        }
    }
}
