//! Snapshots of views: `NAME.view` in the views directory, lines of JSON.
//!
//! ```text
//! {"format":1,"name":…,"version":…,"ledger_id":…,"seq":…,"hash":…,"rows":…,"digest":…,"check":…}
//! ["key",value]        one line for each row, in ascending key order
//! ```
//! The first line is padded with spaces to [`HEADER_LINE`] bytes, so that rows are streamed to disk
//! before their number and digest are known. `check` is the BLAKE3 of the header line without it.
//!
//! A snapshot is a shortcut, never evidence: whatever is wrong with it, the view is rebuilt from
//! the log. It is written to a temporary file, synced, renamed, and the directory synced, so that
//! there is the old one or the new one and nothing between.

use std::borrow::Cow;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, BufRead, BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use ledger_core::hash::Hash;
use ledger_core::ids::LedgerId;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::digest::Digester;
use super::fold::{Fold, Position};
use super::projection::{Projection, RestoreError};

/// Layout of the file; apart from a projection's own version.
pub const SNAPSHOT_FORMAT: u16 = 1;
/// Bytes of the first line, its line break included.
pub const HEADER_LINE: usize = 1024;
/// Longest row in bytes, its line break included.
pub const MAX_ROW: usize = 16 * 1024 * 1024;

/// What a snapshot says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotHeader {
    /// [`SNAPSHOT_FORMAT`].
    pub format: u16,
    /// The projection's name.
    pub name: String,
    /// The projection's version.
    pub version: u32,
    /// Which ledger it was folded from.
    pub ledger_id: LedgerId,
    /// The event it stands at.
    #[serde(flatten)]
    pub position: Position,
    /// How many rows follow.
    pub rows: u64,
    /// The digest of the content.
    pub digest: Hash,
}

/// Why a snapshot could not be written or is not used.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// There is none.
    #[error("there is no snapshot of it")]
    Missing,
    /// The file system refused.
    #[error("{what} {}: {error}", path.display())]
    Io {
        /// What was being done.
        what: &'static str,
        /// To which file or directory.
        path: PathBuf,
        /// Why it failed.
        #[source]
        error: io::Error,
    },
    /// It is not what was written.
    #[error("the snapshot is damaged: {0}")]
    Damaged(String),
    /// Written by another version of the file layout or the projection.
    #[error("the snapshot has version {found}, this binary reads version {known}")]
    Version {
        /// What the file says.
        found: u32,
        /// What this code reads.
        known: u32,
    },
    /// Folded from another ledger.
    #[error("the snapshot belongs to ledger {0}")]
    OtherLedger(LedgerId),
    /// Sound, and the projection still refuses its rows.
    #[error("the snapshot cannot be restored: {0}")]
    Restore(#[from] RestoreError),
}

/// The directory that holds the snapshots of one ledger's views. Clones share it.
#[derive(Debug, Clone)]
pub struct ViewDir {
    path: PathBuf,
    /// Two writers of one temporary file would mix their contents.
    writing: Arc<Mutex<()>>,
}

