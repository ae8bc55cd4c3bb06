//! Carrying blobs into a directory that nobody uses yet: one that becomes a backup, a restored ledger
//! or a salvaged one. Invariants:
//!
//! - What is under a blob's name there has its hash: a copy is hashed while it is read, and gone again
//!   if the hash is wrong. What is linked is to be checked by whoever has it linked.
//! - Only [`Carrier::finish`] makes it durable. A crash before leaves a directory that was never used.
//! - Nothing is ever linked to the blobs of a ledger at work: two names of one inode are lost together.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::disk::{Disk, Files, Folder};
use super::read::{BlobDir, place};
use super::verify::read_whole;
use super::{BLOBS_DIR, BlobError, BlobFault};
use crate::hash::Hash;

/// Carries blobs into one directory.
#[derive(Debug)]
pub struct Carrier {
    dir: PathBuf,
    disk: Arc<dyn Disk>,
    shelves: BTreeSet<u8>,
    buffer: Vec<u8>,
}

impl Carrier {
    /// Into the blobs of the directory `dir`, which has none yet.
    ///
    /// # Errors
    /// [`BlobError::Io`] if it can't be opened.
    pub fn into_dir(dir: &Path) -> Result<Self, BlobError> {
        let files = Files::open(dir).map_err(BlobError::io("opening the new directory"))?;
        Ok(Self {
            dir: dir.to_owned(),
            disk: Arc::new(files),
            shelves: BTreeSet::new(),
            buffer: vec![0; 64 * 1024],
        })
    }

    /// Copies a blob; returns its length, or what is wrong with it at the source. It is not there
    /// then.
    ///
    /// # Errors
    /// [`BlobError`] if it can't be written.
    pub fn copy(
        &mut self,
        from: &BlobDir,
        digest: Hash,
    ) -> Result<Result<u64, BlobFault>, BlobError> {
        self.shelf(digest)?;
        let (shelf, name) = place(digest);
        let writing = "writing a blob";
        let mut file = self
            .disk
            .create(shelf, &name)
            .map_err(BlobError::io(writing))?;
        let read = read_whole(from, digest, &mut self.buffer, &mut |bytes| {
            file.write(bytes).map_err(BlobError::io(writing))
        })?;
        if read.is_ok() {
            file.sync().map_err(BlobError::io("syncing a blob"))?;
        } else {
            self.disk
                .remove(shelf, &name)
                .map_err(BlobError::io("removing a damaged copy"))?;
        }
        Ok(read)
    }

    /// Gives a blob of the directory `from` a second name. Its bytes are not read.
    ///
    /// # Errors
    /// [`BlobError::Io`], also if the file system has no links or there is no such blob.
    pub fn link(&mut self, from: &Path, digest: Hash) -> Result<(), BlobError> {
        self.shelf(digest)?;
        let path = path(digest);
        std::fs::hard_link(from.join(&path), self.dir.join(&path))
            .map_err(BlobError::io("linking a blob"))
    }

    /// Makes everything that was carried durable, names and all.
    ///
    /// # Errors
    /// [`BlobError::Io`].
    pub fn finish(self) -> Result<(), BlobError> {
        if self.shelves.is_empty() {
            return Ok(());
        }
        let shelves = self.shelves.iter().map(|&byte| Folder::Shelf(byte));
        for folder in shelves.chain([Folder::Top, Folder::Data]) {
            self.disk
                .sync(folder)
                .map_err(BlobError::io("syncing a directory of blobs"))?;
        }
        Ok(())
    }

    fn shelf(&mut self, digest: Hash) -> Result<(), BlobError> {
        let byte = digest.0[0];
        if self.shelves.insert(byte) {
            let make = || -> io::Result<()> {
                self.disk.make(Folder::Top)?;
                self.disk.make(Folder::Shelf(byte)).map(drop)
            };
            make().map_err(BlobError::io("making a directory of blobs"))?;
        }
        Ok(())
    }
}

/// Where a blob's file is, below the directory that has a `blobs`.
fn path(digest: Hash) -> PathBuf {
    let name = digest.to_string();
    let (shelf, rest) = name.split_at(2);
    [BLOBS_DIR, shelf, rest].iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::blobs::{BlobStore, Limits, MediaType};

    #[test]
    fn what_is_sound_is_carried_and_what_is_not_leaves_nothing() {
        let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let store = BlobStore::open(from.path(), Limits::default()).unwrap();
        let long = vec![7; 200_000];
        let put = |bytes: &[u8]| {
            let stored = store.put(bytes, MediaType::unknown()).unwrap();
            stored.reference.blake3
        };
        let (sound, empty, damaged) = (put(&long), put(b""), put(&[8; 100_000]));
        std::fs::write(from.path().join(path(damaged)), vec![8; 99_999]).unwrap();
        let mut carrier = Carrier::into_dir(to.path()).unwrap();
        assert_eq!(carrier.copy(&store, sound).unwrap(), Ok(200_000));
        assert_eq!(carrier.copy(&store, empty).unwrap(), Ok(0));
        let fault = carrier.copy(&store, damaged).unwrap().unwrap_err();
        assert!(matches!(fault, BlobFault::Hash { .. }), "{fault:?}");
        let missing = carrier.copy(&store, Hash::of(b"never")).unwrap();
        assert_eq!(missing, Err(BlobFault::Missing));
        carrier.finish().unwrap();
        let copies = BlobDir::open(to.path()).unwrap();
        let there: BTreeSet<Hash> = copies.list().map(|e| e.unwrap().digest).collect();
        assert_eq!(there, BTreeSet::from([sound, empty]));
        assert_eq!(std::fs::read(to.path().join(path(sound))).unwrap(), long);
    }
}
