//! The files of one attempt, reached only through its open directory.
//!
//! Invariants:
//! - The directory is opened beneath the data directory, following no link on the way.
//! - A record appears under its name with its whole content or not at all.
//! - `claim` can be made once; who comes second learns who was first.
//! - `outcome` is visible when writing it returns, and durable when syncing it does.

use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, OFlag, OpenHow, RenameFlags, ResolveFlag};
use nix::fcntl::{openat, openat2, renameat, renameat2};
use nix::sys::stat::{Mode, mkdirat};
use nix::unistd::{UnlinkatFlags, linkat, unlinkat};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::error::AttemptError;
use super::protocol::VersionProbe;
use super::records::{Claim, Outcome, PROTOCOL_VERSION, Started, Unkillable};

pub(super) const ATTEMPTS: &str = "attempts";
pub(super) const CLAIM: &str = "claim";
pub(super) const STARTED: &str = "started";
pub(super) const OUTCOME: &str = "outcome";
pub(super) const UNKILLABLE: &str = "unkillable";
pub(super) const STDOUT: &str = "stdout";
pub(super) const STDERR: &str = "stderr";

/// An outcome has two tails of 4 KiB, each byte at most six in JSON; the rest is small.
const MAX_RECORD_BYTES: u64 = 128 * 1024;

const FILE_MODE: Mode = Mode::S_IRUSR.union(Mode::S_IWUSR);
const DIR_FLAGS: OFlag = OFlag::O_RDONLY
    .union(OFlag::O_DIRECTORY)
    .union(OFlag::O_CLOEXEC);

/// Opens a directory by its full path; links in that path are the operator's own.
pub(super) fn open_root(path: &Path) -> Result<OwnedFd, AttemptError> {
    openat(AT_FDCWD, path, DIR_FLAGS, Mode::empty()).map_err(|errno| failed("open", path, errno))
}

/// Makes a directory, for the owner alone, unless it is there.
pub(super) fn make_dir(
    parent: BorrowedFd<'_>,
    name: &str,
    full: &Path,
) -> Result<(), AttemptError> {
    match mkdirat(parent, name, Mode::S_IRWXU) {
        Ok(()) | Err(Errno::EEXIST) => Ok(()),
        Err(errno) => Err(failed("create", full, errno)),
    }
}

/// Opens the directory `relative` beneath `parent`, following no link.
pub(super) fn open_beneath(
    parent: BorrowedFd<'_>,
    relative: &str,
    full: &Path,
) -> Result<OwnedFd, AttemptError> {
    let links = ResolveFlag::RESOLVE_NO_SYMLINKS.union(ResolveFlag::RESOLVE_NO_MAGICLINKS);
    let how = OpenHow::new()
        .flags(DIR_FLAGS | OFlag::O_NOFOLLOW)
        .resolve(ResolveFlag::RESOLVE_BENEATH | links);
    openat2(parent, relative, how).map_err(|errno| failed("open", full, errno))
}

/// What came of trying to take a claim.
pub(super) enum ClaimResult {
    /// It's ours.
    Taken,
    /// Somebody was first.
    Held,
}

/// The open directory of one attempt.
pub(super) struct AttemptFiles {
    dir: OwnedFd,
    path: PathBuf,
}

impl AttemptFiles {
    /// `path` is for messages only.
    pub(super) fn new(dir: OwnedFd, path: PathBuf) -> Self {
        Self { dir, path }
    }

    /// Takes the claim for whoever it names.
    pub(super) fn take_claim(&self, claim: &Claim) -> Result<ClaimResult, AttemptError> {
        static COUNTER: AtomicU32 = AtomicU32::new(0);
        let count = COUNTER.fetch_add(1, Ordering::Relaxed);
        let temporary = format!(".claim.{}.{}.{count}", claim.by.pid, claim.by.start_time);
        self.write_new(&temporary, claim)?;
        let result = match self.rename_new(&temporary, CLAIM) {
            // Not every file system can rename without replacing; all can link.
            Err(Errno::EINVAL | Errno::ENOSYS) => linkat(
                &self.dir,
                temporary.as_str(),
                &self.dir,
                CLAIM,
                AtFlags::empty(),
            )
            .and_then(|()| self.unlink(&temporary)),
            other => other,
        };
        match result {
            Ok(()) => Ok(ClaimResult::Taken),
            Err(errno) => {
                // The name is ours alone, and a leftover of it harms nobody.
                let _ = self.unlink(&temporary);
                if errno == Errno::EEXIST {
                    return Ok(ClaimResult::Held);
                }
                Err(self.failed("create", CLAIM, errno))
            }
        }
    }

    /// Writes `started`. Not synced: after a crash of the machine there's nothing to find by it.
    pub(super) fn write_started(&self, started: &Started) -> Result<(), AttemptError> {
        let file = self.write_new(".started", started)?;
        drop(file);
        self.rename(".started", STARTED)
    }

