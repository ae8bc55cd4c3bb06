//! The thread that turns the core. It takes everything that has arrived in one turn, so that under
//! load many commands share a batch.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};
use ledger_core::chain::Batch;
use ledger_core::envelope::Origin;
use ledger_core::time::Micros;
use tokio::sync::{mpsc, oneshot, watch};

use super::builtins::Builtins;
use super::command::{AttemptId, Command, Input, Output, Rejected, Reply, RequestId, StopReason};
use super::core::Core;
use super::disk::{Disk, SMALL};
use super::gather::Gather;
use super::ports;
use super::processes::Effect;
use super::pulse::{Keep, Tenure};
use crate::reaper::run as reaper;

/// Most inputs of one turn: bounds how long the first of them waits for the last.
const MAX_TURN: usize = 4096;

/// Longest wait for something that is due by the clock: the clock may be set meanwhile.
const LONGEST_WAIT: Micros = Micros(60_000_000);
/// Shortest wait, so that a moment that does not pass costs little.
const SHORTEST_WAIT: Micros = Micros(500);

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
    pub(super) disk: Arc<Disk>,
    /// To the thread that appends large batches.
    pub(super) large: Sender<Batch>,
    pub(super) effects: mpsc::UnboundedSender<Effect>,
    /// To the reaper of processes that others started.
    pub(super) reaper: mpsc::UnboundedSender<reaper::Effect>,
    /// What the node does itself.
    pub(super) builtins: Builtins,
    pub(super) stopped: watch::Sender<Option<StopReason>>,
}

/// Turns the core until it stops. `first` are the outputs of its start. The lease is renewed here
/// and nowhere else, so that a node whose work stands still loses it.
pub(super) fn turn(
    core: Core,
    first: Vec<Output>,
    inbox: &Receiver<Mail>,
    outlets: &Outlets,
    tenure: Tenure,
) {
    let mut turner = Turner {
        core,
        outlets,
        tenure,
        gather: Gather::default(),
        replies: HashMap::new(),
        next: 0,
        settled: Vec::new(),
        written: None,
    };
    let mut going = turner.post(first).is_some();
    while going {
        let rest = match turner.tenure.keep() {
            Keep::For(time) => time,
            Keep::Over { since } => {
                turner.step(vec![Mail::Tell(Input::LeaseExpired { since })], None);
                return;
            }
        };
        // What was written in this thread comes first, with what has arrived meanwhile.
        let first = match turner.written.take() {
            Some(input) => Some(Mail::Tell(input)),
            None => match turner.wait(inbox, rest) {
                Waited::For(mail) => Some(*mail),
                Waited::Due => None,
                Waited::Rested => continue,
                // Everyone who could send has gone: nothing can happen any more.
                Waited::Alone => return,
            },
        };
        let mail = first.into_iter().chain(inbox.try_iter().take(MAX_TURN - 1));
        going = turner.round(mail.collect(), inbox).is_some();
    }
}

/// What ended a wait.
enum Waited {
    /// Mail.
    For(Box<Mail>),
    /// Something is due by the clock.
    Due,
    /// It is time to look at the lease.
    Rested,
    /// Nobody is left who could send anything.
    Alone,
}

struct Turner<'a> {
    core: Core,
    outlets: &'a Outlets,
    tenure: Tenure,
    gather: Gather,
    replies: HashMap<RequestId, oneshot::Sender<Result<Reply, Rejected>>>,
    next: u64,
    /// Attempts whose outcomes are durable, to be told with the next that is started.
    settled: Vec<AttemptId>,
    /// What came of the batch that this thread has just appended.
    written: Option<Input>,
}