impl ViewDir {
    /// Opens the directory, making it (mode 0700) if it is missing; its parent must exist.
    ///
    /// # Errors
    /// [`SnapshotError::Io`], also if `path` is a symbolic link or no directory.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, SnapshotError> {
        let path = path.into();
        match DirBuilder::new().mode(0o700).create(&path) {
            Err(e) if e.kind() != io::ErrorKind::AlreadyExists => {
                return Err(io_error("cannot make", &path)(e));
            }
            _ => {}
        }
        let found = path
            .symlink_metadata()
            .map_err(io_error("cannot open", &path))?;
        if !found.is_dir() {
            let error = io::Error::from(io::ErrorKind::NotADirectory);
            return Err(io_error("cannot open", &path)(error));
        }
        Ok(Self {
            path,
            writing: Arc::default(),
        })
    }

    /// Where the snapshot of the view of this name is. Names come from the code alone and are
    /// checked all the same: no path is ever made of anything but `a-z`, `0-9` and `_`.
    ///
    /// # Errors
    /// [`SnapshotError::Io`] if the name has other characters.
    pub fn file(&self, name: &str) -> Result<PathBuf, SnapshotError> {
        let fits = |b: u8| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'_');
        if name.is_empty() || name.len() > 64 || !name.bytes().all(fits) {
            let error = io::Error::from(io::ErrorKind::InvalidInput);
            return Err(io_error("not a view's name below", &self.path)(error));
        }
        Ok(self.path.join(format!("{name}.view")))
    }

    /// Writes the snapshot of a fold, replacing the one before as one.
    ///
    /// # Errors
    /// [`SnapshotError::Io`]; the one before is then still there.
    pub fn save<P: Projection>(
        &self,
        fold: &Fold<P>,
        ledger_id: LedgerId,
    ) -> Result<SnapshotHeader, SnapshotError> {
        let path = self.file(P::NAME)?;
        let temp = path.with_extension("view.tmp");
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let written = write(&temp, fold, ledger_id).and_then(|header| {
            std::fs::rename(&temp, &path)?;
            File::open(&self.path)?.sync_all()?;
            Ok(header)
        });
        written.map_err(|error| {
            // Best effort: the next save removes what is left.
            let _ = std::fs::remove_file(&temp);
            io_error("cannot write", &path)(error)
        })
    }

    /// Reads the snapshot of a projection and checks all that can be checked without the log.
    /// Whether its position is in the ledger is for the caller to check.
    ///
    /// # Errors
    /// [`SnapshotError`].
    pub fn load<P: Projection>(&self, ledger_id: LedgerId) -> Result<Fold<P>, SnapshotError> {
        read(&mut self.open_file(P::NAME)?, ledger_id)
    }

    /// What the snapshot of this name says of itself, without reading its rows.
    ///
    /// # Errors
    /// [`SnapshotError`].
    pub fn header(&self, name: &str) -> Result<SnapshotHeader, SnapshotError> {
        read_header(&mut self.open_file(name)?, name)
    }

    fn open_file(&self, name: &str) -> Result<BufReader<File>, SnapshotError> {
        let path = self.file(name)?;
        let found = match path.symlink_metadata() {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Err(SnapshotError::Missing),
            found => found.map_err(io_error("cannot read", &path))?,
        };
        if !found.is_file() {
            return Err(damaged("it is not a regular file"));
        }
        let file = File::open(&path).map_err(io_error("cannot read", &path))?;
        Ok(BufReader::with_capacity(256 * 1024, file))
    }
}

/// Reads and checks a whole snapshot.
pub(super) fn read<P: Projection>(
    file: &mut dyn BufRead,
    ledger_id: LedgerId,
) -> Result<Fold<P>, SnapshotError> {
    let header = read_header(file, P::NAME)?;
    if header.version != P::VERSION {
        return Err(SnapshotError::Version {
            found: header.version,
            known: P::VERSION,
        });
    }
    if header.ledger_id != ledger_id {
        return Err(SnapshotError::OtherLedger(header.ledger_id));
    }
    let mut rows = Rows {
        file,
        line: Vec::new(),
        last: None,
        digester: Digester::new(P::NAME, P::VERSION),
        fault: None,
    };
    let state = P::from_rows(&mut rows);
    // A projection may stop early; the content is judged as a whole before its word is.
    rows.by_ref().for_each(drop);
    if let Some(fault) = rows.fault {
        return Err(SnapshotError::Damaged(fault));
    }
    if rows.digester.rows() != header.rows {
        let found = rows.digester.rows();
        return Err(damaged(format!("it has {found} rows of {}", header.rows)));
    }
    if rows.digester.finish() != header.digest {
        return Err(damaged("its digest differs"));
    }
    Ok(Fold::resume(state?, header.position))
}

fn read_header(file: &mut dyn BufRead, name: &str) -> Result<SnapshotHeader, SnapshotError> {
    let mut line = [0; HEADER_LINE];
    (file.read_exact(&mut line)).map_err(|_| damaged("it ends inside its first line"))?;
    let header = parse_header(&line)?;
    if header.name != name {
        return Err(damaged(format!("it is the snapshot of {:?}", header.name)));
    }
    Ok(header)
}

fn io_error<'a>(
    what: &'static str,
    path: &'a Path,
) -> impl FnOnce(io::Error) -> SnapshotError + 'a {
    move |error| SnapshotError::Io {
        what,
        path: path.to_owned(),
        error,
    }
}

fn damaged(what: impl Into<String>) -> SnapshotError {
    SnapshotError::Damaged(what.into())
}

