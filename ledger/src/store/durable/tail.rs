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
use crate::store::LogTree;
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
    /// Of the events up to here all are sealed that can be: the rest fills no block.
    settled: Seq,
    sealer: Status,
    /// Whether an append waits for room.
    waiting: bool,
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

impl Snapshot {
    /// Adds the events that are not sealed to the sealed tree.
    pub(super) fn grow(&self, tree: &mut LogTree<'_>) {
        let sealed = self.sealed.head.seq;
        for batch in &self.batches {
            let events = batch.events().zip(batch.prev().seq.next().0..);
            // The first batch may begin among the sealed events.
            let new = events.filter(|(_, seq)| *seq > sealed.0);
            tree.append(new.map(|((bytes, _), _)| bytes), batch.head().hash);
        }
    }
}

impl Tail {
    pub(super) fn new(sealed: StoreHead, batches: &[Batch], settings: Settings) -> Self {
        let state = State {
            sealed,
            head: sealed,
            batches: VecDeque::new(),
            settled: Seq::ZERO,
            sealer: Status::Running,
            waiting: false,
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

    /// Waits until the sealer is not too far behind, or has nothing to do: what fills no block
    /// must not be waited for, whatever the bounds are.
    ///
    /// # Errors
    /// If it can't seal any more.
    pub(super) fn wait_for_room(&self) -> io::Result<()> {
        let settings = self.settings;
        let too_far = |state: &mut State| {
            let behind = state.lag() > settings.lag_bytes as u64 && state.is_work(settings);
            let waits = behind && state.sealer == Status::Running;
            if waits && !std::mem::replace(&mut state.waiting, waits) {
                self.changed.notify_all();
            }
            waits
        };
        let state = self.changed.wait_while(self.state(), too_far);
        let mut state = state.unwrap_or_else(PoisonError::into_inner);
        state.waiting = false;
        state.failure()
    }

    /// Why sealing has ended early, if it has.
    ///
    /// # Errors
    /// Just that.
    pub(super) fn failure(&self) -> io::Result<()> {
        self.state().failure()
    }

    /// Adds a batch that is durable in the journal.
    pub(super) fn push(&self, batch: &Batch) {
        let batch = Arc::new(batch.clone());
        let mut state = self.state();
        state.head = state.head_with(&batch);
        state.batches.push_back(batch);
        if state.is_work(self.settings) {
            self.changed.notify_all();
        }
    }

    /// The tail, if there is enough to seal.
    pub(super) fn work(&self) -> Option<Snapshot> {
        let state = self.state();
        state.is_work(self.settings).then(|| state.snapshot())
    }

    /// Waits until there is enough to seal; `None` when sealing is to end.
    pub(super) fn wait_for_work(&self) -> Option<Snapshot> {
        let nothing =
            |state: &mut State| state.sealer == Status::Running && !state.is_work(self.settings);
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

    /// What can be sealed of the events up to here is.
    pub(super) fn settled(&self, upto: Seq) {
        self.state().settled = upto;
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

#[cfg(test)]
impl Tail {
    /// Waits until an append waits for room; `false` if the ledger reaches `head` without that.
    pub(super) fn wait_until_an_append_waits(&self, head: Seq) -> bool {
        let neither = |state: &mut State| !state.waiting && state.head.head.seq < head;
        self.changed
            .wait_while(self.state(), neither)
            .unwrap()
            .waiting
    }

    /// Waits until the sealer has failed.
    pub(super) fn wait_until_sealing_fails(&self) {
        let running = |state: &mut State| state.failure().is_ok();
        drop(self.changed.wait_while(self.state(), running).unwrap());
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

    /// Whether there is enough to seal, and something that was not looked at.
    fn is_work(&self, settings: Settings) -> bool {
        self.lag() >= settings.seal_bytes as u64 && self.head.head.seq > self.settled
    }

    fn failure(&self) -> io::Result<()> {
        match &self.sealer {
            Status::Failed(kind, why) => {
                Err(io::Error::new(*kind, format!("sealing failed: {why}")))
            }
            Status::Running | Status::Stopping => Ok(()),
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
            // What a damaged store says may be anything.
            event_bytes: self.head.event_bytes.saturating_add(new.sum()),
        }
    }
}
