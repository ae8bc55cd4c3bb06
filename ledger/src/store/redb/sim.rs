//! The store over files that are not real ones: what simulations of it open, as real ones are opened.

use super::*;
use crate::store::sim::{Disk, Name};

/// The file of a store that holds just this.
pub(in crate::store) fn new_store(ledger_id: LedgerId, genesis: &Batch) -> io::Result<Vec<u8>> {
    let disk = Disk::default();
    let file = disk.create(Name::Store)?;
    let db = open_database(|| Ok(WriterFile::direct(file))).map_err(io::Error::other)?;
    initialize(&db, ledger_id, genesis).map_err(|Failure(error)| error)?;
    drop(db);
    let made = disk.live().remove(&Name::Store);
    Ok(made.unwrap_or_default())
}

/// As [`RedbStore::open_sealed`], over any file; `source` reads the same one.
pub(in crate::store) fn open_over<B: StorageBackend, T>(
    file: B,
    source: Arc<dyn Source>,
    check: impl FnOnce(&RedbReader) -> Result<T, OpenError>,
) -> Result<(RedbStore, T), OpenError> {
    precheck(source.as_ref())?;
    let file = WriterFile::on_trial(file, source).map_err(|error| OpenError::Io {
        what: "opening the simulated file".into(),
        error,
    })?;
    let db = open_database(|| Ok(file.clone()))?;
    RedbStore::assemble(db, &file, check, || Ok(None))
}

/// As [`OfflineReader::open`], over any file.
pub(in crate::store) fn read_over(
    source: Arc<dyn Source>,
    head_file: Result<HeadFile, HeadFileFault>,
) -> Result<OfflineReader, OpenError> {
    OfflineReader::over(source, head_file)
}
