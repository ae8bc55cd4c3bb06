//! The window of idempotency keys.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use ledger_core::ids::Seq;
use ledger_core::time::Timestamp;

/// How long a key is remembered, in microseconds: 24 hours.
pub const WINDOW_US: u64 = 24 * 60 * 60 * 1_000_000;
/// How many keys are remembered at most.
pub const WINDOW_KEYS: usize = 1_000_000;

/// Keys of the last 24 hours, a million at most, each with the last event of its append.
///
/// Invariant: `order` and `seqs` hold the same keys; `order` ascends by seq and so by time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Idempotency {
    pub(super) seqs: BTreeMap<Arc<str>, Seq>,
    pub(super) order: VecDeque<Entry>,
    /// [`WINDOW_KEYS`], fewer in tests.
    pub(super) capacity: usize,
}

/// One key, in the order of recording.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) seq: Seq,
    pub(super) recorded_at: Timestamp,
    pub(super) key: Arc<str>,
}

impl Default for Idempotency {
    fn default() -> Self {
        Self::with_capacity(WINDOW_KEYS)
    }
}

impl Idempotency {
    pub(super) fn with_capacity(capacity: usize) -> Self {
        Self {
            seqs: BTreeMap::new(),
            order: VecDeque::new(),
            capacity,
        }
    }

    /// The last event of the append that brought this key, if it is still remembered. The
    /// receipt's hash is the chain's at that seq; its reader knows it.
    pub fn lookup(&self, key: &str) -> Option<Seq> {
        self.seqs.get(key).copied()
    }

    /// How many keys are remembered.
    pub fn len(&self) -> usize {
        self.seqs.len()
    }

    /// Whether no key is remembered.
    pub fn is_empty(&self) -> bool {
        self.seqs.is_empty()
    }

    /// Forgets what is older than the window as of `now`.
    pub(super) fn advance(&mut self, now: Timestamp) {
        while let Some(first) = self.order.front()
            && now.since(first.recorded_at).0 > WINDOW_US
        {
            self.forget_oldest();
        }
    }

    /// Remembers a key that is not remembered yet, and forgets the oldest beyond the capacity.
    pub(super) fn remember(&mut self, entry: Entry) {
        self.seqs.insert(entry.key.clone(), entry.seq);
        self.order.push_back(entry);
        while self.order.len() > self.capacity {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        if let Some(entry) = self.order.pop_front() {
            self.seqs.remove(&entry.key);
        }
    }
}
