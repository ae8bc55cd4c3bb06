//! The durable store: blocks in redb, and beside it a small file that says how far they reach.
//!
//! ```text
//! DIR/ledger.redb   tables `meta`, `blocks` and `tree` (see `meta.rs` and FORMAT.md)
//! DIR/head          lower bound of the head (`head_file.rs`)
//! ```
//!
//! - One writer: redb locks its file. An append is one transaction with one sync.
//! - A store is made whole or not at all, and never silently: [`RedbStore::open`] does not create.
//! - What is opened is checked: the layout, the last block against the head, the head against the
//!   head file. A file that redb would not survive is an error, never a panic (`contain.rs`), and
//!   what is refused is not changed by a byte (`backend.rs`).
//! - After a failed append nothing more is written (`backend.rs`).
//! - Looking at a store without a writer changes no byte of it ([`OfflineReader`]).

mod backend;
mod contain;
mod file;
mod head_file;
mod meta;
mod offline;
mod overlay;
mod reader;
mod tree;
mod writer;

#[cfg(any(test, feature = "sim"))]
pub(super) mod sim;
#[cfg(test)]
mod tests;

pub use head_file::{HEAD_FILE, HEAD_FILE_LEN, HeadFile, HeadFileFault};
pub(in crate::store) use meta::StoreHead;
pub use meta::{LAYOUT, Layout};
pub use offline::OfflineReader;
pub(in crate::store) use offline::Unchecked;
pub(in crate::store) use overlay::Source;
pub use reader::RedbReader;
pub(in crate::store) use writer::NewLeaves;

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ::redb::{Builder, Database, DatabaseError, StorageBackend, StorageError};

use self::backend::{HEADER_LEN, WriterFile};
use self::contain::contain;
use self::file::StoreFile;
use self::reader::Shared;
use self::writer::{Blocks, Change, Failure, Repair, Writer};
use super::block::BlockPlan;
use super::memory::admit;
use super::{AppendError, LogReader, LogWriter, OpenError, pack};
use crate::chain::{Batch, ChainKey, Head};
use crate::ids::LedgerId;
use crate::merkle::{TreeWriter, leaf_hashes};

/// Name of redb's file in the data directory.
pub const STORE_FILE: &str = "ledger.redb";

const STORE_NEW: &str = "ledger.redb.new";
const HEAD_NEW: &str = "head.new";

/// Cache of an open store. Blocks are read once, in order; this is for the tree above them.
const CACHE_BYTES: usize = 32 * 1024 * 1024;

/// A reader that looks whether anybody writes holds redb's lock for a moment.
const LOCK_RETRIES: u32 = 20;
const LOCK_PAUSE: Duration = Duration::from_millis(10);

/// A ledger in a directory, open for writing.
///
/// Dropping it closes it, as [`RedbStore::close`] does without telling whether that succeeded.
#[derive(Debug)]
pub struct RedbStore {
    writer: Writer,
}

