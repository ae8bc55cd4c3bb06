//! The writer's file: a trial while the store is being opened, and what happens when a commit
//! fails half way.
//!
//! **Trial.** redb repairs what it opens, and a repair overwrites what was wrong: a damaged last
//! commit gives way to the one before it. So until the store has been checked and accepted, all
//! that redb writes stays in memory; a store that is refused keeps every byte, as evidence and for
//! whoever salvages it.
//!
//! **Holes.** redb grows its file by doubling it, which leaves holes: room that takes no disk until
//! it is written. They are left alone. Blocks are sealed in large transactions that nobody waits for.
//!
//! **Failure.** redb commits by writing pages, then a header whose commit slot points at them, then
//! one sync. If that sync fails, the kernel may keep pages in its cache that the disk never got,
//! and a later sync says nothing about them; opened again, the failed commit would look whole. So
//! after a failure this backend puts the last header that was synced back in place: the failed
//! commit is then reachable by nobody, and the commit before it is untouched because redb never
//! writes over live pages. Every later call fails.

use std::io;
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ::redb::{BackendError, StorageBackend};

use super::overlay::{Overlay, PAGE, Source};

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

/// The file of a store that is open for writing; clones are the same file.
#[derive(Debug)]
pub(super) struct WriterFile<B>(Arc<Inner<B>>);

#[derive(Debug)]
struct Inner<B> {
    file: B,
    state: Mutex<State>,
    /// What was written so far, until the store is accepted.
    trial: Mutex<Option<Arc<Overlay>>>,
}

impl<B> Clone for WriterFile<B> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<B: StorageBackend> WriterFile<B> {
    /// A file whose changes are kept in memory until [`WriterFile::accept`]; `source` reads the
    /// same file.
    pub(super) fn on_trial(file: B, source: Arc<dyn Source>) -> io::Result<Self> {
        let writer = Self::direct(file);
        *writer.trial() = Some(Arc::new(Overlay::new(source)?));
        Ok(writer)
    }

    /// A file that is written at once: a new one.
    pub(super) fn direct(file: B) -> Self {
        let mut header = [0; HEADER_LEN];
        let header = file.read(0, &mut header).ok().map(|()| header);
        Self(Arc::new(Inner {
            file,
            state: Mutex::new(State {
                durable: header,
                current: header,
                failed: None,
            }),
            trial: Mutex::new(None),
        }))
    }

    fn trial(&self) -> MutexGuard<'_, Option<Arc<Overlay>>> {
        self.0.trial.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes what the trial changed, the header last and after a sync, and writes directly from
    /// now on. Nothing else may use the file meanwhile.
    pub(super) fn accept(&self) -> io::Result<()> {
        let Some(overlay) = self.trial().take().and_then(Arc::into_inner) else {
            return Ok(());
        };
        let (len, pages) = overlay.into_changes();
        if self.len()? != len {
            self.set_len(len)?;
        }
        let write = |number: u64, page: &[u8; PAGE]| {
            let at = number * PAGE as u64;
            let inside = (len - at.min(len)).min(PAGE as u64);
            self.write(at, &page[..usize::try_from(inside).unwrap_or(PAGE)])
        };
        for (&number, page) in pages.range(1..) {
            write(number, page)?;
        }
        self.sync_data()?;
        if let Some(header) = pages.get(&0) {
            write(0, header)?;
            self.sync_data()?;
        }
        Ok(())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // The state is plain values, whole at every moment.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
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
                let _ = self.0.file.write(0, &header);
                let _ = self.0.file.sync_data();
            }
        })
    }
}

/// Sends a call to the trial while there is one.
macro_rules! on_trial {
    ($self:ident, $method:ident($($arg:expr),*)) => {
        if let Some(trial) = $self.trial().clone() {
            return trial.$method($($arg),*);
        }
    };
}

impl<B: StorageBackend> StorageBackend for WriterFile<B> {
    fn len(&self) -> io::Result<u64> {
        on_trial!(self, len());
        self.0.file.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        on_trial!(self, read(offset, out));
        self.0.file.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        on_trial!(self, set_len(len));
        self.change(|_| self.0.file.set_len(len))
    }

    fn sync_data(&self) -> io::Result<()> {
        on_trial!(self, sync_data());
        self.change(|state| {
            self.0.file.sync_data()?;
            state.durable = state.current;
            Ok(())
        })
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        on_trial!(self, write(offset, data));
        self.change(|state| {
            self.0.file.write(offset, data)?;
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
        self.0.file.close()
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.0.file.try_lock_range(start, end)
    }

    fn try_lock_shared_range(
        &self,
        start: Bound<u64>,
        end: Bound<u64>,
    ) -> Result<bool, BackendError> {
        self.0.file.try_lock_shared_range(start, end)
    }

    fn lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.0.file.lock_range(start, end)
    }

    fn lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.0.file.lock_shared_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.0.file.unlock_range(start, end)
    }

    fn query_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.0.file.query_lock_range(start, end)
    }
}
