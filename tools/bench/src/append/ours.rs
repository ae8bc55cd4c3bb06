//! Our group commit, as a node runs it: one thread turns what arrives into the next batch and
//! writes it if it is small; another writes large ones meanwhile. Acknowledgments wait for the disk.
//!
//! The node decides and folds between the two; an application's event has nothing to decide, so
//! this is the path of `append`.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use crossbeam_channel::{Receiver, Sender, bounded};
use ledger_core::chain::{Batch, BatchBuilder, ChainKey, Head};
use ledger_core::clock;
use ledger_core::ids::{Seq, Term};
use ledger_core::store::LogWriter;
use opsledger::node::disk::SMALL;
use opsledger::node::gather::Gather;
use tokio::sync::oneshot;

use super::{MAX_GROUP, Mail, Post};
use crate::error::{Context, Failure};
use crate::samples::Samples;

/// Serves producers until told to stop.
///
/// # Errors
/// [`Failure`] if the store refuses.
pub(super) fn serve(store: impl LogWriter, Post { inbox, own }: Post) -> Result<(), Failure> {
    let builder = BatchBuilder::new(ChainKey::new(store.ledger_id()), store.head(), Term(1));
    let store = Mutex::new(store);
    let (large, batches) = bounded(1);
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| write(&store, batches, &own));
        let sequenced = sequence(builder, &inbox, &store, large);
        let written = writer
            .join()
            .map_err(|_| Failure::new("the disk's thread panicked"))?;
        written.and(sequenced)
    })
}

fn sequence(
    builder: BatchBuilder,
    inbox: &Receiver<Mail>,
    store: &Mutex<impl LogWriter>,
    large: Sender<Batch>,
) -> Result<(), Failure> {
    let mut sequencer = Sequencer {
        durable: builder.head().seq,
        builder,
        samples: Samples::new(0),
        pending: VecDeque::new(),
        in_flight: false,
        stopped: false,
    };
    let mut gather = Gather::default();
    let mut written = None;
    while !sequencer.stopped || sequencer.in_flight {
        let first = match written.take() {
            Some(head) => Mail::Durable(head),
            None => match inbox.recv() {
                Ok(mail) => mail,
                Err(_) => break,
            },
        };
        let was_in_flight = sequencer.in_flight;
        let rest = inbox.try_iter().take(MAX_GROUP - 1);
        let answered = sequencer.take(std::iter::once(first).chain(rest))?;
        if was_in_flight && !sequencer.in_flight && gather.batch_durable() {
            let mut failure = None;
            gather.wait(inbox, answered, |mail| {
                sequencer
                    .take(mail)
                    .map_err(|error| failure = Some(error))
                    .ok()
                    .map(|_| ())
            });
            failure.map_or(Ok(()), Err)?;
        }
        if !sequencer.in_flight && !sequencer.builder.is_empty() {
            sequencer.in_flight = true;
            gather.batch_sent();
            let batch = sequencer.builder.take();
            if batch.len() <= SMALL {
                written = Some(append(store, &batch)?);
            } else {
                large
                    .send(batch)
                    .context("handing a batch to the disk's thread")?;
            }
        }
    }
    Ok(())
}

/// What the sequencing thread knows.
struct Sequencer {
    builder: BatchBuilder,
    samples: Samples,
    pending: VecDeque<(Seq, oneshot::Sender<()>)>,
    durable: Seq,
    in_flight: bool,
    stopped: bool,
}

impl Sequencer {
    /// Turns mail into events, and answers those whose event is durable; returns how many.
    fn take(&mut self, mail: impl IntoIterator<Item = Mail>) -> Result<usize, Failure> {
        let now = clock::now();
        for mail in mail {
            match mail {
                Mail::Append(request) => {
                    let draft = self.samples.draft(now, request.data);
                    let head = self.builder.push(&[draft], now);
                    let head = head.context("encoding an event")?;
                    self.pending.push_back((head.seq, request.ack));
                }
                Mail::Durable(head) => {
                    self.in_flight = false;
                    self.durable = head.seq;
                }
                Mail::Stop => self.stopped = true,
            }
        }
        let mut answered = 0;
        while let Some((_, ack)) = self.pending.pop_front_if(|(seq, _)| *seq <= self.durable) {
            answered += 1;
            // A producer that has gone needs no answer.
            let _ = ack.send(());
        }
        Ok(answered)
    }
}

fn append(store: &Mutex<impl LogWriter>, batch: &Batch) -> Result<Head, Failure> {
    let mut store = store.lock().unwrap_or_else(PoisonError::into_inner);
    store.append(batch).context("appending")
}

fn write(
    store: &Mutex<impl LogWriter>,
    batches: Receiver<Batch>,
    inbox: &Sender<Mail>,
) -> Result<(), Failure> {
    for batch in batches {
        let head = append(store, &batch)?;
        if inbox.send(Mail::Durable(head)).is_err() {
            break;
        }
    }
    Ok(())
}
