//! What a workload would have looked like: the scheduler's own decisions in virtual time.
//!
//! Nothing of the scheduler is imitated here. The same [`crate::scheduler`] decides, the same
//! [`projections::tasks`] folds; only the clock, the processes and the log are replaced, by a list of
//! what happens next. So a simulated policy is the policy that runs. Like [`crate::node`] this is a
//! place where domains are wired.
//!
//! ```text
//! trace, arrivals ──> mix ──┐
//! the ledger's events ──> history ──> work ──> engine ──> outcome ──> summary
//!                              │                  │                      ▲
//!                              └── what was ──────┼──────────────────────┤
//!                                                 └──> bound (checked anew, without the scheduler)
//! ```
//!
//! The definitions of what is printed are in [`crate::docs::simulation`].

pub mod bound;
pub mod chance;
pub mod engine;
pub mod history;
pub mod mix;
pub mod outcome;
pub mod summary;
pub mod trace;
pub mod work;

#[cfg(test)]
mod tests;
