//! `checkpoints`: which checkpoints there are, what became of others, and what could not be made. A view:
//! nothing is decided by it alone, since a checkpoint is used only after its file was held against the
//! event that tells of it.
//!
//! Invariants: a name stands for one checkpoint while it is kept; of those that are gone and of those
//! that were passed over, the latest [`REMEMBERED`] are known.

mod apply;
mod state;

pub use state::{Checkpoint, Checkpoints, FailedToMake, Gone, REMEMBERED, Refused};

#[cfg(test)]
mod tests;
