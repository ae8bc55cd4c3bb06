//! The worker's thread: load, catch up, follow, save.

use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::thread::JoinHandle;

use ledger_core::chain::Batch;
use ledger_core::ids::Seq;

use super::inbox::{Stop, Swap};
use super::{Shared, Source, lock};
use crate::framework::decoded::DecodedBlock;
use crate::framework::fold::{FoldError, Health, Position};
use crate::framework::replay::{ReplayError, hash_at, replay};
use crate::framework::snapshot::SnapshotError;
use crate::framework::view::{View, catch_up};

/// A view is saved again after this many events, or twice as many as it has rows if that is
/// more: then the cost of writing stays in proportion to that of folding.
const SAVE_AFTER: u64 = 50_000;

/// Runs until it is told to stop; waiters are told when it ends, however it ends.
pub(super) fn run(shared: &Shared) {
    let _end = EndOfThread(shared);
    let mut worker = Worker {
        shared,
        kinds: shared
            .slots
            .iter()
            .map(|slot| slot.read().fresh())
            .collect(),
        saves: Saves::default(),
        tried: Seq::ZERO,
    };
    worker.load();
    worker.catch_up();
    worker.follow();
}

struct EndOfThread<'a>(&'a Shared);

impl Drop for EndOfThread<'_> {
    fn drop(&mut self) {
        lock(&self.0.reached).stopped = true;
        self.0.advanced.notify_all();
        // Whoever waits for a swap sees its sender go.
        lock(&self.0.inbox).close();
    }
}

struct Worker<'a> {
    shared: &'a Shared,
    /// A fresh copy of each view, asked what it wants without taking a lock.
    kinds: Vec<Box<dyn View>>,
    saves: Saves,
    /// The durable end that was last read towards.
    tried: Seq,
}

/// When each view was saved last, and the save that goes on.
#[derive(Default)]
struct Saves {
    /// Per view: position and rows of its last snapshot.
    last: Vec<(Seq, u64)>,
    running: Option<JoinHandle<Vec<(usize, Seq, u64)>>>,
}

