//! Reading a ledger that no node has open, without changing a byte of it.
//!
//! redb runs over an [`Overlay`]: a store whose writer was killed is repaired in memory, and
//! damage can't spread. No lock is held while reading, so a node can start at any time; redb then
//! writes over pages that are read here. That can make a sound ledger look damaged, never the
//! other way (every hash is checked), so errors ask whether a node has started and then say so.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
// tidy: allow(import) — the type of a file's time of change, which is compared and never read
use std::time::SystemTime;

use ::redb::{Builder, DatabaseError};

use super::contain::{contain, discard};
use super::head_file::{HeadFile, HeadFileFault};
use super::meta::StoreHead;
use super::overlay::{Overlay, Source};
use super::reader::{RedbReader, Shared, from_storage};
use super::tree::Rows;
use super::{
    Presence, STORE_FILE, check_head_file, open_database, precheck, presence, read_head_file,
    store_gone,
};
use crate::chain::Head;
use crate::ids::{LedgerId, Seq};
use crate::merkle::{TreeRoot, TreeSize};
use crate::store::tree::TreeRows;
use crate::store::{Blocks, LogReader, LogTree, Offline, OpenError, ReadError};

/// A ledger's files, opened for reading alone.
#[derive(Debug)]
pub struct OfflineReader {
    reader: RedbReader,
    source: Arc<dyn Source>,
    head_file: Result<HeadFile, HeadFileFault>,
    seen: Option<Seen>,
}

/// How the file looked when it was opened.
#[derive(Debug)]
struct Seen {
    path: PathBuf,
    file: Arc<File>,
    len: u64,
    modified: Option<SystemTime>,
}

impl OfflineReader {
    /// Opens the ledger in `dir` for reading. Does not fail over the head file; see
    /// [`OfflineReader::check_head`].
    ///
    /// # Errors
    /// [`OpenError::InUse`] while a node has it open, else as opening for writing.
    pub fn open(dir: &Path) -> Result<Self, OpenError> {
        match presence(dir)? {
            Presence::Whole => {}
            Presence::HeadAlone => return Err(store_gone(dir)),
            Presence::Nothing => return Err(OpenError::Missing(dir.to_owned())),
        }
        let path = dir.join(STORE_FILE);
        let io = |error| OpenError::Io {
            what: format!("opening {}", path.display()),
            error,
        };
        let file = Arc::new(File::open(&path).map_err(io)?);
        if is_locked(&file) {
            return Err(OpenError::InUse);
        }
        let meta = file.metadata().map_err(io)?;
        let seen = Seen {
            path: path.clone(),
            file: Arc::clone(&file),
            len: meta.len(),
            modified: meta.modified().ok(),
        };
        let opened = Self::over(file, read_head_file(dir));
        match opened {
            Ok(mut reader) => {
                reader.seen = Some(seen);
                Ok(reader)
            }
            Err(_) if seen.is_disturbed() => Err(OpenError::InUse),
            Err(error) => Err(error),
        }
    }

    pub(super) fn over(
        source: Arc<dyn Source>,
        head_file: Result<HeadFile, HeadFileFault>,
    ) -> Result<Self, OpenError> {
        precheck(source.as_ref())?;
        let overlay = Arc::clone(&source);
        let db = open_database(|| Overlay::new(overlay).map_err(DatabaseError::from))?;
        Ok(Self {
            reader: RedbReader::new(Arc::new(Shared::load(db)?)),
            source,
            head_file,
            seen: None,
        })
    }

    /// What the head file says.
    ///
    /// # Errors
    /// [`HeadFileFault`] if it is missing or damaged.
    pub fn head_file(&self) -> Result<HeadFile, HeadFileFault> {
        self.head_file.clone()
    }

    /// Whether the ledger reaches as far as it is known to.
    ///
    /// # Errors
    /// [`OpenError::Damaged`] if acknowledged events are missing, or the head file is.
    pub fn check_head(&self) -> Result<(), OpenError> {
        check_head_file(&self.reader, self.head_file.clone())
    }

    /// Bytes of all encoded events together.
    pub fn event_bytes(&self) -> u64 {
        self.reader.event_bytes()
    }

    /// The head, and the bytes of all events up to it.
    pub(in crate::store) fn sealed(&self) -> StoreHead {
        self.reader.sealed()
    }

