//! What is durable and not sealed yet, in memory: shared by the writer, the sealer and readers.
//!
//! Invariant: every event up to the head is in redb's last committed state or in `batches`. The
//! sealer commits first and shortens the tail second; a reader takes its snapshot of redb while it
//! holds the lock, so it never sees a gap, at most an overlap.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use super::Settings;
use crate::chain::{Batch, Head};
use crate::ids::Seq;
use crate::store::redb::StoreHead;

#[derive(Debug)]
pub(super) struct Tail {
    state: Mutex<State>,
    /// Something changed that somebody may wait for.
    changed: Condvar,
    settings: Settings,
}

#[derive(Debug)]
struct State {
    sealed: StoreHead,
    head: StoreHead,
    /// In order; the first may begin among the sealed events.
    batches: VecDeque<Arc<Batch>>,
    sealer: Status,
}

/// How the sealer is.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Status {
    Running,
    /// It is to end.
    Stopping,
    /// It can't seal, and says why.
    Failed(io::ErrorKind, String),
}

/// The tail as of a moment.
#[derive(Debug)]
pub(super) struct Snapshot {
    pub(super) sealed: StoreHead,
    pub(super) head: StoreHead,
    pub(super) batches: Vec<Arc<Batch>>,
}

impl Tail {
    pub(super) fn new(sealed: StoreHead, batches: &[Batch], settings: Settings) -> Self {
        let state = State {
            sealed,
            head: sealed,
            batches: VecDeque::new(),
            sealer: Status::Running,
        };
        let tail = Self {
            state: Mutex::new(state),
            changed: Condvar::new(),
            settings,
        };
        for batch in batches {
            tail.push(batch);
        }
        tail
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Every change is made whole under the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn head(&self) -> Head {
        self.state().head.head
    }

    pub(super) fn settings(&self) -> Settings {
        self.settings
    }

    /// The tail as it is; `and` is called under the lock, to take a snapshot of redb that fits.
    pub(super) fn snapshot<T>(&self, and: impl FnOnce(&Snapshot) -> T) -> (Snapshot, T) {
        let state = self.state();
        let snapshot = state.snapshot();
        let other = and(&snapshot);
        drop(state);
        (snapshot, other)
    }

    /// Waits until the sealer is not too far behind.
    ///
    /// # Errors
    /// If it can't seal any more.
    pub(super) fn wait_for_room(&self) -> io::Result<()> {
        let too_far = |state: &mut State| {
            state.sealer == Status::Running && state.lag() > self.settings.lag_bytes as u64
        };
        let state = self.changed.wait_while(self.state(), too_far);
        match &state.unwrap_or_else(PoisonError::into_inner).sealer {
            Status::Failed(kind, why) => {
                Err(io::Error::new(*kind, format!("sealing failed: {why}")))
            }
            Status::Running | Status::Stopping => Ok(()),
        }
    }

    /// Adds a batch that is durable in the journal.
    pub(super) fn push(&self, batch: &Batch) {
        let batch = Arc::new(batch.clone());
        let mut state = self.state();
        state.head = state.head_with(&batch);
        state.batches.push_back(batch);
        if state.lag() >= self.settings.seal_bytes as u64 {
            self.changed.notify_all();
        }
    }

    /// The tail, if there is enough to seal.
    pub(super) fn work(&self) -> Option<Snapshot> {
        let state = self.state();
        (state.lag() >= self.settings.seal_bytes as u64).then(|| state.snapshot())
    }

    /// Waits until there is enough to seal; `None` when sealing is to end.
    pub(super) fn wait_for_work(&self, after: Seq) -> Option<Snapshot> {
        let nothing = |state: &mut State| {
            state.sealer == Status::Running
                && (state.lag() < self.settings.seal_bytes as u64 || state.head.head.seq <= after)
        };
        let state = self.changed.wait_while(self.state(), nothing);
        let state = state.unwrap_or_else(PoisonError::into_inner);
        (state.sealer == Status::Running).then(|| state.snapshot())
    }

    /// Everything up to here stands in redb.
    pub(super) fn sealed(&self, sealed: StoreHead) {
        let mut state = self.state();
        state.sealed = sealed;
        while let Some(first) = state.batches.front()
            && first.head().seq <= sealed.head.seq
        {
            state.batches.pop_front();
        }
        self.changed.notify_all();
    }

    /// The sealer can't go on.
    pub(super) fn fail(&self, why: &io::Error) {
        self.state().sealer = Status::Failed(why.kind(), why.to_string());
        self.changed.notify_all();
    }

    /// The sealer is to end.
    pub(super) fn stop(&self) {
        let mut state = self.state();
        if state.sealer == Status::Running {
            state.sealer = Status::Stopping;
        }
        self.changed.notify_all();
    }
}

impl State {
    fn snapshot(&self) -> Snapshot {
        Snapshot {
            sealed: self.sealed,
            head: self.head,
            batches: self.batches.iter().cloned().collect(),
        }
    }

    /// Bytes of events that are not sealed.
    fn lag(&self) -> u64 {
        self.head.event_bytes - self.sealed.event_bytes
    }

    fn head_with(&self, batch: &Batch) -> StoreHead {
        // The first batch behind the sealed events may begin among them.
        let new = batch
            .sizes()
            .filter(|(seq, _)| *seq > self.head.head.seq)
            .map(|(_, size)| size as u64);
        StoreHead {
            head: batch.head(),
            event_bytes: self.head.event_bytes + new.sum::<u64>(),
        }
    }
}
