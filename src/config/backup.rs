//! `[backup]` of `ledger.toml`.

use std::path::PathBuf;

use ledger_core::backup::Keep;
use ledger_core::time::Millis;

/// `[backup]`: backups by the clock, and how long they are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackupConfig {
    /// `dir`: where they are; relative to the data directory. Default `backups`: on the disk of the
    /// ledger, which is no help when that disk fails.
    pub dir: PathBuf,
    /// `every`: how often the node makes one. Default: never.
    pub every: Option<Millis>,
    /// `keep_for`: how long they are kept. Default: for ever.
    pub keep_for: Option<Millis>,
    /// `keep_at_least`: how many are kept however old or large they are, 1 to 1,000,000. Default 3.
    pub keep_at_least: u32,
    /// `max_size`: bytes of all of them together, above which the oldest are removed. Default: none.
    pub max_size: Option<u64>,
}

/// Where backups are if nothing is said.
pub const BACKUP_DIR: &str = "backups";

impl Default for BackupConfig {
    fn default() -> Self {
        Self {
            dir: PathBuf::from(BACKUP_DIR),
            every: None,
            keep_for: None,
            keep_at_least: 3,
            max_size: None,
        }
    }
}

impl BackupConfig {
    /// What of them is kept.
    pub fn keep(&self) -> Keep {
        Keep {
            keep_for: self.keep_for,
            at_least: usize::try_from(self.keep_at_least).unwrap_or(usize::MAX),
            max_size: self.max_size,
        }
    }
}
