//! Checkpoints: decision state as of a position, in files below `checkpoints/`, and recovery from them.
//!
//! ```text
//! make:    newest good checkpoint ──> fold to the durable head ──> file ──> read back, restored, compared
//!              ──> checkpoint.created (position, SHA-256) ──> what the retention rule lets go
//! recover: newest file ──> its checkpoint.created behind its position ──> SHA-256, position, chain hash
//!              ──> restored ──> fold of the rest, chain checked across the seam
//! ```
//! | must hold | why |
//! |---|---|
//! | what is in a checkpoint is folded from durable events alone, by whoever makes it | the core is never held up, and what it got wrong is not handed on |
//! | a file is used only if an event of this history tells its SHA-256 | a changed, foreign or unfinished file is found out from the ledger itself |
//! | a damaged one costs time, never truth | all of it can be folded from the first event |
//! | state is held against other folds of the same events after each recovery | what it got wrong is not handed on for long |
//! | a file goes after the event that says so is durable | a crash between leaves a file too many, which the next round removes |
//! | a file that no event tells of is never removed unsaid | somebody may have put it there for a reason |

mod compare;
mod dir;
mod duties;
mod file;
mod files;
mod fold;
mod keep;
mod maker;
mod making;

pub use compare::{CompareError, Compared, Reference, compare};
pub use dir::{CHECKPOINT_DIR, CheckpointDir, CheckpointFile, Presence, path_of};
pub(crate) use duties::Duties;
pub use file::{CheckpointError, Header, MAX_EXTRA, Part, Verified, verify};
pub use files::{Files, NewFile};
pub use fold::{PassedOver, Recovered, Report, fold_state, fold_upto};
pub use keep::{Keep, Kept, KeptState, expendable};
pub(crate) use maker::Checkpointer;
pub use making::{MakeError, Wish, make_file};

#[cfg(test)]
mod tests;
