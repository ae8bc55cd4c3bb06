//! Writing what was salvaged into a directory of its own.

use std::fs::{self, File, TryLockError};
use std::io::{self, BufWriter, Write};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::search::{count, events};
use super::{Claim, Left, Salvage, SalvageError, Stage, Watch, io_error, unsound};
use crate::blobs::{BLOBS_DIR, BlobFinding};
use crate::chain::{Batch, ChainKey, Head};
use crate::files::{lies_in, make_dir, make_dirs, new_file, sync_dir};
use crate::ids::{LedgerId, Seq};
use crate::store::durable::{DurableStore, JOURNAL_DIR};
use crate::store::redb::{HEAD_FILE, STORE_FILE};
use crate::store::{AppendError, LogWriter};
use crate::verify::verify_offline;

/// Name of the directory with what was left behind.
pub const LEFT_BEHIND: &str = "left-behind";
/// Name of the file in it that says what there is.
pub const MANIFEST_FILE: &str = "manifest.json";
/// Name of the file in it with all pieces, one behind the other.
pub const PIECES_FILE: &str = "pieces";

/// Where the new ledger is made before it is put in its place.
const WORK: &str = "salvaging";
/// What is put in its place before the store is.
const BEFORE_STORE: [&str; 4] = [LEFT_BEHIND, BLOBS_DIR, JOURNAL_DIR, HEAD_FILE];
/// Bytes of events that are appended at a time.
const BATCH_BYTES: usize = 1024 * 1024;

/// What stands in the manifest.
#[derive(Serialize)]
struct Manifest<'a> {
    format: u32,
    ledger_id: LedgerId,
    source: String,
    good: Claim,
    claimed: Option<Claim>,
    first_fault: String,
    #[serde(flatten)]
    left: &'a Left,
    lost_blobs: &'a [BlobFinding],
}

impl Salvage {
    /// Writes a new ledger into `into`, which must be empty or not there. `settle` gets it while it
    /// holds the proven events and nothing else, adds what says so, and closes it; it returns where
    /// the ledger ends then.
    ///
    /// # Errors
    /// [`SalvageError`], or what `settle` says. There is then no ledger in `into`, but after a crash
    /// maybe parts of one, with which the next attempt does away.
    pub fn write<E: From<SalvageError>>(
        &self,
        into: &Path,
        threads: NonZeroUsize,
        watch: Watch<'_>,
        settle: impl FnOnce(&Path, DurableStore) -> Result<Head, E>,
    ) -> Result<Head, E> {
        let (work, _lock) = self.begin(into)?;
        let write = || -> Result<Head, E> {
            let store = self.write_events(&work, watch)?;
            self.carry_blobs(&work)?;
            let head = settle(&work, store)?;
            self.finish(into, &work, head, threads, watch)?;
            Ok(head)
        };
        write().inspect_err(|_| {
            // The room is needed elsewhere. If it stays, the next attempt removes it.
            let _ = remove_remains(into);
        })
    }

    /// Makes the directories, and removes what an attempt that was interrupted has left of them. Two
    /// at a time would remove each other's: the target is locked.
    fn begin(&self, into: &Path) -> Result<(PathBuf, File), SalvageError> {
        check_target(&self.source, into)?;
        let work = into.join(WORK);
        let making = || io_error(|| format!("making {}", work.display()));
        make_dirs(into).map_err(making())?;
        let lock = File::open(into).map_err(making())?;
        lock.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => SalvageError::Busy(into.to_owned()),
            TryLockError::Error(error) => making()(error),
        })?;
        // Somebody may have been faster.
        check_target(&self.source, into)?;
        remove_remains(into)
            .and_then(|()| make_dir(&work))
            .map_err(making())?;
        Ok((work, lock))
    }

    /// Adds what was left behind, verifies, and puts everything in its place.
    fn finish(
        &self,
        into: &Path,
        work: &Path,
        head: Head,
        threads: NonZeroUsize,
        watch: Watch<'_>,
    ) -> Result<(), SalvageError> {
        let making = || io_error(|| format!("making {}", work.display()));
        if self.left.events > 0 || !self.blobs.is_empty() {
            self.write_left(&work.join(LEFT_BEHIND)).map_err(making())?;
        }
        let progress = |done, of| watch(Stage::Checking, done, of);
        let report = verify_offline(work, threads, &progress)?;
        if !report.is_intact() || (report.head.seq, report.head.hash) != (head.seq, head.hash) {
            let found = report.findings.first().map(ToString::to_string);
            return Err(SalvageError::Unsound(found.unwrap_or_default()));
        }
        publish(work, into).map_err(making())
    }

    fn write_events(&self, dir: &Path, watch: Watch<'_>) -> Result<DurableStore, SalvageError> {
        let key = ChainKey::new(self.ledger_id);
        let mut filling = Filling {
            key,
            ledger_id: self.ledger_id,
            dir,
            store: None,
            head: Head::EMPTY,
            body: Vec::new(),
        };
        let mut last = Seq::ZERO;
        for step in &self.way {
            let run = &self.graph.runs()[step.run];
            debug_assert!(count(run) > 0);
            let bytes = self.graph.bytes(run, 0);
            let mut seq = run.first;
            for event in events(&bytes) {
                if seq > last && seq <= step.to.seq {
                    filling.add(event)?;
                }
                seq = seq.next();
            }
            last = step.to.seq;
            watch(Stage::Writing, last.0, self.good.seq.0);
        }
        filling.flush()?;
        let (head, good) = (filling.head, self.good);
        if (head.seq, head.hash) != (good.seq, good.hash) {
            return Err(unsound("the original has changed meanwhile"));
        }
        filling.store.ok_or_else(|| unsound("it has no events"))
    }

    fn write_left(&self, dir: &Path) -> io::Result<()> {
        make_dir(dir)?;
        let mut pieces = BufWriter::new(new_file(&dir.join(PIECES_FILE))?);
        for piece in &self.left.pieces {
            let run = &self.graph.runs()[piece.run];
            pieces.write_all(&self.graph.bytes(run, piece.length - run.len))?;
        }
        pieces.into_inner()?.sync_all()?;
        let (seq, hash) = (self.good.seq, self.good.hash);
        let manifest = Manifest {
            format: 1,
            ledger_id: self.ledger_id,
            source: self.source.display().to_string(),
            good: Claim { seq, hash },
            claimed: self.claimed,
            first_fault: self.first_fault(),
            left: &self.left,
            lost_blobs: &self.blobs,
        };
        let mut file = BufWriter::new(new_file(&dir.join(MANIFEST_FILE))?);
        serde_json::to_writer_pretty(&mut file, &manifest)?;
        file.write_all(b"\n")?;
        file.into_inner()?.sync_all()?;
        sync_dir(dir)
    }
}

