//! The directory of checkpoints: one file for each, named by position and name, so that the newest is
//! found without reading any.

use std::ffi::OsString;
use std::fmt;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, BufWriter, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use ledger_core::ids::{Id, Seq};
use serde::Serialize;

use super::file::CheckpointError;
use super::files::{Files, NewFile};

/// Its name in the data directory.
pub const CHECKPOINT_DIR: &str = "checkpoints";
/// What a file is called behind its position and name.
const SUFFIX: &str = ".checkpoint";
/// What is put behind the name of one that was found damaged, so that it is not tried again.
const REJECTED: &str = ".checkpoint.rejected";
/// What is being written.
const NEW: &str = ".new";
/// Bytes that are written at once.
const BUFFER: usize = 1024 * 1024;
/// Digits of a position in a name.
const DIGITS: usize = 20;

/// A file of the directory.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct CheckpointFile {
    /// The position that it is named by.
    pub seq: Seq,
    /// The checkpoint's name.
    pub name: Id,
}

impl CheckpointFile {
    fn parse(file: &str, suffix: &str) -> Option<Self> {
        let (seq, name) = file.strip_suffix(suffix)?.split_once('-')?;
        if seq.len() != DIGITS || !seq.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        Some(Self {
            seq: Seq(seq.parse().ok()?),
            name: Id::new(name).ok()?,
        })
    }
}

/// What there is of a checkpoint, without a look into its file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "file", content = "fault")]
pub enum Presence {
    /// Its file is there; what is in it is another question.
    There,
    /// What is there can't be it, and why.
    Damaged(String),
    /// It was found damaged, and stands aside.
    SetAside,
    /// There is no file.
    Missing,
}

impl Presence {
    /// In a word or two.
    pub fn word(&self) -> &'static str {
        match self {
            Self::There => "there",
            Self::Damaged(_) => "damaged",
            Self::SetAside => "set aside",
            Self::Missing => "missing",
        }
    }
}

const NOT_REGULAR: &str = "it is no regular file";

fn wrong_size(found: u64, wanted: u64) -> String {
    format!("it has {found} bytes, not {wanted}")
}

/// Where the checkpoint of this position and name is. Ids have no `/` and begin with no dot.
pub fn path_of(data_dir: &Path, seq: Seq, name: &Id) -> PathBuf {
    data_dir
        .join(CHECKPOINT_DIR)
        .join(format!("{:020}-{name}{SUFFIX}", seq.0))
}

/// The directory of a ledger's checkpoints.
#[derive(Debug, Clone)]
pub struct CheckpointDir {
    data_dir: PathBuf,
    path: PathBuf,
}

