//! The shim through the real binary: one spawner per test, driven as a node drives it.
//!
//! Tests wait for reports, pidfds and pipes; what a child has to tell comes through a FIFO.

#![allow(missing_docs)]
#![allow(clippy::unwrap_used)]

mod cgroups;
mod ending;
mod harness;
mod host;
#[path = "../support/host.rs"]
mod kit;
mod outliving;
mod recycling;
mod reusing;
mod running;
mod saving;
mod standstill;
mod starting;
mod unkillable;
