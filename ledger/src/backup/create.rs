//! Making a backup: link what is there, write what is new, read all of it back, then give it its
//! name.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use super::blobs::Sources;
use super::catalog::{BackupError, Locked, NEW, at};
use super::manifest::{BACKUP_FORMAT, BlockFile, MANIFEST_FILE, Manifest};
use super::verify::verify_backup;
use crate::blobs::{BlobDir, BlobFinding};
use crate::chain::{Batch, Head};
use crate::copy::{CopyError, copy_events, head_at};
use crate::files;
use crate::hash::Hash;
use crate::ids::{Id, Seq};
use crate::store::{LogReader, ReadError, pack, write_block};
use crate::time::Timestamp;

/// A backup that would share more files than these is written whole instead.
const MAX_FILES: usize = 1000;

/// What a backup rests on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Basis {
    /// The newest backup that fits, if there is one.
    Newest,
    /// Nothing: all of it is written.
    Nothing,
}

/// What is asked for.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// When it is made, for its name.
    pub made_at: Timestamp,
    /// Version of this software.
    pub software: &'a str,
    /// What it rests on.
    pub basis: Basis,
    /// The blobs of the ledger.
    pub blobs: &'a BlobDir,
    /// How many threads check the chain.
    pub threads: NonZeroUsize,
}

/// A backup that was made and found good.
#[derive(Debug, Clone)]
pub struct Made {
    /// What it holds.
    pub manifest: Manifest,
    /// The hash of the manifest's first line.
    pub manifest_hash: Hash,
    /// Its directory.
    pub path: PathBuf,
    /// Bytes that were written for it.
    pub written: u64,
    /// What is wrong with the blobs that it does not have because they are lost.
    pub lost: Vec<BlobFinding>,
    /// Why it shares nothing with a backup that it could have shared with, if so.
    pub shared_nothing: Option<String>,
}

impl Locked {
    /// Makes a backup of what a reader shows now. `progress` is told how far it has come, and of
    /// how much.
    ///
    /// # Errors
    /// [`BackupError`]; there is then no new backup.
    pub fn create(
        &self,
        reader: &dyn LogReader,
        request: Request<'_>,
        progress: &dyn Fn(u64, u64),
    ) -> Result<Made, BackupError> {
        let head = reader.head()?;
        if head.seq == Seq::ZERO {
            return Err(ReadError::Damaged("it has no events".into()).into());
        }
        let basis = match request.basis {
            Basis::Newest => self.basis(reader, head)?,
            Basis::Nothing => None,
        };
        let mut shared_nothing = None;
        if let Some(basis) = basis {
            match self.attempt(reader, head, request, Some(&basis), progress) {
                // Links may be impossible, and what is linked may be damaged. The ledger is not.
                Err(
                    error @ (BackupError::NotGood(_)
                    | BackupError::Io { .. }
                    | BackupError::Blob(_)),
                ) => {
                    shared_nothing = Some(error.to_string());
                }
                made => return made,
            }
        }
        let made = self.attempt(reader, head, request, None, progress)?;
        Ok(Made {
            shared_nothing,
            ..made
        })
    }

    /// The newest backup that holds a beginning of this history.
    fn basis(&self, reader: &dyn LogReader, head: Head) -> Result<Option<Manifest>, BackupError> {
        for listed in self.catalog().list()?.into_iter().rev() {
            let Ok(manifest) = listed.manifest else {
                continue;
            };
            let fits = manifest.ledger_id == reader.ledger_id()
                && manifest.seq <= head.seq
                && manifest.files.len() < MAX_FILES;
            let held = |head: Head| head.hash == manifest.hash;
            if fits && head_at(reader, manifest.seq)?.is_some_and(held) {
                return Ok(Some(manifest));
            }
        }
        Ok(None)
    }

    fn attempt(
        &self,
        reader: &dyn LogReader,
        head: Head,
        request: Request<'_>,
        basis: Option<&Manifest>,
        progress: &dyn Fn(u64, u64),
    ) -> Result<Made, BackupError> {
        let dir = self.catalog().dir();
        let name = name(request.made_at, head.seq);
        let new = dir.join(format!("{NEW}{name}"));
        files::make_dir(&new).map_err(at(&new))?;
        let sources = Sources {
            live: request.blobs,
            catalog: self.catalog(),
            basis,
        };
        let made = write(&new, &name, reader, head, request, &sources, progress);
        let made = made.and_then(|made| {
            let path = dir.join(name.as_str());
            fs::rename(&new, &path).map_err(at(&path))?;
            files::sync_dir(dir).map_err(at(dir))?;
            Ok(Made { path, ..made })
        });
        if made.is_err() {
            // If it stays, whoever locks the directory next removes it.
            let _ = fs::remove_dir_all(&new);
        }
        made
    }
}

