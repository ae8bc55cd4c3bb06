//! The blobs of a backup: those that its events name, gathered when it is made and checked when it is
//! verified.
//!
//! | where a blob comes from | how |
//! |---|---|
//! | the backup that this one rests on | linked; the read-back says whether it is whole |
//! | the ledger at work | copied, so that one damaged inode is not both of them |
//! | another backup, if the ledger has lost it | copied |
//!
//! One that is nowhere whole is written down as lost. It does not prevent the backup: a ledger that
//! has lost one blob must not go without backups of everything else for ever after.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::Path;

use super::catalog::{BackupError, Catalog};
use super::manifest::{BlobFile, LostBlob, Manifest};
use super::verify::BackupFinding;
use crate::blobs::{
    BLOBS_DIR, BlobDir, BlobFault, BlobFinding, Carrier, check, in_payload, named_in,
};
use crate::envelope::EventRef;
use crate::hash::Hash;
use crate::ids::Seq;
use crate::store::{Block, LogReader};
use crate::verify::Examine;

/// What was gathered.
#[derive(Debug, Default)]
pub(super) struct Gathered {
    pub blobs: Vec<BlobFile>,
    pub lost: Vec<LostBlob>,
    /// What is wrong with the lost ones in the ledger.
    pub faults: Vec<BlobFinding>,
    /// Bytes that were copied.
    pub written: u64,
}

/// Where blobs may be.
pub(super) struct Sources<'a> {
    /// The ledger's.
    pub live: &'a BlobDir,
    /// The backups that there are.
    pub catalog: &'a Catalog,
    /// The one that the new one rests on.
    pub basis: Option<&'a Manifest>,
}

impl Sources<'_> {
    /// Puts the blobs that the events up to `head` name into the directory `new`.
    ///
    /// # Errors
    /// [`BackupError`].
    pub(super) fn gather(
        &self,
        new: &Path,
        reader: &dyn LogReader,
        head: Seq,
    ) -> Result<Gathered, BackupError> {
        let mut carrier = Carrier::into_dir(new)?;
        let mut blobs: BTreeMap<Hash, u64> = BTreeMap::new();
        let mut wanted: BTreeMap<Hash, Seq> = BTreeMap::new();
        let mut after = Seq::ZERO;
        if let Some(basis) = self.basis {
            let from = self.catalog.dir().join(basis.name.as_str());
            for blob in &basis.blobs {
                carrier.link(&from, blob.blake3)?;
                blobs.insert(blob.blake3, blob.bytes);
            }
            // Somebody may have brought them back.
            wanted.extend(basis.lost.iter().map(|lost| (lost.blake3, lost.seq)));
            after = basis.seq;
        }
        for (seq, named) in named_in(reader, after.next()..=head)? {
            if !blobs.contains_key(&named.blake3) {
                wanted.entry(named.blake3).or_insert(seq);
            }
        }
        let mut gathered = Gathered::default();
        for (digest, seq) in wanted {
            let copied = match carrier.copy(self.live, digest)? {
                Ok(bytes) => Ok(bytes),
                Err(fault) => self
                    .copy_from_others(&mut carrier, reader, digest)?
                    .ok_or(fault),
            };
            match copied {
                Ok(bytes) => {
                    blobs.insert(digest, bytes);
                    gathered.written += bytes;
                }
                Err(fault) => {
                    let blake3 = digest;
                    gathered.lost.push(LostBlob { blake3, seq });
                    gathered.faults.push(BlobFinding { seq, digest, fault });
                }
            }
        }
        carrier.finish()?;
        let files = blobs.into_iter();
        gathered.blobs = files
            .map(|(blake3, bytes)| BlobFile { blake3, bytes })
            .collect();
        Ok(gathered)
    }

    /// A blob that the ledger has lost, from the newest backup that has it whole.
    fn copy_from_others(
        &self,
        carrier: &mut Carrier,
        reader: &dyn LogReader,
        digest: Hash,
    ) -> Result<Option<u64>, BackupError> {
        for listed in self.catalog.list()?.into_iter().rev() {
            if !listed.is_of(reader.ledger_id()) {
                continue;
            }
            let Ok(other) = BlobDir::open(&listed.path) else {
                continue;
            };
            if let Ok(bytes) = carrier.copy(&other, digest)? {
                return Ok(Some(bytes));
            }
        }
        Ok(None)
    }
}

