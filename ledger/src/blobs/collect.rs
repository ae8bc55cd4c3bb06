//! Collecting what nothing names. Invariants, in the order in which they are kept:
//!
//! 1. From its beginning on, a collection notes every blob that is leased at any moment.
//! 2. Then it reads where the log ends, and the events up to there. Whoever had a lease and gave it
//!    back before 1 named the blob in an event that was durable by then, or never will.
//! 3. A blob goes only if no event up to there names it, nobody leased it since 1, and its file is
//!    older than the grace period. It is removed under the lock under which leases are given out.
//!
//! So the grace period is for people and for whoever uploads now and appends later; that nothing named
//! is lost does not hang on a clock. A file from the future is young.

use std::sync::PoisonError;

use super::BlobError;
use super::read::{Entry, place};
use super::store::{BlobStore, Shared};
use crate::hash::Hash;
use crate::store::{LogReader, ReadError};
use crate::time::{Millis, Timestamp};

/// What is done with a blob that nothing names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Collecting {
    /// It is counted.
    DryRun,
    /// It is removed.
    Remove,
}

/// What came of a collection.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Collected {
    /// Blobs that events name.
    pub named: u64,
    /// Blobs that went, or would have.
    pub removed: u64,
    /// Their bytes.
    pub removed_bytes: u64,
    /// Blobs that nothing names and that are too young.
    pub young: u64,
    /// Blobs that nothing names yet and somebody is about to.
    pub leased: u64,
}

/// Why a collection ended early. What it had removed by then is gone.
#[derive(Debug, thiserror::Error)]
pub enum CollectError {
    /// The log can't be read, so nobody can say what it names.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The blobs can't be.
    #[error(transparent)]
    Blob(#[from] BlobError),
    /// Whoever asked for it wanted no more of it.
    #[error("stopped before the end")]
    Stopped,
}

/// What a collection decides about one blob.
enum Fate {
    Goes,
    Leased,
}

impl BlobStore {
    /// Collects the blobs that no event of the log names, and that nobody is about to name, if their
    /// files are at least `grace` old. One collection runs at a time; another waits. It ends early
    /// once `going` says no.
    ///
    /// # Errors
    /// [`CollectError`].
    pub fn collect(
        &self,
        reader: &dyn LogReader,
        now: Timestamp,
        grace: Millis,
        how: Collecting,
        going: &dyn Fn() -> bool,
    ) -> Result<Collected, CollectError> {
        // What an earlier one that panicked has noted is true nonetheless.
        let mut named = self.0.named.lock().unwrap_or_else(PoisonError::into_inner);
        let _running = Running::begin(&self.0);
        let mut report = Collected::default();
        if self.list().next().is_none() {
            // The log need not be read for that.
            return Ok(report);
        }
        if !named.extend(reader, going)? {
            return Err(CollectError::Stopped);
        }
        for entry in self.list() {
            let entry = entry?;
            if !going() {
                return Err(CollectError::Stopped);
            }
            if named.contains(entry.digest) {
                report.named += 1;
            } else if !is_old(&entry, now, grace) {
                report.young += 1;
            } else {
                match self.0.decide(&entry, now, grace, how)? {
                    Some(Fate::Goes) => {
                        report.removed += 1;
                        report.removed_bytes += entry.bytes;
                    }
                    Some(Fate::Leased) => report.leased += 1,
                    None => {}
                }
            }
        }
        Ok(report)
    }
}

impl BlobStore {
    /// Removes every blob that is not wanted and that nobody has a lease on: for stores whose blobs are
    /// named elsewhere than in a log. Returns how many bytes were freed.
    ///
    /// # Errors
    /// [`BlobError`]; those before were removed.
    pub fn retain(&self, wanted: &dyn Fn(Hash) -> bool) -> Result<u64, BlobError> {
        let mut freed = 0;
        for entry in self.list() {
            let entry = entry?;
            if wanted(entry.digest) {
                continue;
            }
            // Held, so that nobody takes a lease on it meanwhile.
            let state = self.0.state();
            if !state.is_leased(entry.digest) {
                let (shelf, name) = place(entry.digest);
                let removed = self.0.dir.disk.remove(shelf, &name);
                removed.map_err(BlobError::io("removing a blob"))?;
                freed += entry.bytes;
            }
        }
        Ok(freed)
    }
}

fn is_old(entry: &Entry, now: Timestamp, grace: Millis) -> bool {
    now.0
        .checked_sub(entry.modified.0)
        .is_some_and(|age| age >= grace.0.saturating_mul(1000))
}

impl Shared {
    /// Under the lock, and looked at anew: it may have been stored or named once more meanwhile.
    fn decide(
        &self,
        entry: &Entry,
        now: Timestamp,
        grace: Millis,
        how: Collecting,
    ) -> Result<Option<Fate>, BlobError> {
        let state = self.state();
        let spared = state.spared.as_ref();
        if state.is_leased(entry.digest) || spared.is_some_and(|s| s.contains(&entry.digest)) {
            return Ok(Some(Fate::Leased));
        }
        match self.dir.entry(entry.digest) {
            Err(BlobError::Missing(_)) => return Ok(None),
            Ok(again) if !is_old(&again, now, grace) => return Ok(None),
            Ok(_) => {}
            Err(error) => return Err(error),
        }
        if how == Collecting::Remove {
            let (shelf, name) = place(entry.digest);
            self.dir
                .disk
                .remove(shelf, &name)
                .map_err(BlobError::io("removing a blob"))?;
        }
        Ok(Some(Fate::Goes))
    }
}

/// Notes what is leased for as long as it lives.
struct Running<'a>(&'a Shared);

impl<'a> Running<'a> {
    fn begin(shared: &'a Shared) -> Self {
        let mut state = shared.state();
        state.spared = Some(state.leased());
        drop(state);
        Self(shared)
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.state().spared = None;
    }
}
