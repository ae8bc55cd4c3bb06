//! The snapshots in a data directory: which there are, making one, letting old ones go.
//!
//! Whoever makes, removes or reads content holds the lock, an exclusive `flock` on the directory; what
//! lists needs none. Under the lock, what a crash has left is removed first.

use std::collections::{BTreeMap, HashSet};
use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use ledger_core::blobs::{BlobStore, Limits, check};
use ledger_core::hash::Hash;
use ledger_core::ids::{Id, LedgerId};
use ledger_core::time::Timestamp;

use super::beneath::Dir;
use super::copy::{Copied, Copier};
use super::manifest::{FORMAT, MAX_MANIFEST, Manifest, ManifestError, Skipped};
use super::walk::{Own, check_root, find};
use super::{FileSet, Keep, SnapshotError};

/// The directory of snapshots in a data directory.
const DIR: &str = "snapshots";
/// In it, a directory for each set.
const SETS: &str = "sets";
/// Most snapshots that go at once: their names stand in one event.
const MAX_AT_ONCE: usize = 1000;
/// What the name of a manifest that is being written begins with.
const NEW: &str = ".new-";

/// The snapshots of a ledger.
#[derive(Debug, Clone)]
pub struct Snapshots {
    pub(super) data_dir: PathBuf,
    dir: PathBuf,
}

/// A snapshot that is there.
#[derive(Debug)]
pub struct Listed {
    /// Its set.
    pub set: Id,
    /// Its name.
    pub name: Id,
    /// What it holds and the hash of that, or why that can't be told.
    pub manifest: Result<(Manifest, Hash), ManifestError>,
}

/// A snapshot that was made.
#[derive(Debug, Clone)]
pub struct Made {
    /// What it holds.
    pub manifest: Manifest,
    /// The manifest's hash.
    pub hash: Hash,
    /// Bytes of content that the store did not have.
    pub written: u64,
}

/// What came of making one.
#[derive(Debug, Clone)]
pub enum Outcome {
    /// There is a new one.
    Made(Made),
    /// The latest holds the same: that is it, with nothing written but what had been damaged.
    Unchanged(Made),
}

impl Outcome {
    /// The latest snapshot now.
    pub fn latest(&self) -> &Made {
        match self {
            Self::Made(made) | Self::Unchanged(made) => made,
        }
    }
}

fn at(path: &Path) -> impl Fn(io::Error) -> SnapshotError + '_ {
    |error| SnapshotError::Io {
        path: path.to_owned(),
        error,
    }
}

impl Snapshots {
    /// Those in a data directory; there need not be any.
    pub fn of(data_dir: &Path) -> Self {
        Self {
            data_dir: data_dir.to_owned(),
            dir: data_dir.join(DIR),
        }
    }

    fn set_dir(&self, set: &Id) -> PathBuf {
        self.dir.join(SETS).join(set.as_str())
    }

    /// The sets of which there are any, by name.
    ///
    /// # Errors
    /// [`SnapshotError::Io`].
    pub fn sets(&self) -> Result<Vec<Id>, SnapshotError> {
        ids_in(&self.dir.join(SETS))
    }

    /// The snapshots of a set, oldest first.
    ///
    /// # Errors
    /// [`SnapshotError::Io`].
    pub fn list(&self, set: &Id) -> Result<Vec<Listed>, SnapshotError> {
        let names = ids_in(&self.set_dir(set))?;
        Ok(names.into_iter().map(|name| self.look(set, name)).collect())
    }

    /// The snapshot of a name, or `latest`.
    ///
    /// # Errors
    /// [`SnapshotError::Missing`] if there is none, [`SnapshotError::NoSet`] if the set has none at all.
    pub fn find(&self, set: &Id, name: &str) -> Result<Listed, SnapshotError> {
        let mut names = ids_in(&self.set_dir(set))?;
        if names.is_empty() {
            return Err(SnapshotError::NoSet(set.clone()));
        }
        let found = match name {
            "latest" => names.pop(),
            name => names.into_iter().find(|there| there.as_str() == name),
        };
        let name = found.ok_or_else(|| SnapshotError::Missing {
            set: set.clone(),
            name: name.to_owned(),
        })?;
        Ok(self.look(set, name))
    }

