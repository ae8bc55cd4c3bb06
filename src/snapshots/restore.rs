//! Bringing the files of a snapshot back: beneath the root that they were copied from, or elsewhere.
//!
//! Nothing is written before all content was read and found whole, and every file was looked at in its
//! place. Then each is written beside its place, synced and renamed, so that a crash leaves old files and
//! new ones, and none that is in between. What is in the target and not in the snapshot stays as it is.

use std::fs::{File, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use ledger_core::blobs::BlobReader;
use ledger_core::hash::Hash;
use serde::Serialize;

use super::SnapshotError;
use super::beneath::{Dir, Missing, Sort, sort_of};
use super::manifest::{FileEntry, Manifest};
use super::store::Locked;
use super::walk::check_target;

/// What the name of a file that is being restored begins with. The rest follows from its name, so that
/// one that a crash has left is overwritten by the next attempt; no snapshot takes it.
pub(super) const TEMPORARY: &str = ".ledger-new-";

/// What is to be done to a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// Nothing: it is there as it was.
    Same,
    /// It is not there.
    New,
    /// It holds something else.
    Replaced,
    /// Only its permissions are others.
    Mode,
    /// A symbolic link is in its place.
    ReplacesLink,
}

impl Change {
    /// Whether something is lost by it.
    pub fn replaces(self) -> bool {
        matches!(self, Self::Replaced | Self::ReplacesLink)
    }
}

/// A file, and what is to be done to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Planned {
    /// Where it goes, from the target.
    pub path: String,
    /// What is done.
    pub change: Change,
    /// Whether the copy may never have been: it changed while it was read.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub changing: bool,
}

/// All that is to be done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Plan {
    /// File by file.
    pub files: Vec<Planned>,
}

impl Plan {
    /// How many files there are to which this is done.
    pub fn count(&self, which: impl Fn(Change) -> bool) -> u64 {
        self.files.iter().filter(|file| which(file.change)).count() as u64
    }
}

/// What was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Restored {
    /// Files that were written.
    pub written: u64,
    /// Those of them that took the place of others.
    pub replaced: u64,
}

impl Locked {
    /// What restoring a snapshot beneath `target` would do. Changes nothing.
    ///
    /// # Errors
    /// [`SnapshotError::Misplaced`] if a file would go where a part of the ledger is;
    /// [`SnapshotError::Blocked`] if something is in the way that is not replaced: a directory, or a link
    /// where a directory should be.
    pub fn plan(&self, manifest: &Manifest, target: &Path) -> Result<Plan, SnapshotError> {
        check_target(&self.snapshots().data_dir, target, &manifest.files)?;
        let root = match Dir::open(target) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            root => Some(root.map_err(|error| io_at(target, error))?),
        };
        let mut files = Vec::new();
        for file in &manifest.files {
            let change = match &root {
                None => Change::New,
                Some(root) => look(root, file)?,
            };
            files.push(Planned {
                path: file.path.clone(),
                change,
                changing: file.changing,
            });
        }
        Ok(Plan { files })
    }

    /// Restores a snapshot beneath `target`, which is made if it is not there.
    ///
    /// # Errors
    /// [`SnapshotError`]. Damage and what is in the way are found out before anything is written; where
    /// writing fails, files before the one that is named are restored already.
    pub fn restore(
        &self,
        manifest: &Manifest,
        target: &Path,
        progress: &mut dyn FnMut(u64),
    ) -> Result<Restored, SnapshotError> {
        self.verify(manifest, progress)?;
        let plan = self.plan(manifest, target)?;
        std::fs::create_dir_all(target).map_err(|error| io_at(target, error))?;
        let root = Dir::open(target).map_err(|error| io_at(target, error))?;
        let mut done = Restored {
            written: 0,
            replaced: 0,
        };
        for (file, planned) in manifest.files.iter().zip(&plan.files) {
            if planned.change == Change::Same {
                continue;
            }
            let content = self.store.read(file.blake3)?;
            put(&root, file, content).map_err(|error| blocked(file, &error))?;
            done.written += 1;
            done.replaced += u64::from(planned.change.replaces());
            progress(file.bytes);
        }
        Ok(done)
    }
}

fn io_at(path: &Path, error: io::Error) -> SnapshotError {
    SnapshotError::Io {
        path: path.to_owned(),
        error,
    }
}

fn blocked(file: &FileEntry, error: &io::Error) -> SnapshotError {
    let why = match error.raw_os_error() {
        Some(libc::ELOOP | libc::ENOTDIR) => {
            "a link or a file is where a directory of its path should be".to_owned()
        }
        _ => error.to_string(),
    };
    SnapshotError::Blocked {
        path: file.path.clone(),
        why,
    }
}

/// What is in a file's place.
fn look(root: &Dir, file: &FileEntry) -> Result<Change, SnapshotError> {
    let looked = || -> io::Result<Change> {
        let (dir, name) = match root.parent_of(&file.path, Missing::Fail) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Change::New),
            found => found?,
        };
        let Some(stat) = dir.stat(name)? else {
            return Ok(Change::New);
        };
        match sort_of(&stat) {
            Sort::Link => Ok(Change::ReplacesLink),
            Sort::Directory => Err(io::Error::other("a directory is in its place")),
            Sort::Special => Err(io::Error::other(
                "something that is no file is in its place",
            )),
            Sort::File => {
                let same = u64::try_from(stat.st_size) == Ok(file.bytes)
                    && hash_of(dir.file(name)?)? == file.blake3;
                Ok(match (same, stat.st_mode & 0o7777 == file.mode) {
                    (true, true) => Change::Same,
                    (true, false) => Change::Mode,
                    (false, _) => Change::Replaced,
                })
            }
        }
    };
    looked().map_err(|error| blocked(file, &error))
}

fn hash_of(mut file: File) -> io::Result<Hash> {
    let mut hasher = blake3::Hasher::new();
    let mut buffer = vec![0; 256 * 1024];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok(Hash(*hasher.finalize().as_bytes())),
            Ok(count) => drop(hasher.update(&buffer[..count])),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Writes a file beside its place, and gives it its name.
fn put(root: &Dir, file: &FileEntry, mut content: BlobReader) -> io::Result<()> {
    let (dir, name) = root.parent_of(&file.path, Missing::Make)?;
    let new = format!(
        "{TEMPORARY}{}",
        &Hash::of(name.as_bytes()).to_string()[..16]
    );
    dir.remove(&new)?;
    let written = write(&dir, &new, file, &mut content).and_then(|()| {
        dir.rename(&new, name)?;
        dir.sync()
    });
    if written.is_err() {
        // If it stays, the next attempt removes it.
        let _ = dir.remove(&new);
    }
    written
}

fn write(dir: &Dir, name: &str, file: &FileEntry, content: &mut BlobReader) -> io::Result<()> {
    let mut out = dir.new_file(name)?;
    // The last bytes come only if all of them are right.
    let copied = io::copy(content, &mut out)?;
    if copied != file.bytes {
        return Err(io::Error::other("its content has another length"));
    }
    out.flush()?;
    out.set_permissions(Permissions::from_mode(file.mode))?;
    out.sync_all()
}
