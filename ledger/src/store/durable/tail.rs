//! What is durable and not sealed yet, in memory: shared by the writer, the sealer and readers.
//!
//! Invariant: every event up to the head is in redb's last committed state or in `batches`. The
//! sealer commits first and shortens the tail second; a reader takes its snapshot of redb while it
//! holds the lock, so it never sees a gap, at most an overlap.

use std::collections::VecDeque;
use std::io;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use super::leaves::{Known, Leaves};
use super::{SealIn, Settings, Structure};
use crate::chain::{Batch, Head};
use crate::ids::Seq;
use crate::merkle::{TreeHash, leaf_hashes};
use crate::store::redb::StoreHead;
use crate::store::{LogTree, ReadError};

/// How much is hashed for the tree at once, in bytes of events: a proof of an event that is not sealed
/// hashes less than that itself.
const HASH_BYTES: u64 = 64 * 1024;

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
    batches: VecDeque<Batch>,
    /// What was made of the first of these events.
    known: Known,
    /// How far leaves were made.
    hashed: Seq,
    /// Bytes of all events up to there.
    hashed_bytes: u64,
    /// Of the events up to here all are sealed that can be: the rest fills no block.
    settled: Seq,
    sealer: Status,
    /// Whether redb's record of its pages is believed.
    checked: bool,
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

/// The tail as of a moment, or a part of it.
#[derive(Debug)]
pub(super) struct Snapshot {
    pub(super) sealed: StoreHead,
    pub(super) head: StoreHead,
    pub(super) batches: Vec<Batch>,
    /// What was made of the first events.
    pub(super) known: Known,
}

/// What the sealer does next.
#[derive(Debug)]
pub(super) enum Work {
    /// Leaves of these.
    Hash(Piece),
    /// Blocks of these.
    Seal(Snapshot),
}

/// Batches that follow what was hashed.
#[derive(Debug)]
pub(super) struct Piece {
    /// The last event whose leaf was made.
    after: Seq,
    batches: Vec<Batch>,
}

impl Piece {
    /// Makes their leaves.
    pub(super) fn hash(&self) -> Leaves {
        let mut leaves = Vec::new();
        leaf_hashes(events(&self.batches, self.after), &mut leaves);
        Leaves {
            after: self.after,
            bytes: events(&self.batches, self.after)
                .map(|event| event.len() as u64)
                .sum(),
            hashes: leaves.into(),
        }
    }
}

/// The events of batches behind one.
fn events(batches: &[Batch], after: Seq) -> impl Iterator<Item = &[u8]> {
    let batches = batches.iter();
    let batches = batches.skip_while(move |batch| batch.head().seq <= after);
    let events = batches.flat_map(|batch| batch.events().zip(batch.prev().seq.next().0..));
    let behind = events.skip_while(move |(_, seq)| *seq <= after.0);
    behind.map(|((bytes, _), _)| bytes)
}

impl Snapshot {
    /// Adds the events that are not sealed to the sealed tree.
    pub(super) fn grow(&self, tree: &mut LogTree<'_>) {
        let leaves = self.leaves_upto(self.head.head.seq);
        tree.append_leaves(&leaves, self.known.tiles(), self.head.head.hash);
    }

    /// The leaves of the events behind the sealed ones, up to one of the batches' events: what is
    /// known of them, and the rest made.
    pub(super) fn leaves_upto(&self, upto: Seq) -> Vec<TreeHash> {
        let sealed = self.sealed.head.seq;
        let mut leaves = Vec::new();
        let after = self.known.add_behind(sealed, &mut leaves).unwrap_or(sealed);
        let rest = usize::try_from(upto.0.saturating_sub(after.0)).unwrap_or(usize::MAX);
        leaf_hashes(events(&self.batches, after).take(rest), &mut leaves);
        let count = upto.0.saturating_sub(sealed.0);
        leaves.truncate(usize::try_from(count).unwrap_or(usize::MAX));
        leaves
    }
}

