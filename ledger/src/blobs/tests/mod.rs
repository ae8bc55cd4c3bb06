//! Tests of the blobs: on real files, and on a disk that forgets and fails.

mod crash;
mod files;
mod sim;

use super::{BlobRef, Limits};
use crate::chain::{Batch, BatchBuilder, ChainKey, Head};
use crate::ids::Term;
use crate::store::LogWriter as _;
use crate::store::memory::MemoryStore;
use crate::store::samples::{event, genesis, ledger_id};
use crate::time::Timestamp;

const LIMITS: Limits = Limits {
    bytes: 1 << 20,
    in_flight: 2 << 20,
};

/// A ledger in memory.
fn ledger() -> MemoryStore {
    let id = ledger_id(1);
    let mut store = MemoryStore::new(id);
    store.append(&genesis(id)).unwrap();
    store
}

/// The batch that names these blobs, an event each.
fn naming(head: Head, named: &[BlobRef]) -> Batch {
    let key = ChainKey::new(ledger_id(1));
    let mut builder = BatchBuilder::new(key, head, Term(1));
    for (n, named) in (1..).zip(named) {
        let mut draft = event(n, 30);
        draft.data = named.to_payload();
        let at = Timestamp(head.recorded_at.0 + 1);
        builder.push(&[draft], at).unwrap();
    }
    builder.take()
}
