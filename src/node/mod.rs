//! The node: a synchronous state machine in the middle, threads and sockets around it.
//!
//! ```text
//!  API ──> requests ──┐                         ┌──> disk: append, one sync a batch
//!  shims ─> reports ──┼──> core::Core::step ────┼──> views thread: fold what is durable
//!  disk ──> done ─────┘    (now, inputs)        ├──> process port: start, cancel, look after
//!                           -> outputs          └──> replies, only for what is durable
//! ```
//!
//! [`core`] knows no socket, no thread, no clock and no randomness of its own: a turn is a
//! function of what it holds, the time and the inputs it is given, so that the same inputs give
//! the same history. What it wants done it returns as data.

pub mod backups;
pub mod blobs;
pub mod boot;
mod builtins;
pub mod checkpoints;
pub mod command;
pub mod core;
pub mod decision;
pub mod disk;
mod expect;
pub mod farewell;
pub mod fork;
pub mod found;
pub mod gather;
pub mod holder;
pub(crate) mod jobs;
mod life;
mod outcome;
pub mod outlook;
pub mod ports;
mod processes;
mod pulse;
pub(crate) mod reaper;
pub mod reserve;
pub(crate) mod restart;
pub mod room;
mod run;
pub mod salvage;
mod sequencer;
mod serving;
pub(crate) mod snapshots;
mod spawning;
pub(crate) mod standby;
pub(crate) mod threads;

#[cfg(test)]
mod tests;

pub use boot::{BootError, Created, create_ledger, own_uid};
pub use life::{NodeError, NodeOptions, Said};
pub use run::run;
