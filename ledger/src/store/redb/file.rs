//! The store's real file: large pages are written past the page cache.
//!
//! A sealed block is written once and seldom read soon after: redb keeps what it has just written.
//! In the page cache it would cost a copy and the bookkeeping of every page, and all of a
//! transaction would go to the disk at once, in front of the journal's next sync. Written directly,
//! each block goes by itself, and an append waits for one of them at most.
//!
//! Small pages, and file systems that don't take direct writes, go through the page cache: the kernel
//! keeps both views the same. Nothing here is durable before a sync, on either way.

use std::fs::{File, OpenOptions};
use std::io;
use std::ops::Bound;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use ::redb::backends::FileBackend;
use ::redb::{BackendError, DatabaseError, StorageBackend};

/// What direct writes begin and end at: no device asks for more.
const PAGE: usize = 4096;
/// Smallest write that goes directly: below it the wait for the disk costs more than the copy.
const LARGE: usize = 16 * 1024;

/// A file that redb reads and writes.
#[derive(Debug)]
pub(super) struct StoreFile {
    file: FileBackend,
    direct: Mutex<Option<Direct>>,
}

impl StoreFile {
    /// A file that is open at `path`, which is opened once more.
    pub(super) fn over(file: File, path: &Path) -> Result<Self, DatabaseError> {
        let direct = OpenOptions::new()
            .write(true)
            .custom_flags(libc::O_DIRECT)
            .open(path);
        let direct = direct.ok().map(|file| Direct {
            file,
            buffer: Vec::new(),
        });
        Ok(Self {
            file: FileBackend::new(file)?,
            direct: Mutex::new(direct),
        })
    }
}

#[derive(Debug)]
struct Direct {
    file: File,
    /// Room for one write, and to begin at an aligned address.
    buffer: Vec<u8>,
}

impl Direct {
    fn write(&mut self, at: u64, bytes: &[u8]) -> io::Result<()> {
        if self.buffer.len() < bytes.len() + PAGE {
            self.buffer.resize(bytes.len() + PAGE, 0);
        }
        let aligned = self.buffer.as_ptr().align_offset(PAGE);
        let room = self
            .buffer
            .get_mut(aligned..aligned.saturating_add(bytes.len()))
            .ok_or(io::ErrorKind::InvalidInput)?;
        room.copy_from_slice(bytes);
        self.file.write_all_at(room, at)
    }
}

impl StorageBackend for StoreFile {
    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let whole_pages = offset.is_multiple_of(PAGE as u64) && data.len().is_multiple_of(PAGE);
        if whole_pages && data.len() >= LARGE {
            let mut slot = self.direct.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(direct) = slot.as_mut() {
                match direct.write(offset, data) {
                    // Some file systems open a file for direct writes and then don't take them.
                    Err(error) if error.kind() == io::ErrorKind::InvalidInput => *slot = None,
                    written => return written,
                }
            }
        }
        self.file.write(offset, data)
    }

    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn close(&self) -> io::Result<()> {
        self.file.close()
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.file.try_lock_range(start, end)
    }

    fn try_lock_shared_range(
        &self,
        start: Bound<u64>,
        end: Bound<u64>,
    ) -> Result<bool, BackendError> {
        self.file.try_lock_shared_range(start, end)
    }

    fn lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.file.lock_range(start, end)
    }

    fn lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.file.lock_shared_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.file.unlock_range(start, end)
    }

    fn query_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.file.query_lock_range(start, end)
    }
}
