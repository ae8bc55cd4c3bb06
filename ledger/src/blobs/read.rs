//! Reading blobs: with a node beside or without, nothing is changed.

use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;

use super::BlobError;
use super::disk::{Disk, Files, Folder, OldFile};
use crate::hash::Hash;
use crate::time::Timestamp;

/// The blobs of a data directory, for reading; clones share it.
#[derive(Debug, Clone)]
pub struct BlobDir {
    pub(super) disk: Arc<dyn Disk>,
}

/// A blob's file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// What it is named after.
    pub digest: Hash,
    /// How long it is.
    pub bytes: u64,
    /// When it was last stored or named.
    pub modified: Timestamp,
}

/// Where a blob's file is.
pub(super) fn place(digest: Hash) -> (Folder, String) {
    (Folder::Shelf(digest.0[0]), digest.to_string().split_off(2))
}

/// The blob whose file has this name on a shelf, if it is a blob's.
fn on_shelf(shelf: u8, name: &str) -> Option<Hash> {
    let lower = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
    let named = name.len() == 62 && name.bytes().all(lower);
    named
        .then(|| format!("{shelf:02x}{name}").parse().ok())
        .flatten()
}

impl BlobDir {
    /// The blobs below the data directory `dir`; there need not be any.
    ///
    /// # Errors
    /// [`BlobError::Io`] if the directory can't be opened.
    pub fn open(dir: &Path) -> Result<Self, BlobError> {
        let files = Files::open(dir).map_err(BlobError::io("opening the data directory"))?;
        Ok(Self::over(Arc::new(files)))
    }

    pub(super) fn over(disk: Arc<dyn Disk>) -> Self {
        Self { disk }
    }

    /// Opens a blob to read it from its beginning.
    ///
    /// # Errors
    /// [`BlobError::Missing`] if there is none, [`BlobError::Io`].
    pub fn read(&self, digest: Hash) -> Result<BlobReader, BlobError> {
        let file = self.file(digest)?;
        let len = file.len().map_err(BlobError::io("reading a blob"))?;
        Ok(BlobReader {
            file,
            digest,
            len,
            read: 0,
            hasher: Some(blake3::Hasher::new()),
        })
    }

    pub(super) fn file(&self, digest: Hash) -> Result<Box<dyn OldFile>, BlobError> {
        let (shelf, name) = place(digest);
        self.disk
            .open(shelf, &name)
            .map_err(|error| match error.kind() {
                io::ErrorKind::NotFound => BlobError::Missing(digest),
                _ => BlobError::io("opening a blob")(error),
            })
    }

    /// Whether there is such a blob, and what its file says of it.
    ///
    /// # Errors
    /// As [`BlobDir::read`].
    pub fn entry(&self, digest: Hash) -> Result<Entry, BlobError> {
        let file = self.file(digest)?;
        let entry = || -> io::Result<Entry> {
            Ok(Entry {
                digest,
                bytes: file.len()?,
                modified: file.modified()?,
            })
        };
        entry().map_err(BlobError::io("reading a blob"))
    }

    /// All blobs in the order of their names, a shelf at a time. Files that no blob could have are
    /// passed over.
    pub fn list(&self) -> impl Iterator<Item = Result<Entry, BlobError>> + '_ {
        (0..=u8::MAX).flat_map(|shelf| match self.disk.list(Folder::Shelf(shelf)) {
            Ok(names) => names
                .iter()
                .filter_map(|name| on_shelf(shelf, name))
                .filter_map(|digest| match self.entry(digest) {
                    // It went while the names were read.
                    Err(BlobError::Missing(_)) => None,
                    entry => Some(entry),
                })
                .collect(),
            Err(error) => vec![Err(BlobError::io("listing the blobs")(error))],
        })
    }
}

/// A blob's bytes. The last ones come only if all of them together have the right hash; if they
/// have not, there is an error in their place, which holds a [`BlobError`].
#[derive(Debug)]
pub struct BlobReader {
    file: Box<dyn OldFile>,
    digest: Hash,
    len: u64,
    read: u64,
    /// Gone once the end was reached.
    hasher: Option<blake3::Hasher>,
}

impl BlobReader {
    /// How long it is, as its file says.
    pub fn size(&self) -> u64 {
        self.len
    }

    fn check(&mut self) -> io::Result<()> {
        let Some(hasher) = self.hasher.take() else {
            return Ok(());
        };
        let found = Hash(*hasher.finalize().as_bytes());
        if found == self.digest {
            return Ok(());
        }
        Err(io::Error::new(
            io::ErrorKind::InvalidData,
            BlobError::Damaged {
                digest: self.digest,
                found,
            },
        ))
    }
}

impl Read for BlobReader {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if out.is_empty() {
            return Ok(0);
        }
        let count = self.file.read(out)?;
        self.read += count as u64;
        if let Some(hasher) = &mut self.hasher {
            hasher.update(&out[..count]);
        } else if count > 0 {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "the blob grew while it was read",
            ));
        }
        if count == 0 || self.read >= self.len {
            self.check()?;
        }
        Ok(count)
    }
}

/// What an error of a [`BlobReader`] says of the blob; an error of the file system if nothing.
pub(super) fn of_reading(error: io::Error) -> BlobError {
    match error.downcast::<BlobError>() {
        Ok(error) => error,
        Err(error) => BlobError::io("reading a blob")(error),
    }
}
