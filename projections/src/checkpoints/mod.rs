//! `checkpoints`: which checkpoints there are, what became of others, and what could not be made. A view:
//! nothing is decided by it alone, since a checkpoint is used only after its file was held against the
//! event that tells of it. Beside them, what came of holding state against other folds, for which what
//! checkpoints are of is used too.
//!
//! Invariants: a name stands for one checkpoint while it is kept; of those that are gone and of those
//! that were passed over, the latest [`REMEMBERED`] are known.

mod apply;
mod state;

pub use state::{Checkpoint, Checkpoints, FailedToMake, Gone, REMEMBERED, Refused, Told};

#[cfg(test)]
mod tests;
