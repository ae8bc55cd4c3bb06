//! Paused or not, and since when; and what time it is.

use ledger_core::event::HostClock;
use ledger_core::ids::Seq;
use ledger_core::time::Timestamp;
use serde::{Deserialize, Serialize};

/// What a ledger was paused by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PausedBy {
    /// It was made from a backup, or from the beginning of a ledger.
    Restore,
    /// It was made from an export.
    Import,
    /// It was made from what could be proven of a damaged directory.
    Salvage,
}

/// Nothing is started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Paused {
    /// Why.
    pub by: PausedBy,
    /// The event that says so.
    pub since: Seq,
    /// When.
    pub at: Timestamp,
}

/// How this directory stands to its history.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Standing {
    pub(super) paused: Option<Paused>,
    pub(super) inherited: Seq,
    pub(super) clock: Option<HostClock>,
}

impl Standing {
    /// Whether nothing may be started, and why.
    pub fn paused(&self) -> Option<Paused> {
        self.paused
    }

    /// The clock that the last node went by.
    pub fn clock(&self) -> Option<&HostClock> {
        self.clock.as_ref()
    }

    /// The last event by which this directory was made from something else, 0 if it never was:
    /// what was ordered before it was ordered elsewhere.
    pub fn inherited(&self) -> Seq {
        self.inherited
    }
}