/// Sorts by time; the seq tells people how far it reaches.
fn name(made_at: Timestamp, head: Seq) -> Id {
    let time: String = made_at
        .to_string()
        .chars()
        .filter(|c| !matches!(c, '-' | ':'))
        .collect();
    Id::new(format!("{time}-{head}")).expect("a time and a number make an id")
}

/// Writes everything into a directory, then reads it back.
fn write(
    new: &Path,
    name: &Id,
    reader: &dyn LogReader,
    head: Head,
    request: Request<'_>,
    sources: &Sources<'_>,
    progress: &dyn Fn(u64, u64),
) -> Result<Made, BackupError> {
    let mut block_files = Vec::new();
    let mut after = Head::EMPTY;
    if let Some(basis) = sources.basis {
        let from = new.with_file_name(basis.name.as_str());
        for file in &basis.files {
            let link = new.join(file.file.as_str());
            fs::hard_link(from.join(file.file.as_str()), &link).map_err(at(&link))?;
        }
        block_files.clone_from(&basis.files);
        after = basis.head();
    }
    // Half of the bar is for writing.
    let events = head.seq.0 - after.seq.0;
    let mut written = 0;
    if events > 0 {
        let file = write_blocks(new, reader, after, head, &|done| {
            progress(done, events.saturating_mul(2));
        })?;
        written = file.bytes;
        block_files.push(file);
    }
    let gathered = sources.gather(new, reader, head.seq)?;
    let manifest = Manifest {
        format: BACKUP_FORMAT,
        name: name.clone(),
        ledger_id: reader.ledger_id(),
        made_at: request.made_at,
        software: request.software.to_owned(),
        seq: head.seq,
        hash: head.hash,
        term: head.term,
        recorded_at: head.recorded_at,
        files: block_files,
        blobs: gathered.blobs,
        lost: gathered.lost,
    };
    let manifest_hash = conclude(new, &manifest, request.threads, progress)?;
    Ok(Made {
        manifest,
        manifest_hash,
        path: new.to_owned(),
        written: written + gathered.written,
        lost: gathered.faults,
        shared_nothing: None,
    })
}

/// Writes the manifest, and reads everything back.
fn conclude(
    new: &Path,
    manifest: &Manifest,
    threads: NonZeroUsize,
    progress: &dyn Fn(u64, u64),
) -> Result<Hash, BackupError> {
    let (text, manifest_hash) = manifest.to_text();
    let path = new.join(MANIFEST_FILE);
    files::write_new(&path, text.as_bytes()).map_err(at(&path))?;
    files::sync_dir(new).map_err(at(new))?;
    let checked = verify_backup(new, threads, &|done, total| {
        progress(total.saturating_add(done), total.saturating_mul(2));
    });
    let checked = checked.map_err(|error| BackupError::Manifest {
        name: manifest.name.to_string(),
        error,
    })?;
    match checked.findings.first() {
        Some(finding) => Err(BackupError::NotGood(finding.to_string())),
        None => Ok(manifest_hash),
    }
}

/// Writes the events behind `after` as a raw block stream.
fn write_blocks(
    dir: &Path,
    reader: &dyn LogReader,
    after: Head,
    head: Head,
    progress: &dyn Fn(u64),
) -> Result<BlockFile, BackupError> {
    let first = after.seq.next();
    let file = BlockFile::name(first);
    let path = dir.join(file.as_str());
    let mut out = Hashed {
        file: BufWriter::with_capacity(256 * 1024, files::new_file(&path).map_err(at(&path))?),
        hasher: blake3::Hasher::new(),
        bytes: 0,
    };
    copy_events(reader, after, head, &mut |batch: Batch| {
        for block in pack(&batch, None) {
            write_block(&mut out, &block)?;
        }
        progress(batch.head().seq.0 - after.seq.0);
        Ok(())
    })
    .map_err(|error| match error {
        CopyError::Source(error) => error.into(),
        CopyError::Sink(error) => at(&path)(error),
    })?;
    let synced = out
        .file
        .flush()
        .and_then(|()| out.file.get_ref().sync_all());
    synced.map_err(at(&path))?;
    Ok(BlockFile {
        file,
        first,
        last: head.seq,
        bytes: out.bytes,
        blake3: Hash(*out.hasher.finalize().as_bytes()),
    })
}

/// A file, and the hash of what was written into it.
struct Hashed {
    file: BufWriter<File>,
    hasher: blake3::Hasher,
    bytes: u64,
}

impl Write for Hashed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.hasher.update(&bytes[..written]);
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}