    /// The tree over the events up to a head that is sealed.
    pub(in crate::store) fn tree_of(&self, upto: Head) -> Result<LogTree<'_>, ReadError> {
        self.reader.tree_of(upto).map_err(|e| self.explain(e))
    }

    /// Checks redb's own structures, which the chain does not cover: every page's checksum, and
    /// which pages are taken for free. Reads the whole file.
    ///
    /// # Errors
    /// [`ReadError::Damaged`] with what redb found.
    pub fn check_structure(&self) -> Result<(), ReadError> {
        check_structure(Arc::clone(&self.source)).map_err(|error| self.explain(error))
    }

    /// Whether the files are still those that were opened: call it after finding damage, or
    /// before relying on having found none.
    ///
    /// # Errors
    /// [`ReadError::Io`] if a node has opened the ledger since.
    pub fn check_undisturbed(&self) -> Result<(), ReadError> {
        match &self.seen {
            Some(seen) if seen.is_disturbed() => Err(disturbed()),
            _ => Ok(()),
        }
    }

    /// An error, or that a node is the reason for it.
    fn explain(&self, error: ReadError) -> ReadError {
        self.check_undisturbed().err().unwrap_or(error)
    }
}

/// redb's own check of a file that nobody writes meanwhile, made in memory.
fn check_structure(source: Arc<dyn Source>) -> Result<(), ReadError> {
    let overlay = Overlay::new(source).map_err(ReadError::Io)?;
    let check = || -> Result<bool, DatabaseError> {
        let mut db = Builder::new()
            .set_cache_size(super::CACHE_BYTES)
            .create_with_backend(overlay)?;
        let sound = db.check_integrity();
        discard(db);
        sound
    };
    Err(match contain(check) {
        Ok(Ok(true)) => return Ok(()),
        Ok(Ok(false)) => {
            ReadError::Damaged("pages are wrong, or taken for free while they are in use".into())
        }
        Ok(Err(DatabaseError::Storage(error))) => from_storage(error),
        Ok(Err(error)) => ReadError::Damaged(error.to_string()),
        Err(panic) => ReadError::Damaged(panic),
    })
}

/// What whoever has a store open for writing can have checked, as long as nothing is written.
#[derive(Debug)]
pub(in crate::store) struct Unchecked(Arc<File>);

impl Unchecked {
    /// The store in `dir`.
    ///
    /// # Errors
    /// The system's.
    pub(in crate::store) fn of(dir: &Path) -> io::Result<Self> {
        Ok(Self(Arc::new(File::open(dir.join(STORE_FILE))?)))
    }

    /// As [`OfflineReader::check_structure`]: reads the whole file.
    ///
    /// # Errors
    /// The same.
    pub(in crate::store) fn check(self) -> Result<(), ReadError> {
        check_structure(self.0)
    }
}

impl LogReader for OfflineReader {
    fn ledger_id(&self) -> LedgerId {
        self.reader.ledger_id()
    }

    fn head(&self) -> Result<Head, ReadError> {
        self.reader.head()
    }

    fn blocks(&self, from: Seq) -> Result<Blocks<'_>, ReadError> {
        let blocks = self.reader.blocks(from).map_err(|e| self.explain(e))?;
        Ok(Box::new(
            blocks.map(|block| block.map_err(|e| self.explain(e))),
        ))
    }

    fn tree(&self) -> Result<LogTree<'_>, ReadError> {
        self.reader.tree().map_err(|e| self.explain(e))
    }
}

impl Offline for OfflineReader {
    fn head_file(&self) -> Result<HeadFile, HeadFileFault> {
        Self::head_file(self)
    }

    fn end(&self) -> Result<Head, ReadError> {
        self.head()
    }

    fn event_bytes(&self) -> u64 {
        Self::event_bytes(self)
    }

    fn stored_tree(&self) -> Option<TreeRoot> {
        let extent = self.reader.shared.extent();
        Some(TreeRoot {
            size: TreeSize::of(extent.head.head.seq),
            hash: extent.root?,
        })
    }

    fn tree_row(&self, level: u8, index: u64) -> Result<Option<Vec<u8>>, ReadError> {
        let row = Rows(&self.reader.shared).row(level, index);
        row.map_err(|e| self.explain(e))
    }

    fn check_structure(&self) -> Result<(), ReadError> {
        Self::check_structure(self)
    }

    fn check_undisturbed(&self) -> Result<(), ReadError> {
        Self::check_undisturbed(self)
    }
}

impl Seen {
    fn is_disturbed(&self) -> bool {
        let now = std::fs::metadata(&self.path);
        is_locked(&self.file)
            || now.map_or(true, |now| {
                now.len() != self.len || now.modified().ok() != self.modified
            })
    }
}

fn disturbed() -> ReadError {
    ReadError::Io(io::Error::other(
        "a node opened the ledger while it was being read; read it through the node",
    ))
}

/// Whether somebody has the file open for writing. redb holds an exclusive lock on the whole file
/// then; the shared lock taken here to ask is given back at once.
fn is_locked(file: &File) -> bool {
    match file.try_lock_shared() {
        Ok(()) => {
            // A lock that can't be given back ends with the descriptor.
            let _ = file.unlock();
            false
        }
        Err(std::fs::TryLockError::WouldBlock) => true,
        // A file system without locks: nobody can hold one.
        Err(std::fs::TryLockError::Error(_)) => false,
    }
}