impl Tail {
    pub(super) fn new(sealed: StoreHead, batches: &[Batch], settings: Settings) -> Self {
        let state = State {
            sealed,
            head: sealed,
            batches: VecDeque::new(),
            known: Known::default(),
            hashed: sealed.head.seq,
            hashed_bytes: sealed.event_bytes,
            settled: Seq::ZERO,
            sealer: Status::Running,
            // Whoever seals in the foreground had it checked before.
            checked: settings.structure == Structure::Trusted
                || settings.sealing == SealIn::Foreground,
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

    /// From where to where it goes, without what is in it.
    pub(super) fn bounds(&self) -> Snapshot {
        self.state().bounds()
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

    /// Waits until there is nothing to seal.
    ///
    /// # Errors
    /// If the sealer can't go on.
    pub(super) fn wait_until_in_step(&self) -> io::Result<()> {
        let behind =
            |state: &mut State| state.is_work(self.settings) && state.sealer == Status::Running;
        let state = self.changed.wait_while(self.state(), behind);
        state.unwrap_or_else(PoisonError::into_inner).failure()
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
        let mut state = self.state();
        state.head = state.head_with(batch);
        state.batches.push_back(batch.clone());
        if state.is_work(self.settings) || state.unhashed() >= HASH_BYTES {
            self.changed.notify_all();
        }
    }

    /// What to seal next, if there is enough.
    pub(super) fn work(&self) -> Option<Snapshot> {
        let state = self.state();
        let is_work = state.is_work(self.settings);
        is_work.then(|| state.portion(self.settings))
    }

    /// The whole tail.
    pub(super) fn all(&self) -> Snapshot {
        self.state().snapshot()
    }

    /// What came of checking the structure: sealing begins, or never does.
    pub(super) fn checked(&self, found: Result<(), ReadError>) {
        let mut state = self.state();
        match found {
            Ok(()) => state.checked = true,
            Err(error) => {
                state.sealer = Status::Failed(io::ErrorKind::InvalidData, error.to_string());
            }
        }
        drop(state);
        self.changed.notify_all();
    }

    /// Waits until redb's record of its pages is known to be right, even if sealing is to end: closing
    /// redb writes too. `false` if it is wrong.
    pub(super) fn wait_until_checked(&self) -> bool {
        let unknown = |state: &mut State| !state.checked && state.failure().is_ok();
        let state = self.changed.wait_while(self.state(), unknown);
        state.unwrap_or_else(PoisonError::into_inner).checked
    }

    /// Waits until there is enough to hash or to seal; `None` when sealing is to end.
    pub(super) fn wait_for_work(&self) -> Option<Work> {
        let nothing = |state: &mut State| {
            let is_work = state.is_work(self.settings) || state.unhashed() >= HASH_BYTES;
            state.sealer == Status::Running && !is_work
        };
        let state = self.changed.wait_while(self.state(), nothing);
        let state = state.unwrap_or_else(PoisonError::into_inner);
        match state.sealer {
            Status::Running if state.is_hashed(self.settings) => {
                Some(Work::Seal(state.portion(self.settings)))
            }
            Status::Running => Some(Work::Hash(state.piece())),
            Status::Stopping | Status::Failed(..) => None,
        }
    }

    /// Keeps leaves, which follow those that are known, and joins those of whole tiles.
    pub(super) fn hashed(&self, leaves: Leaves) {
        let mut state = self.state();
        state.hashed = leaves.last();
        state.hashed_bytes += leaves.bytes;
        state.known.push(leaves);
        while let Some(open) = state.known.open_tile() {
            drop(state);
            let root = open.root();
            state = self.state();
            state.known.close_tile(root);
        }
        drop(state);
        self.changed.notify_all();
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
        state.known.forget_upto(sealed.head.seq);
        if state.hashed < sealed.head.seq {
            state.hashed = sealed.head.seq;
            state.hashed_bytes = sealed.event_bytes;
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

    /// Waits until the sealer has made the leaves of the events up to here, or more.
    pub(super) fn wait_until_hashed_to(&self, upto: Seq) {
        let not_yet = |state: &mut State| state.hashed < upto && state.failure().is_ok();
        drop(self.changed.wait_while(self.state(), not_yet).unwrap());
    }
}

impl State {
    fn snapshot(&self) -> Snapshot {
        Snapshot {
            batches: self.batches.iter().cloned().collect(),
            known: self.known.clone(),
            ..self.bounds()
        }
    }

    fn bounds(&self) -> Snapshot {
        Snapshot {
            sealed: self.sealed,
            head: self.head,
            batches: Vec::new(),
            known: Known::default(),
        }
    }

    /// What is sealed in one transaction: as little as is worth one, so that an append that waits for
    /// room waits for no more.
    fn portion(&self, settings: Settings) -> Snapshot {
        let mut bytes = 0;
        let enough = settings.seal_bytes.max(4 * settings.block_cap);
        let fits = |batch: &&Batch| {
            let takes = bytes < enough;
            bytes += batch.byte_len();
            takes
        };
        Snapshot {
            batches: self.batches.iter().take_while(fits).cloned().collect(),
            known: self.known.clone(),
            ..self.bounds()
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

    /// Bytes of events whose leaves were not made.
    fn unhashed(&self) -> u64 {
        self.head.event_bytes.saturating_sub(self.hashed_bytes)
    }

    /// Whether there is enough to seal and its leaves were made, or little is left to make.
    fn is_hashed(&self, settings: Settings) -> bool {
        let hashed = self.hashed_bytes.saturating_sub(self.sealed.event_bytes);
        let enough = hashed >= settings.seal_bytes as u64 || self.unhashed() < HASH_BYTES;
        enough && self.is_work(settings)
    }

    /// What is hashed next.
    fn piece(&self) -> Piece {
        let mut bytes = 0;
        let fits = |batch: &&Batch| {
            let takes = bytes < HASH_BYTES;
            bytes += batch.byte_len() as u64;
            takes
        };
        let behind = self.batches.iter();
        let behind = behind.skip_while(|batch| batch.head().seq <= self.hashed);
        Piece {
            after: self.hashed,
            batches: behind.take_while(fits).cloned().collect(),
        }
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
