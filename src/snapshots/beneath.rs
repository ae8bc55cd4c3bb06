//! Files beneath a directory, opened name by name through the directory before, so that no link in
//! between leads out of it: what `openat2` with `RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS` gives, on
//! every kernel. Links in the path of the directory itself are the operator's own.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, open, openat, renameat};
use nix::sys::stat::{FileStat, Mode, fstatat, mkdirat};
use nix::unistd::{UnlinkatFlags, unlinkat};

const DIRECTORY: OFlag = OFlag::O_DIRECTORY
    .union(OFlag::O_RDONLY)
    .union(OFlag::O_CLOEXEC);

/// An open directory.
#[derive(Debug)]
pub(super) struct Dir(OwnedFd);

/// What a name stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sort {
    File,
    Directory,
    Link,
    Special,
}

impl Dir {
    /// Opens a directory by its path.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        Ok(Self(open(path, DIRECTORY, Mode::empty())?))
    }

    /// Opens a directory in this one, unless it is a link.
    pub(super) fn dir(&self, name: &str) -> io::Result<Self> {
        let flags = DIRECTORY | OFlag::O_NOFOLLOW;
        Ok(Self(openat(&self.0, name, flags, Mode::empty())?))
    }

    /// The directory that a path's last name is in, and that name. Those on the way that are not there
    /// are made if that is asked for.
    pub(super) fn parent_of<'p>(
        &self,
        path: &'p str,
        missing: Missing,
    ) -> io::Result<(Self, &'p str)> {
        let mut at = Self(self.0.try_clone()?);
        let Some((dirs, name)) = path.rsplit_once('/') else {
            return Ok((at, path));
        };
        for dir in dirs.split('/') {
            at = match at.dir(dir) {
                Err(error)
                    if error.kind() == io::ErrorKind::NotFound && missing == Missing::Make =>
                {
                    at.make_dir(dir)?
                }
                other => other?,
            };
        }
        Ok((at, name))
    }

    fn make_dir(&self, name: &str) -> io::Result<Self> {
        match mkdirat(&self.0, name, Mode::from_bits_truncate(0o777)) {
            Ok(()) | Err(Errno::EEXIST) => {}
            Err(errno) => return Err(errno.into()),
        }
        self.sync()?;
        self.dir(name)
    }

    /// Opens a regular file to read it. A link is refused, and a pipe is not waited for.
    pub(super) fn file(&self, name: &str) -> io::Result<File> {
        let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        Ok(File::from(openat(&self.0, name, flags, Mode::empty())?))
    }

    /// Makes a file that must not be there, for its owner alone.
    pub(super) fn new_file(&self, name: &str) -> io::Result<File> {
        let flags =
            OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let mode = Mode::from_bits_truncate(0o600);
        Ok(File::from(openat(&self.0, name, flags, mode)?))
    }

    /// What a name stands for; nothing if it is not there.
    pub(super) fn stat(&self, name: &str) -> io::Result<Option<FileStat>> {
        match fstatat(&self.0, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(stat)),
            Err(Errno::ENOENT) => Ok(None),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Whether a link leads to a directory, wherever that is.
    pub(super) fn leads_to_directory(&self, name: &str) -> bool {
        let stat = fstatat(&self.0, name, AtFlags::empty());
        stat.is_ok_and(|stat| sort_of(&stat) == Sort::Directory)
    }

    /// Gives a file another name, in the place of what has it.
    pub(super) fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        Ok(renameat(&self.0, from, &self.0, to)?)
    }

    /// Removes a file, or finds that there is none.
    pub(super) fn remove(&self, name: &str) -> io::Result<()> {
        match unlinkat(&self.0, name, UnlinkatFlags::NoRemoveDir) {
            Ok(()) | Err(Errno::ENOENT) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Makes its names last.
    pub(super) fn sync(&self) -> io::Result<()> {
        Ok(nix::unistd::fsync(self.0.as_fd())?)
    }

    /// Its names in order; those that are not UTF-8 apart.
    pub(super) fn names(&self) -> io::Result<(Vec<String>, Vec<String>)> {
        let path = PathBuf::from(format!("/proc/self/fd/{}", self.0.as_raw_fd()));
        let (mut names, mut others) = (Vec::new(), Vec::new());
        for entry in fs::read_dir(path)? {
            match entry?.file_name().into_string() {
                Ok(name) => names.push(name),
                Err(name) => others.push(name.to_string_lossy().into_owned()),
            }
        }
        names.sort_unstable();
        others.sort_unstable();
        Ok((names, others))
    }
}

/// What is done about directories that are not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Missing {
    /// They are made.
    Make,
    /// That is an error.
    Fail,
}

/// What a mode says that something is.
pub(super) fn sort_of(stat: &FileStat) -> Sort {
    match stat.st_mode & libc::S_IFMT {
        libc::S_IFREG => Sort::File,
        libc::S_IFDIR => Sort::Directory,
        libc::S_IFLNK => Sort::Link,
        _ => Sort::Special,
    }
}
