//! Power failures at every moment, and disks that fail: what was acknowledged is there, and
//! nothing is there by halves.
//!
//! A [`Disk`] records what is done to it. A crash is a place in that record: everything up to the
//! last sync is on disk, and of what came after any part may be, page by page (the idea of redb's
//! own crash tests).

use std::io;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex};

use ::redb::StorageBackend;

use super::super::overlay::{PAGE, Source, past_the_end};
use super::super::writer::Failure;
use super::super::*;
use crate::hash::Hash;
use crate::ids::{Seq, Term};
use crate::store::for_each_event;
use crate::store::samples::{batch, genesis, ledger_id};

#[derive(Debug, Clone)]
enum Op {
    Write(u64, Vec<u8>),
    SetLen(u64),
    Sync,
}

#[derive(Debug, Default)]
struct State {
    live: Vec<u8>,
    ops: Vec<Op>,
    /// Calls that change something fail from this one on; the counter runs down.
    fail_in: Option<usize>,
    fails: Fails,
    /// Operations done when the first call failed.
    failed_at: Option<usize>,
}

/// How a disk fails.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Fails {
    /// One call, then it works again.
    #[default]
    Once,
    /// All calls.
    ForGood,
}

/// A disk in memory; clones are the same disk.
#[derive(Debug, Clone, Default)]
struct Disk(Arc<Mutex<State>>);

impl Disk {
    fn holding(live: Vec<u8>) -> Self {
        let state = State {
            live,
            ..State::default()
        };
        Self(Arc::new(Mutex::new(state)))
    }

    fn live(&self) -> Vec<u8> {
        self.0.lock().unwrap().live.clone()
    }

    fn ops(&self) -> usize {
        self.0.lock().unwrap().ops.len()
    }

    fn change(&self, op: Op) -> io::Result<()> {
        let mut state = self.0.lock().unwrap();
        if let Some(left) = state.fail_in {
            if left == 0 {
                let done = state.ops.len();
                state.failed_at.get_or_insert(done);
                if state.fails == Fails::Once {
                    state.fail_in = None;
                }
                return Err(io::ErrorKind::StorageFull.into());
            }
            state.fail_in = Some(left - 1);
        }
        apply(&mut state.live, &op);
        state.ops.push(op);
        Ok(())
    }
}

fn apply(image: &mut Vec<u8>, op: &Op) {
    match op {
        Op::Write(at, data) => {
            let at = *at as usize;
            image[at..at + data.len()].copy_from_slice(data);
        }
        Op::SetLen(len) => image.resize(*len as usize, 0),
        Op::Sync => {}
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.lock().unwrap().live.len() as u64)
    }
    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let state = self.0.lock().unwrap();
        let from = offset as usize;
        let bytes = state.live.get(from..from + out.len());
        out.copy_from_slice(bytes.ok_or_else(past_the_end)?);
        Ok(())
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.change(Op::SetLen(len))
    }
    fn sync_data(&self) -> io::Result<()> {
        self.change(Op::Sync)
    }
    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.change(Op::Write(offset, data.to_vec()))
    }
}

impl Source for Disk {
    fn len(&self) -> io::Result<u64> {
        StorageBackend::len(self)
    }
    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        StorageBackend::read(self, offset, out)
    }
}

/// What a crash leaves: all up to the last sync before `at`, and of the writes since then those
/// pages that `keep` says. Lengths are set in order, as file systems do.
fn crash(base: &[u8], ops: &[Op], at: usize, mut keep: impl FnMut() -> bool) -> Vec<u8> {
    let mut image = base.to_vec();
    let synced = ops[..at]
        .iter()
        .rposition(|op| matches!(op, Op::Sync))
        .map_or(0, |n| n + 1);
    for op in &ops[..synced] {
        apply(&mut image, op);
    }
    for op in &ops[synced..at] {
        match op {
            Op::Write(offset, data) => {
                for (n, page) in data.chunks(PAGE).enumerate() {
                    if keep() {
                        let from = *offset as usize + n * PAGE;
                        image[from..from + page.len()].copy_from_slice(page);
                    }
                }
            }
            other => apply(&mut image, other),
        }
    }
    image
}

/// A small generator of bits from a seed (xorshift).
fn bits(seed: u64) -> impl FnMut() -> bool {
    let mut x = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    move || {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        x & 1 == 0
    }
}

const ID: u128 = 1;

fn empty_store() -> Vec<u8> {
    let disk = Disk::default();
    let db = open_database(|| Ok(WriterFile::direct(disk.clone()))).unwrap();
    initialize(&db, ledger_id(ID), &genesis(ledger_id(ID)))
        .map_err(|Failure(e)| e)
        .unwrap();
    drop(db);
    disk.live()
}

