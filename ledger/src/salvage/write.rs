//! Writing what was salvaged into a directory of its own.

use std::fs;
use std::io::{self, BufWriter, Write};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::search::{count, events};
use super::{Claim, Left, Salvage, SalvageError, Stage, Watch, io_error, unsound};
use crate::blobs::{BLOBS_DIR, BlobFinding};
use crate::chain::{Batch, ChainKey, Head};
use crate::files::{make_dir, make_dirs, new_file, sync_dir};
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
    /// [`SalvageError`], or what `settle` says. There is then no ledger in `into`, but maybe parts
    /// of one.
    pub fn write<E: From<SalvageError>>(
        &self,
        into: &Path,
        threads: NonZeroUsize,
        watch: Watch<'_>,
        settle: impl FnOnce(&Path, DurableStore) -> Result<Head, E>,
    ) -> Result<Head, E> {
        let work = self.begin(into)?;
        let store = self.write_events(&work, watch)?;
        self.carry_blobs(&work)?;
        let head = settle(&work, store)?;
        self.finish(into, &work, head, threads, watch)?;
        Ok(head)
    }

    /// Makes the directories.
    fn begin(&self, into: &Path) -> Result<PathBuf, SalvageError> {
        check_target(&self.source, into)?;
        let work = into.join(WORK);
        make_dirs(into)
            .and_then(|()| make_dir(&work))
            .map_err(io_error(|| format!("making {}", work.display())))?;
        Ok(work)
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

/// Whether `into` can take what is salvaged from `source`: it is empty or not there, and lies outside.
///
/// # Errors
/// [`SalvageError`] if not.
pub fn check_target(source: &Path, into: &Path) -> Result<(), SalvageError> {
    let looking = || io_error(|| format!("looking at {}", into.display()));
    let source = source.canonicalize().map_err(looking())?;
    let there = into.ancestors().find(|dir| dir.symlink_metadata().is_ok());
    let there = there.unwrap_or(into).canonicalize().map_err(looking())?;
    if there.starts_with(&source) {
        return Err(SalvageError::Inside(into.to_owned()));
    }
    match fs::read_dir(into).map(|mut entries| entries.next()) {
        Ok(None) => Ok(()),
        Ok(Some(_)) => Err(SalvageError::Occupied(into.to_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(looking()(error)),
    }
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
    for name in [LEFT_BEHIND, BLOBS_DIR, JOURNAL_DIR, HEAD_FILE, STORE_FILE] {
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
