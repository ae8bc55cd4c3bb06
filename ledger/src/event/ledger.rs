//! `ledger.*`: the ledger itself.

use serde::{Deserialize, Serialize};

use super::family;
use crate::hash::Hash;
use crate::ids::{Id, LedgerId, Seq};
use crate::time::Timestamp;

/// The event encoding that `ledger.created` announces.
pub const LEDGER_FORMAT: u16 = 1;

/// Seq 1 of every ledger, term 0: which ledger this is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LedgerCreated {
    /// The id in the domain of every hash of this ledger.
    pub ledger_id: LedgerId,
    /// Event encoding, 1.
    pub format: u16,
    /// The operator's name for it.
    pub name: Id,
    /// Version of the software that made it.
    pub software: String,
    /// Fingerprint of the key that signs tree heads, where there is one: BLAKE3 of the public key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_fingerprint: Option<Hash>,
}

/// A directory was made from a backup. Everything before it happened elsewhere: attempts that were
/// open then are not this directory's, and nothing is started until `ledger.resumed`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LedgerRestored {
    /// The backup's name.
    pub backup: Id,
    /// The last event that it holds.
    pub seq: Seq,
    /// That event's hash.
    pub hash: Hash,
    /// When the backup was made.
    pub made_at: Timestamp,
    /// Drawn at random: tells this history from every other that grew from the same backup.
    pub incarnation: String,
}

/// A directory was made from an export; else as [`LedgerRestored`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LedgerImported {
    /// The last event of the export.
    pub seq: Seq,
    /// That event's hash.
    pub hash: Hash,
    /// Drawn at random: tells this history from every other that grew from the same export.
    pub incarnation: String,
}

/// A directory was made from what could be proven of a damaged one; else as [`LedgerRestored`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LedgerSalvaged {
    /// The damaged directory.
    pub source: String,
    /// The last event that was proven.
    pub seq: Seq,
    /// That event's hash.
    pub hash: Hash,
    /// Where the damaged ledger said that it ends, if it said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claimed_seq: Option<Seq>,
    /// The hash that it said is there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claimed_hash: Option<Hash>,
    /// The first thing that was wrong with it.
    pub fault: String,
    /// Events that were found behind the last proven one.
    pub left_events: u64,
    /// Bytes that were kept of them.
    pub left_bytes: u64,
    /// Drawn at random: tells this history from every other that grew from the same events.
    pub incarnation: String,
}

/// A directory was made from the beginning of a ledger, which goes on elsewhere; else as
/// [`LedgerRestored`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LedgerForked {
    /// The last event that was taken.
    pub seq: Seq,
    /// That event's hash.
    pub hash: Hash,
    /// When that event was recorded: as of when the directory stands.
    pub as_of: Timestamp,
    /// Where the ledger ended that it was taken from.
    pub source_seq: Seq,
    /// The hash there.
    pub source_hash: Hash,
    /// Drawn at random: tells this history from every other that grew from the same events.
    pub incarnation: String,
}

/// Work goes on after a restore, an import or a salvage.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LedgerResumed {
    /// Why, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// A backup was made, and verified by reading it back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LedgerBackedUp {
    /// Its name.
    pub backup: Id,
    /// The directory that it stands in.
    pub dir: String,
    /// The last event that it holds.
    pub seq: Seq,
    /// That event's hash.
    pub hash: Hash,
    /// BLAKE3 of its manifest's first line, which names every file with its hash.
    pub manifest: Hash,
    /// Bytes of all its files.
    pub bytes: u64,
    /// Bytes that were written for it; the others are shared with the backup before.
    pub written: u64,
}

/// A backup could not be made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LedgerBackupFailed {
    /// Where it was to go.
    pub dir: String,
    /// Why it did not.
    pub reason: String,
}

/// Backups were removed by the retention rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LedgerBackupsPruned {
    /// The directory that they stood in.
    pub dir: String,
    /// Their names, oldest first.
    pub backups: Vec<Id>,
}

/// Events were written into a form for others.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LedgerExported {
    /// `jsonl`, `csv` or `tiles`.
    pub format: String,
    /// The position that it stands for.
    pub seq: Seq,
    /// Hash of the event there.
    pub hash: Hash,
    /// How many events were written.
    pub events: u64,
    /// Whether that is all of them.
    pub complete: bool,
}

family!(
    /// The ledger itself.
    LedgerEvent {
        /// It was made.
        Created(LedgerCreated) = "ledger.created",
        /// A directory was made from a backup of it.
        Restored(LedgerRestored) = "ledger.restored",
        /// A directory was made from an export of it.
        Imported(LedgerImported) = "ledger.imported",
        /// A directory was made from a damaged one.
        Salvaged(LedgerSalvaged) = "ledger.salvaged",
        /// A directory was made from its beginning.
        Forked(LedgerForked) = "ledger.forked",
        /// Work goes on.
        Resumed(LedgerResumed) = "ledger.resumed",
        /// A backup was made.
        BackedUp(LedgerBackedUp) = "ledger.backed_up",
        /// A backup could not be made.
        BackupFailed(LedgerBackupFailed) = "ledger.backup_failed",
        /// Backups were removed.
        BackupsPruned(LedgerBackupsPruned) = "ledger.backups_pruned",
        /// It was exported.
        Exported(LedgerExported) = "ledger.exported",
    }
);
