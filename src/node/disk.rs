//! The disk as the node has it: appends a batch and says when it is durable, in this order: to the
//! views, to followers, to the core, which then lets replies go.
//!
//! It may be called from two threads, one after the other: a small batch is appended by the thread
//! that made it, because handing it over and being woken again would take as long as the sync
//! itself; a large one by a thread beside it, so that the next is made meanwhile.

use std::io::ErrorKind;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use crossbeam_channel::{Receiver, Sender};
use ledger_core::chain::{Batch, Head};
use ledger_core::store::{AppendError, LogWriter};
use tokio::sync::watch;

use super::command::{AppendFailure, Input};
use super::room::Wanted;
use super::threads::Mail;

/// Events up to which a batch is appended by the thread that made it: they are made in about the
/// time of a sync.
pub const SMALL: usize = 128;

/// The store and whom to tell.
pub(super) struct Disk {
    store: Mutex<Box<dyn LogWriter>>,
    durable: Box<dyn Fn(Arc<Batch>) + Send + Sync>,
    head: watch::Sender<Head>,
    /// Where the store is, to say how much room there is.
    dir: PathBuf,
}

impl Disk {
    pub(super) fn new(
        store: Box<dyn LogWriter>,
        durable: Box<dyn Fn(Arc<Batch>) + Send + Sync>,
        head: watch::Sender<Head>,
        dir: PathBuf,
    ) -> Self {
        Self {
            store: Mutex::new(store),
            durable,
            head,
            dir,
        }
    }

    /// Appends a batch; returns what the core has to be told.
    pub(super) fn append(&self, batch: Batch) -> Input {
        // A store whose append panicked refuses what does not follow, as any other.
        let mut store = self.store.lock().unwrap_or_else(PoisonError::into_inner);
        match store.append(&batch) {
            Ok(at) => {
                (self.durable)(Arc::new(batch));
                self.head.send_replace(at);
                Input::Durable(at)
            }
            Err(error) => Input::AppendFailed(match error {
                AppendError::Full(e) => {
                    let bytes = batch.byte_len() as u64;
                    let wanted = Wanted {
                        bytes,
                        dir: &self.dir,
                    };
                    AppendFailure::Full(format!("{e}; {wanted}"))
                }
                fenced @ AppendError::Fenced { .. } => AppendFailure::Fenced(fenced.to_string()),
                AppendError::Io(e) if e.kind() == ErrorKind::InvalidData => {
                    AppendFailure::Damaged(e.to_string())
                }
                other => AppendFailure::Io(other.to_string()),
            }),
        }
    }

    /// Appends large batches until nobody sends any.
    pub(super) fn serve(&self, batches: &Receiver<Batch>, inbox: &Sender<Mail>) {
        for batch in batches {
            if inbox.send(Mail::Tell(self.append(batch))).is_err() {
                return;
            }
        }
    }
}
