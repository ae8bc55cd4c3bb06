//! Copying one file into the store, and finding out whether it held still meanwhile.
//!
//! It is read once to learn its hash. If the store has that content whole, nothing is written; if not, it
//! is read once more, into the store. Before and after each reading its length, times and inode are
//! looked at: one that changed is read again, a few times, and then taken as it came and marked.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;

use ledger_core::blobs::{BlobStore, MediaType, Upload, check};
use ledger_core::hash::Hash;

use super::SnapshotError;
use super::beneath::{Dir, Missing};
use super::manifest::{FileEntry, SkipReason};

/// How often a file is read that changes while it is read.
const TRIES: usize = 3;
const CHUNK: usize = 256 * 1024;

/// What became of a file.
#[derive(Debug)]
pub(super) enum Copied {
    /// It is in the store.
    File {
        entry: FileEntry,
        /// Bytes that were written for it.
        written: u64,
    },
    /// It went meanwhile.
    Gone,
    /// It was passed over.
    Skipped(SkipReason),
}

/// Why a file could not be copied.
enum Fault {
    /// The file's own.
    File(io::Error),
    /// Everybody's.
    All(SnapshotError),
}

/// What tells that a file is another one now, or holds something else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Look {
    inode: (u64, u64),
    bytes: u64,
    modified: (i64, i64),
    changed: (i64, i64),
    mode: u32,
}

impl Look {
    fn at(file: &File) -> io::Result<Option<Self>> {
        let meta = file.metadata()?;
        Ok(meta.is_file().then(|| Self {
            inode: (meta.dev(), meta.ino()),
            bytes: meta.len(),
            modified: (meta.mtime(), meta.mtime_nsec()),
            changed: (meta.ctime(), meta.ctime_nsec()),
            // Whoever restores is another user, perhaps: what runs as its owner is not made so again.
            mode: meta.mode() & 0o777,
        }))
    }
}

/// A reading of a whole file.
struct Reading {
    look: Look,
    blake3: Hash,
    bytes: u64,
    /// Whether it was the same file, of the same content, from the first byte to the last.
    steady: bool,
}

/// Copies files into a store, of `limit` bytes together.
pub(super) struct Copier<'a> {
    pub(super) root: &'a Dir,
    pub(super) store: &'a BlobStore,
    pub(super) limit: u64,
    /// Bytes of those that were copied.
    pub(super) taken: u64,
    /// Called after each reading: for tests, which change files meanwhile.
    pub(super) between: &'a dyn Fn(&str),
}

impl Copier<'_> {
    /// Copies the file at `path`.
    ///
    /// # Errors
    /// [`SnapshotError`] if the store can't be written to, or a limit is reached.
    pub(super) fn copy(&mut self, path: &str) -> Result<Copied, SnapshotError> {
        match self.attempts(path) {
            Ok(copied) => Ok(copied),
            Err(Fault::All(error)) => Err(error),
            Err(Fault::File(error)) if error.kind() == io::ErrorKind::NotFound => Ok(Copied::Gone),
            Err(Fault::File(error)) => Ok(Copied::Skipped(match error.raw_os_error() {
                // It has become a link, or a socket.
                Some(libc::ELOOP) => SkipReason::Link,
                Some(libc::ENXIO) => SkipReason::Special,
                _ => SkipReason::Unread {
                    error: error.to_string(),
                },
            })),
        }
    }

    fn attempts(&mut self, path: &str) -> Result<Copied, Fault> {
        let mut last = None;
        for _ in 0..TRIES {
            let Some(first) = self.read(path, None)? else {
                return Ok(Copied::Skipped(SkipReason::Special));
            };
            if first.steady && self.has(first.blake3, first.bytes) {
                return self.took(path, first, 0);
            }
            // Also one that moves: it is the last that is taken.
            let mut upload = self.begin()?;
            let second = self.read(path, Some(&mut upload))?;
            let Some(second) = second else {
                return Ok(Copied::Skipped(SkipReason::Special));
            };
            let stored = upload.finish(MediaType::unknown());
            stored.map_err(|error| Fault::All(error.into()))?;
            if second.steady {
                let written = second.bytes;
                return self.took(path, second, written);
            }
            last = Some(second);
        }
        match last {
            Some(reading) => {
                let written = reading.bytes;
                self.took(path, reading, written)
            }
            None => Ok(Copied::Gone),
        }
    }

    fn begin(&self) -> Result<Upload, Fault> {
        self.store.begin().map_err(|error| Fault::All(error.into()))
    }

    /// Whether the store has the content, whole.
    fn has(&self, digest: Hash, bytes: u64) -> bool {
        self.store
            .entry(digest)
            .is_ok_and(|entry| entry.bytes == bytes)
            && check(self.store, digest, &mut |_| {}).is_ok()
    }

    fn took(&mut self, path: &str, reading: Reading, written: u64) -> Result<Copied, Fault> {
        self.taken += reading.bytes;
        Ok(Copied::File {
            entry: FileEntry {
                path: path.to_owned(),
                mode: reading.look.mode,
                bytes: reading.bytes,
                blake3: reading.blake3,
                changing: !reading.steady,
            },
            written,
        })
    }

    /// Reads the file from its beginning to its end; nothing if it is no regular file.
    fn read(&self, path: &str, mut into: Option<&mut Upload>) -> Result<Option<Reading>, Fault> {
        let (dir, name) = self
            .root
            .parent_of(path, Missing::Fail)
            .map_err(Fault::File)?;
        let mut file = dir.file(name).map_err(Fault::File)?;
        let Some(before) = Look::at(&file).map_err(Fault::File)? else {
            return Ok(None);
        };
        let room = self.limit.saturating_sub(self.taken);
        let mut hasher = blake3::Hasher::new();
        let mut buffer = vec![0; CHUNK];
        let mut bytes = 0;
        loop {
            let count = match file.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(Fault::File(error)),
            };
            bytes += count as u64;
            if bytes > room {
                return Err(Fault::All(SnapshotError::TooLarge { limit: self.limit }));
            }
            hasher.update(&buffer[..count]);
            if let Some(upload) = into.as_deref_mut() {
                let wrote = upload.write(&buffer[..count]);
                wrote.map_err(|error| Fault::All(error.into()))?;
            }
        }
        (self.between)(path);
        let after = Look::at(&file).map_err(Fault::File)?;
        Ok(Some(Reading {
            look: before,
            blake3: Hash(*hasher.finalize().as_bytes()),
            bytes,
            steady: after == Some(before) && bytes == before.bytes,
        }))
    }
}
