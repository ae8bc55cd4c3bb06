//! The durable store: a journal that makes appends durable, and redb, where the ledger lives.
//!
//! ```text
//! append ──> journal: one write, one sync ──> acknowledged
//!                └──> tail in memory ──sealer──> redb: full blocks, the head they lead to
//! DIR/journal/*.segment    events not sealed yet (`crate::store::journal`)
//! DIR/ledger.redb          everything before them (`crate::store::redb`)
//! DIR/head                 lower bound of what was acknowledged
//! ```
//! - What is acknowledged is in the journal, synced, or sealed in redb, synced. A segment is used
//!   again only after what it holds is sealed.
//! - The tail in memory is what the journal holds behind the sealed events; it is bounded, and an
//!   append waits for the sealer when the bound is reached.
//! - The chain is checked across the seam whenever the store is opened, and the end of the journal
//!   is held against the head file: a journal that ends too early is damage, not an end.
//! - Blocks are sealed full; what doesn't fill one stays in the journal, also when the store is
//!   closed.
//! - After a failed append nothing more is written.

mod leaves;
mod offline;
mod reader;
mod sealer;
mod tail;

#[cfg(test)]
mod damage_tests;
#[cfg(any(test, feature = "sim"))]
pub(in crate::store) mod sim;
#[cfg(test)]
mod tests;

pub use offline::OfflineReader;
pub use reader::DurableReader;

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use self::sealer::{Sealer, Sealing};
use self::tail::Tail;
use super::journal::{
    Access, Files, Journal, Recovered, SEGMENT_BYTES, SegmentDir, SegmentFile, recover,
};
use super::memory::admit;
use super::redb::{
    self, HeadFile, HeadFileFault, RedbReader, RedbStore, Unchecked, check_head_file,
    open_head_file, read_head_file,
};
use super::{AppendError, LogReader, LogWriter, OpenError};
use crate::chain::{Batch, ChainKey, Head};
use crate::ids::{LedgerId, Seq};

/// Name of the journal's directory in the data directory.
pub const JOURNAL_DIR: &str = "journal";

/// How much is kept where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// Length of a journal segment in bytes.
    pub segment_bytes: u64,
    /// Bytes of events behind the sealed ones from which on they are sealed.
    pub seal_bytes: usize,
    /// Largest sealed block in bytes.
    pub block_cap: usize,
    /// Bytes of events that may be unsealed; an append that finds more waits for the sealer.
    pub lag_bytes: usize,
    /// Who seals.
    pub sealing: SealIn,
    /// Whether redb's own record of its pages is believed.
    pub structure: Structure,
}

/// Whether redb's own record of its pages is believed. A writer goes by which of them it says are free:
/// were that wrong, sealing would overwrite events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Structure {
    /// It is: for a store that was just made, or was checked.
    Trusted,
    /// Not before it was checked: nothing is sealed until then. That reads all of the store, a third of a
    /// second for a million events, while the journal takes appends up to [`Settings::lag_bytes`]. It begins
    /// with the first append, or with closing: who opens a store folds it before that, with all processors.
    CheckedFirst,
}

/// Where sealing happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SealIn {
    /// In a thread beside the one that appends.
    Background,
    /// In the append that finds enough to seal: for tests and simulation, where the same calls must
    /// lead to the same operations of the disk.
    Foreground,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            segment_bytes: SEGMENT_BYTES,
            seal_bytes: 1024 * 1024,
            block_cap: super::BLOCK_CAP,
            lag_bytes: 4 * 1024 * 1024,
            sealing: SealIn::Background,
            structure: Structure::Trusted,
        }
    }
}

/// A ledger in a directory, open for writing.
///
/// Dropping it closes it, as [`DurableStore::close`] does without telling whether that succeeded.
#[derive(Debug)]
pub struct DurableStore {
    key: ChainKey,
    ledger_id: LedgerId,
    journal: Journal,
    tail: Arc<Tail>,
    reader: RedbReader,
    head_file: Box<dyn SegmentFile>,
    sealer: Option<Sealer>,
    /// What is still to be checked before anything is sealed.
    unchecked: Mutex<Option<Unchecked>>,
}

impl DurableStore {
    /// Makes a ledger in `dir`, which must exist, with its first events. The caller holds the
    /// directory's lock; after a crash in here there is a whole ledger or none.
    ///
    /// # Errors
    /// As [`RedbStore::create`]; [`OpenError::Gone`] also if there is the journal of a ledger.
    pub fn create(dir: &Path, ledger_id: LedgerId, genesis: &Batch) -> Result<Self, OpenError> {
        check_vacant(dir)?;
        RedbStore::create(dir, ledger_id, genesis)?
            .close()
            .map_err(|error| OpenError::Io {
                what: "making a ledger".into(),
                error,
            })?;
        Self::open(dir)
    }

