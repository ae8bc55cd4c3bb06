//! Backups by the clock: a thread of the node that makes one when it is due and removes old ones.
//!
//! - It reads as any reader does and writes into files of its own, so it holds up no append. What
//!   it has done it tells the core, which records it; what could not be done too.
//! - When the next is due follows from what the log says of the last, so a node that comes up goes
//!   on with the schedule of the one before.
//! - Nothing is made where nothing has happened since the last but its own record.
//! - A node that stops does not wait for it: what is not finished is removed by the next.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};
use ledger_core::backup::{BackupError, Basis, Catalog, Keep, Locked, Request};
use ledger_core::blobs::BLOBS_DIR;
use ledger_core::clock;
use ledger_core::envelope::Origin;
use ledger_core::event::{LedgerBackedUp, LedgerBackupFailed, LedgerBackupsPruned, LedgerEvent};
use ledger_core::files;
use ledger_core::ids::Id;
use ledger_core::store::LogReader;
use ledger_core::store::durable::JOURNAL_DIR;
use ledger_core::time::{Millis, Timestamp};
use projections::framework::ViewWorker;
use tokio::sync::oneshot;

use super::blobs::Blobs;
use super::boot::software;
use super::checkpoints::CHECKPOINT_DIR;
use super::command::Command;
use super::core::node_subject;
use super::threads::Mail;
use crate::keys::KEY_DIR;
use crate::redact;

/// How long the view may take to show what is durable.
const VIEW_PATIENCE: Duration = Duration::from_secs(60);
/// Longest sleep: the wall clock may be set meanwhile.
const NAP: Duration = Duration::from_secs(60);

/// What a schedule needs.
pub(super) struct Schedule {
    pub(super) node: Id,
    pub(super) data_dir: PathBuf,
    pub(super) dir: PathBuf,
    pub(super) every: Millis,
    pub(super) keep: Keep,
    pub(super) reader: Arc<dyn LogReader>,
    pub(super) blobs: Arc<Blobs>,
    /// Weak: the views stop when the node does, not when a backup is done.
    pub(super) views: Weak<ViewWorker>,
    pub(super) inbox: Sender<Mail>,
}

/// The node stops, or has stopped.
struct Stopping;

impl Schedule {
    /// Starts the thread; it ends after `stop` was closed.
    pub(super) fn start(self, stop: Receiver<()>) -> std::io::Result<()> {
        let thread = std::thread::Builder::new().name("backups".into());
        thread.spawn(move || drop(self.run(&stop))).map(drop)
    }

    fn run(&self, stop: &Receiver<()>) -> Result<(), Stopping> {
        let mut tried = None;
        loop {
            let (due, news) = self.due(tried)?;
            let now = clock::now();
            if now < due {
                let wait = Duration::from_micros(due.since(now).0).min(NAP);
                match stop.recv_timeout(wait) {
                    Err(RecvTimeoutError::Timeout) => continue,
                    Ok(()) | Err(RecvTimeoutError::Disconnected) => return Err(Stopping),
                }
            }
            tried = Some(now);
            if news == News::Some {
                self.turn(now)?;
            }
        }
    }

    /// When the next is due, and whether there is anything new for it.
    fn due(&self, tried: Option<Timestamp>) -> Result<(Timestamp, News), Stopping> {
        let head = self.reader.head().map_err(|_| Stopping)?;
        let views = self.views.upgrade().ok_or(Stopping)?;
        // A view that is poisoned says what it knows.
        let _ = views.wait_for(head.seq, VIEW_PATIENCE);
        let last = views.with_status(|status, _| status.backups().last.clone());
        let last = last.flatten();
        let news = match &last {
            Some(last) if last.recorded >= head.seq => News::None,
            Some(_) | None => News::Some,
        };
        let begun = tried.max(last.map(|last| last.at));
        Ok((begun.map_or(Timestamp(0), |at| at.plus(self.every)), news))
    }

