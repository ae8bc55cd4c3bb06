//! The node's blobs: the store, and leases for those who upload now and append later.
//!
//! An upload that was answered is kept from being collected for a quarter of an hour, counted by this
//! process's own clock, so that neither a short grace period nor a clock that is set forward comes
//! between an upload and the append that names it. A client that goes away in between leaves garbage,
//! which is collected when it is old.

use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ledger_core::blobs::{
    BlobError, BlobRef, BlobStore, CollectError, Collected, Collecting, Lease, Limits, Stored,
};
use ledger_core::clock;
use ledger_core::hash::Hash;
use ledger_core::store::LogReader;
use ledger_core::time::{Micros, Millis, Timestamp};

use tokio::sync::watch;

use super::ports::Stopwatch;
use crate::config::BlobsConfig;

/// How long an upload waits for the append that names it.
const PATIENCE: Micros = Micros(15 * 60 * 1_000_000);
/// How often what nothing names is collected.
const SWEEP: Duration = Duration::from_secs(3600);
/// Most uploads that are kept like this; beyond them the grace period must do.
const MAX_KEPT: usize = 10_000;

/// Blobs as a node has them.
#[derive(Debug)]
pub struct Blobs {
    store: BlobStore,
    grace: Millis,
    kept: Mutex<HashMap<Hash, (Lease, Stopwatch)>>,
}

impl Blobs {
    /// The blobs of a data directory whose lock the caller holds.
    ///
    /// # Errors
    /// The file system's.
    pub fn open(data_dir: &Path, config: &BlobsConfig) -> io::Result<Self> {
        let limits = Limits {
            bytes: config.max_size,
            in_flight: config.max_in_flight,
        };
        let store = BlobStore::open(data_dir, limits).map_err(io::Error::other)?;
        Ok(Self {
            store,
            grace: config.grace,
            kept: Mutex::default(),
        })
    }

    /// Where they are stored.
    pub fn store(&self) -> &BlobStore {
        &self.store
    }

    fn kept(&self) -> MutexGuard<'_, HashMap<Hash, (Lease, Stopwatch)>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps what was uploaded until it is named, for a while.
    pub fn keep(&self, stored: Stored) -> BlobRef {
        let mut kept = self.kept();
        kept.retain(|_, (_, since)| since.elapsed() < PATIENCE);
        if kept.len() < MAX_KEPT {
            let digest = stored.reference.blake3;
            kept.insert(digest, (stored.lease, Stopwatch::start()));
        }
        stored.reference
    }

    /// An event that names it is durable: from here on that keeps it.
    pub fn named(&self, digest: Hash) {
        self.kept().remove(&digest);
    }

    /// A lease on a blob that an event is to name.
    ///
    /// # Errors
    /// As [`BlobStore::lease`].
    pub fn lease(&self, wanted: &BlobRef, now: Timestamp) -> Result<Lease, BlobError> {
        self.store.lease(wanted, now)
    }

    /// Collects what nothing names, if it is older than `grace`, or than the configured period.
    ///
    /// # Errors
    /// As [`BlobStore::collect`].
    pub fn collect(
        &self,
        reader: &dyn LogReader,
        now: Timestamp,
        grace: Option<Millis>,
        how: Collecting,
        going: &dyn Fn() -> bool,
    ) -> Result<Collected, CollectError> {
        self.kept()
            .retain(|_, (_, since)| since.elapsed() < PATIENCE);
        let grace = grace.unwrap_or(self.grace);
        self.store.collect(reader, now, grace, how, going)
    }
}

/// Collects now and then, until the node stops.
pub(super) async fn sweep(
    blobs: Arc<Blobs>,
    reader: Arc<dyn LogReader>,
    mut stopping: watch::Receiver<bool>,
) {
    loop {
        let (blobs, reader, stop) = (Arc::clone(&blobs), Arc::clone(&reader), stopping.clone());
        let swept = tokio::task::spawn_blocking(move || {
            let going = || !*stop.borrow();
            let how = Collecting::Remove;
            blobs.collect(reader.as_ref(), clock::now(), None, how, &going)
        });
        match swept.await {
            Ok(Ok(done)) if done.removed > 0 => {
                let (removed, bytes) = (done.removed, done.removed_bytes);
                tracing::info!(removed, bytes, "blobs that no event names were removed");
            }
            Ok(Ok(_) | Err(CollectError::Stopped)) => {}
            Ok(Err(error)) => tracing::warn!(%error, "the blobs could not be collected"),
            Err(error) => tracing::error!(%error, "collecting the blobs was abandoned"),
        }
        tokio::select! {
            () = tokio::time::sleep(SWEEP) => {}
            _ = stopping.wait_for(|stop| *stop) => return,
        }
    }
}
