//! Several nodes on one ledger, end to end: leaders are killed, stopped and starved, and another node
//! takes over. After each: one leader, the chain verifies, terms rise one by one, nothing that was
//! acknowledged is lost, nothing ran twice.

#![allow(missing_docs)]
#![allow(clippy::unwrap_used)]

#[path = "../support/mod.rs"]
mod support;

mod beats;
mod clock;
mod disk;
mod hanging;
mod record;
mod starting;
mod storm;
mod takeover;
