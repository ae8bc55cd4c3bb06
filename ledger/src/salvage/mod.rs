//! Salvage: what is provably good of a damaged ledger, copied into a new directory. The original is
//! only read.
//!
//! ```text
//! look: verify ──damage──> scan every file for events ──> search for the longest proven way
//!                                                            ├─> new ledger + an event that says so
//! write:                                                     └─> left-behind/ pieces + manifest
//! ```
//! - *Provable* is the longest way from seq 1 on which every event hashes and links, and that ends in
//!   a hash which was written down somewhere (`search.rs`). Nothing else is in the new ledger.
//! - Blobs that proven events name come along if their bytes hash right (`blobs.rs`).
//! - What lies behind that is kept as it was found, because it can't be proven to belong (`left.rs`).
//! - The new directory gets its store last, so that a salvage that was interrupted has made no
//!   ledger; it is verified before.
//! - Whoever calls holds the lock of the original's directory.

mod blobs;
mod left;
mod scan;
mod search;
mod write;

#[cfg(test)]
mod tests;

pub use left::{Chained, Left, Piece, PieceKind, Range, Why};
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) use scan::check_scan;
pub use write::{LEFT_BEHIND, MANIFEST_FILE, PIECES_FILE, check_target};

use std::fs::File;
use std::io;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use self::left::Origin;
use self::scan::{Bytes, Found, Holds, scan};
use self::search::{Graph, Step};
use crate::blobs::BlobFinding;
use crate::chain::Head;
use crate::hash::Hash;
use crate::ids::{LedgerId, Seq};
use crate::store::durable::{JOURNAL_DIR, OfflineReader};
use crate::store::journal::SegmentHeader;
use crate::store::redb::{HEAD_FILE, STORE_FILE, read_head_file};
use crate::store::{LogReader, Offline, OpenError};
use crate::verify::{Report, verify_reader};

/// Why nothing was salvaged.
#[derive(Debug, thiserror::Error)]
pub enum SalvageError {
    /// There is no ledger, a node has it open, or newer software made it.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// Nothing is wrong with it.
    #[error("the ledger is intact up to its end at seq {0}: there is nothing to salvage")]
    Intact(Seq),
    /// Not even its beginning is left.
    #[error("nothing can be proven: no event that begins a ledger was found ({found} others were)")]
    Nothing {
        /// How many events were found.
        found: u64,
    },
    /// The target is not empty.
    #[error("{0} is not empty")]
    Occupied(PathBuf),
    /// Another process is writing into the target.
    #[error("another process is salvaging into {0}")]
    Busy(PathBuf),
    /// The target lies in the original.
    #[error("{0} lies in the ledger that is to be salvaged, which must not be changed")]
    Inside(PathBuf),
    /// The file system refused.
    #[error("{what}: {error}")]
    Io {
        /// What was being done.
        what: String,
        /// Why it failed.
        #[source]
        error: io::Error,
    },
    /// What was written does not verify.
    #[error("the new ledger is not what it should be: {0}")]
    Unsound(String),
}

/// What is being done, for those who watch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Events of the original are verified.
    Verifying,
    /// Bytes of its files are looked through.
    Scanning,
    /// Events are held against each other.
    Proving,
    /// Events are written.
    Writing,
    /// What was written is verified.
    Checking,
}

/// Told what is being done, how much of it is done, and of how much.
pub type Watch<'a> = &'a dyn Fn(Stage, u64, u64);

/// Where the original says it ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct Claim {
    /// The last event.
    pub seq: Seq,
    /// Its hash.
    pub hash: Hash,
}

/// What can be salvaged.
#[derive(Debug)]
pub struct Salvage {
    /// The original.
    pub source: PathBuf,
    /// Which ledger it is.
    pub ledger_id: LedgerId,
    /// Where its proven events end.
    pub good: Head,
    /// Where it says it ends: by the head file if that is sound, else by the store if that opens.
    pub claimed: Option<Claim>,
    /// What verification found.
    pub report: Report,
    /// What lies behind the proven events.
    pub left: Left,
    /// Bytes that the disk did not give.
    pub unreadable: u64,
    /// The blobs that proven events name and that are missing or damaged, in the order of the events.
    pub blobs: Vec<BlobFinding>,
    whole_blobs: Vec<Hash>,
    graph: Graph,
    way: Vec<Step>,
}

impl Salvage {
    /// Looks at a damaged ledger; changes nothing.
    ///
    /// # Errors
    /// [`SalvageError`]; [`SalvageError::Intact`] if it is not damaged.
    pub fn look(dir: &Path, threads: NonZeroUsize, watch: Watch<'_>) -> Result<Self, SalvageError> {
        let files = files(dir)?;
        let (report, end) = verify(dir, threads, watch)?;
        if report.is_intact() {
            return Err(SalvageError::Intact(report.head.seq));
        }
        let said = read_head_file(dir).ok();
        let claimed = said
            .map(|said| (said.seq, said.hash))
            .or_else(|| end.map(|end| (end.seq, end.hash)));
        let known = [said.map(|said| said.hash), end.map(|end| end.hash)];
        let (found, origins, sources) = look_through(files, watch)?;
        let events = found.runs.iter().map(search::count).sum();
        let graph = Graph::new(found.runs, known.into_iter().flatten(), sources);
        let furthest = claimed.map_or(0, |(seq, _)| seq.0);
        let reach = |&id: &LedgerId| {
            let progress = &mut |seq: Seq| watch(Stage::Proving, seq.0, furthest.max(seq.0));
            let reached = graph.reach(id, Head::EMPTY, progress);
            let end = reached.end(claimed);
            (id, end, reached.way(&end))
        };
        let ways = graph.beginnings();
        let ways = ways
            .iter()
            .map(reach)
            .filter(|(_, end, _)| end.seq > Seq::ZERO);
        let named = said.map(|said| said.ledger_id);
        let best = ways.max_by_key(|(id, end, _)| (Some(*id) == named, end.seq));
        let Some((ledger_id, good, way)) = best else {
            return Err(SalvageError::Nothing { found: events });
        };
        let named = blobs::look(dir, &graph, &way)?;
        let last = claimed.map_or(Seq::ZERO, |(seq, _)| seq);
        Ok(Self {
            source: dir.to_owned(),
            ledger_id,
            good,
            claimed: claimed.map(|(seq, hash)| Claim { seq, hash }),
            report,
            left: left::find(&graph, &origins, ledger_id, good.seq, last),
            unreadable: found.unreadable,
            blobs: named.faults,
            whole_blobs: named.whole,
            graph,
            way,
        })
    }