    fn look(&self, set: &Id, name: Id) -> Listed {
        let read = || -> Result<(Manifest, Hash), ManifestError> {
            let mut options = OpenOptions::new();
            options.custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK);
            let file = options
                .read(true)
                .open(self.set_dir(set).join(name.as_str()))?;
            let mut bytes = Vec::new();
            file.take(MAX_MANIFEST + 1).read_to_end(&mut bytes)?;
            if bytes.len() as u64 > MAX_MANIFEST {
                return Err(ManifestError::Damaged("it is too long".to_owned()));
            }
            Manifest::parse(&bytes, set, &name)
        };
        let manifest = read();
        Listed {
            set: set.clone(),
            name,
            manifest,
        }
    }

    /// Takes the lock, and removes what a crash has left.
    ///
    /// # Errors
    /// [`SnapshotError::InUse`] if another process has it.
    pub fn lock(&self) -> Result<Locked, SnapshotError> {
        let io = at(&self.dir);
        make_dirs(&self.dir).map_err(&io)?;
        let lock = File::open(&self.dir).map_err(&io)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(SnapshotError::InUse(self.dir.clone())),
            Err(TryLockError::Error(error)) => return Err(io(error)),
        }
        for set in self.sets()? {
            let dir = self.set_dir(&set);
            for entry in fs::read_dir(&dir).map_err(at(&dir))? {
                let entry = entry.map_err(at(&dir))?;
                if entry.file_name().to_string_lossy().starts_with(NEW) {
                    fs::remove_file(entry.path()).map_err(at(&dir))?;
                }
            }
        }
        let limits = Limits {
            bytes: u64::MAX,
            in_flight: u64::MAX,
        };
        Ok(Locked {
            store: BlobStore::open(&self.dir, limits)?,
            snapshots: self.clone(),
            _lock: lock,
        })
    }
}

/// What a snapshot is made for.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// The ledger that it is to be recorded in.
    pub ledger: LedgerId,
    /// When it is made, for its name.
    pub now: Timestamp,
    /// Version of this software.
    pub software: &'a str,
    /// The snapshots of the set that are recorded in the ledger, with the hashes of their manifests: one
    /// that is there otherwise than it was recorded is not what the files were.
    pub recorded: &'a BTreeMap<Id, Hash>,
}

/// The snapshots of a ledger, which nobody else changes.
#[derive(Debug)]
pub struct Locked {
    snapshots: Snapshots,
    pub(super) store: BlobStore,
    _lock: File,
}

impl Locked {
    /// Which there are.
    pub fn snapshots(&self) -> &Snapshots {
        &self.snapshots
    }

    /// Copies the files of a set. Where the latest snapshot holds the same, there is no new one.
    ///
    /// # Errors
    /// [`SnapshotError`]; there is then no new one.
    pub fn make(&self, set: &FileSet, request: Request<'_>) -> Result<Outcome, SnapshotError> {
        self.make_between(set, request, &|_| {})
    }

