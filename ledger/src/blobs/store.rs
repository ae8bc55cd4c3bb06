//! Storing blobs: uploads, and the leases that keep them from being collected.
//!
//! There is one store for a data directory, in the process that holds the directory's lock.

use std::collections::{HashMap, HashSet};
use std::io;
use std::ops::Deref;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::disk::{Disk, Files, Folder, Made, NewFile};
use super::read::{BlobDir, place};
use super::reference::{BlobRef, MediaType};
use super::{BlobError, named::Named};
use crate::hash::Hash;
use crate::time::Timestamp;

/// How much may be stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Longest blob.
    pub bytes: u64,
    /// Bytes of all unfinished uploads together.
    pub in_flight: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            bytes: 1 << 30,
            in_flight: 4 << 30,
        }
    }
}

/// The blobs of a data directory, for writing; clones are the same store.
#[derive(Debug, Clone)]
pub struct BlobStore(pub(super) Arc<Shared>);

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) dir: BlobDir,
    limits: Limits,
    in_flight: AtomicU64,
    next_upload: AtomicU64,
    state: Mutex<State>,
    /// What the log names, as far as collections have read it; held while one runs.
    pub(super) named: Mutex<Named>,
}

#[derive(Debug, Default)]
pub(super) struct State {
    leases: HashMap<Hash, usize>,
    /// What was leased at any time since the collection that runs has begun.
    pub(super) spared: Option<HashSet<Hash>>,
    /// Directories whose names were made durable by this store.
    durable: HashSet<Durable>,
    /// Why nothing may be stored or named any more.
    failed: Option<String>,
}

/// What is known to be durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Durable {
    /// The directories above the shelves, with the shelves that were there.
    Top,
    /// A shelf's own name.
    Shelf(u8),
    /// The names on a shelf that were there when this store began.
    Names(u8),
}

impl BlobStore {
    /// The blobs below the data directory `dir`. What unfinished uploads have left is removed. The
    /// caller holds the directory's lock.
    ///
    /// # Errors
    /// [`BlobError::Io`].
    pub fn open(dir: &Path, limits: Limits) -> Result<Self, BlobError> {
        let files = Files::open(dir).map_err(BlobError::io("opening the data directory"))?;
        Self::over(Arc::new(files), limits)
    }

    pub(super) fn over(disk: Arc<dyn Disk>, limits: Limits) -> Result<Self, BlobError> {
        let left = disk
            .list(Folder::Incoming)
            .map_err(BlobError::io("looking for unfinished uploads"))?;
        for name in left {
            // One that stays costs room and nothing else.
            let _ = disk.remove(Folder::Incoming, &name);
        }
        Ok(Self(Arc::new(Shared {
            dir: BlobDir::over(disk),
            limits,
            in_flight: AtomicU64::new(0),
            next_upload: AtomicU64::new(0),
            state: Mutex::default(),
            named: Mutex::default(),
        })))
    }

    /// How much may be stored.
    pub fn limits(&self) -> Limits {
        self.0.limits
    }

    /// Begins an upload.
    ///
    /// # Errors
    /// [`BlobError`]; nothing was stored.
    pub fn begin(&self) -> Result<Upload, BlobError> {
        let shared = Arc::clone(&self.0);
        shared.prepare()?;
        let number = shared.next_upload.fetch_add(1, Ordering::Relaxed);
        let name = format!("{number:016x}");
        let disk = &shared.dir.disk;
        // Of an earlier life, if it could not be removed then.
        let create = || match disk.create(Folder::Incoming, &name) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                disk.remove(Folder::Incoming, &name)?;
                disk.create(Folder::Incoming, &name)
            }
            created => created,
        };
        let file = create().map_err(BlobError::io("beginning an upload"))?;
        Ok(Upload {
            file,
            name,
            hasher: blake3::Hasher::new(),
            len: 0,
            shared,
        })
    }

    /// Stores bytes that are in memory.
    ///
    /// # Errors
    /// [`BlobError`]; nothing was stored.
    pub fn put(&self, bytes: &[u8], media_type: MediaType) -> Result<Stored, BlobError> {
        let mut upload = self.begin()?;
        upload.write(bytes)?;
        upload.finish(media_type)
    }

    /// Takes a lease on a blob that somebody wants to name: it is there, has the size that is said,
    /// and is durable. Its bytes are not read.
    ///
    /// # Errors
    /// [`BlobError::Missing`], [`BlobError::Size`], [`BlobError::Io`].
    pub fn lease(&self, wanted: &BlobRef, now: Timestamp) -> Result<Lease, BlobError> {
        let lease = self.0.lease(wanted.blake3)?;
        let file = self.0.dir.file(wanted.blake3)?;
        let found = file.len().map_err(BlobError::io("reading a blob"))?;
        if found != wanted.bytes {
            return Err(BlobError::Size {
                digest: wanted.blake3,
                named: wanted.bytes,
                found,
            });
        }
        self.0.prepare()?;
        // Whoever put it there may have ended before its name was on disk.
        let shelf = wanted.blake3.0[0];
        self.0.once(Durable::Names(shelf), |disk| {
            disk.sync(Folder::Shelf(shelf))
        })?;
        // Its file is as old as the wish for it: a collection that begins when the lease has ended
        // and the event is not there yet finds it young.
        file.touch(now).map_err(BlobError::io("touching a blob"))?;
        Ok(lease)
    }
}

impl Deref for BlobStore {
    type Target = BlobDir;
    fn deref(&self) -> &BlobDir {
        &self.0.dir
    }
}

