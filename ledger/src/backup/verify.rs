//! Is a backup what was written? Every file against the manifest, then the whole chain up to the
//! head that it stands for, and whether the manifest knows of each blob that the events name.

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::io::{self, Read};
use std::num::NonZeroUsize;
use std::path::Path;

use serde::Serialize;

use super::blobs::{NamedBlobs, Spoken, check_blobs};
use super::manifest::{BlockFile, MANIFEST_FILE, Manifest, ManifestError};
use super::reader::BackupReader;
use crate::blobs::BLOBS_DIR;
use crate::files;
use crate::hash::Hash;
use crate::verify::examine_intact;

/// Something that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BackupFinding {
    /// The file it concerns; absent if it is the backup as a whole.
    pub file: Option<String>,
    /// What is wrong.
    pub what: String,
}

impl BackupFinding {
    pub(super) fn of(file: impl Into<String>, what: impl fmt::Display) -> Self {
        Self {
            file: Some(file.into()),
            what: what.to_string(),
        }
    }
}

impl fmt::Display for BackupFinding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.file {
            Some(file) => write!(f, "{file}: {}", self.what),
            None => f.write_str(&self.what),
        }
    }
}

/// What a check has found.
#[derive(Debug, Clone)]
pub struct Checked {
    /// What the backup says it holds; absent if that can't be read.
    pub manifest: Option<(Manifest, Hash)>,
    /// What is wrong; nothing if it is good.
    pub findings: Vec<BackupFinding>,
}

impl Checked {
    /// Whether nothing is wrong.
    pub fn is_good(&self) -> bool {
        self.findings.is_empty()
    }
}

/// Checks the backup in a directory; `progress` is told how many of its bytes were looked at, those of
/// events twice, and of how many.
///
/// # Errors
/// If the file system failed, or the backup is of a newer format: nothing is known of it then.
pub fn verify_backup(
    dir: &Path,
    threads: NonZeroUsize,
    progress: &dyn Fn(u64, u64),
) -> Result<Checked, ManifestError> {
    let (manifest, hash) = match Manifest::read(dir) {
        Ok(read) => read,
        Err(ManifestError::Io(e)) if e.kind() != io::ErrorKind::NotFound => {
            return Err(ManifestError::Io(e));
        }
        Err(ManifestError::Newer(format)) => return Err(ManifestError::Newer(format)),
        Err(error) => {
            return Ok(Checked {
                manifest: None,
                findings: vec![BackupFinding::of(MANIFEST_FILE, error)],
            });
        }
    };
    let mut findings = check_names(dir, &manifest)?;
    let half = manifest.event_bytes();
    let (mut done, total) = (0, half.saturating_add(manifest.bytes()));
    for file in &manifest.files {
        let found = check_file(dir, file, &mut |bytes| {
            done += bytes;
            progress(done, total);
        })?;
        findings.extend(found.map(|what| BackupFinding::of(file.file.as_str(), what)));
    }
    findings.extend(check_blobs(dir, &manifest, &mut |bytes| {
        // A damaged one may be longer than it should be.
        done = (done + bytes).min(total);
        progress(done, total);
    })?);
    // The chain over files that are not those that were written would only say so once more.
    if findings.is_empty() {
        let reader = BackupReader::over(dir, manifest.clone());
        let progress = |events: u64, all: u64| {
            let share = u128::from(half) * u128::from(events) / u128::from(all.max(1));
            let share = u64::try_from(share).unwrap_or(half);
            progress(total - half.saturating_sub(share), total);
        };
        let mut spoken = Spoken::of(&manifest);
        let fold = &mut |notes| spoken.fold(notes);
        let report = examine_intact(&reader, &[], threads, &progress, NamedBlobs, fold);
        findings.extend(report.findings.iter().map(|finding| BackupFinding {
            file: None,
            what: finding.to_string(),
        }));
        findings.append(&mut spoken.findings);
    }
    Ok(Checked {
        manifest: Some((manifest, hash)),
        findings,
    })
}

/// Nothing is there that the manifest does not name.
fn check_names(dir: &Path, manifest: &Manifest) -> io::Result<Vec<BackupFinding>> {
    let known: BTreeSet<&str> = manifest.files.iter().map(|f| f.file.as_str()).collect();
    let mut strangers = Vec::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        // What is in that is looked at by itself.
        let blobs = name == BLOBS_DIR && entry.file_type()?.is_dir();
        if name != MANIFEST_FILE && !blobs && !known.contains(&*name) {
            strangers.push(BackupFinding::of(name, "it is no part of the backup"));
        }
    }
    strangers.sort_by(|a, b| a.file.cmp(&b.file));
    Ok(strangers)
}

/// What is wrong with a file, if anything is.
fn check_file(
    dir: &Path,
    file: &BlockFile,
    read: &mut dyn FnMut(u64),
) -> io::Result<Option<String>> {
    let path = dir.join(file.file.as_str());
    let meta = match fs::symlink_metadata(&path) {
        Ok(meta) => meta,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Some("it is missing".into())),
        Err(e) => return Err(e),
    };
    if !meta.is_file() {
        return Ok(Some(files::NO_FILE.into()));
    }
    if meta.len() != file.bytes {
        return Ok(Some(format!(
            "it has {} bytes, not {}",
            meta.len(),
            file.bytes
        )));
    }
    let hash = hash_file(&path, read)?;
    Ok((hash != file.blake3)
        .then(|| format!("its hash is {}, not {}", hash.short(), file.blake3.short())))
}

fn hash_file(path: &Path, read: &mut dyn FnMut(u64)) -> io::Result<Hash> {
    let mut file = files::open_regular(path)?;
    let mut hasher = blake3::Hasher::new();
    let mut buffer = vec![0; 256 * 1024];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok(Hash(*hasher.finalize().as_bytes())),
            Ok(n) => {
                hasher.update(&buffer[..n]);
                read(n as u64);
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
}
