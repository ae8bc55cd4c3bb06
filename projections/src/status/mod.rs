//! `status`: the whole system in figures, folded from every family. A view: nothing is decided by
//! it.
//!
//! What is over is counted and forgotten, so its size follows what is live: tasks that wait, run or
//! are dead letters, and processes that run. Percentiles and totals are of all time; the success
//! rate is of the latest [`RECENT_RUNS`] runs.

mod apply;
mod backups;
mod histogram;
mod query;
mod rows;
mod snapshots;
mod state;

pub use backups::{BackupFacts, FailedBackup, LastBackup};
pub use histogram::Histogram;
pub use query::{
    LeaseReport, Percentiles, QueueReport, RecentRuns, StatusReport, TaskCounts, Waiting,
};
pub use snapshots::{FailedSnapshot, LastSnapshot, SetFacts, SnapshotFacts};
pub use state::{
    EventCounts, LedgerFacts, LiveProcess, LiveTask, NodeFacts, PausedFacts, PausedQueue, Phase,
    ProcessTotals, QueueFigures, RECENT_RUNS, RecoveryFacts, Status, TermFacts, TermState, Totals,
    UnkillableFacts, UpkeepTotals,
};

#[cfg(test)]
mod tests;
