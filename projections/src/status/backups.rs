//! What has become of backups and exports, as far as the log knows.

use ledger_core::envelope::Header;
use ledger_core::event::LedgerEvent;
use ledger_core::hash::Hash;
use ledger_core::ids::{Id, Seq};
use ledger_core::time::Timestamp;
use serde::{Deserialize, Serialize};

/// A backup that was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastBackup {
    /// Its name.
    pub backup: Id,
    /// The directory that it stands in.
    pub dir: String,
    /// The last event that it holds.
    pub seq: Seq,
    /// That event's hash.
    pub hash: Hash,
    /// Bytes of all its files.
    pub bytes: u64,
    /// The event that says so.
    pub recorded: Seq,
    /// When.
    pub at: Timestamp,
}

/// A backup that could not be made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailedBackup {
    /// When.
    pub at: Timestamp,
    /// Why.
    pub reason: String,
}

/// Backups and exports since the first event.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupFacts {
    /// Backups that were made.
    pub made: u64,
    /// Backups that could not be made.
    pub failed: u64,
    /// Backups that were removed by the retention rule.
    pub pruned: u64,
    /// Exports.
    pub exports: u64,
    /// The latest that was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<LastBackup>,
    /// The latest that could not be made, if none was made after it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failing: Option<FailedBackup>,
}

impl BackupFacts {
    pub(super) fn fold(&mut self, header: &Header<'_>, event: &LedgerEvent) {
        match event {
            LedgerEvent::BackedUp(e) => {
                self.made += 1;
                self.failing = None;
                self.last = Some(LastBackup {
                    backup: e.backup.clone(),
                    dir: e.dir.clone(),
                    seq: e.seq,
                    hash: e.hash,
                    bytes: e.bytes,
                    recorded: header.seq,
                    at: header.recorded_at,
                });
            }
            LedgerEvent::BackupFailed(e) => {
                self.failed += 1;
                self.failing = Some(FailedBackup {
                    at: header.recorded_at,
                    reason: e.reason.clone(),
                });
            }
            LedgerEvent::BackupsPruned(e) => self.pruned += e.backups.len() as u64,
            LedgerEvent::Exported(_) => self.exports += 1,
            LedgerEvent::Created(_)
            | LedgerEvent::Restored(_)
            | LedgerEvent::Imported(_)
            | LedgerEvent::Salvaged(_)
            | LedgerEvent::Forked(_)
            | LedgerEvent::Resumed(_) => {}
        }
    }
}
