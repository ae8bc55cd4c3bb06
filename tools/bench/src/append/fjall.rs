//! The peer `fjall`: a keyspace of records by position, each behind its hash; one atomic batch a
//! group, its journal synced with fdatasync.

use std::path::Path;

use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};

use super::{Engine, Group};
use crate::error::{Context, Failure};

/// The open database.
pub(super) struct Fjall {
    database: Database,
    events: Keyspace,
}

impl Fjall {
    /// Makes the database.
    ///
    /// # Errors
    /// [`Failure`] if fjall refuses.
    pub(super) fn create(dir: &Path) -> Result<Self, Failure> {
        let database = Database::builder(dir.join("peer.fjall"))
            .open()
            .context("making the fjall database")?;
        let events = database
            .keyspace("events", KeyspaceCreateOptions::default)
            .context("making the fjall keyspace")?;
        Ok(Self { database, events })
    }
}

impl Engine for Fjall {
    fn commit(&mut self, group: &Group) -> Result<(), Failure> {
        let mut batch = self
            .database
            .batch()
            .durability(Some(PersistMode::SyncData));
        let mut value = Vec::new();
        for (seq, record, hash) in group.records() {
            value.clear();
            value.extend_from_slice(&hash.0);
            value.extend_from_slice(record);
            // Big endian, so that the order of keys is the order of events.
            batch.insert(&self.events, seq.to_be_bytes(), value.as_slice());
        }
        batch.commit().context("committing to fjall")
    }
}