fn head_file(head: Head) -> HeadFile {
    HeadFile {
        ledger_id: ledger_id(ID),
        seq: head.seq,
        hash: head.hash,
    }
}

fn open(disk: &Disk, said: HeadFile) -> Result<RedbStore, OpenError> {
    precheck(disk)?;
    let file = WriterFile::on_trial(disk.clone(), Arc::new(disk.clone())).unwrap();
    let db = open_database(|| Ok(file.clone()))?;
    let check = |reader: &RedbReader| check_head_file(reader, Ok(said));
    let scratch = || Ok(Some(tempfile::tempfile().unwrap()));
    RedbStore::assemble(db, &file, check, scratch).map(|(store, ())| store)
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
    base: Vec<u8>,
    ops: Vec<Op>,
    /// Head, and the operation count at which it was acknowledged.
    acknowledged: Vec<(Head, usize)>,
    hashes: Vec<Hash>,
}

/// Appends batches of many shapes, closes, opens and appends again.
fn run() -> Run {
    let base = empty_store();
    let disk = Disk::holding(base.clone());
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
    let ops = disk.0.lock().unwrap().ops.clone();
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
    fn check(&self, image: Vec<u8>, at: usize, what: &str) {
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
    let syncs = run.ops.iter().filter(|op| matches!(op, Op::Sync)).count();
    assert!(syncs > 12, "{syncs} syncs");
    for at in 0..=run.ops.len() {
        let image = |keep: &mut dyn FnMut() -> bool| crash(&run.base, &run.ops, at, keep);
        run.check(
            image(&mut || false),
            at,
            &format!("at {at}, nothing unsynced"),
        );
        run.check(image(&mut || true), at, &format!("at {at}, all written"));
        // Just before a sync the most is in flight.
        let rounds = match run.ops.get(at) {
            Some(Op::Sync) => 12,
            _ => 1,
        };
        for seed in 0..rounds {
            let mut some = bits(at as u64 * 100 + seed);
            run.check(image(&mut some), at, &format!("at {at}, seed {seed}"));
        }
    }
}

#[test]
fn a_crash_while_repairing_loses_nothing_either() {
    let run = run();
    // In the middle of the run, just before a sync, with torn pages.
    let middle = run.ops.len() / 2;
    let at = (middle..run.ops.len())
        .find(|&n| matches!(run.ops[n], Op::Sync))
        .unwrap();
    for seed in 0..6 {
        let image = crash(&run.base, &run.ops, at, bits(seed));
        let disk = Disk::holding(image.clone());
        let known = run.acknowledged.iter().rev().find(|(_, done)| *done <= at);
        drop(open(&disk, head_file(known.unwrap().0)).unwrap());
        let repair = disk.0.lock().unwrap().ops.clone();
        assert!(!repair.is_empty());
        for again in 0..=repair.len() {
            for keep in 0..3 {
                let mut some = bits(seed * 1000 + again as u64 + keep);
                let torn = crash(&image, &repair, again, || keep == 0 || some());
                run.check(torn, at, &format!("seed {seed}, repair crashed at {again}"));
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
    let disk = Disk::holding(empty_store());
    let first = genesis(ledger_id(ID)).head();
    let mut store = open(&disk, head_file(first)).unwrap();
    {
        let mut state = disk.0.lock().unwrap();
        state.fail_in = Some(n);
        state.fails = fails;
    }
    for count in [1, 30, 2, 120, 1] {
        let head = store.head();
        let next = batch(ledger_id(ID), head, Term(1), &vec![300; count]);
        let begun = disk.ops();
        if let Err(error) = store.append(&next) {
            let synced = {
                let state = disk.0.lock().unwrap();
                let failed_at = state.failed_at.unwrap();
                let before = &state.ops[begun..failed_at];
                before.iter().any(|op| matches!(op, Op::Sync))
            };
            assert_eq!(store.head(), head, "a failed append leaves the head");
            let again = store.append(&next);
            assert!(matches!(again, Err(AppendError::Io(_))), "{again:?}");
            drop(store);
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
        failed.disk.0.lock().unwrap().fail_in = None;
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
    let image = crash(&run.base, &run.ops, at, || true);
    let disk = Disk::holding(image.clone());
    let beyond = HeadFile {
        seq: Seq(1_000_000),
        ..head_file(run.acknowledged[0].0)
    };
    assert!(matches!(open(&disk, beyond), Err(OpenError::Damaged(_))));
    assert_eq!(disk.ops(), 0);
    assert!(disk.live() == image);
}
