//! The log itself: what an event is, its exact bytes, the hash chain over them, and the stores
//! that keep them.
//!
//! This crate knows no process, no socket and no terminal. It reads the wall clock in one place
//! ([`clock`]) and everything else takes time as an argument, so that a replay is byte-for-byte
//! the same as the first run.
//!
//! ```text
//! Draft ──> chain::BatchBuilder ──> Batch ──> store::LogWriter::append ──> durable
//!           (seq, time, hash)       (bytes)    (fencing, expected head)
//!
//! event bytes ──> merkle::TreeWriter ──> tree_head::TreeHead ──> proof::InclusionProof, …
//!                 (rows of tiles)        (signed, cosigned)      (checked without a ledger)
//! ```
//!
//! The bytes are specified in `FORMAT.md` beside this crate, precisely enough to write an
//! independent verifier from it.

pub mod backup;
mod base64;
pub mod blobs;
pub mod chain;
pub mod clock;
pub mod codec;
pub mod copy;
pub mod envelope;
pub mod event;
pub mod export;
pub mod files;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzz;
pub mod hash;
pub mod ids;
pub mod merkle;
pub mod proof;
pub mod salvage;
pub mod store;
mod text;
pub mod time;
pub mod tree_head;
pub mod verify;
pub mod witness;