impl RedbStore {
    /// Makes a ledger in `dir`, which must exist, with its first events. The caller holds the
    /// directory's lock; after a crash in here there is a whole ledger or none.
    ///
    /// # Errors
    /// [`OpenError::Exists`] if there is one, [`OpenError::Io`] if the file system refuses or the
    /// batch is not a first one of this ledger, [`OpenError::Gone`] if `dir` holds the head file of
    /// a ledger whose store is gone.
    pub fn create(dir: &Path, ledger_id: LedgerId, genesis: &Batch) -> Result<Self, OpenError> {
        let io = |what: &str| {
            let what = format!("making a ledger in {}: {what}", dir.display());
            move |error| OpenError::Io { what, error }
        };
        check_vacant(dir)?;
        check_genesis(ledger_id, genesis).map_err(io("its first events"))?;
        // The new store goes last: while it is there, a head file alone is known for a leftover.
        for leftover in [HEAD_FILE, HEAD_NEW, STORE_NEW] {
            match fs::remove_file(dir.join(leftover)) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => {
                    return Err(io("removing what an interrupted attempt left")(e));
                }
                _ => {}
            }
        }
        let store = dir.join(STORE_NEW);
        write_store(&store, ledger_id, genesis).map_err(io("its store"))?;
        let head = HeadFile {
            ledger_id,
            seq: genesis.head().seq,
            hash: genesis.head().hash,
        };
        let new_head = dir.join(HEAD_NEW);
        let publish = || -> io::Result<()> {
            let file = new_file(&new_head)?;
            head.write(&file)?;
            file.sync_all()?;
            sync_dir(dir)?;
            // The store comes last: with it the ledger exists, and then its head file does too.
            fs::rename(&new_head, dir.join(HEAD_FILE))?;
            sync_dir(dir)?;
            fs::rename(&store, dir.join(STORE_FILE))?;
            sync_dir(dir)
        };
        publish().map_err(io("its files"))?;
        Self::open(dir)
    }

    /// Opens the ledger in `dir` for writing.
    ///
    /// A store that was closed is not read as a whole: which pages are free is taken from redb's
    /// own record. [`OfflineReader::check_structure`] checks that record, where there is time.
    ///
    /// # Errors
    /// [`OpenError`]; [`OpenError::Damaged`] also if events that were acknowledged are missing.
    pub fn open(dir: &Path) -> Result<Self, OpenError> {
        let check = |reader: &RedbReader| check_head_file(reader, read_head_file(dir));
        let head_file = || open_head_file(dir).map(Some);
        Self::open_checked(dir, check, head_file).map(|(store, ())| store)
    }

    /// Opens the sealed part of a ledger whose end is kept elsewhere: `check` says whether it is
    /// accepted, and this store does not touch the head file.
    pub(super) fn open_sealed<T>(
        dir: &Path,
        check: impl FnOnce(&RedbReader) -> Result<T, OpenError>,
    ) -> Result<(Self, T), OpenError> {
        Self::open_checked(dir, check, || Ok(None))
    }

    fn open_checked<T>(
        dir: &Path,
        check: impl FnOnce(&RedbReader) -> Result<T, OpenError>,
        head_file: impl FnOnce() -> Result<Option<File>, OpenError>,
    ) -> Result<(Self, T), OpenError> {
        match presence(dir)? {
            Presence::Whole => {}
            Presence::HeadAlone => return Err(store_gone(dir)),
            Presence::Nothing => return Err(OpenError::Missing(dir.to_owned())),
        }
        let path = dir.join(STORE_FILE);
        let mut retries = 0;
        let (db, file) = loop {
            match open_for_writing(&path) {
                Err(OpenError::InUse) if retries < LOCK_RETRIES => {
                    retries += 1;
                    std::thread::sleep(LOCK_PAUSE);
                }
                other => break other?,
            }
        };
        Self::assemble(db, &file, check, head_file)
    }

    /// A store over a database that is open on trial: accepted once everything agrees.
    fn assemble<B: StorageBackend, T>(
        db: Database,
        file: &WriterFile<B>,
        check: impl FnOnce(&RedbReader) -> Result<T, OpenError>,
        head_file: impl FnOnce() -> Result<Option<File>, OpenError>,
    ) -> Result<(Self, T), OpenError> {
        let shared = Arc::new(Shared::load(db)?);
        let reader = RedbReader::new(Arc::clone(&shared));
        let checked = check(&reader)?;
        let mut tail = None;
        for block in reader
            .blocks(shared.head().head.seq)
            .map_err(OpenError::from)?
        {
            tail = Some(block.map_err(OpenError::from)?);
        }
        if let Some(tail) = &tail {
            tail.check(&ChainKey::new(shared.ledger_id))
                .map_err(|e| OpenError::Damaged(e.to_string()))?;
        }
        let tree = tree::resume(&reader).map_err(OpenError::from)?;
        let head_file = head_file()?;
        file.accept().map_err(|error| OpenError::Io {
            what: format!("repairing {STORE_FILE}"),
            error,
        })?;
        shared.accept();
        let tree = match tree {
            Some(tree) => tree,
            None => plant(&reader)?,
        };
        let writer = Writer::new(shared, head_file, tail, tree);
        Ok((Self { writer }, checked))
    }

    /// Adds whole blocks, which follow the last one, with the leaves of their events, in one
    /// transaction that a crash makes no work of: the sealed part of a ledger that has a journal.
    pub(super) fn seal(
        &mut self,
        blocks: &[BlockPlan<'_>],
        leaves: NewLeaves<'_>,
        head: StoreHead,
    ) -> Result<(), AppendError> {
        self.writer.seal(blocks, leaves, head)
    }

    /// The head, and the bytes of all events up to it.
    pub(super) fn sealed(&self) -> StoreHead {
        self.writer.shared.head()
    }

    /// Nothing more is written, not even when it is closed: what it says of its pages is wrong.
    pub(super) fn abandon(&mut self) {
        self.writer.shared.distrust();
    }

    /// A reader of this store; it may outlive it, and then returns errors.
    pub fn reader(&self) -> RedbReader {
        RedbReader::new(Arc::clone(&self.writer.shared))
    }

    /// Closes the store: the head file is synced and redb records a clean end. Readers that are
    /// left return errors from then on.
    ///
    /// # Errors
    /// If the head file could not be written; every append is durable nonetheless.
    pub fn close(mut self) -> io::Result<()> {
        self.writer.close()
    }
}

