//! `processes`: every process that is watched: those of attempts, which their shims look after, and
//! those that somebody else started and that we were asked to watch. Decision state (what the reaper
//! is owed follows from it), and a view: `ledger ps` reads a second copy.
//!
//! Invariants: a process is known by boot id, pid and start time together, and stands here once; it
//! leaves with its end. So memory is bounded by what is watched now; of what was, only counts are
//! kept.
//!
//! What a process does at this moment is not folded: whoever shows it takes a sample.

mod apply;
mod query;
mod state;

pub use query::{Kept, ProcessView};
pub use state::{Counters, Foreign, OfAttempt, Processes, Purpose, Stage, Watched};

#[cfg(test)]
mod tests;
