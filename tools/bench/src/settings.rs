//! How much is measured.

use std::time::Duration;

/// Sizes of a run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Settings {
    /// Rounds of each comparison; the median counts.
    pub(crate) rounds: usize,
    /// How long a round of a rate lasts.
    pub(crate) span: Duration,
    /// Events of the ledger that is scanned and verified.
    pub(crate) scan_events: usize,
    /// Events of the ledger that is opened, and whose events are proven.
    pub(crate) store_events: usize,
    /// Commands that are cancelled.
    pub(crate) cancels: usize,
    /// Tasks of the ledger that is rebuilt from, five events each.
    pub(crate) rebuild_tasks: u64,
}

impl Settings {
    /// What figures are reported from.
    pub(crate) const FULL: Self = Self {
        rounds: 5,
        span: Duration::from_millis(1500),
        scan_events: 500_000,
        store_events: 5_000_000,
        cancels: 200,
        rebuild_tasks: 60_000,
    };

    /// A first look, and what tests run.
    pub(crate) const QUICK: Self = Self {
        rounds: 3,
        span: Duration::from_millis(300),
        scan_events: 50_000,
        store_events: 200_000,
        cancels: 20,
        rebuild_tasks: 6_000,
    };
}
