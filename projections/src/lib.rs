//! Read models folded from the ledger: pure, deterministic, rebuildable.
//!
//! A projection is a fold over events and nothing else: no clock, no randomness, no appending. What
//! a reader is shown can therefore always be made again from the log, and compared.

pub mod checkpoints;
pub mod framework;
pub mod idempotency;
pub mod jobs;
pub mod leases;
pub mod lives;
pub mod processes;
pub mod standing;
pub mod status;
pub mod subjects;
pub mod tasks;
#[cfg(any(test, feature = "testkit"))]
pub mod testkit;
pub mod views;

#[cfg(test)]
mod contract;
