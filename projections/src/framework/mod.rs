//! What all projections share: the trait, positions, digests, snapshots, rebuild and the worker
//! that keeps views behind the log's head.
//!
//! ```text
//! LogReader --> replay (check, decode in parallel) --> DecodedBlock --> Fold<P> --> rows
//! Batch (durable) ---------------------------------------^                 |--> digest
//!                                                                          '--> snapshot
//! ```

mod as_of;
mod compare;
mod decoded;
mod digest;
mod fold;
mod packing;
mod projection;
mod replay;
mod snapshot;
mod view;
mod worker;

pub use as_of::seq_at;
pub use compare::{FirstDifference, compare, first_difference};
pub use decoded::{DecodedBlock, Payload};
pub use digest::{DIGEST_CONTEXT, Digester, digest};
pub use fold::{Fold, FoldError, Health, Position};
pub use packing::{Packer, Unpackable, Unpacker, pack_rows, unpack_rows};
pub use projection::{ApplyError, Projection, RestoreError};
pub use replay::{ReplayError, hash_at, replay};
pub use snapshot::{HEADER_LINE, MAX_ROW, SNAPSHOT_FORMAT, SnapshotError, SnapshotHeader, ViewDir};
pub use view::{Progress, RebuildError, View, catch_up, rebuild, rebuild_into, unwatched};
pub use worker::{Comparison, Source, ViewState, ViewWorker, WorkerError};

#[cfg(test)]
pub(crate) mod tests;
