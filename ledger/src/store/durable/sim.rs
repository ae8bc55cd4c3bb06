//! Durable stores on simulated disks, opened as real ones are.

use std::io;
use std::sync::Arc;

use super::{DurableStore, Found, OfflineReader, OpenError, Settings, check_seam};
use crate::chain::Batch;
use crate::ids::{LedgerId, Seq};
use crate::store::redb::sim::{new_store, open_over, read_over};
use crate::store::redb::{HeadFile, RedbReader};
use crate::store::sim::{Disk, Image, Name};

/// The files of a ledger that was made and never opened.
///
/// # Errors
/// If its first events are none.
pub fn new_ledger(ledger_id: LedgerId, genesis: &Batch) -> io::Result<Image> {
    let said = HeadFile {
        ledger_id,
        seq: genesis.head().seq,
        hash: genesis.head().hash,
    };
    Ok(Image::from([
        (Name::Store, new_store(ledger_id, genesis)?),
        (Name::Head, said.encode().to_vec()),
    ]))
}

/// As [`DurableStore::open_with`].
///
/// # Errors
/// The same.
pub fn open(disk: &Disk, settings: Settings) -> Result<DurableStore, OpenError> {
    let said = disk.head_file();
    let folder = disk.folder();
    let store = disk.file(Name::Store);
    let check = |sealed: &RedbReader| check_seam(sealed, &folder, &said);
    let (redb, recovered) = open_over(store.clone(), Arc::new(store), check)?;
    let found = Found {
        redb,
        recovered,
        // It was just held against the store, so it is there.
        acknowledged: said.map_or(Seq::ZERO, |said| said.seq),
    };
    let head_file = Box::new(disk.file(Name::Head));
    DurableStore::resume(found, Box::new(disk.folder()), head_file, settings)
}

/// As [`OfflineReader::open`].
///
/// # Errors
/// The same.
pub fn offline(disk: &Disk) -> Result<OfflineReader, OpenError> {
    let sealed = read_over(Arc::new(disk.file(Name::Store)), disk.head_file())?;
    OfflineReader::over(sealed, &disk.folder())
}
