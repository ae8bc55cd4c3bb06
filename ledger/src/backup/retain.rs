//! Which backups may go: a pure function of what there is, and what there is.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::num::NonZeroUsize;
use std::os::unix::fs::MetadataExt;

use super::catalog::{BackupError, Catalog, Listed, at};
use super::manifest::Manifest;
use super::verify::verify_backup;
use crate::ids::{Id, LedgerId};
use crate::time::{Millis, Timestamp};

/// How long and how many backups are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keep {
    /// For how long; for ever if absent.
    pub keep_for: Option<Millis>,
    /// At least so many, however old and large they are.
    pub at_least: usize,
    /// Until all files together, shared ones counted once, have no more bytes.
    pub max_size: Option<u64>,
}

/// A backup as the rule sees it.
#[derive(Debug, Clone)]
pub struct Kept {
    /// Its name.
    pub name: Id,
    /// When it was made.
    pub made_at: Timestamp,
    /// Which files it has (device and inode), and their bytes.
    pub files: Vec<((u64, u64), u64)>,
}

/// The backups that may go, oldest first. `backups` are those that can be read, oldest first; the
/// one of the name `newest_good` stays whatever the rule says.
pub fn retain(backups: &[Kept], keep: Keep, newest_good: &Id, now: Timestamp) -> Vec<Id> {
    let mut left: Vec<&Kept> = backups.iter().collect();
    let mut gone = Vec::new();
    let expired = |kept: &Kept| {
        keep.keep_for
            .is_some_and(|limit| kept.made_at.plus(limit) < now)
    };
    let large = |left: &[&Kept]| keep.max_size.is_some_and(|max| size(left) > max);
    while left.len() > keep.at_least.max(1) {
        let too_large = large(&left);
        let next = left
            .iter()
            .position(|kept| kept.name != *newest_good && (too_large || expired(kept)));
        let Some(next) = next else { break };
        gone.push(left.remove(next).name.clone());
    }
    gone
}

impl Catalog {
    /// The backups that may go, oldest first, each ledger's by themselves. The newest good one of
    /// each stays: to know which that is, backups are verified from the newest on until one is
    /// good. One that can't be read is nobody's to remove but the operator's.
    ///
    /// # Errors
    /// [`BackupError`].
    pub fn expendable(
        &self,
        keep: Keep,
        now: Timestamp,
        threads: NonZeroUsize,
    ) -> Result<Vec<Id>, BackupError> {
        let mut ledgers: BTreeMap<LedgerId, Vec<(Listed, Manifest)>> = BTreeMap::new();
        for mut listed in self.list()? {
            let unread = Err(super::ManifestError::Damaged(String::new()));
            if let Ok(manifest) = std::mem::replace(&mut listed.manifest, unread) {
                let of_ledger = ledgers.entry(manifest.ledger_id).or_default();
                of_ledger.push((listed, manifest));
            }
        }
        let mut gone = Vec::new();
        for backups in ledgers.values() {
            let kept = backups
                .iter()
                .map(|(listed, manifest)| kept(listed, manifest));
            let kept: Vec<Kept> = kept.collect::<Result<_, _>>()?;
            // Where nothing would go if the newest were good, nothing needs to be read.
            if kept
                .last()
                .is_none_or(|newest| retain(&kept, keep, &newest.name, now).is_empty())
            {
                continue;
            }
            let good = backups.iter().rev().find(|(listed, _)| {
                verify_backup(&listed.path, threads, &|_, _| {}).is_ok_and(|found| found.is_good())
            });
            // Where none is good, each may hold what another has lost.
            let Some((good, _)) = good else { continue };
            gone.extend(retain(&kept, keep, &good.name, now));
        }
        gone.sort();
        Ok(gone)
    }

    /// Bytes of all files of these backups on disk; what several share counts once.
    ///
    /// # Errors
    /// [`BackupError::Io`].
    pub fn disk_bytes(&self) -> Result<u64, BackupError> {
        let mut all = Vec::new();
        for listed in self.list()? {
            if let Ok(manifest) = &listed.manifest {
                all.push(kept(&listed, manifest)?);
            }
        }
        Ok(size(&all.iter().collect::<Vec<_>>()))
    }
}

fn kept(listed: &Listed, manifest: &Manifest) -> Result<Kept, BackupError> {
    let mut files = Vec::new();
    let events = manifest.files.iter();
    let events = events.map(|file| listed.path.join(file.file.as_str()));
    let blobs = manifest.blobs.iter();
    let blobs = blobs.map(|blob| listed.path.join(super::blobs::shown(blob.blake3)));
    for path in events.chain(blobs) {
        match fs::symlink_metadata(&path) {
            Ok(meta) => files.push(((meta.dev(), meta.ino()), meta.len())),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
            Err(e) => return Err(at(&path)(e)),
        }
    }
    Ok(Kept {
        name: listed.name.clone(),
        made_at: manifest.made_at,
        files,
    })
}

/// Bytes of all files; what several share counts once.
fn size(backups: &[&Kept]) -> u64 {
    let mut seen = BTreeSet::new();
    let files = backups.iter().flat_map(|kept| &kept.files);
    let new = files.filter(|(inode, _)| seen.insert(*inode));
    new.map(|(_, bytes)| bytes).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(n: u64, files: &[u64]) -> Kept {
        Kept {
            name: Id::new(format!("b{n}")).unwrap(),
            made_at: Timestamp(n * 1000),
            files: files.iter().map(|&f| ((1, f), 100)).collect(),
        }
    }

    fn gone(keep: Keep, newest_good: &str) -> Vec<String> {
        let backups = [
            kept(1, &[1]),
            kept(2, &[1, 2]),
            kept(3, &[3]),
            kept(4, &[3, 4]),
        ];
        let good = Id::new(newest_good).unwrap();
        retain(&backups, keep, &good, Timestamp(5000))
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    const ALL: Keep = Keep {
        keep_for: None,
        at_least: 0,
        max_size: None,
    };

    #[test]
    fn age_and_size_and_number_are_kept_and_so_is_the_newest_good_one() {
        assert!(gone(ALL, "b4").is_empty());
        let old = |ms, at_least| Keep {
            keep_for: Some(Millis(ms)),
            at_least,
            ..ALL
        };
        assert_eq!(gone(old(2, 0), "b4"), ["b1", "b2"]);
        assert_eq!(gone(old(2, 3), "b4"), ["b1"]);
        assert_eq!(gone(old(0, 0), "b4"), ["b1", "b2", "b3"]);
        // The newest is damaged: the newest good one stays, and the last is never removed.
        assert_eq!(gone(old(0, 0), "b2"), ["b1", "b3", "b4"]);
        let large = |max, at_least| Keep {
            at_least,
            max_size: Some(max),
            ..ALL
        };
        assert!(gone(large(400, 0), "b4").is_empty());
        // The first shares its only file with the second.
        assert_eq!(gone(large(399, 0), "b4"), ["b1", "b2"]);
        assert_eq!(gone(large(1, 0), "b4"), ["b1", "b2", "b3"]);
        assert_eq!(gone(large(1, 2), "b4"), ["b1", "b2"]);
    }
}