    /// Opens the ledger in `dir` for writing.
    ///
    /// # Errors
    /// [`OpenError`]; [`OpenError::Damaged`] also if events that were acknowledged are missing.
    pub fn open(dir: &Path) -> Result<Self, OpenError> {
        Self::open_with(dir, Settings::default())
    }

    /// [`DurableStore::open`] with other sizes.
    ///
    /// # Errors
    /// The same.
    pub fn open_with(dir: &Path, settings: Settings) -> Result<Self, OpenError> {
        let journal_dir = dir.join(JOURNAL_DIR);
        let look = open_journal(dir)?;
        let said = read_head_file(dir);
        let (redb, recovered) =
            RedbStore::open_sealed(dir, |sealed| check_seam(sealed, &look, &said))
                .map_err(|error| or_gone(error, dir, &look))?;
        let files = Files::open(&journal_dir, Access::Write).map_err(writing)?;
        let mut found = Found {
            redb,
            recovered,
            // It was just held against the store, so it is there.
            acknowledged: said.map_or(Seq::ZERO, |said| said.seq),
        };
        let head_file = Box::new(open_head_file(dir)?);
        // Before there is anybody who waits for what comes of it.
        let unchecked = match settings.structure {
            Structure::Trusted => None,
            Structure::CheckedFirst => Some(Unchecked::of(dir).map_err(checking)?),
        };
        let unchecked = match (unchecked, settings.sealing) {
            (Some(unchecked), SealIn::Foreground) => {
                found.check(unchecked)?;
                None
            }
            (unchecked, _) => unchecked,
        };
        let mut store = Self::resume(found, Box::new(files), head_file, settings)?;
        store.unchecked = Mutex::new(unchecked);
        Ok(store)
    }

    /// Has the structure checked in a thread of its own, unless that was begun; sealing and closing wait for
    /// it. What it finds is told by the next append, as what sealing fails with is, and by
    /// [`DurableReader::wait_until_checked`].
    fn have_checked(&self) -> io::Result<()> {
        let mut unchecked = self
            .unchecked
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let Some(unchecked) = unchecked.take() else {
            return Ok(());
        };
        let tail = Arc::clone(&self.tail);
        let watch = sealer::Watch(Arc::clone(&tail));
        let check = move || {
            let _watch = watch;
            tail.checked(unchecked.check());
        };
        let thread = std::thread::Builder::new().name("checker".into());
        let started = thread.spawn(check).map(drop);
        // Whoever waits for it would wait for ever.
        started.inspect_err(|error| self.tail.fail(error))
    }

    /// Goes on behind what was recovered.
    fn resume(
        found: Found,
        files: Box<dyn SegmentDir>,
        head_file: Box<dyn SegmentFile>,
        settings: Settings,
    ) -> Result<Self, OpenError> {
        let Found {
            redb,
            recovered,
            acknowledged,
        } = found;
        let ledger_id = redb.ledger_id();
        let reader = redb.reader();
        let tail = Arc::new(Tail::new(redb.sealed(), &recovered.batches, settings));
        let pool = recovered.pool(files, settings.segment_bytes);
        let pool = Arc::new(pool.map_err(writing)?);
        let mut journal = Journal::resume(ledger_id, Arc::clone(&pool), &recovered);
        // What is there and was not known to be acknowledged may not be on disk (see `journal`).
        // All of it in one frame: with a part of it, the new segment would look as if it held all
        // that is not sealed, and the rest, in older ones, would be forgotten.
        let unsure = |batch: &&Batch| batch.head().seq > acknowledged;
        if let Some(unsure) = Batch::join(recovered.batches.iter().filter(unsure)) {
            journal.append(&unsure).map_err(writing)?;
        }
        let sealing = Sealing::new(redb, Arc::clone(&tail), pool);
        let sealer = match settings.sealing {
            SealIn::Background => Sealer::start(sealing),
            SealIn::Foreground => Ok(Sealer::inline(sealing)),
        };
        let store = Self {
            key: ChainKey::new(ledger_id),
            ledger_id,
            journal,
            tail,
            reader,
            head_file,
            sealer: Some(sealer.map_err(writing)?),
            unchecked: Mutex::default(),
        };
        store.note_head();
        Ok(store)
    }

    /// A reader of this store; it may outlive it, and then returns errors.
    pub fn reader(&self) -> DurableReader {
        DurableReader::new(self.reader.clone(), Arc::clone(&self.tail))
    }

    /// Waits until the sealer is in step: what is left in the journal is too little to seal.
    ///
    /// # Errors
    /// If it can't seal any more.
    pub fn wait_until_in_step(&self) -> io::Result<()> {
        self.have_checked()?;
        self.tail.wait_until_in_step()
    }

    /// Closes the store: the head file is synced. Readers that are left return errors from then
    /// on.
    ///
    /// # Errors
    /// If the head file could not be written, or sealing failed; every append is durable
    /// nonetheless.
    pub fn close(mut self) -> io::Result<()> {
        self.finish()
    }

