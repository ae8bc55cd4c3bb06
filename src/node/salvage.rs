//! Making a ledger out of what is provably good of a damaged one ([`ledger_core::salvage`]), under
//! the damaged one's lock, and with a term in it that says so.

use std::num::NonZeroUsize;
use std::path::Path;

use ledger_core::chain::Head;
use ledger_core::event::{LedgerEvent, LedgerSalvaged};
use ledger_core::salvage::{Salvage, SalvageError, Watch, check_target};
use ledger_core::store::OpenError;

use super::found::{FoundError, settle};
use crate::lease::lock::{DirLock, LockError};

/// Longest description of what was wrong, in characters: an event is no place for a report.
const MAX_FAULT: usize = 1000;

/// Why nothing was salvaged.
#[derive(Debug, thiserror::Error)]
pub enum Failed {
    /// The damaged ledger's directory is locked, or can't be.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// There is nothing to salvage, or it did not work.
    #[error(transparent)]
    Salvage(#[from] SalvageError),
    /// The new ledger could not be given its end.
    #[error(transparent)]
    Settle(#[from] FoundError),
}

/// A damaged ledger that was looked at. No node can start on it for as long as this lives.
#[derive(Debug)]
pub struct Looked {
    /// What there is.
    pub found: Salvage,
    _lock: DirLock,
}

/// Looks at the ledger in `dir`, to write what is good of it into `into` if that is named.
///
/// # Errors
/// [`Failed`]; nothing was changed.
pub fn look(
    dir: &Path,
    into: Option<&Path>,
    threads: NonZeroUsize,
    watch: Watch<'_>,
) -> Result<Looked, Failed> {
    if !dir.is_dir() {
        let missing = OpenError::Missing(dir.to_owned());
        return Err(SalvageError::Open(missing).into());
    }
    // What is known to be in vain is not begun: looking may take long.
    if let Some(into) = into {
        check_target(dir, into)?;
    }
    let lock = DirLock::take(dir)?;
    Ok(Looked {
        found: Salvage::look(dir, threads, watch)?,
        _lock: lock,
    })
}

impl Looked {
    /// Writes the new ledger; returns where it ends and what its last event says.
    ///
    /// # Errors
    /// [`Failed`]; there is then no ledger in `into`.
    pub fn write(
        &self,
        into: &Path,
        threads: NonZeroUsize,
        watch: Watch<'_>,
    ) -> Result<(Head, LedgerSalvaged), Failed> {
        let mut told = None;
        let head = self.found.write(into, threads, watch, |dir, store| {
            let event = |incarnation| {
                let event = self.event(incarnation);
                told = Some(event.clone());
                LedgerEvent::Salvaged(event)
            };
            Ok::<_, Failed>(settle(dir, store, "salvage", event)?.head)
        })?;
        let told = told.unwrap_or_else(|| self.event(String::new()));
        Ok((head, told))
    }

    fn event(&self, incarnation: String) -> LedgerSalvaged {
        let found = &self.found;
        LedgerSalvaged {
            source: found.source.display().to_string(),
            seq: found.good.seq,
            hash: found.good.hash,
            claimed_seq: found.claimed.map(|claim| claim.seq),
            claimed_hash: found.claimed.map(|claim| claim.hash),
            fault: found.first_fault().chars().take(MAX_FAULT).collect(),
            left_events: found.left.events,
            left_bytes: found.left.bytes,
            incarnation,
        }
    }
}