/// Each blob against the manifest, and nothing there that it does not list. `progress` is told how
/// many bytes were read.
pub(super) fn check_blobs(
    dir: &Path,
    manifest: &Manifest,
    progress: &mut dyn FnMut(u64),
) -> io::Result<Vec<BackupFinding>> {
    let blobs = BlobDir::open(dir).map_err(io::Error::other)?;
    let mut findings = check_names(dir, manifest)?;
    for blob in &manifest.blobs {
        let fault = match check(&blobs, blob.blake3, progress) {
            Ok(found) if found == blob.bytes => continue,
            Ok(found) => BlobFault::Size {
                expected: blob.bytes,
                found,
            },
            Err(fault) => fault,
        };
        findings.push(BackupFinding::of(shown(blob.blake3), fault));
    }
    Ok(findings)
}

/// Where a blob is in a backup.
pub(super) fn shown(digest: Hash) -> String {
    let name = digest.to_string();
    format!("{BLOBS_DIR}/{}/{}", &name[..2], &name[2..])
}

fn check_names(dir: &Path, manifest: &Manifest) -> io::Result<Vec<BackupFinding>> {
    let known: BTreeSet<String> = manifest.blobs.iter().map(|b| shown(b.blake3)).collect();
    let mut strangers = Vec::new();
    let top = dir.join(BLOBS_DIR);
    if !top.symlink_metadata().is_ok_and(|meta| meta.is_dir()) {
        return Ok(Vec::new());
    }
    for shelf in names(&top)? {
        let path = top.join(&shelf);
        if !path.symlink_metadata()?.is_dir() {
            strangers.push(format!("{BLOBS_DIR}/{shelf}"));
            continue;
        }
        let inside = names(&path)?.into_iter();
        let inside = inside.map(|name| format!("{BLOBS_DIR}/{shelf}/{name}"));
        strangers.extend(inside.filter(|name| !known.contains(name)));
    }
    strangers.sort();
    let finding = |name| BackupFinding::of(name, "it is no part of the backup");
    Ok(strangers.into_iter().map(finding).collect())
}

fn names(dir: &Path) -> io::Result<Vec<String>> {
    fs::read_dir(dir)?
        .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
        .collect()
}

/// Notes the blobs that are named, while the chain is checked.
#[derive(Debug)]
pub(super) struct NamedBlobs;

impl Examine for NamedBlobs {
    type Notes = Vec<(Seq, Hash)>;

    fn event(&self, event: &EventRef<'_>, notes: &mut Self::Notes) {
        if let Ok(Some(named)) = in_payload(event.data) {
            notes.push((event.header.seq, named.blake3));
        }
    }

    fn block(&self, _: &Block, _: &mut Self::Notes) {}
}

/// Whether the manifest speaks of each blob that is named.
#[derive(Debug)]
pub(super) struct Spoken {
    known: BTreeSet<Hash>,
    pub findings: Vec<BackupFinding>,
}

impl Spoken {
    pub(super) fn of(manifest: &Manifest) -> Self {
        let blobs = manifest.blobs.iter().map(|blob| blob.blake3);
        let lost = manifest.lost.iter().map(|lost| lost.blake3);
        Self {
            known: blobs.chain(lost).collect(),
            findings: Vec::new(),
        }
    }

    pub(super) fn fold(&mut self, notes: Vec<(Seq, Hash)>) {
        for (seq, digest) in notes {
            // Once is enough.
            if self.known.insert(digest) {
                self.findings.push(BackupFinding {
                    file: None,
                    what: format!("seq {seq} names blob {digest}, of which the manifest is silent"),
                });
            }
        }
    }
}
