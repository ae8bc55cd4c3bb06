//! The writer's file: redb's own file backend, and what happens when a commit fails half way.
//!
//! redb commits by writing pages, then a header whose commit slot points at them, then one sync.
//! If that sync fails, the kernel may keep pages in its cache that the disk never got, and a later
//! sync says nothing about them; opened again, the failed commit would look whole. So after a
//! failure this backend puts the last header that was synced back in place: the failed commit is
//! then reachable by nobody, and the commit before it is untouched because redb never writes over
//! live pages. Every later call fails.

use std::fs::File;
use std::io;
use std::ops::Bound;
use std::sync::{Mutex, MutexGuard, PoisonError};

use ::redb::backends::FileBackend;
use ::redb::{BackendError, DatabaseError, StorageBackend};

/// Bytes of redb's header with its two commit slots; what this backend remembers.
pub(super) const HEADER_LEN: usize = 320;

type Header = [u8; HEADER_LEN];

#[derive(Debug)]
struct State {
    /// The header as of the last successful sync.
    durable: Option<Header>,
    /// The header as last written.
    current: Option<Header>,
    /// The failure after which nothing more is written.
    failed: Option<io::ErrorKind>,
}

/// The file of a store that is open for writing.
#[derive(Debug)]
pub(super) struct WriterFile<B = FileBackend> {
    inner: B,
    state: Mutex<State>,
}

impl WriterFile {
    /// Takes a file opened for reading and writing.
    pub(super) fn new(file: File) -> Result<Self, DatabaseError> {
        Ok(Self::over(FileBackend::new(file)?))
    }
}

impl<B: StorageBackend> WriterFile<B> {
    pub(super) fn over(inner: B) -> Self {
        let mut header = [0; HEADER_LEN];
        let header = inner.read(0, &mut header).ok().map(|()| header);
        Self {
            inner,
            state: Mutex::new(State {
                durable: header,
                current: header,
                failed: None,
            }),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // The state is plain values, whole at every moment.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs one change of the file; the first failure rolls the header back.
    fn change(&self, f: impl FnOnce(&mut State) -> io::Result<()>) -> io::Result<()> {
        let mut state = self.state();
        if let Some(kind) = state.failed {
            return Err(io::Error::new(kind, "an earlier write of this file failed"));
        }
        f(&mut state).inspect_err(|error| {
            state.failed = Some(error.kind());
            if let Some(header) = state.durable {
                // If even this fails, the disk is past our reach; redb's checksums are left.
                let _ = self.inner.write(0, &header);
                let _ = self.inner.sync_data();
            }
        })
    }
}

impl<B: StorageBackend> StorageBackend for WriterFile<B> {
    fn len(&self) -> io::Result<u64> {
        self.inner.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.inner.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.change(|_| self.inner.set_len(len))
    }

    fn sync_data(&self) -> io::Result<()> {
        self.change(|state| {
            self.inner.sync_data()?;
            state.durable = state.current;
            Ok(())
        })
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.change(|state| {
            self.inner.write(offset, data)?;
            if let Ok(at) = usize::try_from(offset)
                && at < HEADER_LEN
            {
                let header = state.current.get_or_insert([0; HEADER_LEN]);
                let n = data.len().min(HEADER_LEN - at);
                header[at..at + n].copy_from_slice(&data[..n]);
            }
            Ok(())
        })
    }

    fn close(&self) -> io::Result<()> {
        self.inner.close()
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.inner.try_lock_range(start, end)
    }

    fn try_lock_shared_range(
        &self,
        start: Bound<u64>,
        end: Bound<u64>,
    ) -> Result<bool, BackendError> {
        self.inner.try_lock_shared_range(start, end)
    }

    fn lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.inner.lock_range(start, end)
    }

    fn lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.inner.lock_shared_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.inner.unlock_range(start, end)
    }

    fn query_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.inner.query_lock_range(start, end)
    }
}
