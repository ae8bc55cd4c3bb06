//! What the worker has been told and has not done yet.

use std::collections::VecDeque;
use std::sync::Arc;

use crossbeam_channel::Sender;
use ledger_core::chain::Batch;
use ledger_core::ids::Seq;

use crate::framework::replay::ReplayError;
use crate::framework::view::View;

/// Most batches that wait; more are let go of and read from the log.
const MAX_BATCHES: usize = 1024;
/// Most bytes of batches that wait.
const MAX_BYTES: usize = 8 * 1024 * 1024;

/// A rebuilt view that is to take the place of the live one.
pub(super) struct Swap {
    pub(super) index: usize,
    pub(super) view: Box<dyn View>,
    pub(super) done: Sender<Result<(), ReplayError>>,
}

#[derive(Default)]
pub(super) struct Inbox {
    pub(super) batches: VecDeque<Arc<Batch>>,
    bytes: usize,
    /// The log is durable up to here, whether or not the batches are kept.
    pub(super) durable: Seq,
    pub(super) swaps: Vec<Swap>,
    pub(super) stop: Option<Stop>,
    /// The thread has ended.
    closed: bool,
}

/// How the thread is to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stop {
    /// With snapshots written.
    Saving,
    /// Without.
    AtOnce,
}

impl Inbox {
    pub(super) fn batch(&mut self, batch: Arc<Batch>) {
        self.upto(batch.head().seq);
        let bytes = self.bytes + batch.byte_len();
        if self.batches.len() < MAX_BATCHES && bytes <= MAX_BYTES {
            self.bytes = bytes;
            self.batches.push_back(batch);
        }
    }

    pub(super) fn upto(&mut self, seq: Seq) {
        self.durable = self.durable.max(seq);
    }

    /// Asks for a swap, unless the thread has ended: then nobody would answer.
    pub(super) fn swap(&mut self, swap: Swap) {
        if !self.closed {
            self.swaps.push(swap);
        }
    }

    pub(super) fn close(&mut self) {
        self.closed = true;
        self.swaps.clear();
    }

    pub(super) fn take(&mut self) -> VecDeque<Arc<Batch>> {
        self.bytes = 0;
        std::mem::take(&mut self.batches)
    }
}
