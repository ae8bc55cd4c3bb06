//! A directory of backups: which there are, and the lock under which they are made and removed.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use super::manifest::{Manifest, ManifestError};
use crate::blobs::BlobError;
use crate::files;
use crate::ids::{Id, LedgerId};
use crate::store::ReadError;

/// What a name begins with as long as a backup is being made.
pub(super) const NEW: &str = ".new-";
/// What a name begins with once a backup is being removed.
pub(super) const OLD: &str = ".old-";

/// Why something about backups could not be done.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// There is no backup, or none of this name.
    #[error("there is no backup {name} in {dir}")]
    Missing {
        /// What was asked for.
        name: String,
        /// Where.
        dir: PathBuf,
    },
    /// The place is another's.
    #[error("{0} belongs to the ledger itself: backups can't be in it")]
    Misplaced(PathBuf),
    /// Another process makes or removes backups there.
    #[error("another process is making or removing backups in {0}")]
    InUse(PathBuf),
    /// The file system failed.
    #[error("{path}: {error}")]
    Io {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        error: io::Error,
    },
    /// Its manifest can't be read.
    #[error("the manifest of backup {name} can't be used: {error}")]
    Manifest {
        /// The backup.
        name: String,
        /// Why not.
        #[source]
        error: ManifestError,
    },
    /// The ledger can't be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The blobs can't be written or linked. What is wrong with those of the ledger is no error.
    #[error(transparent)]
    Blob(#[from] BlobError),
    /// What was written is not what it should be, when it was read back.
    #[error("the backup was written and is not good: {0}")]
    NotGood(String),
}

pub(super) fn at(path: &Path) -> impl Fn(io::Error) -> BackupError + '_ {
    |error| BackupError::Io {
        path: path.to_owned(),
        error,
    }
}

/// A backup that there is.
#[derive(Debug)]
pub struct Listed {
    /// Its name.
    pub name: Id,
    /// Its directory.
    pub path: PathBuf,
    /// What it holds, if that can be read. The files are not looked at.
    pub manifest: Result<Manifest, ManifestError>,
}

impl Listed {
    /// Whether it is of a ledger, as far as its manifest says.
    pub fn is_of(&self, ledger: LedgerId) -> bool {
        self.manifest.as_ref().is_ok_and(|m| m.ledger_id == ledger)
    }
}

/// A directory of backups.
#[derive(Debug, Clone)]
pub struct Catalog {
    dir: PathBuf,
}

impl Catalog {
    /// The backups in `dir`, which need not exist.
    pub fn new(dir: &Path) -> Self {
        Self {
            dir: dir.to_owned(),
        }
    }

    /// The directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The backups, oldest first: names begin with the time. A directory that is not there has
    /// none.
    ///
    /// # Errors
    /// [`BackupError::Io`].
    pub fn list(&self) -> Result<Vec<Listed>, BackupError> {
        let entries = match fs::read_dir(&self.dir) {
            Ok(entries) => entries,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(e) => return Err(at(&self.dir)(e)),
        };
        let mut listed = Vec::new();
        for entry in entries {
            let entry = entry.map_err(at(&self.dir))?;
            let name = entry.file_name();
            // What is being made or removed begins with a dot, and no id does.
            let Some(name) = name.to_str().and_then(|name| Id::new(name).ok()) else {
                continue;
            };
            if !entry.file_type().map_err(at(&self.dir))?.is_dir() {
                continue;
            }
            listed.push(self.look(name));
        }
        listed.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(listed)
    }

    fn look(&self, name: Id) -> Listed {
        let path = self.dir.join(name.as_str());
        let manifest = Manifest::read(&path).and_then(|(manifest, _)| {
            if manifest.name == name {
                Ok(manifest)
            } else {
                Err(ManifestError::Damaged(format!(
                    "it is that of backup {}",
                    manifest.name
                )))
            }
        });
        Listed {
            name,
            path,
            manifest,
        }
    }

    /// The backup of a name, or the newest for `latest`.
    ///
    /// # Errors
    /// [`BackupError::Missing`] if there is none.
    pub fn find(&self, name: &str) -> Result<Listed, BackupError> {
        let missing = || BackupError::Missing {
            name: name.to_owned(),
            dir: self.dir.clone(),
        };
        if name == "latest" {
            return self.list()?.pop().ok_or_else(missing);
        }
        let id = Id::new(name).map_err(|_| missing())?;
        if !self.dir.join(name).is_dir() {
            return Err(missing());
        }
        Ok(self.look(id))
    }

    /// Locks the directory, which is made if it is missing, and removes what was interrupted.
    ///
    /// # Errors
    /// [`BackupError::InUse`] if another process has it locked.
    pub fn lock(&self) -> Result<Locked, BackupError> {
        let io = at(&self.dir);
        files::make_dirs(&self.dir).map_err(&io)?;
        let file = File::open(&self.dir).map_err(&io)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(BackupError::InUse(self.dir.clone())),
            Err(TryLockError::Error(error)) => return Err(io(error)),
        }
        for entry in fs::read_dir(&self.dir).map_err(&io)? {
            let entry = entry.map_err(&io)?;
            let name = entry.file_name();
            let left = name
                .to_str()
                .is_some_and(|name| name.starts_with(NEW) || name.starts_with(OLD));
            if left {
                fs::remove_dir_all(entry.path()).map_err(&io)?;
            }
        }
        Ok(Locked {
            catalog: self.clone(),
            _lock: file,
        })
    }
}

/// A directory of backups that nobody else changes.
#[derive(Debug)]
pub struct Locked {
    catalog: Catalog,
    _lock: File,
}

impl Locked {
    /// The backups.
    pub fn catalog(&self) -> &Catalog {
        &self.catalog
    }

    /// Removes a backup; it is gone from the list at once.
    ///
    /// # Errors
    /// [`BackupError::Io`].
    pub fn remove(&self, name: &Id) -> Result<(), BackupError> {
        let dir = self.catalog.dir();
        let path = dir.join(name.as_str());
        let old = dir.join(format!("{OLD}{name}"));
        fs::rename(&path, &old).map_err(at(&path))?;
        files::sync_dir(dir).map_err(at(dir))?;
        fs::remove_dir_all(&old).map_err(at(&old))
    }
}