impl Turner<'_> {
    /// Waits for mail, or until the core has something to decide without any, or for `rest`.
    fn wait(&self, inbox: &Receiver<Mail>, rest: Micros) -> Waited {
        let due = self.core.next_due(ports::now());
        let due = due.map(|due| due.clamp(SHORTEST_WAIT, LONGEST_WAIT));
        let (wait, ended) = match due {
            Some(due) if due <= rest => (due, Waited::Due),
            Some(_) | None => (rest, Waited::Rested),
        };
        match inbox.recv_timeout(Duration::from_micros(wait.0)) {
            Ok(mail) => Waited::For(Box::new(mail)),
            Err(RecvTimeoutError::Timeout) => ended,
            Err(RecvTimeoutError::Disconnected) => Waited::Alone,
        }
    }

    /// One turn, and more for those who were answered in it and ask again at once. Nothing if the
    /// core has stopped.
    fn round(&mut self, mail: Vec<Mail>, inbox: &Receiver<Mail>) -> Option<()> {
        let durable = mail
            .iter()
            .any(|mail| matches!(mail, Mail::Tell(Input::Durable(_))));
        let hold = durable && self.gather.batch_durable();
        let answered = self.step(mail, hold.then_some(Input::Hold))?;
        if hold {
            let mut gather = std::mem::take(&mut self.gather);
            gather.wait(inbox, answered, |mail| {
                self.step(mail, Some(Input::Hold)).map(|_| ())
            })?;
            self.gather = gather;
            self.step(Vec::new(), None)?;
        }
        Some(())
    }

    fn step(&mut self, mail: Vec<Mail>, more: Option<Input>) -> Option<usize> {
        let inputs: Vec<Input> = mail
            .into_iter()
            .map(|m| self.input(m))
            .chain(more)
            .collect();
        let outputs = self.core.step(ports::now(), inputs);
        self.post(outputs)
    }

    fn input(&mut self, mail: Mail) -> Input {
        match mail {
            Mail::Tell(input) => {
                if matches!(input, Input::Durable(_) | Input::AppendFailed(_)) {
                    self.tenure.answered();
                }
                input
            }
            Mail::Ask {
                origin,
                command,
                reply,
            } => {
                self.next += 1;
                let id = RequestId(self.next);
                self.replies.insert(id, reply);
                Input::Request {
                    id,
                    origin,
                    command,
                }
            }
        }
    }

    /// Sends outputs where they belong. Returns how many clients were answered, or nothing if the
    /// core has stopped.
    fn post(&mut self, outputs: Vec<Output>) -> Option<usize> {
        let (mut answered, effects) = (0, &self.outlets.effects);
        let mut stopped = false;
        let reaper = &self.outlets.reaper;
        for output in outputs {
            match output {
                Output::Append(batch) => {
                    self.gather.batch_sent();
                    if batch.len() <= SMALL {
                        self.written = Some(self.outlets.disk.append(batch));
                    } else {
                        self.tenure.waits();
                        // The disk's thread ends only after this one.
                        drop(self.outlets.large.send(batch));
                    }
                }
                Output::Reply { id, result } => {
                    answered += 1;
                    if let Some(reply) = self.replies.remove(&id) {
                        // A client that has gone needs no answer.
                        let _ = reply.send(result);
                    }
                }
                // Only then is it of use to the port, which needn't be woken for it.
                Output::Settled(attempt) => self.settled.push(attempt),
                Output::Start(order) => {
                    let settled = std::mem::take(&mut self.settled);
                    drop(effects.send(Effect::Start(order, settled)));
                }
                Output::Recover(order, boot) => drop(effects.send(Effect::Recover(order, boot))),
                Output::Do(order) => self.outlets.builtins.begin(order),
                Output::Cancel(attempt) => {
                    self.outlets.builtins.cancel(&attempt);
                    drop(effects.send(Effect::Cancel(attempt)));
                }
                Output::Watch(order) => drop(reaper.send(reaper::Effect::Watch(order))),
                Output::Unwatch(id) => drop(reaper.send(reaper::Effect::Unwatch(id))),
                Output::Reap(order) => drop(reaper.send(reaper::Effect::Reap(order))),
                Output::Stopped(reason) => {
                    let _ = self.outlets.stopped.send(Some(reason));
                    // Requests of the same turn are refused behind it, with the reason.
                    stopped = true;
                }
            }
        }
        (!stopped).then_some(answered)
    }
}