    fn turn(&self, now: Timestamp) -> Result<(), Stopping> {
        let done = check_place(&self.data_dir, &self.dir)
            .and_then(|()| Catalog::new(&self.dir).lock())
            .map_err(Failed::Backup)
            .and_then(|locked| {
                // First, so that what is recorded last is the backup: nothing is new after it.
                self.prune(&locked, now)?;
                self.make(&locked, now)
            });
        match done {
            Ok(()) => Ok(()),
            Err(Failed::Stopping) => Err(Stopping),
            // Somebody makes one by hand, which serves as well.
            Err(Failed::Backup(BackupError::InUse(_))) => Ok(()),
            Err(Failed::Backup(error)) => {
                // A store that was closed fails whoever reads it.
                self.reader.head().map_err(|_| Stopping)?;
                tracing::error!(%error, dir = %self.dir.display(), "a backup could not be made");
                self.note(LedgerEvent::BackupFailed(LedgerBackupFailed {
                    dir: self.shown_dir(),
                    reason: redact::text(&error.to_string()).into_owned(),
                }))
            }
        }
    }

    fn prune(&self, locked: &Locked, now: Timestamp) -> Result<(), Failed> {
        let gone = locked.catalog().expendable(self.keep, now, threads())?;
        if gone.is_empty() {
            return Ok(());
        }
        for name in &gone {
            locked.remove(name)?;
        }
        Ok(self.note(LedgerEvent::BackupsPruned(LedgerBackupsPruned {
            dir: self.shown_dir(),
            backups: gone,
        }))?)
    }

    fn make(&self, locked: &Locked, now: Timestamp) -> Result<(), Failed> {
        let request = Request {
            made_at: now,
            software: &software(),
            basis: Basis::Newest,
            blobs: self.blobs.store(),
            threads: threads(),
        };
        let made = locked.create(self.reader.as_ref(), request, &|_, _| {})?;
        if let Some(why) = &made.shared_nothing {
            tracing::warn!(%why, "the backup before is not built upon; this one is written whole");
        }
        for blob in &made.lost {
            tracing::error!(%blob, "the backup lacks a blob that the ledger has lost");
        }
        Ok(self.note(LedgerEvent::BackedUp(backed_up(&made, self.shown_dir())))?)
    }

    fn shown_dir(&self) -> String {
        redact::text(&self.dir.to_string_lossy()).into_owned()
    }

    /// Has something recorded, and waits until it is durable.
    fn note(&self, event: LedgerEvent) -> Result<(), Stopping> {
        let (reply, answer) = oneshot::channel();
        let asked = Mail::Ask {
            origin: Origin::of(node_subject(&self.node)),
            command: Command::Note { event },
            reply,
        };
        self.inbox.send(asked).map_err(|_| Stopping)?;
        match answer.blocking_recv() {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(Stopping),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum News {
    Some,
    None,
}

enum Failed {
    Backup(BackupError),
    Stopping,
}

impl From<BackupError> for Failed {
    fn from(error: BackupError) -> Self {
        Self::Backup(error)
    }
}

impl From<Stopping> for Failed {
    fn from(_: Stopping) -> Self {
        Self::Stopping
    }
}

/// Whether backups may be made in `dir`: not in the data directory itself, nor in what of it the node
/// reads, writes and clears away.
///
/// # Errors
/// [`BackupError::Misplaced`] if not.
pub(crate) fn check_place(data_dir: &Path, dir: &Path) -> Result<(), BackupError> {
    let io = |error| BackupError::Io {
        path: dir.to_owned(),
        error,
    };
    let mut taken = false;
    for own in OWN_DIRS {
        taken |= files::lies_in(dir, &data_dir.join(own)).map_err(io)?;
    }
    let is_itself =
        files::lies_in(dir, data_dir).map_err(io)? && files::lies_in(data_dir, dir).map_err(io)?;
    if taken || is_itself {
        return Err(BackupError::Misplaced(dir.to_owned()));
    }
    Ok(())
}

/// The directories of a ledger that are no place for anything else.
const OWN_DIRS: [&str; 8] = [
    BLOBS_DIR,
    JOURNAL_DIR,
    KEY_DIR,
    CHECKPOINT_DIR,
    "attempts",
    "views",
    "run",
    "snapshots",
];

/// Half of what there is: the work of the node comes first.
fn threads() -> NonZeroUsize {
    let all = std::thread::available_parallelism().map_or(1, usize::from);
    NonZeroUsize::new(all / 2).unwrap_or(NonZeroUsize::MIN)
}

/// What is recorded of a backup.
pub(crate) fn backed_up(made: &ledger_core::backup::Made, dir: String) -> LedgerBackedUp {
    LedgerBackedUp {
        backup: made.manifest.name.clone(),
        dir,
        seq: made.manifest.seq,
        hash: made.manifest.hash,
        manifest: made.manifest_hash,
        bytes: made.manifest.bytes(),
        written: made.written,
    }
}
