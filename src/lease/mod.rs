//! The lease: exactly one node leads a ledger at a time.
//!
//! Nodes of one host share a data directory, and the leader holds an exclusive lock on it
//! ([`lock`]); the term in the log fences late writers of our own. The first event of a term is
//! its `lease.acquired` ([`decide`]).

pub mod decide;
pub mod lock;
