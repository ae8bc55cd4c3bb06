//! Durable stores on simulated disks.

use std::num::NonZeroUsize;
use std::ops::ControlFlow;
use std::sync::OnceLock;

use super::super::*;
use crate::hash::Hash;
use crate::ids::Term;
use crate::store::LogTree;
use crate::store::samples::{batch, genesis, ledger_id};
use crate::store::sim::{Disk, Image};
use crate::store::{ReadError, for_each_event};
use crate::verify::{Report, verify_reader};

/// So small that a few events fill a block, a few blocks are sealed, and a few of those free a
/// segment.
pub(super) const TINY: Settings = Settings {
    segment_bytes: 4096,
    seal_bytes: 2048,
    block_cap: 1024,
    lag_bytes: 64 * 1024,
    sealing: SealIn::Foreground,
    structure: Structure::Trusted,
};

/// The files of a ledger that was made and never opened.
pub(super) fn new_ledger() -> Image {
    static MADE: OnceLock<Image> = OnceLock::new();
    let id = ledger_id(1);
    let make = || sim::new_ledger(id, &genesis(id)).unwrap();
    MADE.get_or_init(make).clone()
}

/// As [`DurableStore::open_with`].
pub(super) fn open(disk: &Disk, settings: Settings) -> Result<DurableStore, OpenError> {
    sim::open(disk, settings)
}

/// As [`OfflineReader::open`].
pub(super) fn offline(disk: &Disk) -> Result<OfflineReader, OpenError> {
    sim::offline(disk)
}

/// What the verification says of the files on a disk.
pub(super) fn verified(disk: &Disk) -> Report {
    let reader = offline(disk).unwrap();
    verify_reader(&reader, NonZeroUsize::MIN, &|_, _| {}).unwrap()
}

/// The hash of every event; the tree is the one over them.
pub(super) fn hashes(reader: &dyn LogReader) -> Vec<Hash> {
    let all = LogTree::of_blocks(reader.blocks(Seq::FIRST).unwrap()).unwrap();
    assert_eq!(reader.tree().unwrap().root(), all.root());
    try_hashes(reader).unwrap()
}

pub(super) fn try_hashes(reader: &dyn LogReader) -> Result<Vec<Hash>, ReadError> {
    let mut hashes = Vec::new();
    let _ = for_each_event(reader, Seq::FIRST, |e| -> ControlFlow<()> {
        hashes.push(e.hash);
        ControlFlow::Continue(())
    })?;
    Ok(hashes)
}

/// The next batch: events of these sizes.
pub(super) fn next(store: &DurableStore, sizes: &[usize]) -> Batch {
    let term = Term(store.head().term.0.max(1));
    batch(store.ledger_id(), store.head(), term, sizes)
}

/// Does something with each number below `n`, on two threads.
pub(super) fn on_two_threads(n: usize, work: impl Fn(&mut dyn Iterator<Item = usize>) + Sync) {
    std::thread::scope(|scope| {
        scope.spawn(|| work(&mut (0..n).step_by(2)));
        work(&mut (1..n).step_by(2));
    });
}