    fn finish(&mut self) -> io::Result<()> {
        let Some(sealer) = self.sealer.take() else {
            return Ok(());
        };
        // If that can't be begun, the sealer is told so and stops.
        let _ = self.have_checked();
        let sealed = sealer.stop();
        self.head_file.sync()?;
        sealed
    }

    /// Writes how far the ledger is known to reach. Every append is durable whatever becomes of
    /// this: the file is only a lower bound.
    fn note_head(&self) {
        let head = self.tail.head();
        let said = HeadFile {
            ledger_id: self.ledger_id,
            seq: head.seq,
            hash: head.hash,
        };
        let _ = self.head_file.write_at(0, &said.encode());
    }
}

impl Drop for DurableStore {
    fn drop(&mut self) {
        let _ = self.finish();
    }
}

impl LogWriter for DurableStore {
    fn ledger_id(&self) -> LedgerId {
        self.ledger_id
    }

    fn head(&self) -> Head {
        self.tail.head()
    }

    fn append(&mut self, batch: &Batch) -> Result<Head, AppendError> {
        admit(self.key, self.tail.head(), batch)?;
        if batch.is_empty() {
            return Ok(self.tail.head());
        }
        self.have_checked().map_err(append_error)?;
        self.tail.wait_for_room().map_err(append_error)?;
        self.journal.append(batch).map_err(append_error)?;
        self.tail.push(batch);
        self.note_head();
        // The batch is durable; that sealing fails is told by the next append.
        if let Some(sealer) = &mut self.sealer {
            sealer.appended();
        }
        Ok(batch.head())
    }
}

/// What opening has found, and whose word it has for how far it reaches.
#[derive(Debug)]
struct Found {
    redb: RedbStore,
    recovered: Recovered,
    /// The last event that is known to have been acknowledged.
    acknowledged: Seq,
}

impl Found {
    /// Has the structure checked now. A store with a wrong one is not written, not even when it is closed.
    fn check(&mut self, unchecked: Unchecked) -> Result<(), OpenError> {
        let sound = unchecked.check();
        if sound.is_err() {
            self.redb.abandon();
        }
        Ok(sound?)
    }
}

/// Reads the journal behind the sealed events, and holds their end against the head file.
fn check_seam(
    sealed: &RedbReader,
    journal: &dyn SegmentDir,
    said: &Result<HeadFile, HeadFileFault>,
) -> Result<Recovered, OpenError> {
    let recovered = recover(journal, sealed.ledger_id(), sealed.sealed().head)?;
    if let Some(fault) = &recovered.fault {
        return Err(OpenError::Damaged(fault.to_string()));
    }
    let tail = Tail::new(sealed.sealed(), &recovered.batches, Settings::default());
    let whole = DurableReader::new(sealed.clone(), Arc::new(tail));
    check_head_file(&whole, said.clone())?;
    Ok(recovered)
}

/// Whether a ledger can be made in `dir`: nothing of one is there, not even a journal whose store is
/// gone. Nothing is changed.
///
/// # Errors
/// [`OpenError::Exists`] if there is one, [`OpenError::Gone`] if there are parts of one.
pub fn check_vacant(dir: &Path) -> Result<(), OpenError> {
    redb::check_vacant(dir)?;
    let journal = open_journal(dir)?;
    match or_gone(OpenError::Missing(dir.to_owned()), dir, &journal) {
        OpenError::Missing(_) => Ok(()),
        gone => Err(gone),
    }
}

/// The journal's directory, for reading. Anything else under its name would hide what it held.
fn open_journal(dir: &Path) -> Result<Files, OpenError> {
    let path = dir.join(JOURNAL_DIR);
    match path.symlink_metadata() {
        Ok(meta) if !meta.is_dir() => Err(OpenError::Damaged(format!(
            "{} is not a directory of its own",
            path.display()
        ))),
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(reading(error)),
        Ok(_) | Err(_) => Files::open(&path, Access::Read).map_err(reading),
    }
}

/// That there is no ledger, or that there is a journal without one.
fn or_gone(error: OpenError, dir: &Path, journal: &dyn SegmentDir) -> OpenError {
    let missing = matches!(error, OpenError::Missing(_));
    match journal.list() {
        Ok(segments) if missing && !segments.is_empty() => OpenError::Gone {
            dir: dir.to_owned(),
            left: "its journal",
        },
        Err(unread) if missing => reading(unread),
        Ok(_) | Err(_) => error,
    }
}

fn append_error(error: io::Error) -> AppendError {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
            AppendError::Full(error)
        }
        _ => AppendError::Io(error),
    }
}

fn reading(error: io::Error) -> OpenError {
    OpenError::Io {
        what: "reading the journal".into(),
        error,
    }
}

fn checking(error: io::Error) -> OpenError {
    OpenError::Io {
        what: "having the store checked".into(),
        error,
    }
}

fn writing(error: io::Error) -> OpenError {
    OpenError::Io {
        what: "writing the journal".into(),
        error,
    }
}
