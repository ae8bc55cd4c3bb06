//! What all projections share: the trait, positions, digests, snapshots, rebuild and the worker
//! that keeps views behind the log's head.

mod projection;

pub use projection::{ApplyError, Projection, RestoreError};
