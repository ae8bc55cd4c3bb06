//! The worker that keeps the views behind the durable end of the log, on a thread of its own.
//!
//! ```text
//! sequencer --durable(batch)--> inbox (bounded) --> worker thread --> views (a lock each)
//!                                                     |    ^                 ^
//!                                          snapshots <'    '-- LogReader     '-- with(…): readers
//! ```
//!
//! | must hold | why |
//! |---|---|
//! | `durable` never waits for the views | appends and replies must not |
//! | a batch is only a shortcut; the log is what counts | dropped or odd batches are read again from the log |
//! | a view that a reader sees is a fold up to one position | each block is folded under the view's lock |
//! | a snapshot is used only if its position is in the log | else it belongs to a history that never was |
//!
//! Snapshots are written when the worker stops and now and then in between, from a copy, by
//! another thread.

mod inbox;
mod run;

use std::any::Any;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};
use std::thread::JoinHandle;
use std::time::Duration;

use ledger_core::chain::Batch;
use ledger_core::hash::Hash;
use ledger_core::ids::Seq;
use ledger_core::store::LogReader;
use serde::Serialize;

use super::compare::{FirstDifference, compare};
use super::fold::{Fold, Health, Position};
use super::projection::Projection;
use super::replay::ReplayError;
use super::snapshot::{SnapshotError, SnapshotHeader, ViewDir};
use super::view::{View, catch_up, unwatched};
use inbox::{Inbox, Stop, Swap};

/// How a view came to its contents when the worker started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "source", rename_all = "snake_case")]
pub enum Source {
    /// The worker has not come to it yet.
    Starting,
    /// From its snapshot, at this position.
    Snapshot {
        /// Where the snapshot stood.
        at: Seq,
    },
    /// Folded from the first event.
    Rebuilt {
        /// Why its snapshot was not used.
        why: String,
    },
}

/// One view, as people want to know it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ViewState {
    /// Its name.
    pub name: &'static str,
    /// Its version.
    pub version: u32,
    /// The last event folded.
    #[serde(flatten)]
    pub position: Position,
    /// Whether it follows the log.
    #[serde(flatten)]
    pub health: Health,
    /// Where its contents came from.
    #[serde(flatten)]
    pub source: Source,
}

/// Why something that was asked of the worker did not happen.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// There is no view of this name.
    #[error("there is no view {0:?}")]
    NoSuchView(String),
    /// The worker has stopped.
    #[error("the views' worker has stopped")]
    Stopped,
    /// The views did not come that far in time.
    #[error("the views stand at seq {at}, before seq {wanted}")]
    Behind {
        /// Where they stand.
        at: Seq,
        /// What was waited for.
        wanted: Seq,
    },
    /// The log could not be read.
    #[error(transparent)]
    Replay(#[from] ReplayError),
    /// A snapshot could not be written.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
}

/// What comparing a live view with its rebuild gave.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Comparison {
    /// The position that both stand at.
    #[serde(flatten)]
    pub position: Position,
    /// The live view's digest.
    pub live: Hash,
    /// The rebuilt view's digest.
    pub rebuilt: Hash,
    /// Where they differ first, if they do.
    pub difference: Option<FirstDifference>,
}

struct Slot {
    view: RwLock<Box<dyn View>>,
    source: Mutex<Source>,
}