    pub(super) fn make_between(
        &self,
        set: &FileSet,
        request: Request<'_>,
        between: &dyn Fn(&str),
    ) -> Result<Outcome, SnapshotError> {
        check_root(&self.snapshots.data_dir, &set.root)?;
        let own = Own::of(&self.snapshots.data_dir).map_err(at(&self.snapshots.data_dir))?;
        let found = find(&set.root, &set.files, &own, set.max_files)?;
        let root = Dir::open(&set.root).map_err(at(&set.root))?;
        let mut copier = Copier {
            root: &root,
            store: &self.store,
            limit: set.max_bytes,
            taken: 0,
            between,
        };
        let (mut files, mut skipped, mut written) = (Vec::new(), found.skipped, 0);
        for path in found.files {
            match copier.copy(&path)? {
                Copied::File { entry, written: w } => {
                    files.push(entry);
                    written += w;
                }
                Copied::Gone => {}
                Copied::Skipped(reason) => skipped.push(Skipped { path, reason }),
            }
        }
        if files.is_empty() && skipped.is_empty() {
            return Err(SnapshotError::NoFiles(set.root.clone()));
        }
        skipped.sort_by(|a, b| a.path.cmp(&b.path));
        let manifest = Manifest {
            format: FORMAT,
            set: set.name.clone(),
            snapshot: self.name(&set.name, request.now)?,
            ledger_id: request.ledger,
            made_at: request.now,
            software: request.software.to_owned(),
            root: set.root.display().to_string(),
            files,
            skipped,
        };
        let as_recorded = |name: &Id, hash: &Hash| {
            let recorded = request.recorded.get(name);
            recorded.is_none_or(|recorded| recorded == hash)
        };
        if let Some((latest, hash)) = self.latest(&set.name)?
            && as_recorded(&latest.snapshot, &hash)
            && latest.holds_the_same(&manifest)
        {
            return Ok(Outcome::Unchanged(Made {
                manifest: latest,
                hash,
                written,
            }));
        }
        let hash = self.write(&manifest)?;
        Ok(Outcome::Made(Made {
            manifest,
            hash,
            written,
        }))
    }

    /// A name behind all there are: made from the time, unless the clock was set back.
    fn name(&self, set: &Id, now: Timestamp) -> Result<Id, SnapshotError> {
        let names = ids_in(&self.snapshots.set_dir(set))?;
        let last = names.last().and_then(time_of);
        let behind = last.map_or(now, |last| Timestamp(last.0.saturating_add(1)));
        Ok(name(now.max(behind).min(Timestamp::MAX)))
    }

