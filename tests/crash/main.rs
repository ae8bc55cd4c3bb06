//! What crashes: nodes, shims, spawners and disks, at chosen moments and at random ones. After
//! each, what was acknowledged is there, nothing ran twice, and the log tells the truth.

#![allow(missing_docs)]
#![allow(clippy::unwrap_used)]

#[path = "../support/mod.rs"]
mod support;

mod checkpoints;
mod copies;
mod delegated;
mod disk;
mod moments;
mod outage;
mod parts;
mod snapshots;
mod storm;
mod structure;
mod trees;