/// Whether `into` can take what is salvaged from `source`: it lies outside, and is not there, or is
/// empty, or holds what an attempt that was interrupted has left and nothing else.
///
/// # Errors
/// [`SalvageError`] if not.
pub fn check_target(source: &Path, into: &Path) -> Result<(), SalvageError> {
    let looking = || io_error(|| format!("looking at {}", into.display()));
    if lies_in(into, source).map_err(looking())? {
        return Err(SalvageError::Inside(into.to_owned()));
    }
    match remains(into).map_err(looking())? {
        Some(_) => Ok(()),
        None => Err(SalvageError::Occupied(into.to_owned())),
    }
}

/// What an interrupted attempt has left in a directory; nothing if there is anything else in it. The
/// store is put in its place last, so a directory that has one holds a ledger.
fn remains(into: &Path) -> io::Result<Option<Vec<PathBuf>>> {
    let entries = match fs::read_dir(into) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Some(Vec::new())),
        entries => entries?,
    };
    let mut found = Vec::new();
    let mut is_ours = false;
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name();
        if name == WORK && entry.file_type()?.is_dir() {
            is_ours = true;
        } else if !BEFORE_STORE.iter().any(|known| name == *known) {
            return Ok(None);
        }
        found.push(entry.path());
    }
    Ok((is_ours || found.is_empty()).then_some(found))
}

/// Removes what [`remains`]; what tells that it is ours goes last.
fn remove_remains(into: &Path) -> io::Result<()> {
    let mut found = remains(into)?.unwrap_or_default();
    found.sort_by_key(|path| path.ends_with(WORK));
    for path in found {
        if path.symlink_metadata()?.is_dir() {
            fs::remove_dir_all(&path)?;
        } else {
            fs::remove_file(&path)?;
        }
    }
    Ok(())
}

/// A store that is being filled.
struct Filling<'a> {
    key: ChainKey,
    ledger_id: LedgerId,
    dir: &'a Path,
    store: Option<DurableStore>,
    head: Head,
    /// Events that are to be appended, each behind its length.
    body: Vec<u8>,
}

impl Filling<'_> {
    fn add(&mut self, event: &[u8]) -> Result<(), SalvageError> {
        let len = u32::try_from(event.len()).map_err(unsound)?;
        self.body.extend_from_slice(&len.to_le_bytes());
        self.body.extend_from_slice(event);
        // The first stands alone: a ledger is made with it.
        if self.store.is_none() || self.body.len() >= BATCH_BYTES {
            self.flush()?;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), SalvageError> {
        let batch = Batch::restore(self.key, self.head, &self.body).map_err(unsound)?;
        self.body.clear();
        if batch.is_empty() {
            return Ok(());
        }
        self.head = batch.head();
        match &mut self.store {
            Some(store) => store.append(&batch).map(drop).map_err(of_append),
            None => {
                self.store = Some(DurableStore::create(self.dir, self.ledger_id, &batch)?);
                Ok(())
            }
        }
    }
}

/// Puts everything in its place, the store last: with it the ledger is there.
fn publish(work: &Path, into: &Path) -> io::Result<()> {
    let perhaps = [LEFT_BEHIND, BLOBS_DIR];
    for name in BEFORE_STORE.into_iter().chain([STORE_FILE]) {
        match fs::rename(work.join(name), into.join(name)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && perhaps.contains(&name) => {}
            other => other?,
        }
        sync_dir(into)?;
    }
    fs::remove_dir(work)?;
    sync_dir(into)
}

fn of_append(error: AppendError) -> SalvageError {
    match error {
        AppendError::Full(error) | AppendError::Io(error) => {
            io_error(|| "writing the new ledger".into())(error)
        }
        other => unsound(other),
    }
}
