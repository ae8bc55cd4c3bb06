//! The manifest: what a backup holds, in one line of JSON, and that line's hash in a second.

use std::collections::BTreeSet;
use std::io::{self, Read};
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::chain::Head;
use crate::files;
use crate::hash::Hash;
use crate::ids::{Id, LedgerId, Seq, Term};
use crate::time::Timestamp;

/// Version of manifests and of the files they name.
pub const BACKUP_FORMAT: u32 = 1;
/// Name of the file.
pub const MANIFEST_FILE: &str = "manifest";

/// Longest manifest that is read: some hundred thousand files.
const MAX_BYTES: u64 = 64 * 1024 * 1024;

/// What a backup holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// [`BACKUP_FORMAT`].
    pub format: u32,
    /// Its name, which is that of its directory.
    pub name: Id,
    /// Whose events it holds.
    pub ledger_id: LedgerId,
    /// When it was made.
    pub made_at: Timestamp,
    /// Version of the software that made it.
    pub software: String,
    /// The last event that it holds.
    pub seq: Seq,
    /// Its hash.
    pub hash: Hash,
    /// Its term.
    pub term: Term,
    /// When it was recorded.
    pub recorded_at: Timestamp,
    /// The files that hold the events, in order.
    pub files: Vec<BlockFile>,
    /// The blobs that the events name, in the order of their digests.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub blobs: Vec<BlobFile>,
    /// Those that they name and that were nowhere whole when it was made, in the same order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lost: Vec<LostBlob>,
}

/// A blob in a backup.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BlobFile {
    /// BLAKE3 of its bytes, which is its name.
    pub blake3: Hash,
    /// How many there are.
    pub bytes: u64,
}

/// A blob that a backup does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LostBlob {
    /// Its name.
    pub blake3: Hash,
    /// The first event that names it.
    pub seq: Seq,
}

/// A file of a backup: a raw block stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BlockFile {
    /// Its name.
    pub file: Id,
    /// The first event in it.
    pub first: Seq,
    /// The last.
    pub last: Seq,
    /// Its length in bytes.
    pub bytes: u64,
    /// BLAKE3 of its bytes.
    pub blake3: Hash,
}

/// Why a file is no manifest.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// It can't be read.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// Made by newer software.
    #[error("it has format {0}; this binary knows {BACKUP_FORMAT}")]
    Newer(u32),
    /// Not what was written.
    #[error("{0}")]
    Damaged(String),
}

impl BlockFile {
    /// The name of the file that begins with this event.
    pub(super) fn name(first: Seq) -> Id {
        Id::new(format!("blocks-{:020}", first.0)).expect("letters and digits make an id")
    }
}

impl Manifest {
    /// The head that the backup stands for.
    pub fn head(&self) -> Head {
        Head {
            seq: self.seq,
            hash: self.hash,
            term: self.term,
            recorded_at: self.recorded_at,
        }
    }

    /// Bytes of all its files, blobs included.
    pub fn bytes(&self) -> u64 {
        self.blob_bytes().saturating_add(self.event_bytes())
    }

    /// Bytes of the files with events.
    pub(super) fn event_bytes(&self) -> u64 {
        let files = self.files.iter().map(|file| file.bytes);
        files.fold(0, u64::saturating_add)
    }

    /// Bytes of its blobs.
    pub(super) fn blob_bytes(&self) -> u64 {
        let blobs = self.blobs.iter().map(|blob| blob.bytes);
        blobs.fold(0, u64::saturating_add)
    }

    /// The file's content, and the hash that names it.
    pub(super) fn to_text(&self) -> (String, Hash) {
        let line = serde_json::to_string(self)
            .expect("a manifest holds only numbers, names, times and hashes");
        let hash = Hash::of(line.as_bytes());
        (format!("{line}\n{hash}\n"), hash)
    }

    /// The manifest in a backup's directory, and its hash.
    ///
    /// # Errors
    /// [`ManifestError`].
    pub fn read(backup: &Path) -> Result<(Self, Hash), ManifestError> {
        let path = backup.join(MANIFEST_FILE);
        let file = files::open_regular(&path).map_err(|error| match error.kind() {
            io::ErrorKind::InvalidInput => damaged(files::NO_FILE),
            _ => error.into(),
        })?;
        let mut bytes = Vec::new();
        file.take(MAX_BYTES + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > MAX_BYTES {
            return Err(damaged("it is too long"));
        }
        let text = String::from_utf8(bytes).map_err(|_| damaged("it is not text"))?;
        Self::parse(&text)
    }

    /// As [`Manifest::read`], from the file's content.
    pub(super) fn parse(text: &str) -> Result<(Self, Hash), ManifestError> {
        let lines = text.strip_suffix('\n').and_then(|t| t.split_once('\n'));
        let (line, said) = lines.ok_or_else(|| damaged("it has not two lines"))?;
        let hash = Hash::of(line.as_bytes());
        if said != hash.to_string() {
            return Err(damaged(
                "its first line is not what its second is the hash of",
            ));
        }
        let manifest = match serde_json::from_str::<Self>(line) {
            Ok(manifest) if manifest.format == BACKUP_FORMAT => manifest,
            parsed => {
                // A newer one may have fields that are not known here.
                #[derive(Deserialize)]
                struct Format {
                    format: u32,
                }
                return Err(match serde_json::from_str::<Format>(line) {
                    Ok(Format { format }) if format > BACKUP_FORMAT => ManifestError::Newer(format),
                    _ => damaged(match parsed {
                        Err(e) => e.to_string(),
                        Ok(_) => "its format is none".into(),
                    }),
                });
            }
        };
        manifest.check()?;
        Ok((manifest, hash))
    }

    /// The files follow each other from the first event to the head; of blobs each is there once.
    fn check(&self) -> Result<(), ManifestError> {
        let blobs = self.blobs.iter().map(|blob| blob.blake3);
        let lost = self.lost.iter().map(|lost| lost.blake3);
        if !blobs.clone().is_sorted_by(|a, b| a < b) || !lost.clone().is_sorted_by(|a, b| a < b) {
            return Err(damaged("its blobs are out of order"));
        }
        let there: BTreeSet<Hash> = blobs.collect();
        if lost.into_iter().any(|digest| there.contains(&digest)) {
            return Err(damaged("a blob is there and lost"));
        }
        let mut next = Seq::FIRST;
        for file in &self.files {
            if file.first != next || file.last < file.first || file.file != BlockFile::name(next) {
                return Err(damaged(format!("{} is out of place", file.file)));
            }
            let after = file.last.0.checked_add(1).map(Seq);
            next = after.ok_or_else(|| damaged("a seq is too large"))?;
        }
        if next == self.seq.next() && next > Seq::FIRST {
            Ok(())
        } else {
            Err(damaged("its files do not lead to its head"))
        }
    }
}

fn damaged(reason: impl Into<String>) -> ManifestError {
    ManifestError::Damaged(reason.into())
}
