//! `jobs`: what recurring jobs there are, up to when what was due of them is decided, and what
//! became of their runs. Decision state, and a view: `job list` reads a second copy of it that is
//! folded from durable events only.
//!
//! Invariants: a job is defined once until it is removed; what was due up to `decided` is submitted
//! or left out and never looked at again; a run is known by its task from the event that says it is
//! due until [`RECENT_RUNS`] later ones have been, and for as long as its task lives.
//!
//! When a job is due next is not folded: that takes a calendar, which a projection has not.

mod apply;
mod query;
mod state;

pub use query::{JobState, JobView, RunCounts};
pub use state::{Definition, Job, JobRun, Jobs, Pause, RECENT_RUNS, RunOutcome, RunState};

#[cfg(test)]
mod tests;