impl Drop for RedbStore {
    fn drop(&mut self) {
        let _ = self.writer.close();
    }
}

impl LogWriter for RedbStore {
    fn ledger_id(&self) -> LedgerId {
        writer::ledger_id(&self.writer)
    }

    fn head(&self) -> Head {
        self.writer.head()
    }

    fn append(&mut self, batch: &Batch) -> Result<Head, AppendError> {
        self.writer.append(batch)
    }
}

/// What of a ledger is in a directory.
enum Presence {
    Nothing,
    /// A head file whose store is gone: not what an interrupted creation leaves.
    HeadAlone,
    Whole,
}

fn presence(dir: &Path) -> Result<Presence, OpenError> {
    let there = |name: &str| -> Result<bool, OpenError> {
        let path = dir.join(name);
        match fs::symlink_metadata(&path) {
            Ok(meta) if meta.is_file() => Ok(true),
            Ok(_) => Err(OpenError::Damaged(format!(
                "{} is not a regular file",
                path.display()
            ))),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(OpenError::Io {
                what: format!("looking at {}", path.display()),
                error,
            }),
        }
    };
    Ok(match (there(STORE_FILE)?, there(HEAD_FILE)?) {
        (true, _) => Presence::Whole,
        (false, true) if !there(STORE_NEW)? => Presence::HeadAlone,
        (false, _) => Presence::Nothing,
    })
}

/// Whether a ledger can be made in `dir`: there is none, nor one whose store is gone.
pub(super) fn check_vacant(dir: &Path) -> Result<(), OpenError> {
    match presence(dir)? {
        Presence::Whole => Err(OpenError::Exists(dir.to_owned())),
        Presence::HeadAlone => Err(store_gone(dir)),
        Presence::Nothing => Ok(()),
    }
}

fn store_gone(dir: &Path) -> OpenError {
    OpenError::Gone {
        dir: dir.to_owned(),
        left: "its head file",
    }
}

fn check_genesis(ledger_id: LedgerId, genesis: &Batch) -> io::Result<()> {
    admit(ChainKey::new(ledger_id), Head::EMPTY, genesis).map_err(io::Error::other)?;
    if genesis.is_empty() {
        return Err(io::Error::other("a ledger begins with an event"));
    }
    Ok(())
}

/// Writes a whole new store into a new file and syncs it.
fn write_store(path: &Path, ledger_id: LedgerId, genesis: &Batch) -> io::Result<()> {
    let file = new_file(path)?;
    let synced = file.try_clone()?;
    let open = || StoreFile::over(file, path).map(WriterFile::direct);
    let db = open_database(open).map_err(io::Error::other)?;
    initialize(&db, ledger_id, genesis).map_err(|Failure(e)| e)?;
    drop(db);
    synced.sync_all()
}

/// Gives a store of an older layout its tree: reads all of it.
fn plant(reader: &RedbReader) -> Result<TreeWriter, OpenError> {
    let (mut tree, rows) = tree::build(reader).map_err(OpenError::from)?;
    let planted = Writer::plant(&reader.shared, &mut tree, rows);
    planted.map_err(|error| OpenError::Io {
        what: "making the Merkle tree of a ledger that has none yet".into(),
        error,
    })?;
    Ok(tree)
}

/// Writes a new store's tables in one transaction.
fn initialize(db: &Database, ledger_id: LedgerId, genesis: &Batch) -> Result<(), Failure> {
    let mut tree = TreeWriter::new();
    let mut leaves = Vec::new();
    leaf_hashes(genesis.events().map(|(bytes, _)| bytes), &mut leaves);
    let change = Change {
        ledger: Some(ledger_id),
        rows: tree.append(&leaves),
        blocks: Blocks::Made(&pack(genesis, None)),
        head: StoreHead {
            head: genesis.head(),
            event_bytes: genesis.byte_len() as u64,
        },
    };
    writer::write(db, change, &mut tree, Repair::Full).map(drop)
}

fn new_file(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
}

fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// Refuses what redb would take for a new database or not for one at all.
fn precheck(source: &dyn Source) -> Result<(), OpenError> {
    let io = |error| OpenError::Io {
        what: format!("reading {STORE_FILE}"),
        error,
    };
    if source.len().map_err(io)? == 0 {
        return Err(OpenError::Damaged(format!("{STORE_FILE} is empty")));
    }
    let mut header = [0; HEADER_LEN];
    let whole = match source.read(0, &mut header) {
        Ok(()) => true,
        Err(error) if is_short(&error) => false,
        Err(error) => return Err(io(error)),
    };
    if !whole || !header.starts_with(b"redb\x1A\x0A\xA9\x0D\x0A") {
        return Err(OpenError::Damaged(format!(
            "{STORE_FILE} is not a redb file, or its beginning is damaged"
        )));
    }
    Ok(())
}

