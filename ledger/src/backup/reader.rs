//! A backup as something to read: its blocks, in order. Hashes are checked by whoever reads them.

use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use super::manifest::{BlockFile, Manifest, ManifestError};
use crate::chain::Head;
use crate::ids::{LedgerId, Seq};
use crate::store::{Block, Blocks, LogReader, ReadError, read_block};

/// Reads one backup.
#[derive(Debug)]
pub struct BackupReader {
    dir: PathBuf,
    manifest: Manifest,
}

impl BackupReader {
    /// Opens the backup in a directory.
    ///
    /// # Errors
    /// [`ManifestError`] if its manifest can't be read or is damaged.
    pub fn open(dir: &Path) -> Result<Self, ManifestError> {
        Manifest::read(dir).map(|(manifest, _)| Self::over(dir, manifest))
    }

    pub(super) fn over(dir: &Path, manifest: Manifest) -> Self {
        Self {
            dir: dir.to_owned(),
            manifest,
        }
    }

    /// What it holds.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    fn file(&self, file: &BlockFile) -> FileBlocks {
        let path = self.dir.join(file.file.as_str());
        FileBlocks(match File::open(path) {
            Ok(file) => Ok(BufReader::with_capacity(256 * 1024, file)),
            Err(error) => Err(Some(error)),
        })
    }
}

/// The blocks of one file; ends with the first error.
struct FileBlocks(Result<BufReader<File>, Option<std::io::Error>>);

impl Iterator for FileBlocks {
    type Item = Result<Block, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        let read = match &mut self.0 {
            Ok(file) => read_block(file),
            Err(error) => return error.take().map(|error| Err(ReadError::Io(error))),
        };
        if read.is_err() {
            self.0 = Err(None);
        }
        read.transpose()
    }
}

impl LogReader for BackupReader {
    fn ledger_id(&self) -> LedgerId {
        self.manifest.ledger_id
    }

    fn head(&self) -> Result<Head, ReadError> {
        Ok(self.manifest.head())
    }

    fn blocks(&self, from: Seq) -> Result<Blocks<'_>, ReadError> {
        let start = self.manifest.files.partition_point(|f| f.last < from);
        let files = self.manifest.files.iter().skip(start);
        let blocks = files.flat_map(|file| self.file(file));
        Ok(Box::new(blocks.skip_while(move |block| {
            block.as_ref().is_ok_and(|block| block.last() < from)
        })))
    }
}