impl Worker<'_> {
    fn load(&mut self) {
        let reader = &*self.shared.reader;
        for (slot, kind) in self.shared.slots.iter().zip(&self.kinds) {
            let mut view = kind.fresh();
            let loaded = view.load(&self.shared.dir, reader.ledger_id());
            let loaded = loaded.and_then(|()| self.check_position(view.position()));
            let (at, source) = match loaded {
                Ok(()) => {
                    let at = view.position().seq;
                    (at, Source::Snapshot { at })
                }
                Err(error) => {
                    view = kind.fresh();
                    let why = error.to_string();
                    (Seq::ZERO, Source::Rebuilt { why })
                }
            };
            self.saves.last.push((at, 0));
            *slot.view.write().unwrap_or_else(PoisonError::into_inner) = view;
            *lock(&slot.source) = source;
        }
    }

    fn check_position(&self, at: Position) -> Result<(), SnapshotError> {
        match hash_at(&*self.shared.reader, at.seq) {
            Ok(hash) if hash == at.hash => Ok(()),
            Ok(_) => Err(SnapshotError::Damaged(format!(
                "its position, seq {}, is not in this ledger's history",
                at.seq
            ))),
            Err(error) => Err(SnapshotError::Damaged(format!(
                "its position, seq {}, can't be checked: {error}",
                at.seq
            ))),
        }
    }

    fn follow(&mut self) {
        loop {
            let (batches, swaps, durable, stop) = self.wait_for_news();
            for batch in batches.iter().filter(|b| !b.is_empty()) {
                self.fold_batch(batch);
            }
            if self.reached() < durable && !self.stopping() {
                self.tried = durable;
                self.catch_up();
            }
            self.publish();
            for swap in swaps {
                self.swap(swap);
            }
            match stop {
                Some(Stop::Saving) => self.save_now(),
                Some(Stop::AtOnce) => {}
                None => {
                    self.save_if_due();
                    continue;
                }
            }
            break;
        }
        if let Some(running) = self.saves.running.take() {
            let _ = running.join();
        }
    }

    /// Waits until there is something to do. A log that could not be read to its durable end is
    /// tried again when it has grown.
    fn wait_for_news(&self) -> (VecDeque<Arc<Batch>>, Vec<Swap>, Seq, Option<Stop>) {
        let mut inbox = lock(&self.shared.inbox);
        loop {
            let reached = lock(&self.shared.reached).seq;
            let idle = inbox.batches.is_empty() && inbox.swaps.is_empty() && inbox.stop.is_none();
            if !idle || inbox.durable > reached.max(self.tried) {
                let swaps = std::mem::take(&mut inbox.swaps);
                return (inbox.take(), swaps, inbox.durable, inbox.stop);
            }
            inbox = (self.shared.wake.wait(inbox)).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn fold_batch(&self, batch: &Batch) {
        if batch.head().seq > self.reached() {
            let wanted = |kind: &str| self.wants(kind);
            // A batch that doesn't check out is not folded: the log is read instead.
            let blocks = DecodedBlock::of_batch(batch, &wanted).unwrap_or_default();
            for block in &blocks {
                self.fold(block);
            }
        }
    }

    fn stopping(&self) -> bool {
        self.shared.stopping.load(Ordering::Relaxed)
    }

    fn wants(&self, kind: &str) -> bool {
        self.kinds.iter().any(|view| view.wants_payload(kind))
    }

    /// Folds a block into every view that it fits. A view that it does not fit stays behind and
    /// is caught up from the log.
    fn fold(&self, block: &DecodedBlock) {
        for slot in &self.shared.slots {
            let mut view = slot.view.write().unwrap_or_else(PoisonError::into_inner);
            match view.apply_block(block) {
                // A poisoned view says so itself; for the rest the log decides, in `catch_up`.
                Ok(())
                | Err(FoldError::Poison(_) | FoldError::Gap { .. } | FoldError::Diverged { .. }) => {
                }
            }
        }
    }

    /// The position that all views which follow have reached; the durable end if none does.
    fn reached(&self) -> Seq {
        let mut following: Option<Seq> = None;
        for slot in &self.shared.slots {
            let view = slot.read();
            let at = view.position().seq;
            if view.health() == &Health::Following {
                following = Some(following.map_or(at, |least| least.min(at)));
            }
        }
        following.unwrap_or_else(|| lock(&self.shared.inbox).durable)
    }

    /// Reads from the log what the views lack, all in one pass.
    fn catch_up(&mut self) {
        let result = self.replay_all().or_else(|error| match error {
            // Not the history that a view was folded from: the log is right and the view goes.
            ReplayError::Diverged { .. } | ReplayError::Beyond { .. } => {
                self.reset_strays();
                self.replay_all()
            }
            error @ (ReplayError::Read(_) | ReplayError::Stopped) => Err(error),
        });
        lock(&self.shared.reached).fault = result.err().map(|error| error.to_string());
        self.publish();
    }

    fn replay_all(&self) -> Result<(), ReplayError> {
        let following = |view: &dyn View| view.health() == &Health::Following;
        let positions = self.shared.slots.iter().filter_map(|slot| {
            let view = slot.read();
            following(&**view).then(|| view.position())
        });
        let Some(from) = positions.min_by_key(|at| at.seq) else {
            return Ok(());
        };
        let wanted = |kind: &str| self.wants(kind);
        replay(&*self.shared.reader, from, None, &wanted, &mut |block| {
            self.fold(block);
            self.progress()
        })
        .map(|_| ())
    }

    fn progress(&self) -> ControlFlow<()> {
        self.publish();
        if self.stopping() {
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    }

    fn reset_strays(&self) {
        for (slot, kind) in self.shared.slots.iter().zip(&self.kinds) {
            let at = slot.read().position();
            if let Err(error) = self.check_position(at) {
                *slot.view.write().unwrap_or_else(PoisonError::into_inner) = kind.fresh();
                let why = error.to_string();
                *lock(&slot.source) = Source::Rebuilt { why };
            }
        }
    }

    fn publish(&self) {
        let seq = self.reached();
        lock(&self.shared.reached).seq = seq;
        self.shared.advanced.notify_all();
    }

    /// Brings a rebuilt view to where the live one stands and puts it in its place.
    fn swap(&self, swap: Swap) {
        let Swap {
            index,
            mut view,
            done,
        } = swap;
        let slot = &self.shared.slots[index];
        let live = slot.read().position().seq.max(self.reached());
        let result = if view.position().seq < live {
            let progress = &mut |_| self.progress();
            catch_up(&mut *view, &*self.shared.reader, Some(live), progress)
        } else {
            Ok(())
        };
        if result.is_ok() {
            *slot.view.write().unwrap_or_else(PoisonError::into_inner) = view;
            let why = "it was asked for".to_owned();
            *lock(&slot.source) = Source::Rebuilt { why };
            self.publish();
        }
        // Whoever asked may be gone.
        let _ = done.send(result);
    }

    /// Saves from copies on another thread, one save at a time.
    fn save_if_due(&mut self) {
        if let Some(running) = self.saves.running.take_if(|running| running.is_finished()) {
            // A save that failed is tried again when the next is due.
            for (index, seq, rows) in running.join().unwrap_or_default() {
                self.saves.last[index] = (seq, rows);
            }
        }
        if self.saves.running.is_some() {
            return;
        }
        let due = |(index, slot): (usize, &super::Slot)| {
            let (saved, rows) = self.saves.last[index];
            let view = slot.read();
            let events = view.position().seq.0.saturating_sub(saved.0);
            (events >= SAVE_AFTER.max(rows * 2)).then(|| (index, view.boxed()))
        };
        let due: Vec<_> = self
            .shared
            .slots
            .iter()
            .enumerate()
            .filter_map(due)
            .collect();
        if due.is_empty() {
            return;
        }
        let dir = self.shared.dir.clone();
        let ledger = self.shared.reader.ledger_id();
        let save = move |(index, view): (usize, Box<dyn View>)| {
            let header = view.save(&dir, ledger).ok()?;
            Some((index, header.position.seq, header.rows))
        };
        let thread = std::thread::Builder::new().name("views-save".to_owned());
        let running = thread.spawn(move || due.into_iter().filter_map(save).collect());
        self.saves.running = running.ok();
    }

    /// Saves every view that has moved since its last snapshot.
    fn save_now(&mut self) {
        if let Some(running) = self.saves.running.take() {
            for (index, seq, rows) in running.join().unwrap_or_default() {
                self.saves.last[index] = (seq, rows);
            }
        }
        let ledger = self.shared.reader.ledger_id();
        for (slot, &(saved, _)) in self.shared.slots.iter().zip(&self.saves.last) {
            let view = slot.read();
            if view.position().seq > saved {
                // What was not saved is folded again at the next start.
                let _ = view.save(&self.shared.dir, ledger);
            }
        }
    }
}
