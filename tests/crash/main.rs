//! What crashes: nodes, shims, spawners and disks, at chosen moments and at random ones. After
//! each, what was acknowledged is there, nothing ran twice, and the log tells the truth.

#![allow(missing_docs)]
#![allow(clippy::unwrap_used)]

#[path = "../support/mod.rs"]
mod support;

mod copies;
mod disk;
mod outage;
mod parts;
mod small_disk;
mod storm;
mod trees;