    fn latest(&self, set: &Id) -> Result<Option<(Manifest, Hash)>, SnapshotError> {
        match self.snapshots.find(set, "latest") {
            Ok(listed) => Ok(listed.manifest.ok()),
            Err(SnapshotError::Missing { .. } | SnapshotError::NoSet(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Puts a manifest in its place, durably.
    fn write(&self, manifest: &Manifest) -> Result<Hash, SnapshotError> {
        let dir = self.snapshots.set_dir(&manifest.set);
        let (bytes, hash) = manifest.to_bytes();
        if bytes.len() as u64 > MAX_MANIFEST {
            return Err(SnapshotError::TooLarge {
                limit: MAX_MANIFEST,
            });
        }
        let path = dir.join(manifest.snapshot.as_str());
        let new = dir.join(format!("{NEW}{}", manifest.snapshot));
        let write = || -> io::Result<()> {
            make_dirs(&dir)?;
            for above in dir.ancestors().skip(1).take(3) {
                File::open(above)?.sync_all()?;
            }
            let mut options = OpenOptions::new();
            let mut file = options
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(&new)?;
            file.write_all(&bytes)?;
            file.sync_all()?;
            fs::rename(&new, &path)?;
            File::open(&dir)?.sync_all()
        };
        let written = write();
        if written.is_err() {
            // If it stays, whoever takes the lock next removes it.
            let _ = fs::remove_file(&new);
        }
        written.map_err(at(&path))?;
        Ok(hash)
    }

    /// The snapshots of a set that the rule lets go, oldest first.
    ///
    /// # Errors
    /// [`SnapshotError::Io`].
    pub fn expendable(
        &self,
        set: &Id,
        keep: Keep,
        now: Timestamp,
    ) -> Result<Vec<Id>, SnapshotError> {
        let names = ids_in(&self.snapshots.set_dir(set))?;
        Ok(expendable(&names, keep, now))
    }

    /// Removes snapshots of a set. Their content goes with [`Locked::sweep`].
    ///
    /// # Errors
    /// [`SnapshotError::Io`].
    pub fn remove(&self, set: &Id, gone: &[Id]) -> Result<(), SnapshotError> {
        let dir = self.snapshots.set_dir(set);
        for name in gone {
            let path = dir.join(name.as_str());
            fs::remove_file(&path).map_err(at(&path))?;
        }
        if !gone.is_empty() {
            let synced = File::open(&dir).and_then(|dir| dir.sync_all());
            synced.map_err(at(&dir))?;
        }
        Ok(())
    }

    /// Removes the content that no manifest names. Where one can't be read, everything stays: nobody
    /// knows what it names. Returns the bytes that were freed.
    ///
    /// # Errors
    /// [`SnapshotError`].
    pub fn sweep(&self) -> Result<u64, SnapshotError> {
        let mut named: HashSet<Hash> = HashSet::new();
        for set in self.snapshots.sets()? {
            for listed in self.snapshots.list(&set)? {
                let Ok((manifest, _)) = listed.manifest else {
                    return Ok(0);
                };
                named.extend(manifest.files.iter().map(|file| file.blake3));
            }
        }
        Ok(self.store.retain(&|digest| named.contains(&digest))?)
    }

    /// Reads everything that a manifest names. `progress` is told how many bytes were read.
    ///
    /// # Errors
    /// [`SnapshotError::Content`] with the first file whose content is not as it was stored.
    pub fn verify(
        &self,
        manifest: &Manifest,
        progress: &mut dyn FnMut(u64),
    ) -> Result<(), SnapshotError> {
        let mut good = HashSet::new();
        for file in &manifest.files {
            if !good.insert(file.blake3) {
                continue;
            }
            if let Err(fault) = check(&self.store, file.blake3, progress) {
                return Err(SnapshotError::Content {
                    path: file.path.clone(),
                    fault,
                });
            }
        }
        Ok(())
    }
}

/// Which of them go, oldest first.
pub(super) fn expendable(names: &[Id], keep: Keep, now: Timestamp) -> Vec<Id> {
    let before = Timestamp(now.0.saturating_sub(keep.keep_for.0.saturating_mul(1000)));
    let Some((_, others)) = names.split_last() else {
        return Vec::new();
    };
    let too_many = names.len().saturating_sub(keep.newest.max(1));
    let goes = |(index, name): (usize, &Id)| {
        let old = time_of(name).is_some_and(|made| made < before);
        (index < too_many || old).then(|| name.clone())
    };
    let gone = others.iter().enumerate().filter_map(goes);
    gone.take(MAX_AT_ONCE).collect()
}

/// Sorts by time.
fn name(now: Timestamp) -> Id {
    let time = now.to_string();
    let time: String = time.chars().filter(|c| !matches!(c, '-' | ':')).collect();
    Id::new(time).expect("a time without its dashes and colons is an id")
}

/// The time that a name says, if it is one of a snapshot's.
fn time_of(name: &Id) -> Option<Timestamp> {
    let text = name.as_str();
    let part = |from: usize, to: usize| text.get(from..to);
    let (date, time) = (part(0, 8)?, part(9, 15)?);
    let rest = text.get(15..)?;
    format!(
        "{}-{}-{}T{}:{}:{}{rest}",
        &date[..4],
        &date[4..6],
        &date[6..],
        &time[..2],
        &time[2..4],
        &time[4..]
    )
    .parse()
    .ok()
}

fn make_dirs(dir: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir)
}

/// The names in a directory that are ids, in order; none if there is no such directory.
fn ids_in(dir: &Path) -> Result<Vec<Id>, SnapshotError> {
    let is_link = |dir: &Path| dir.symlink_metadata().is_ok_and(|meta| meta.is_symlink());
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Ok(_) if is_link(dir) => return Err(at(dir)(io::Error::other("it is a link"))),
        entries => entries.map_err(at(dir))?,
    };
    let mut names = Vec::new();
    for entry in entries {
        let name = entry.map_err(at(dir))?.file_name();
        names.extend(name.to_str().and_then(|name| Id::new(name).ok()));
    }
    names.sort_unstable();
    Ok(names)
}