impl CheckpointDir {
    /// That of a data directory; it need not be there.
    pub fn new(data_dir: &Path) -> Self {
        Self {
            data_dir: data_dir.to_owned(),
            path: data_dir.join(CHECKPOINT_DIR),
        }
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where a checkpoint is.
    pub fn file(&self, of: &CheckpointFile) -> PathBuf {
        path_of(&self.data_dir, of.seq, &of.name)
    }

    /// Those that were found damaged and set aside, the oldest position first.
    ///
    /// # Errors
    /// The system's.
    pub fn set_aside(&self) -> io::Result<Vec<CheckpointFile>> {
        self.named(REJECTED)
    }

    /// The names of what is in the directory and has no name that a checkpoint could have.
    ///
    /// # Errors
    /// The system's.
    pub fn strangers(&self) -> io::Result<Vec<OsString>> {
        let ours = |name: &str| {
            name == NEW
                || [SUFFIX, REJECTED]
                    .iter()
                    .any(|suffix| CheckpointFile::parse(name, suffix).is_some())
        };
        let mut names = self.names()?;
        names.retain(|name| !name.to_str().is_some_and(ours));
        Ok(names)
    }

    fn named(&self, suffix: &str) -> io::Result<Vec<CheckpointFile>> {
        let names = self.names()?.into_iter();
        let parsed = |name: OsString| CheckpointFile::parse(name.to_str()?, suffix);
        let mut files: Vec<_> = names.filter_map(parsed).collect();
        files.sort();
        Ok(files)
    }

    /// All names in it, sorted; none if there is no directory.
    fn names(&self) -> io::Result<Vec<OsString>> {
        let entries = match fs::read_dir(&self.path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let names = entries.map(|entry| Ok(entry?.file_name()));
        let mut names = names.collect::<io::Result<Vec<_>>>()?;
        names.sort();
        Ok(names)
    }

    /// What there is of a checkpoint, by the looks of its file; `bytes` is how many it should have.
    pub fn presence(&self, of: &CheckpointFile, bytes: u64) -> Presence {
        match self.file(of).symlink_metadata() {
            Ok(meta) if !meta.is_file() => Presence::Damaged(NOT_REGULAR.into()),
            Ok(meta) if meta.len() != bytes => Presence::Damaged(wrong_size(meta.len(), bytes)),
            Ok(_) => Presence::There,
            Err(_) if self.aside(of).symlink_metadata().is_ok() => Presence::SetAside,
            Err(_) => Presence::Missing,
        }
    }

    /// Makes the directory, for its owner alone, if it is missing. A link in its place is refused.
    ///
    /// # Errors
    /// The system's.
    fn make(&self) -> io::Result<()> {
        match DirBuilder::new().mode(0o700).create(&self.path) {
            Ok(()) => File::open(&self.data_dir)?.sync_all()?,
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
            Err(e) => return Err(e),
        }
        if self.path.symlink_metadata()?.is_dir() {
            return Ok(());
        }
        Err(io::ErrorKind::NotADirectory.into())
    }

    /// Where the next one is written before it has its name.
    fn new_file(&self) -> PathBuf {
        self.path.join(NEW)
    }

    /// Sets a damaged one aside.
    ///
    /// # Errors
    /// The system's.
    pub(super) fn reject(&self, file: &CheckpointFile) -> io::Result<()> {
        match fs::rename(self.file(file), self.aside(file)) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
            Ok(()) | Err(_) => self.sync(),
        }
    }

    fn aside(&self, file: &CheckpointFile) -> PathBuf {
        let name = format!("{:020}-{}{REJECTED}", file.seq.0, file.name);
        self.path.join(name)
    }

    /// Removes one, if it is there.
    ///
    /// # Errors
    /// The system's.
    pub(super) fn remove(&self, file: &CheckpointFile) -> io::Result<()> {
        self.unlink(&self.file(file))
    }

    /// Removes one that was set aside, if it is there.
    ///
    /// # Errors
    /// The system's.
    pub(super) fn remove_aside(&self, file: &CheckpointFile) -> io::Result<()> {
        self.unlink(&self.aside(file))
    }

    fn unlink(&self, path: &Path) -> io::Result<()> {
        match fs::remove_file(path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
            Ok(()) | Err(_) => self.sync(),
        }
    }

    /// Removes what an interrupted making has left.
    ///
    /// # Errors
    /// The system's.
    pub(super) fn clear(&self) -> io::Result<()> {
        match fs::remove_file(self.new_file()) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    fn sync(&self) -> io::Result<()> {
        match File::open(&self.path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
            dir => dir?.sync_all(),
        }
    }
}

impl fmt::Display for CheckpointDir {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.path.display().fmt(f)
    }
}

impl Files for CheckpointDir {
    fn list(&self) -> io::Result<Vec<CheckpointFile>> {
        self.named(SUFFIX)
    }

    fn read(&self, file: &CheckpointFile, limit: u64) -> Result<Vec<u8>, CheckpointError> {
        read(&self.file(file), limit)
    }

    fn create(&self) -> io::Result<Box<dyn NewFile + '_>> {
        self.make()?;
        self.clear()?;
        // `create_new` follows no link that somebody might have put there.
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(self.new_file())?;
        Ok(Box::new(Unfinished(BufWriter::with_capacity(BUFFER, file))))
    }

    fn read_new(&self) -> Result<Vec<u8>, CheckpointError> {
        read(&self.new_file(), u64::MAX - 1)
    }

    fn publish(&self, file: &CheckpointFile) -> io::Result<()> {
        fs::rename(self.new_file(), self.file(file))?;
        self.sync()
    }
}

/// The file that is being written.
struct Unfinished(BufWriter<File>);

impl Write for Unfinished {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

impl Seek for Unfinished {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.0.seek(to)
    }
}

impl NewFile for Unfinished {
    fn finish(self: Box<Self>) -> io::Result<()> {
        let file = self.0.into_inner();
        file.map_err(io::IntoInnerError::into_error)?.sync_all()
    }
}

/// Reads all of a regular file of at most `limit` bytes, following no link.
pub(super) fn read(path: &Path, limit: u64) -> Result<Vec<u8>, CheckpointError> {
    let opened = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
        .open(path);
    let file = match opened {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Err(CheckpointError::Missing),
        file => file?,
    };
    let meta = file.metadata()?;
    if !meta.is_file() {
        return Err(CheckpointError::Damaged(NOT_REGULAR.into()));
    }
    if meta.len() > limit {
        let reason = wrong_size(meta.len(), limit);
        return Err(CheckpointError::Damaged(reason));
    }
    let mut bytes = Vec::with_capacity(usize::try_from(meta.len()).unwrap_or(0));
    File::take(file, limit + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}
