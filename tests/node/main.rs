//! A running node, end to end: the real binary, real processes, the real socket. What is asserted
//! is what stands in the log, which is read with its chain checked.

#![allow(missing_docs)]
#![allow(clippy::unwrap_used)]

#[path = "../support/mod.rs"]
mod support;

mod appending;
mod backups;
mod blobs;
mod checkpoints;
mod clock;
mod input;
mod jobs;
mod ladders;
mod lifecycle;
mod limits;
mod patience;
mod paused;
mod priority;
mod reading;
mod scheduling;
mod snapshots;
mod startup;
mod watching;
