//! Read models folded from the ledger: pure, deterministic, rebuildable.
//!
//! A projection is a fold over events and nothing else: no clock, no randomness, no appending. What
//! a reader is shown can therefore always be made again from the log, and compared.

pub mod framework;
pub mod leases;
pub mod tasks;
