//! Backups: directories of raw blocks, each complete in itself, each sharing with the one before
//! it what has not changed since.
//!
//! ```text
//! BACKUPS/20260131T080000.000000Z-1234/manifest     what it is; a hash over itself
//!                                     /blocks-00000000000000000001   events 1..=1000  ─┐ the same
//!                                     /blocks-00000000000000001001   events 1001..=1234│ file, linked
//! BACKUPS/20260131T090000.000000Z-1300/blocks-00000000000000000001 ────────────────────┘
//! ```
//! - What is under a name is whole: a backup is made under another name, synced, read back and
//!   verified up to its head, and only then renamed. One that is removed is renamed first.
//! - Files are never changed. A shared one that is found damaged is not linked again: the next
//!   backup is written whole.
//! - Nothing but events and the blobs that they name is in a backup: no key, no setting, no output
//!   of a task. A blob that could not be had is written down as lost (`blobs.rs`).
//! - One process at a time makes or removes backups in a directory (a lock on the directory).
//!
//! The bytes are specified in FORMAT.md, "Backups".

mod blobs;
mod catalog;
mod create;
mod manifest;
mod reader;
mod retain;
mod verify;

pub use catalog::{BackupError, Catalog, Listed, Locked};
pub use create::{Basis, Made, Request};
pub use manifest::{
    BACKUP_FORMAT, BlobFile, BlockFile, LostBlob, MANIFEST_FILE, Manifest, ManifestError,
};
pub use reader::BackupReader;
pub use retain::{Keep, Kept, retain};
pub use verify::{BackupFinding, Checked, verify_backup};

#[cfg(test)]
mod blob_tests;
#[cfg(test)]
mod tests;
