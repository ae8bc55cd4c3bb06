//! The peer `sqlite`: a table of records with their hashes, write-ahead log, `synchronous=FULL`
//! (the log is synced at each commit), one transaction a group.

use std::path::Path;

use rusqlite::{Connection, TransactionBehavior, params};

use super::{Engine, Group};
use crate::error::{Context, Failure};

/// The open database.
pub(super) struct Sqlite {
    connection: Connection,
}

impl Sqlite {
    /// Makes the database.
    ///
    /// # Errors
    /// [`Failure`] if SQLite refuses.
    pub(super) fn create(dir: &Path) -> Result<Self, Failure> {
        let create = || -> rusqlite::Result<Connection> {
            let connection = Connection::open(dir.join("peer.sqlite"))?;
            connection.pragma_update(None, "journal_mode", "WAL")?;
            connection.pragma_update(None, "synchronous", "FULL")?;
            connection.execute_batch(
                "CREATE TABLE events (seq INTEGER PRIMARY KEY, hash BLOB NOT NULL, record BLOB NOT NULL)",
            )?;
            Ok(connection)
        };
        Ok(Self {
            connection: create().context("making the SQLite database")?,
        })
    }

    fn insert(&mut self, group: &Group) -> rusqlite::Result<()> {
        let transaction = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)?;
        {
            let mut insert = transaction
                .prepare_cached("INSERT INTO events (seq, hash, record) VALUES (?1, ?2, ?3)")?;
            for (seq, record, hash) in group.records() {
                insert.execute(params![seq.cast_signed(), hash.0, record])?;
            }
        }
        transaction.commit()
    }
}

impl Engine for Sqlite {
    fn commit(&mut self, group: &Group) -> Result<(), Failure> {
        self.insert(group).context("inserting into SQLite")
    }
}
