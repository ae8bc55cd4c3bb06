//! The threads around the core: one that turns it, one that writes the ledger.
//!
//! The core's thread takes everything that has arrived in one turn, so that under load many
//! commands share a batch. The disk's thread appends one batch at a time and says when it is
//! durable, in this order: to the views, to followers, to the core, which then lets replies go.

use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender};
use ledger_core::chain::{Batch, Head};
use ledger_core::envelope::Origin;
use ledger_core::store::{AppendError, LogWriter};
use tokio::sync::{mpsc, oneshot, watch};

use super::command::{
    AppendFailure, Command, Input, Now, Output, Rejected, Reply, RequestId, StopReason,
};
use super::core::Core;
use super::processes::Effect;

/// Most inputs of one turn: bounds how long the first of them waits for the last.
const MAX_TURN: usize = 4096;

/// What arrives at the core's thread.
pub(crate) enum Mail {
    /// A client asks.
    Ask {
        /// Who.
        origin: Origin,
        /// What.
        command: Command,
        /// Where the answer goes.
        reply: oneshot::Sender<Result<Reply, Rejected>>,
    },
    /// Something happened.
    Tell(Input),
}

/// Where the core's outputs go.
pub(super) struct Outlets {
    pub(super) disk: Sender<Batch>,
    pub(super) effects: mpsc::UnboundedSender<Effect>,
    pub(super) stopped: watch::Sender<Option<StopReason>>,
}

/// Turns the core until it stops. `first` are the outputs of its start.
pub(super) fn turn(mut core: Core, first: Vec<Output>, inbox: &Receiver<Mail>, outlets: &Outlets) {
    let mut replies: std::collections::HashMap<RequestId, oneshot::Sender<_>> =
        std::collections::HashMap::new();
    let mut next = 0;
    let mut outputs = first;
    loop {
        for output in outputs {
            match output {
                // The disk's thread ends only after this one.
                Output::Append(batch) => drop(outlets.disk.send(batch)),
                Output::Reply { id, result } => {
                    if let Some(reply) = replies.remove(&id) {
                        // A client that has gone needs no answer.
                        let _ = reply.send(result);
                    }
                }
                Output::Start(order) => drop(outlets.effects.send(Effect::Start(order))),
                Output::Recover(order, boot) => {
                    drop(outlets.effects.send(Effect::Recover(order, boot)));
                }
                Output::Cancel(attempt) => drop(outlets.effects.send(Effect::Cancel(attempt))),
                Output::Stopped(reason) => {
                    let _ = outlets.stopped.send(Some(reason));
                    return;
                }
            }
        }
        // Everyone who could send has gone: nothing can happen any more.
        let Ok(mail) = inbox.recv() else { return };
        let inputs: Vec<Input> = std::iter::once(mail)
            .chain(inbox.try_iter().take(MAX_TURN - 1))
            .map(|mail| match mail {
                Mail::Tell(input) => input,
                Mail::Ask {
                    origin,
                    command,
                    reply,
                } => {
                    next += 1;
                    let id = RequestId(next);
                    replies.insert(id, reply);
                    Input::Request {
                        id,
                        origin,
                        command,
                    }
                }
            })
            .collect();
        outputs = core.step(
            Now {
                wall: ledger_core::clock::now(),
            },
            inputs,
        );
    }
}

/// Appends batches until nobody sends any, and tells who needs to know.
pub(super) fn write(
    mut store: impl LogWriter,
    batches: &Receiver<Batch>,
    durable: impl Fn(Arc<Batch>),
    head: &watch::Sender<Head>,
    inbox: &Sender<Mail>,
) {
    for batch in batches {
        let input = match store.append(&batch) {
            Ok(at) => {
                durable(Arc::new(batch));
                head.send_replace(at);
                Input::Durable(at)
            }
            Err(error) => Input::AppendFailed(match error {
                AppendError::Full(e) => AppendFailure::Full(e.to_string()),
                fenced @ AppendError::Fenced { .. } => AppendFailure::Fenced(fenced.to_string()),
                other => AppendFailure::Io(other.to_string()),
            }),
        };
        if inbox.send(Mail::Tell(input)).is_err() {
            return;
        }
    }
}
