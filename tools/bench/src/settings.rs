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
    /// Tasks that have ended in a ledger that is taken over, five events each.
    pub(crate) past_tasks: u64,
    /// Tasks that run while it is.
    pub(crate) running_tasks: u32,
    /// Leaders that are killed.
    pub(crate) takeovers: usize,
    /// Leaders that hang, and nodes that are started over a ledger that none leads.
    pub(crate) restarts: usize,
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
        past_tasks: 200_000,
        running_tasks: 200,
        takeovers: 50,
        restarts: 5,
    };

    /// A first look, and what tests run.
    pub(crate) const QUICK: Self = Self {
        rounds: 3,
        span: Duration::from_millis(300),
        scan_events: 50_000,
        store_events: 200_000,
        cancels: 20,
        rebuild_tasks: 6_000,
        past_tasks: 20_000,
        running_tasks: 20,
        takeovers: 10,
        restarts: 3,
    };
}