impl Slot {
    fn read(&self) -> RwLockReadGuard<'_, Box<dyn View>> {
        self.view.read().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How far the views have come together.
#[derive(Debug, Default)]
struct Reached {
    seq: Seq,
    stopped: bool,
    /// Why the log could not be read the last time it was tried.
    fault: Option<String>,
}

struct Shared {
    reader: Arc<dyn LogReader>,
    dir: ViewDir,
    slots: Vec<Slot>,
    inbox: Mutex<Inbox>,
    wake: Condvar,
    reached: Mutex<Reached>,
    advanced: Condvar,
    stopping: AtomicBool,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing panics while these locks are held; what they guard is sound all the same.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Owns the views' thread; dropping it stops the thread without writing snapshots.
pub struct ViewWorker {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl std::fmt::Debug for ViewWorker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("ViewWorker").field(&self.states()).finish()
    }
}

impl ViewWorker {
    /// Starts the worker over `views` (each before its first event). It loads their snapshots and
    /// catches up with the log; [`ViewWorker::wait_for`] says when it has.
    pub fn start(views: Vec<Box<dyn View>>, dir: ViewDir, reader: Arc<dyn LogReader>) -> Self {
        let slot = |view| Slot {
            view: RwLock::new(view),
            source: Mutex::new(Source::Starting),
        };
        let shared = Arc::new(Shared {
            reader,
            dir,
            slots: views.into_iter().map(slot).collect(),
            inbox: Mutex::default(),
            wake: Condvar::new(),
            reached: Mutex::default(),
            advanced: Condvar::new(),
            stopping: AtomicBool::new(false),
        });
        let worker = Arc::clone(&shared);
        let thread = std::thread::Builder::new().name("views".to_owned());
        // Without a thread the views stay as they are and waiters are told so.
        let thread = thread.spawn(move || run::run(&worker)).ok();
        if thread.is_none() {
            lock(&shared.reached).stopped = true;
            lock(&shared.inbox).close();
        }
        Self {
            shared,
            thread: Mutex::new(thread),
        }
    }

    /// Tells the views of a batch that has become durable. Never waits: if the views are far
    /// behind, the batch is let go of and read from the log later.
    pub fn durable(&self, batch: Arc<Batch>) {
        lock(&self.shared.inbox).batch(batch);
        self.shared.wake.notify_one();
    }

    /// Tells the views that the log is durable up to `seq`, to be read from there.
    pub fn durable_upto(&self, seq: Seq) {
        lock(&self.shared.inbox).upto(seq);
        self.shared.wake.notify_one();
    }

    /// The position that every view which follows the log has reached.
    pub fn reached(&self) -> Seq {
        lock(&self.shared.reached).seq
    }

    /// Why the log could not be read when the views last tried to catch up, if so.
    pub fn fault(&self) -> Option<String> {
        lock(&self.shared.reached).fault.clone()
    }

    /// Waits until every view that follows the log has folded `seq`: what one has written, one
    /// then reads. Poisoned views are not waited for.
    ///
    /// # Errors
    /// [`WorkerError::Behind`] after `timeout`, [`WorkerError::Stopped`].
    pub fn wait_for(&self, seq: Seq, timeout: Duration) -> Result<(), WorkerError> {
        let reached = lock(&self.shared.reached);
        let (reached, _) = self
            .shared
            .advanced
            .wait_timeout_while(reached, timeout, |r| r.seq < seq && !r.stopped)
            .unwrap_or_else(PoisonError::into_inner);
        match *reached {
            Reached { seq: at, .. } if at >= seq => Ok(()),
            Reached { stopped: true, .. } => Err(WorkerError::Stopped),
            Reached { seq: at, .. } => Err(WorkerError::Behind { at, wanted: seq }),
        }
    }

    /// Every view's name, version, position and health.
    pub fn states(&self) -> Vec<ViewState> {
        let state = |slot: &Slot| {
            let view = slot.read();
            ViewState {
                name: view.name(),
                version: view.version(),
                position: view.position(),
                health: view.health().clone(),
                source: lock(&slot.source).clone(),
            }
        };
        self.shared.slots.iter().map(state).collect()
    }

    /// Reads a view by name. The view stands still while `read` runs: be brief.
    ///
    /// # Errors
    /// [`WorkerError::NoSuchView`].
    pub fn with_view<R>(
        &self,
        name: &str,
        read: impl FnOnce(&dyn View) -> R,
    ) -> Result<R, WorkerError> {
        Ok(read(&**self.slot(name)?.1.read()))
    }