fn write<P: Projection>(
    temp: &Path,
    fold: &Fold<P>,
    ledger_id: LedgerId,
) -> io::Result<SnapshotHeader> {
    match std::fs::remove_file(temp) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    // `create_new` follows no link that somebody might have put there.
    let file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(temp)?;
    let mut file = BufWriter::with_capacity(256 * 1024, file);
    file.write_all(&[b' '; HEADER_LINE])?;
    let mut digester = Digester::new(P::NAME, P::VERSION);
    let mut result = Ok(());
    let mut line = Vec::new();
    fold.state().rows(&mut |key, value| {
        digester.row(key, value);
        if result.is_ok() {
            result = write_row(&mut file, &mut line, key, value);
        }
    });
    result?;
    let header = SnapshotHeader {
        format: SNAPSHOT_FORMAT,
        name: P::NAME.to_owned(),
        version: P::VERSION,
        ledger_id,
        position: fold.position(),
        rows: digester.rows(),
        digest: digester.finish(),
    };
    file.seek(SeekFrom::Start(0))?;
    file.write_all(&render_header(&header)?)?;
    let file = file.into_inner().map_err(io::IntoInnerError::into_error)?;
    file.sync_all()?;
    Ok(header)
}

fn write_row(file: &mut impl Write, line: &mut Vec<u8>, key: &str, value: &str) -> io::Result<()> {
    line.clear();
    line.push(b'[');
    serde_json::to_writer(&mut *line, key)?;
    line.push(b',');
    line.extend_from_slice(value.as_bytes());
    line.extend_from_slice(b"]\n");
    if line.len() > MAX_ROW {
        return Err(io::Error::other("a row is longer than 16 MiB"));
    }
    file.write_all(line)
}

/// The header line: the header with `check` as its last field, padded.
fn render_header(header: &SnapshotHeader) -> io::Result<Vec<u8>> {
    let mut line = serde_json::to_vec(header)?;
    let check = Hash::of(&line);
    line.pop();
    line.extend_from_slice(format!(",\"check\":\"{check}\"}}").as_bytes());
    if line.len() >= HEADER_LINE {
        return Err(io::Error::other("the header is too long"));
    }
    line.resize(HEADER_LINE - 1, b' ');
    line.push(b'\n');
    Ok(line)
}

fn parse_header(line: &[u8]) -> Result<SnapshotHeader, SnapshotError> {
    #[derive(Deserialize)]
    struct Format {
        format: u16,
    }
    let not_a_header = |e: serde_json::Error| damaged(format!("its first line: {e}"));
    let Format { format } = serde_json::from_slice(line).map_err(not_a_header)?;
    if format != SNAPSHOT_FORMAT {
        return Err(SnapshotError::Version {
            found: format.into(),
            known: SNAPSHOT_FORMAT.into(),
        });
    }
    let header: SnapshotHeader = serde_json::from_slice(line).map_err(not_a_header)?;
    // Rendering is the inverse, to the byte: whatever was changed, `check` included, shows here.
    match render_header(&header) {
        Ok(expected) if expected == line => Ok(header),
        _ => Err(damaged("its first line does not match its check")),
    }
}

/// The rows of a snapshot as they are read; stops at the first fault and keeps it.
struct Rows<'a> {
    file: &'a mut dyn BufRead,
    line: Vec<u8>,
    last: Option<String>,
    digester: Digester,
    fault: Option<String>,
}

impl Rows<'_> {
    fn read(&mut self) -> Result<Option<(String, String)>, String> {
        self.line.clear();
        let limit = MAX_ROW as u64 + 1;
        let read = (&mut *self.file)
            .take(limit)
            .read_until(b'\n', &mut self.line);
        if read.map_err(|e| format!("it cannot be read: {e}"))? == 0 {
            return Ok(None);
        }
        let row = self.digester.rows() + 1;
        if self.line.pop() != Some(b'\n') || self.line.len() >= MAX_ROW {
            return Err(format!("row {row} is cut, or longer than a row may be"));
        }
        let (key, value): (Cow<'_, str>, &RawValue) =
            serde_json::from_slice(&self.line).map_err(|e| format!("row {row}: {e}"))?;
        if self.last.as_deref().is_some_and(|last| last >= &*key) {
            return Err(format!("row {row} is out of order"));
        }
        self.digester.row(&key, value.get());
        self.last = Some(key.to_string());
        Ok(Some((key.into_owned(), value.get().to_owned())))
    }
}

impl Iterator for Rows<'_> {
    type Item = (String, String);

    fn next(&mut self) -> Option<Self::Item> {
        if self.fault.is_some() {
            return None;
        }
        self.read().unwrap_or_else(|fault| {
            self.fault = Some(fault);
            None
        })
    }
}
