//! Blobs: content that is too large for an event, in files named by what they hold.
//!
//! ```text
//! bytes ──> Upload: blobs/incoming/N, hashed as they come ──> synced ──> renamed to its name
//!                                        blobs/ab/cdef… ──> directory synced ──> Lease
//! event {"$blob":{"blake3":…,"bytes":…,"media_type":…}} <── appended while the lease is held
//! ```
//! | what holds | by what |
//! |---|---|
//! | an event never names a blob that is not durably there | who names one holds a [`Lease`], and those are given out only for what is synced, name and all |
//! | a blob's name is the BLAKE3 of its bytes | it is hashed while it is written, and again whenever it is read |
//! | what is damaged is an error, never content | [`BlobReader`] keeps the last bytes back until the hash is right |
//! | what an event names is not collected | what a lease touched while a collection runs is spared; what was named before is in the log that it reads ([`BlobStore::collect`]) |
//! | what nothing names goes | by reachability from the log, once its file is older than a grace period |
//! | nothing outside the data directory is touched | every step opens one name beneath an open directory and follows no link (`disk.rs`) |
//!
//! A crash leaves a file in `incoming`, which the next writer removes, or a blob that nothing names,
//! which is collected. Blobs are never changed: a second upload puts an equal file in the place of the
//! first, so copies made by hard links stay what they are.
//!
//! The idea is that of git's object store and of content-addressed artifact stores; the lease stands
//! for git's rule that only what is old may be pruned, which alone trusts a clock.

mod carry;
mod collect;
mod disk;
mod named;
mod read;
mod reference;
mod store;
mod verify;

#[cfg(test)]
mod tests;

pub use carry::Carrier;
pub use collect::{CollectError, Collected, Collecting};
pub use named::{Named, named_in};
pub use read::{BlobDir, BlobReader, Entry};
pub use reference::{
    BlobRef, DEFAULT_MEDIA_TYPE, JSON, KEY, MediaType, ReferenceError, in_payload,
};
pub use store::{BlobStore, Lease, Limits, Stored, Upload};
pub use verify::{BlobFault, BlobFinding, BlobReport, MAX_FINDINGS, check, verify};

use std::io;

use crate::hash::Hash;

/// Name of the directory below the data directory.
pub const BLOBS_DIR: &str = "blobs";

/// Why a blob could not be stored, read or named.
#[derive(Debug, thiserror::Error)]
pub enum BlobError {
    /// It is longer than one may be.
    #[error("a blob has at most {limit} bytes")]
    TooLarge {
        /// How long one may be.
        limit: u64,
    },
    /// Too much is being uploaded at once.
    #[error("too much is being uploaded at once: at most {limit} bytes together")]
    Busy {
        /// How much may be.
        limit: u64,
    },
    /// There is no such blob.
    #[error("there is no blob {0}")]
    Missing(Hash),
    /// The blob is there and its size is another.
    #[error("blob {digest} has {found} bytes, not {named}")]
    Size {
        /// Which.
        digest: Hash,
        /// What was said of it.
        named: u64,
        /// What is there.
        found: u64,
    },
    /// Its bytes are not those that it is named after.
    #[error("blob {digest} is damaged: its bytes have the hash {found}")]
    Damaged {
        /// Its name.
        digest: Hash,
        /// The hash of what is there.
        found: Hash,
    },
    /// The disk is full; nothing was stored.
    #[error("the disk is full")]
    Full(#[source] io::Error),
    /// The file system failed.
    #[error("{what}: {error}")]
    Io {
        /// What was being done.
        what: &'static str,
        /// Why it failed.
        #[source]
        error: io::Error,
    },
    /// A sync failed earlier: nobody can say any more what is on disk.
    #[error("an earlier sync of the blobs failed ({0}); the store must be opened anew")]
    Failed(String),
}

impl BlobError {
    fn io(what: &'static str) -> impl Fn(io::Error) -> Self {
        move |error| match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::Full(error),
            _ => Self::Io { what, error },
        }
    }
}
