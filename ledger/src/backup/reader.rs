//! A backup as something to read: its blocks, in order. Hashes are checked by whoever reads them.

use std::fs::File;
use std::io::{self, BufReader};
use std::path::{Path, PathBuf};

use super::manifest::{BlockFile, Manifest, ManifestError};
use crate::chain::Head;
use crate::files;
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
        let name = file.file.as_str();
        let opened = files::open_regular(&self.dir.join(name));
        FileBlocks {
            name: name.to_owned(),
            file: opened
                .map(|file| BufReader::with_capacity(256 * 1024, file))
                .map_err(|error| Some(unopened(name, error))),
        }
    }
}

/// What it means that a file of a backup can't be opened.
fn unopened(name: &str, error: io::Error) -> ReadError {
    match error.kind() {
        io::ErrorKind::NotFound => ReadError::Damaged(format!("{name}: it is missing")),
        // Not a file: it would be waited for, or leads elsewhere.
        io::ErrorKind::InvalidInput => ReadError::Damaged(format!("{name}: {error}")),
        kind => ReadError::Io(io::Error::new(kind, format!("{name}: {error}"))),
    }
}

/// The blocks of one file; ends with the first error.
struct FileBlocks {
    name: String,
    file: Result<BufReader<File>, Option<ReadError>>,
}

impl Iterator for FileBlocks {
    type Item = Result<Block, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        let read = match &mut self.file {
            Ok(file) => read_block(file),
            Err(error) => return error.take().map(Err),
        };
        let read = read.map_err(|error| match error {
            ReadError::Damaged(what) => ReadError::Damaged(format!("{}: {what}", self.name)),
            other => other,
        });
        if read.is_err() {
            self.file = Err(None);
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