impl Shared {
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        // Every change is made whole under the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lease(self: &Arc<Self>, digest: Hash) -> Result<Lease, BlobError> {
        let mut state = self.state();
        if let Some(failed) = &state.failed {
            return Err(BlobError::Failed(failed.clone()));
        }
        *state.leases.entry(digest).or_default() += 1;
        if let Some(spared) = &mut state.spared {
            spared.insert(digest);
        }
        drop(state);
        Ok(Lease {
            shared: Arc::clone(self),
            digest,
        })
    }

    /// Sees to it that the directories above the shelves are there, durably.
    fn prepare(&self) -> Result<(), BlobError> {
        self.once(Durable::Top, |disk| {
            disk.make(Folder::Top)?;
            disk.make(Folder::Incoming)?;
            disk.sync(Folder::Data)?;
            disk.sync(Folder::Top)
        })
    }

    /// Makes something durable unless it is known to be. After a failure nothing is known.
    fn once(
        &self,
        what: Durable,
        make: impl FnOnce(&dyn Disk) -> io::Result<()>,
    ) -> Result<(), BlobError> {
        let mut state = self.state();
        if let Some(failed) = &state.failed {
            return Err(BlobError::Failed(failed.clone()));
        }
        if state.durable.contains(&what) {
            return Ok(());
        }
        match make(self.dir.disk.as_ref()) {
            Ok(()) => {
                state.durable.insert(what);
                Ok(())
            }
            Err(error) => {
                let error = BlobError::io("making a directory of blobs")(error);
                // For want of room nothing was left half done that another try would not do.
                if !matches!(error, BlobError::Full(_)) {
                    state.failed = Some(error.to_string());
                }
                Err(error)
            }
        }
    }

    fn fail(&self, what: &'static str, error: io::Error) -> BlobError {
        self.state().failed.get_or_insert_with(|| error.to_string());
        BlobError::io(what)(error)
    }

    /// Takes part of what may be in flight.
    fn reserve(&self, bytes: u64) -> Result<(), BlobError> {
        let limit = self.limits.in_flight;
        let fits = |taken: u64| taken.checked_add(bytes).filter(|sum| *sum <= limit);
        self.in_flight
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits)
            .map(drop)
            .map_err(|_| BlobError::Busy { limit })
    }
}

impl State {
    pub(super) fn is_leased(&self, digest: Hash) -> bool {
        self.leases.contains_key(&digest)
    }

    pub(super) fn leased(&self) -> HashSet<Hash> {
        self.leases.keys().copied().collect()
    }
}

/// Keeps a blob that is durably there from being collected, until it is dropped. To be held until
/// the event that names the blob is durable, or known never to be.
#[derive(Debug)]
pub struct Lease {
    shared: Arc<Shared>,
    digest: Hash,
}

impl Drop for Lease {
    fn drop(&mut self) {
        let mut state = self.shared.state();
        if let Some(count) = state.leases.get_mut(&self.digest) {
            *count -= 1;
            if *count == 0 {
                state.leases.remove(&self.digest);
            }
        }
    }
}

/// A blob that is durably there.
#[derive(Debug)]
pub struct Stored {
    /// How to name it.
    pub reference: BlobRef,
    /// Keeps it.
    pub lease: Lease,
}

/// A blob that is being written. Dropped before its end, it leaves nothing.
#[derive(Debug)]
pub struct Upload {
    shared: Arc<Shared>,
    file: Box<dyn NewFile>,
    name: String,
    hasher: blake3::Hasher,
    len: u64,
}

impl Upload {
    /// Adds bytes at its end.
    ///
    /// # Errors
    /// [`BlobError`]; the upload is of no more use then.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), BlobError> {
        let limit = self.shared.limits.bytes;
        let more = bytes.len() as u64;
        if more > limit.saturating_sub(self.len) {
            return Err(BlobError::TooLarge { limit });
        }
        self.shared.reserve(more)?;
        self.len += more;
        self.hasher.update(bytes);
        self.file
            .write(bytes)
            .map_err(BlobError::io("writing a blob"))
    }

    /// How much was written.
    pub fn bytes(&self) -> u64 {
        self.len
    }

    /// Puts the blob in its place. When this returns, it is on disk.
    ///
    /// # Errors
    /// [`BlobError`]; if there is something under the blob's name, it is whole.
    pub fn finish(mut self, media_type: MediaType) -> Result<Stored, BlobError> {
        let digest = Hash(*self.hasher.finalize().as_bytes());
        let syncing = "syncing a blob";
        // One that fails was never named; the kernel forgets it with the file.
        self.file.sync().map_err(BlobError::io(syncing))?;
        let (shelf, name) = place(digest);
        let byte = digest.0[0];
        self.shared
            .once(Durable::Shelf(byte), |disk| match disk.make(shelf)? {
                Made::New => disk.sync(Folder::Top),
                Made::There => Ok(()),
            })?;
        // Before it has its name: a collection that finds the name finds the lease.
        let lease = self.shared.lease(digest)?;
        let disk = &self.shared.dir.disk;
        disk.rename((Folder::Incoming, &self.name), (shelf, &name))
            .map_err(BlobError::io("naming a blob"))?;
        if let Err(error) = disk.sync(shelf) {
            return Err(self.shared.fail(syncing, error));
        }
        self.shared.state().durable.insert(Durable::Names(byte));
        let reference = BlobRef {
            blake3: digest,
            bytes: self.len,
            media_type,
        };
        Ok(Stored { reference, lease })
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        // Once it has its name there is nothing to remove.
        let _ = self.shared.dir.disk.remove(Folder::Incoming, &self.name);
        self.shared.in_flight.fetch_sub(self.len, Ordering::Relaxed);
    }
}
