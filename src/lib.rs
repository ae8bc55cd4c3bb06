//! Opsledger: what acts and what faces people.
//!
//! Domains ([`scheduler`], [`jobs`], [`reaper`], [`lease`], [`audit`], [`snapshots`]) never import each other; they meet in
//! events. [`node`] wires them, [`simulate`] does in virtual time, [`api`] and the command line translate.

pub mod api;
pub mod audit;
pub mod cli;
pub mod client;
pub mod config;
pub mod decided;
pub mod docs;
pub mod jobs;
pub mod keys;
pub mod lease;
pub mod names;
pub mod node;
pub mod reaper;
pub mod redact;
pub mod run_dir;
pub mod scheduler;
pub mod shim;
pub mod simulate;
pub mod snapshots;
pub mod units;
