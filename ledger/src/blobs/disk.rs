//! What the blobs need of a disk, as a trait: real directories, and in tests a disk that forgets
//! what was not synced.
//!
//! Real ones are opened name by name beneath the data directory, through the open directory before
//! (`/proc/self/fd/N/NAME`), and no name may be a link. That is what `openat2` with
//! `RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS` gives, in calls that std has.

use std::fmt::Debug;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use super::BLOBS_DIR;
use crate::time::Timestamp;

/// A directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Folder {
    /// The data directory.
    Data,
    /// `blobs`.
    Top,
    /// `blobs/incoming`: what is being written.
    Incoming,
    /// `blobs/ab`: the blobs whose names begin like this.
    Shelf(u8),
}

impl Folder {
    /// Where it is, and what it is called there.
    fn place(self) -> Option<(Self, String)> {
        match self {
            Self::Data => None,
            Self::Top => Some((Self::Data, BLOBS_DIR.to_owned())),
            Self::Incoming => Some((Self::Top, "incoming".to_owned())),
            Self::Shelf(byte) => Some((Self::Top, format!("{byte:02x}"))),
        }
    }
}

/// What came of making a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Made {
    /// It is new, and its name is not on disk yet.
    New,
    /// It was there.
    There,
}

/// A file that is being written.
pub(super) trait NewFile: Debug + Send {
    /// Adds bytes at its end.
    fn write(&mut self, bytes: &[u8]) -> io::Result<()>;
    /// Makes what was written durable.
    fn sync(&mut self) -> io::Result<()>;
}

/// A file that is there.
pub(super) trait OldFile: Debug + Send {
    /// Its length.
    fn len(&self) -> io::Result<u64>;
    /// When it was last said to be wanted: written or touched.
    fn modified(&self) -> io::Result<Timestamp>;
    /// Says that it is wanted.
    fn touch(&self, now: Timestamp) -> io::Result<()>;
    /// Reads on.
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize>;
}

/// A disk with the directories of [`Folder`].
pub(super) trait Disk: Debug + Send + Sync {
    /// Makes a directory in the one it belongs to.
    fn make(&self, folder: Folder) -> io::Result<Made>;
    /// Makes a directory's names durable.
    fn sync(&self, folder: Folder) -> io::Result<()>;
    /// A new, empty file under a name that nothing has.
    fn create(&self, folder: Folder, name: &str) -> io::Result<Box<dyn NewFile>>;
    /// Gives a file another name, in the place of what has it.
    fn rename(&self, from: (Folder, &str), to: (Folder, &str)) -> io::Result<()>;
    /// Opens a file for reading.
    fn open(&self, folder: Folder, name: &str) -> io::Result<Box<dyn OldFile>>;
    /// Removes a file.
    fn remove(&self, folder: Folder, name: &str) -> io::Result<()>;
    /// The names in a directory; none if there is no such directory.
    fn list(&self, folder: Folder) -> io::Result<Vec<String>>;
}

/// Real directories below a data directory.
#[derive(Debug)]
pub(super) struct Files(File);

const DIRECTORY: i32 = libc::O_DIRECTORY | libc::O_NOFOLLOW;
/// Opening a pipe must not wait for somebody at its other end.
const REGULAR: i32 = libc::O_NOFOLLOW | libc::O_NONBLOCK;

impl Files {
    /// The directories below `dir`; links in that path are the operator's own.
    pub(super) fn open(dir: &Path) -> io::Result<Self> {
        let dir = OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_DIRECTORY)
            .open(dir)?;
        Ok(Self(dir))
    }

    fn dir(&self, folder: Folder) -> io::Result<File> {
        match folder.place() {
            None => self.0.try_clone(),
            Some((parent, name)) => OpenOptions::new()
                .read(true)
                .custom_flags(DIRECTORY)
                .open(beneath(&self.dir(parent)?, &name)),
        }
    }
}

fn beneath(dir: &File, name: &str) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}/{name}", dir.as_raw_fd()))
}

impl Disk for Files {
    fn make(&self, folder: Folder) -> io::Result<Made> {
        let Some((parent, name)) = folder.place() else {
            return Ok(Made::There);
        };
        let parent = self.dir(parent)?;
        match DirBuilder::new()
            .mode(0o700)
            .create(beneath(&parent, &name))
        {
            Ok(()) => Ok(Made::New),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(Made::There),
            Err(error) => Err(error),
        }
    }

    fn sync(&self, folder: Folder) -> io::Result<()> {
        self.dir(folder)?.sync_all()
    }

    fn create(&self, folder: Folder, name: &str) -> io::Result<Box<dyn NewFile>> {
        let dir = self.dir(folder)?;
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .custom_flags(libc::O_NOFOLLOW)
            .open(beneath(&dir, name))?;
        Ok(Box::new(file))
    }

    fn rename(&self, from: (Folder, &str), to: (Folder, &str)) -> io::Result<()> {
        let (old, new) = (self.dir(from.0)?, self.dir(to.0)?);
        fs::rename(beneath(&old, from.1), beneath(&new, to.1))
    }

    fn open(&self, folder: Folder, name: &str) -> io::Result<Box<dyn OldFile>> {
        let dir = self.dir(folder)?;
        let file = OpenOptions::new()
            .read(true)
            .custom_flags(REGULAR)
            .open(beneath(&dir, name))?;
        if !file.metadata()?.is_file() {
            return Err(io::Error::other("it is not a regular file"));
        }
        Ok(Box::new(file))
    }

    fn remove(&self, folder: Folder, name: &str) -> io::Result<()> {
        fs::remove_file(beneath(&self.dir(folder)?, name))
    }

    fn list(&self, folder: Folder) -> io::Result<Vec<String>> {
        let dir = match self.dir(folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            dir => dir?,
        };
        let mut names = Vec::new();
        for entry in fs::read_dir(beneath(&dir, "."))? {
            names.extend(entry?.file_name().into_string().ok());
        }
        names.sort_unstable();
        Ok(names)
    }
}

impl NewFile for File {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.write_all(bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.sync_all()
    }
}

impl OldFile for File {
    fn len(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn modified(&self) -> io::Result<Timestamp> {
        let meta = self.metadata()?;
        let seconds = u64::try_from(meta.mtime()).unwrap_or(0);
        let nanos = u64::try_from(meta.mtime_nsec()).unwrap_or(0);
        let micros = seconds
            .saturating_mul(1_000_000)
            .saturating_add(nanos / 1000);
        Ok(Timestamp(micros).min(Timestamp::MAX))
    }

    fn touch(&self, now: Timestamp) -> io::Result<()> {
        self.set_modified(UNIX_EPOCH + Duration::from_micros(now.0))
    }

    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        io::Read::read(self, out)
    }
}