    /// Reads a view by type; `None` if the worker was not started with it. The view stands still
    /// while `read` runs: be brief.
    pub fn with<P: Projection, R>(&self, read: impl FnOnce(&Fold<P>) -> R) -> Option<R> {
        self.shared
            .slots
            .iter()
            .find_map(|slot| {
                // The guard is let go of before the next view is looked at.
                let view = slot.read();
                let any: &dyn Any = &**view;
                any.is::<Fold<P>>().then_some(view)
            })
            .and_then(|view| {
                let any: &dyn Any = &**view;
                any.downcast_ref::<Fold<P>>().map(read)
            })
    }

    /// Rebuilds a view from the first event, writes its snapshot, and puts it in the place of the
    /// live one. Readers see the old one until the new one stands where the old one stood. Runs
    /// on the calling thread.
    ///
    /// # Errors
    /// [`WorkerError`]; the live view is then as it was.
    pub fn rebuild(&self, name: &str) -> Result<ViewState, WorkerError> {
        let (index, slot) = self.slot(name)?;
        let mut rebuilt = slot.read().fresh();
        self.catch_up(&mut *rebuilt, None)?;
        rebuilt.save(&self.shared.dir, self.shared.reader.ledger_id())?;
        let (done, swapped) = crossbeam_channel::bounded(1);
        lock(&self.shared.inbox).swap(Swap {
            index,
            view: rebuilt,
            done,
        });
        self.shared.wake.notify_one();
        swapped.recv().map_err(|_| WorkerError::Stopped)??;
        let states = self.states();
        states.into_iter().nth(index).ok_or(WorkerError::Stopped)
    }

    /// Writes a snapshot of every view as it stands now, on the calling thread. Returns where each
    /// stands, or why it could not be written.
    pub fn save(&self) -> Vec<(&'static str, Result<SnapshotHeader, SnapshotError>)> {
        let slots = self.shared.slots.iter();
        let saved = slots.map(|slot| {
            // A copy: whoever reads or folds need not wait for the disk.
            let view = slot.read().boxed();
            let ledger = self.shared.reader.ledger_id();
            (view.name(), view.save(&self.shared.dir, ledger))
        });
        saved.collect()
    }

    /// Rebuilds a view beside the live one, up to where that stands now, and compares. Runs on the
    /// calling thread.
    ///
    /// # Errors
    /// [`WorkerError`].
    pub fn check(&self, name: &str) -> Result<Comparison, WorkerError> {
        let live = self.slot(name)?.1.read().boxed();
        let mut rebuilt = live.fresh();
        self.catch_up(&mut *rebuilt, Some(live.position().seq))?;
        Ok(Comparison {
            position: live.position(),
            live: live.digest(),
            rebuilt: rebuilt.digest(),
            difference: compare(&*live, &*rebuilt),
        })
    }

    /// Folds the batches at hand, breaks off reading the log, writes the views' snapshots and ends
    /// the thread. The views can still be read; they don't move any more.
    pub fn stop(&self) {
        self.end(Stop::Saving);
    }

    fn end(&self, how: Stop) {
        self.shared.stopping.store(true, Ordering::Relaxed);
        lock(&self.shared.inbox).stop.get_or_insert(how);
        self.shared.wake.notify_one();
        if let Some(thread) = lock(&self.thread).take() {
            // A panic there has already told the waiters; there is nothing more to do about it.
            let _ = thread.join();
        }
    }

    fn slot(&self, name: &str) -> Result<(usize, &Slot), WorkerError> {
        let mut slots = self.shared.slots.iter().enumerate();
        slots
            .find(|(_, slot)| slot.read().name() == name)
            .ok_or_else(|| WorkerError::NoSuchView(name.to_owned()))
    }

    fn catch_up(&self, view: &mut dyn View, upto: Option<Seq>) -> Result<(), ReplayError> {
        catch_up(view, &*self.shared.reader, upto, &mut unwatched)
    }
}

impl Drop for ViewWorker {
    fn drop(&mut self) {
        self.end(Stop::AtOnce);
    }
}

#[cfg(test)]
mod tests;
