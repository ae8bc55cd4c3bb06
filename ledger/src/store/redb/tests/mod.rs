//! The store against the contract, a model, crashes and damage; and what tests of a store that is
//! built on it need: opening it over files that are not real ones.

mod basics;
mod crash;
mod damage;
mod model;
mod tree;

use super::*;

/// The file of a store that holds just this.
pub(in crate::store) fn new_store(ledger_id: LedgerId, genesis: &Batch) -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(STORE_FILE);
    write_store(&path, ledger_id, genesis).unwrap();
    fs::read(path).unwrap()
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
