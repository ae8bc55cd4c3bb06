//! The command line as people and scripts meet it: what it prints, where, and how it exits.
//!
//! Without a node everything is deterministic: ledgers are built here with fixed ids and times, and
//! what is printed is held against snapshots. With a node the same binary is driven end to end.

#![allow(missing_docs)]
#![allow(clippy::unwrap_used)]
#![allow(unreachable_pub)] // nothing is reached from outside of a test

#[path = "../support/mod.rs"]
mod support;

mod checkpoints;
mod exec;
mod files;
mod lease;
mod live;
mod places;
mod proofs;
mod receipts;
mod refusals;
mod restore_at;
mod salvage;
mod sample;
mod simulate;
mod takeover;
mod terminal;
mod upgrade;
mod verdicts;
mod width;
mod witness;
