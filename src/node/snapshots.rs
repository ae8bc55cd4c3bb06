//! Snapshots of files by the clock: a thread of the node that copies each set when the node comes up
//! and whenever its time has passed.
//!
//! - The core does nothing for it but record what this thread tells: what was copied, what could not be,
//!   what goes. What goes is recorded before it does.
//! - Where nothing has changed no snapshot is made, and nothing recorded unless the ledger lacks the
//!   latest one or believes that the set fails: so what a crash has cut off is recorded by the next turn.
//! - A snapshot that is not the one that was recorded is never taken for what the files were.

use std::path::PathBuf;
use std::sync::{Arc, Weak};
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};
use ledger_core::clock;
use ledger_core::envelope::Origin;
use ledger_core::event::{SnapshotCreated, SnapshotEvent, SnapshotFailed, SnapshotPruned};
use ledger_core::ids::Id;
use ledger_core::store::LogReader;
use ledger_core::time::{Micros, Millis};
use projections::framework::ViewWorker;
use projections::status::SetFacts;
use tokio::sync::oneshot;

use super::boot::software;
use super::command::Command;
use super::core::node_subject;
use super::ports::Stopwatch;
use super::threads::Mail;
use crate::config::SnapshotSets;
use crate::redact;
use crate::snapshots::{Made, Outcome, Request, SnapshotError, Snapshots};

/// How long the view may take to show what is durable.
const VIEW_PATIENCE: Duration = Duration::from_secs(60);
/// When it is tried again after somebody else was at it.
const BUSY: Micros = Micros(1_000_000);

/// What a schedule needs.
pub(super) struct Schedule {
    pub(super) node: Id,
    pub(super) data_dir: PathBuf,
    pub(super) sets: SnapshotSets,
    pub(super) reader: Arc<dyn LogReader>,
    /// Weak: the views stop when the node does, not when a snapshot is done.
    pub(super) views: Weak<ViewWorker>,
    pub(super) inbox: Sender<Mail>,
}

/// The node stops, or has stopped.
struct Stopping;

/// What came of a turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    Done,
    /// Somebody else is at it.
    Busy,
}

enum Failed {
    Snapshot(SnapshotError),
    Stopping,
}

impl From<SnapshotError> for Failed {
    fn from(error: SnapshotError) -> Self {
        Self::Snapshot(error)
    }
}

impl From<Stopping> for Failed {
    fn from(_: Stopping) -> Self {
        Self::Stopping
    }
}

impl Schedule {
    /// Starts the thread; it ends after `stop` was closed.
    pub(super) fn start(self, stop: Receiver<()>) -> std::io::Result<()> {
        let thread = std::thread::Builder::new().name("snapshots".into());
        thread.spawn(move || drop(self.run(&stop))).map(drop)
    }

    fn run(&self, stop: &Receiver<()>) -> Result<(), Stopping> {
        // By the time since boot: a clock that is set makes none come early or late.
        let mut waits = vec![(Stopwatch::start(), Micros(0)); self.sets.len()];
        loop {
            for ((set, config), (since, wait)) in self.sets.iter().zip(&mut waits) {
                if since.elapsed() < *wait {
                    continue;
                }
                *wait = match self.turn(set)? {
                    Turn::Done => micros(config.every),
                    Turn::Busy => BUSY,
                };
                *since = Stopwatch::start();
            }
            let left = waits
                .iter()
                .map(|(since, wait)| wait.0.saturating_sub(since.elapsed().0));
            let left = Duration::from_micros(left.min().unwrap_or(u64::MAX));
            match stop.recv_timeout(left) {
                Err(RecvTimeoutError::Timeout) => {}
                Ok(()) | Err(RecvTimeoutError::Disconnected) => return Err(Stopping),
            }
        }
    }

    fn turn(&self, set: &Id) -> Result<Turn, Stopping> {
        match self.copy(set) {
            Ok(()) => Ok(Turn::Done),
            Err(Failed::Stopping) => Err(Stopping),
            Err(Failed::Snapshot(SnapshotError::InUse(_))) => Ok(Turn::Busy),
            Err(Failed::Snapshot(error)) => {
                // A store that was closed fails whoever reads it.
                self.reader.head().map_err(|_| Stopping)?;
                tracing::error!(%error, %set, "a snapshot could not be made");
                let reason = redact::text(&error.to_string()).into_owned();
                self.note(set, SnapshotEvent::Failed(SnapshotFailed { reason }))?;
                Ok(Turn::Done)
            }
        }
    }

    fn copy(&self, set: &Id) -> Result<(), Failed> {
        let files = self.sets[set].file_set(set, &self.data_dir);
        let locked = Snapshots::of(&self.data_dir).lock()?;
        // Under the lock: whoever had it before has told what it did.
        let known = self.known(set)?;
        let now = clock::now();
        let request = Request {
            ledger: self.reader.ledger_id(),
            now,
            software: &software(),
            recorded: &known.kept,
        };
        let outcome = locked.make(&files, request)?;
        let latest = outcome.latest();
        for skipped in latest
            .manifest
            .skipped
            .iter()
            .filter(|s| s.reason.is_loss())
        {
            tracing::warn!(%set, path = %skipped.path, why = %skipped.reason, "a file is not in the snapshot");
        }
        let is_known = known.kept.get(&latest.manifest.snapshot) == Some(&latest.hash);
        if matches!(outcome, Outcome::Made(_)) || !is_known || known.failing.is_some() {
            self.note(set, SnapshotEvent::Created(created(latest)))?;
        }
        let gone = locked.expendable(set, files.keep, now)?;
        if !gone.is_empty() {
            let pruned = SnapshotPruned {
                snapshots: gone.clone(),
            };
            self.note(set, SnapshotEvent::Pruned(pruned))?;
            locked.remove(set, &gone)?;
        }
        locked.sweep()?;
        Ok(())
    }

    /// What the ledger knows of a set.
    fn known(&self, set: &Id) -> Result<SetFacts, Stopping> {
        let head = self.reader.head().map_err(|_| Stopping)?;
        let views = self.views.upgrade().ok_or(Stopping)?;
        // A view that is poisoned says what it knows.
        let _ = views.wait_for(head.seq, VIEW_PATIENCE);
        let facts = views.with_status(|status, _| status.snapshots().get(set).cloned());
        Ok(facts.flatten().unwrap_or_default())
    }

    /// Has something recorded, and waits until it is durable.
    fn note(&self, set: &Id, event: SnapshotEvent) -> Result<(), Stopping> {
        let (reply, answer) = oneshot::channel();
        let asked = Mail::Ask {
            origin: Origin::of(node_subject(&self.node)),
            command: Command::NoteSnapshot {
                set: set.clone(),
                event,
            },
            reply,
        };
        self.inbox.send(asked).map_err(|_| Stopping)?;
        match answer.blocking_recv() {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(Stopping),
        }
    }
}

fn micros(time: Millis) -> Micros {
    Micros(time.0.saturating_mul(1000))
}

/// What is recorded of a snapshot.
pub(crate) fn created(made: &Made) -> SnapshotCreated {
    let manifest = &made.manifest;
    SnapshotCreated {
        snapshot: manifest.snapshot.clone(),
        manifest: made.hash,
        files: manifest.files.len() as u64,
        bytes: manifest.bytes(),
        written: made.written,
        lost: manifest.lost(),
        changing: manifest.changing(),
    }
}