    /// Writes `unkillable`. Not synced, as `started`.
    pub(super) fn write_unkillable(&self, found: &Unkillable) -> Result<(), AttemptError> {
        drop(self.write_new(".unkillable", found)?);
        self.rename(".unkillable", UNKILLABLE)
    }

    /// Writes `outcome`; it's there to be read when this returns, and durable after
    /// [`Self::sync_outcome`] of what is returned.
    ///
    /// The rename comes before the sync, so that file and name go to disk in one commit of the
    /// file system instead of two (measured on ext4: a fifth of the time). A crash of the machine
    /// in between can leave a cut-off outcome, which a reader sees as damaged.
    pub(super) fn write_outcome(&self, outcome: &Outcome) -> Result<File, AttemptError> {
        let file = match self.write_new(".outcome", outcome) {
            // Of an earlier try that met a full disk.
            Err(AttemptError::Io { source, .. }) if source.kind() == ErrorKind::AlreadyExists => {
                let _ = self.unlink(".outcome");
                self.write_new(".outcome", outcome)?
            }
            written => written?,
        };
        self.rename(".outcome", OUTCOME)?;
        Ok(file)
    }

    /// Makes an outcome that was written durable, name and all.
    pub(super) fn sync_outcome(&self, file: &File) -> Result<(), AttemptError> {
        file.sync_all()
            .map_err(|source| self.io("sync", OUTCOME, source))?;
        nix::unistd::fsync(&self.dir).map_err(|errno| failed("sync", &self.path, errno))
    }

    /// Creates an output file.
    pub(super) fn create_output(&self, name: &str) -> io::Result<File> {
        Ok(self.create(name)?)
    }

    /// Opens a file for reading; `None` if there's none.
    pub(super) fn open_file(&self, name: &str) -> Result<Option<File>, AttemptError> {
        let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK;
        match openat(&self.dir, name, flags, Mode::empty()) {
            Ok(fd) => Ok(Some(File::from(fd))),
            Err(Errno::ENOENT) => Ok(None),
            Err(errno) => Err(self.failed("open", name, errno)),
        }
    }

    /// Reads a record; `None` if there's none.
    pub(super) fn read_record<T: DeserializeOwned>(
        &self,
        name: &str,
    ) -> Result<Option<T>, AttemptError> {
        let Some(file) = self.open_file(name)? else {
            return Ok(None);
        };
        let mut bytes = Vec::new();
        file.take(MAX_RECORD_BYTES + 1)
            .read_to_end(&mut bytes)
            .map_err(|source| self.io("read", name, source))?;
        let damaged = |reason: String| AttemptError::Damaged {
            path: self.path.join(name),
            reason,
        };
        if bytes.len() as u64 > MAX_RECORD_BYTES {
            return Err(damaged(format!("larger than {MAX_RECORD_BYTES} bytes")));
        }
        let probe: VersionProbe =
            serde_json::from_slice(&bytes).map_err(|error| damaged(error.to_string()))?;
        if probe.protocol != PROTOCOL_VERSION {
            let path = self.path.join(name);
            return Err(AttemptError::UnknownVersion {
                path,
                found: probe.protocol,
            });
        }
        serde_json::from_slice(&bytes)
            .map(Some)
            .map_err(|error| damaged(error.to_string()))
    }

    fn write_new<T: Serialize>(&self, name: &str, record: &T) -> Result<File, AttemptError> {
        let bytes =
            serde_json::to_vec(record).map_err(|error| self.io("encode", name, error.into()))?;
        let mut file = self
            .create(name)
            .map_err(|errno| self.failed("create", name, errno))?;
        file.write_all(&bytes)
            .map_err(|source| self.io("write", name, source))?;
        Ok(file)
    }

    fn create(&self, name: &str) -> Result<File, Errno> {
        let flags =
            OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        openat(&self.dir, name, flags, FILE_MODE).map(File::from)
    }

    fn rename(&self, from: &str, to: &'static str) -> Result<(), AttemptError> {
        renameat(self.dir.as_fd(), from, self.dir.as_fd(), to)
            .map_err(|errno| self.failed("create", to, errno))
    }

    fn rename_new(&self, from: &str, to: &str) -> Result<(), Errno> {
        renameat2(
            self.dir.as_fd(),
            from,
            self.dir.as_fd(),
            to,
            RenameFlags::RENAME_NOREPLACE,
        )
    }

    fn unlink(&self, name: &str) -> Result<(), Errno> {
        unlinkat(&self.dir, name, UnlinkatFlags::NoRemoveDir)
    }

    fn failed(&self, operation: &'static str, name: &str, errno: Errno) -> AttemptError {
        self.io(operation, name, errno.into())
    }

    fn io(&self, operation: &'static str, name: &str, source: io::Error) -> AttemptError {
        AttemptError::Io {
            operation,
            path: self.path.join(name),
            source,
        }
    }
}

fn failed(operation: &'static str, path: &Path, errno: Errno) -> AttemptError {
    AttemptError::Io {
        operation,
        path: path.to_owned(),
        source: errno.into(),
    }
}
