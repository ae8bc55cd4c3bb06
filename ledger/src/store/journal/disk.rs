//! What the journal needs of a disk, as traits: real files, and in tests a disk that loses,
//! reorders and tears what was not synced.

use std::fmt::Debug;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::direct::DirectFile;

/// A file of a size that never changes: a segment's, or the head file.
pub(crate) trait SegmentFile: Debug + Send + Sync {
    /// Its length.
    fn len(&self) -> io::Result<u64>;
    /// Fills `out` from `at`.
    fn read_at(&self, at: u64, out: &mut [u8]) -> io::Result<()>;
    /// Writes within its length.
    fn write_at(&self, at: u64, bytes: &[u8]) -> io::Result<()>;
    /// Makes what was written durable.
    fn sync(&self) -> io::Result<()>;
    /// So many bytes from the beginning on will be read soon: a disk may begin to fetch them.
    fn expect(&self, bytes: u64) {
        let _ = bytes;
    }
}

/// A directory of segments, named by number.
pub(crate) trait SegmentDir: Debug + Send + Sync {
    /// The numbers of the segments that there are, in order. Whatever else is there is not a
    /// segment.
    fn list(&self) -> io::Result<Vec<u32>>;
    /// Opens one.
    fn open(&self, number: u32) -> io::Result<Box<dyn SegmentFile>>;
    /// Makes one of this length, of zeros, durable with its name.
    fn create(&self, number: u32, len: u64) -> io::Result<Box<dyn SegmentFile>>;
    /// Removes one.
    fn remove(&self, number: u32) -> io::Result<()>;
    /// Makes the names that there are durable.
    fn sync(&self) -> io::Result<()>;
}

/// How a directory of files is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    /// Nothing is changed.
    Read,
    /// The directory is made if it is not there.
    Write,
}

/// A directory of real files.
#[derive(Debug)]
pub(crate) struct Files {
    path: PathBuf,
    access: Access,
}

impl Files {
    pub(crate) fn open(path: &Path, access: Access) -> io::Result<Self> {
        if access == Access::Write {
            use std::os::unix::fs::DirBuilderExt;
            match fs::DirBuilder::new().mode(0o700).create(path) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
                _ => {}
            }
            // Whoever made it may have ended before this.
            if let Some(parent) = path.parent() {
                File::open(parent)?.sync_all()?;
            }
        }
        Ok(Self {
            path: path.to_owned(),
            access,
        })
    }

    fn file(&self, number: u32) -> PathBuf {
        self.path.join(segment_name(number))
    }
}

/// The name of a segment's file.
pub(crate) fn segment_name(number: u32) -> String {
    format!("{number:08}.segment")
}

/// The number in a segment's name.
fn number(name: &str) -> Option<u32> {
    let digits = name.strip_suffix(".segment")?;
    (digits.len() == 8).then(|| digits.parse().ok()).flatten()
}

impl SegmentDir for Files {
    fn list(&self) -> io::Result<Vec<u32>> {
        let entries = match fs::read_dir(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let mut numbers = Vec::new();
        for entry in entries {
            let entry = entry?;
            if entry.file_type()?.is_file() {
                numbers.extend(entry.file_name().to_str().and_then(number));
            }
        }
        numbers.sort_unstable();
        Ok(numbers)
    }

    fn open(&self, number: u32) -> io::Result<Box<dyn SegmentFile>> {
        let file = OpenOptions::new()
            .read(true)
            .write(self.access == Access::Write)
            .open(self.file(number))?;
        Ok(match self.access {
            Access::Read => Box::new(file),
            Access::Write => Box::new(DirectFile::over(file, &self.file(number))),
        })
    }

    fn create(&self, number: u32, len: u64) -> io::Result<Box<dyn SegmentFile>> {
        // Of an earlier try that did not come to its end: nothing refers to it.
        match fs::remove_file(self.file(number)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(self.file(number))?;
        let filled = fill(&file, len)
            .and_then(|()| file.sync_all())
            .and_then(|()| self.sync());
        match filled {
            Ok(()) => Ok(Box::new(DirectFile::over(file, &self.file(number)))),
            Err(error) => {
                // Its room is what others may need.
                let _ = fs::remove_file(self.file(number));
                Err(error)
            }
        }
    }

    fn remove(&self, number: u32) -> io::Result<()> {
        fs::remove_file(self.file(number))
    }

    fn sync(&self) -> io::Result<()> {
        File::open(&self.path)?.sync_all()
    }
}

/// Written, not just allocated: else the first write to each place would change the file system's
/// own records, and each sync would wait for them.
fn fill(file: &File, len: u64) -> io::Result<()> {
    let zeros = vec![0; 1 << 20];
    let mut at = 0;
    while at < len {
        let step = (len - at).min(zeros.len() as u64);
        file.write_all_at(&zeros[..usize::try_from(step).unwrap_or(0)], at)?;
        at += step;
    }
    Ok(())
}

impl SegmentFile for File {
    fn len(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn read_at(&self, at: u64, out: &mut [u8]) -> io::Result<()> {
        self.read_exact_at(out, at)
    }

    fn write_at(&self, at: u64, bytes: &[u8]) -> io::Result<()> {
        self.write_all_at(bytes, at)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }

    #[allow(unsafe_code, reason = "a call with numbers alone")]
    fn expect(&self, bytes: u64) {
        let len = libc::off_t::try_from(bytes).unwrap_or(0);
        // SAFETY: the descriptor is open, and no memory is touched. It is a hint: what it returns
        // changes nothing.
        let _ = unsafe { libc::posix_fadvise(self.as_raw_fd(), 0, len, libc::POSIX_FADV_WILLNEED) };
    }
}
