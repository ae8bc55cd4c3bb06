//! The shim through the real binary: one spawner per test, driven as a node drives it.
//!
//! Tests wait for reports, pidfds and pipes; what a child has to tell comes through a FIFO.

#![allow(missing_docs)]
#![allow(clippy::unwrap_used)]

mod ending;
mod harness;
mod outliving;
mod reusing;
mod running;
mod starting;