    /// The first thing that was found to be wrong, in words.
    pub fn first_fault(&self) -> String {
        let first = self.report.findings.first();
        first.map_or_else(String::new, ToString::to_string)
    }
}

/// What verification says, and where the store ends if it opens.
fn verify(
    dir: &Path,
    threads: NonZeroUsize,
    watch: Watch<'_>,
) -> Result<(Report, Option<Head>), SalvageError> {
    let reader = match OfflineReader::open(dir) {
        Ok(reader) => reader,
        Err(error @ (OpenError::InUse | OpenError::Newer { .. })) => return Err(error.into()),
        // That a disk fails is a reason to salvage, not one against it; so is a store that is gone.
        Err(error) => return Ok((unopened(&error), None)),
    };
    let progress = |done, of| watch(Stage::Verifying, done, of);
    let report = match verify_reader(&reader, threads, &progress) {
        Err(OpenError::InUse) => return Err(OpenError::InUse.into()),
        Err(error) => unopened(&error),
        Ok(report) => report,
    };
    let end = reader.head().or_else(|_| reader.end()).ok();
    Ok((report, end))
}

fn unopened(error: &OpenError) -> Report {
    let what = error.damage().unwrap_or_else(|| error.to_string());
    Report::unopened(&what)
}

/// The files that may hold events: which, and what they are called.
fn files(dir: &Path) -> Result<Vec<(PathBuf, String)>, SalvageError> {
    let is_file = |path: &Path| path.symlink_metadata().is_ok_and(|meta| meta.is_file());
    let mut names = vec![STORE_FILE.to_owned()];
    let journal = dir.join(JOURNAL_DIR);
    let mut segments = Vec::new();
    // Something else under its name is as good as none; a link leads to what is not of this ledger.
    if journal.symlink_metadata().is_ok_and(|meta| meta.is_dir()) {
        let reading = || io_error(|| format!("reading {}", journal.display()));
        for entry in std::fs::read_dir(&journal).map_err(reading())? {
            let entry = entry.map_err(reading())?;
            segments.extend(entry.file_name().to_str().map(str::to_owned));
        }
    }
    segments.retain(|name| name.ends_with(".segment"));
    segments.sort();
    names.extend(segments.iter().map(|name| format!("{JOURNAL_DIR}/{name}")));
    let named = names.into_iter().map(|name| (dir.join(&name), name));
    let found: Vec<_> = named.filter(|(path, _)| is_file(path)).collect();
    if found.is_empty() && !is_file(&dir.join(HEAD_FILE)) {
        return Err(OpenError::Missing(dir.to_owned()).into());
    }
    Ok(found)
}

/// What was found, and in which files.
type LookedThrough = (Found, Vec<Origin>, Vec<Box<dyn Bytes>>);

/// Looks through all files.
fn look_through(
    files: Vec<(PathBuf, String)>,
    watch: Watch<'_>,
) -> Result<LookedThrough, SalvageError> {
    let mut found = Found::default();
    let mut origins = Vec::new();
    let mut sources: Vec<Box<dyn Bytes>> = Vec::new();
    let opened = files.into_iter().map(|(path, name)| {
        let what = io_error(|| format!("reading {}", path.display()));
        let file = File::open(&path).and_then(|file| Ok((file.metadata()?.len(), file)));
        file.map(|(len, file)| (name, len, file)).map_err(what)
    });
    let opened: Vec<(String, u64, File)> = opened.collect::<Result<_, _>>()?;
    let total = opened.iter().map(|(_, len, _)| len).sum();
    let mut before = 0;
    for (name, len, file) in opened {
        let holds = if name == STORE_FILE {
            Holds::Blocks
        } else {
            Holds::Frames(segment_header(&file))
        };
        let what = io_error(|| format!("reading {name}"));
        let progress = &mut |at| watch(Stage::Scanning, before + at, total);
        let here = scan(&file, sources.len(), holds, progress).map_err(what)?;
        found.runs.extend(here.runs);
        found.unreadable += here.unreadable;
        before += len;
        origins.push(Origin { name, holds });
        sources.push(Box::new(file));
    }
    Ok((found, origins, sources))
}

/// What a segment says of itself, if that can be read.
fn segment_header(file: &File) -> Option<SegmentHeader> {
    let mut bytes = [0; 64];
    Bytes::read(file, 0, &mut bytes).ok()?;
    SegmentHeader::decode(&bytes).ok()
}

fn unsound(error: impl ToString) -> SalvageError {
    SalvageError::Unsound(error.to_string())
}

fn io_error(what: impl FnOnce() -> String) -> impl FnOnce(io::Error) -> SalvageError {
    move |error| SalvageError::Io {
        what: what(),
        error,
    }
}
