//! Files and directories that are either whole or not there, whenever a crash comes.

use std::ffi::OsStr;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Component, Path, PathBuf};

/// Makes a directory for its owner alone, and those above it.
pub(crate) fn make_dirs(dir: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir)
}

/// Makes one directory, which must not be there, for its owner alone.
pub(crate) fn make_dir(dir: &Path) -> io::Result<()> {
    DirBuilder::new().mode(0o700).create(dir)
}

/// Opens a file that must not be there, for its owner alone.
pub(crate) fn new_file(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
}

/// Writes a file that must not be there; its content is on disk when this returns.
pub(crate) fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = new_file(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Puts a file in the place of what is under its name, at once, to be read by everyone as far as the
/// umask allows.
///
/// # Errors
/// The system's; what was under the name is then still there.
pub fn publish(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut name = std::ffi::OsString::from(".new-");
    name.push(path.file_name().unwrap_or(OsStr::new("file")));
    let new = path.with_file_name(name);
    remove_if_there(&new)?;
    let mut file = File::create_new(&new)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    sync_dir(path.parent().unwrap_or(Path::new(".")))
}

/// Makes what a directory names last.
pub(crate) fn sync_dir(dir: &Path) -> io::Result<()> {
    let dir = if dir.as_os_str().is_empty() {
        Path::new(".")
    } else {
        dir
    };
    File::open(dir)?.sync_all()
}

/// Removes a file, or finds that there is none.
pub(crate) fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// What is said of a name that is no regular file.
pub(crate) const NO_FILE: &str = "it is not a file of its own";

/// Opens a regular file for reading. A link is refused, and so is a pipe, which would be waited for.
pub(crate) fn open_regular(path: &Path) -> io::Result<File> {
    let opened = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
        .open(path);
    let no_file = || io::Error::new(io::ErrorKind::InvalidInput, NO_FILE);
    let file = opened.map_err(|error| match error.raw_os_error() {
        Some(libc::ELOOP | libc::ENXIO) => no_file(),
        _ => error,
    })?;
    if file.metadata()?.is_file() {
        Ok(file)
    } else {
        Err(no_file())
    }
}

/// Whether `path`, which need not be there, is `dir` or lies in it, links and all.
///
/// # Errors
/// The system's, if one of them can't be looked at.
pub fn lies_in(path: &Path, dir: &Path) -> io::Result<bool> {
    Ok(resolve(path)?.starts_with(resolve(dir)?))
}

/// Where a path leads: what is there of it without links, what is not there as it is written.
///
/// # Errors
/// The system's, if it can't be looked at.
pub fn resolve(path: &Path) -> io::Result<PathBuf> {
    let path = std::path::absolute(path)?;
    let is_there = |dir: &&Path| dir.symlink_metadata().is_ok();
    let there = path.ancestors().find(is_there).unwrap_or(Path::new("/"));
    let mut found = there.canonicalize()?;
    for part in path
        .strip_prefix(there)
        .into_iter()
        .flat_map(Path::components)
    {
        match part {
            // No link can be on the way: it is not there.
            Component::ParentDir => drop(found.pop()),
            part => found.push(part),
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_path_lies_in_a_directory_however_it_is_written() {
        let room = tempfile::tempdir().unwrap();
        let at = |name: &str| room.path().join(name);
        fs::create_dir_all(at("a/b")).unwrap();
        symlink(at("a"), at("link")).unwrap();
        for inside in ["a", "a/new", "a/b/../c", "link/x/y", "x/../a/z"] {
            assert!(lies_in(&at(inside), &at("a")).unwrap(), "{inside}");
        }
        for outside in ["", "ab", "a/../c", "new"] {
            assert!(!lies_in(&at(outside), &at("a")).unwrap(), "{outside}");
        }
        assert!(
            lies_in(&at("new/x"), &at("new")).unwrap(),
            "neither is there"
        );
    }

    #[test]
    fn only_a_regular_file_is_opened() {
        let room = tempfile::tempdir().unwrap();
        let file = room.path().join("file");
        fs::write(&file, "x").unwrap();
        assert!(open_regular(&file).is_ok());
        let link = room.path().join("link");
        symlink(&file, &link).unwrap();
        for other in [link.as_path(), room.path()] {
            assert_eq!(open_regular(other).unwrap_err().to_string(), NO_FILE);
        }
        let none = open_regular(&room.path().join("none")).unwrap_err();
        assert_eq!(none.kind(), io::ErrorKind::NotFound);
    }
}