/// Opens redb's file for writing, on trial.
fn open_for_writing(path: &Path) -> Result<(Database, WriterFile<StoreFile>), OpenError> {
    let file = open_existing(path)?;
    let io = |error| OpenError::Io {
        what: format!("opening {STORE_FILE}"),
        error,
    };
    let source = Arc::new(file.try_clone().map_err(io)?);
    precheck(source.as_ref())?;
    let file = StoreFile::over(file, path)
        .map_err(io::Error::other)
        .and_then(|file| WriterFile::on_trial(file, source))
        .map_err(io)?;
    let db = open_database(|| Ok(file.clone()))?;
    Ok((db, file))
}

/// Opens redb over a backend; its errors and panics become ours.
fn open_database<B: StorageBackend>(
    backend: impl FnOnce() -> Result<B, DatabaseError>,
) -> Result<Database, OpenError> {
    let open = || {
        Builder::new()
            .set_cache_size(CACHE_BYTES)
            .create_with_backend(backend()?)
    };
    match contain(open) {
        Ok(Ok(db)) => Ok(db),
        Ok(Err(DatabaseError::DatabaseAlreadyOpen)) => Err(OpenError::InUse),
        Ok(Err(DatabaseError::Storage(StorageError::Io(error)))) if !is_short(&error) => {
            Err(OpenError::Io {
                what: format!("opening {STORE_FILE}"),
                error,
            })
        }
        Ok(Err(error)) => Err(OpenError::Damaged(format!("{STORE_FILE}: {error}"))),
        Err(panic) => Err(OpenError::Damaged(format!("{STORE_FILE}: {panic}"))),
    }
}

/// Whether a file ended before what it says it holds.
fn is_short(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::UnexpectedEof
}

fn open_existing(path: &Path) -> Result<File, OpenError> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .open(path)
        .map_err(|error| OpenError::Io {
            what: format!("opening {}", path.display()),
            error,
        })
}

/// Opens the head file for writing.
pub(super) fn open_head_file(dir: &Path) -> Result<File, OpenError> {
    open_existing(&dir.join(HEAD_FILE))
}

pub(crate) fn read_head_file(dir: &Path) -> Result<HeadFile, HeadFileFault> {
    let path = dir.join(HEAD_FILE);
    let unreadable = |e: io::Error| match e.kind() {
        io::ErrorKind::NotFound => HeadFileFault::Missing,
        _ => HeadFileFault::Unreadable(e.to_string()),
    };
    let len = fs::symlink_metadata(&path).map_err(unreadable)?.len();
    match usize::try_from(len) {
        Ok(HEAD_FILE_LEN) => HeadFile::decode(&fs::read(&path).map_err(unreadable)?),
        len => Err(HeadFileFault::Length(len.unwrap_or(usize::MAX))),
    }
}

/// Holds a store against its head file: it must reach it, with the same hash there.
pub(super) fn check_head_file(
    reader: &dyn LogReader,
    said: Result<HeadFile, HeadFileFault>,
) -> Result<(), OpenError> {
    let said = said.map_err(|fault| {
        OpenError::Damaged(format!(
            "{fault}; it says how far the ledger is known to reach, so nobody can tell whether \
             events are missing at its end"
        ))
    })?;
    if said.ledger_id != reader.ledger_id() {
        return Err(OpenError::Damaged(format!(
            "the file `{HEAD_FILE}` is of ledger {}, {STORE_FILE} of ledger {}",
            said.ledger_id,
            reader.ledger_id()
        )));
    }
    let head = reader.head().map_err(OpenError::from)?;
    if said.seq > head.seq {
        return Err(OpenError::Damaged(format!(
            "acknowledged events are missing: the ledger ends at seq {}, and seq {} was \
             acknowledged",
            head.seq, said.seq
        )));
    }
    let mut blocks = reader.blocks(said.seq).map_err(OpenError::from)?;
    let block = blocks.next().transpose().map_err(OpenError::from)?;
    let found = block.and_then(|block| block.hash_at(&ChainKey::new(said.ledger_id), said.seq));
    if found != Some(said.hash) {
        return Err(OpenError::Damaged(format!(
            "the event at seq {} is not the one that was acknowledged (hash {}, found {})",
            said.seq,
            said.hash.short(),
            found.map_or_else(|| "none".to_owned(), |hash| hash.short()),
        )));
    }
    Ok(())
}
