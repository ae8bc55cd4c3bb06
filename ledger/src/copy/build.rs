//! A new store, made from batches that were appended elsewhere.

use std::path::{Path, PathBuf};

use crate::chain::Batch;
use crate::ids::LedgerId;
use crate::store::durable::DurableStore;
use crate::store::{AppendError, LogWriter, OpenError};

/// Why a store could not be built. What there is of it is of no use.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// It could not be made or closed.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// A batch was not taken.
    #[error(transparent)]
    Append(#[from] AppendError),
    /// There was not a single event.
    #[error("there are no events")]
    Empty,
}

/// Makes the store with the first batch and appends the others.
#[derive(Debug)]
pub struct StoreBuilder {
    dir: PathBuf,
    ledger: LedgerId,
    store: Option<DurableStore>,
}

impl StoreBuilder {
    /// A store in `dir`, which exists and has none.
    pub fn new(dir: &Path, ledger: LedgerId) -> Self {
        Self {
            dir: dir.to_owned(),
            ledger,
            store: None,
        }
    }

    /// Takes the next batch.
    ///
    /// # Errors
    /// [`BuildError`].
    pub fn push(&mut self, batch: &Batch) -> Result<(), BuildError> {
        match &mut self.store {
            None => self.store = Some(DurableStore::create(&self.dir, self.ledger, batch)?),
            Some(store) => {
                store.append(batch)?;
            }
        }
        Ok(())
    }

    /// The store, open for writing.
    ///
    /// # Errors
    /// [`BuildError::Empty`] if there was no batch.
    pub fn finish(self) -> Result<DurableStore, BuildError> {
        self.store.ok_or(BuildError::Empty)
    }
}
