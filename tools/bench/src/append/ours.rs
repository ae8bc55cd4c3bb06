//! Our group commit, as a node runs it: one thread turns what arrives into the next batch while
//! another writes the batch before, and acknowledgments wait for the disk.
//!
//! The node decides and folds between the two; an application's event has nothing to decide, so
//! this is the path of `append`.

use std::collections::VecDeque;

use crossbeam_channel::{Receiver, Sender, bounded};
use ledger_core::chain::{Batch, BatchBuilder, ChainKey};
use ledger_core::clock;
use ledger_core::ids::{Seq, Term};
use ledger_core::store::LogWriter;
use ledger_core::store::redb::RedbStore;
use opsledger::node::gather::Gather;
use tokio::sync::oneshot;

use super::{MAX_GROUP, Mail, Post};
use crate::error::{Context, Failure};
use crate::samples::Samples;

/// Serves producers until told to stop.
///
/// # Errors
/// [`Failure`] if the store refuses.
pub(super) fn serve(store: RedbStore, Post { inbox, own }: Post) -> Result<(), Failure> {
    let builder = BatchBuilder::new(ChainKey::new(store.ledger_id()), store.head(), Term(1));
    let (disk, batches) = bounded(1);
    std::thread::scope(|scope| {
        let writer = scope.spawn(move || write(store, &batches, &own));
        let sequenced = sequence(builder, &inbox, disk);
        let written = writer
            .join()
            .map_err(|_| Failure::new("the disk's thread panicked"))?;
        written.and(sequenced)
    })
}

fn sequence(
    mut builder: BatchBuilder,
    inbox: &Receiver<Mail>,
    disk: Sender<Batch>,
) -> Result<(), Failure> {
    let mut samples = Samples::new(0);
    let mut pending: VecDeque<(Seq, oneshot::Sender<()>)> = VecDeque::new();
    let mut durable = builder.head().seq;
    let (mut in_flight, mut stopped) = (false, false);
    let mut gather = Gather::default();
    let mut gathered = Vec::new();
    while !stopped || in_flight {
        let mut hold = false;
        if gathered.is_empty() && (in_flight || builder.is_empty()) {
            let Ok(first) = inbox.recv() else { break };
            gathered.push(first);
            gathered.extend(inbox.try_iter().take(MAX_GROUP - 1));
        }
        let now = clock::now();
        for mail in gathered.drain(..) {
            match mail {
                Mail::Append(request) => {
                    let draft = samples.draft(now, request.data);
                    let head = builder.push(&[draft], now).context("encoding an event")?;
                    pending.push_back((head.seq, request.ack));
                }
                Mail::Durable(head) => {
                    in_flight = false;
                    hold = gather.batch_durable();
                    durable = head.seq;
                }
                Mail::Stop => stopped = true,
            }
        }
        let mut answered = 0;
        while let Some((_, ack)) = pending.pop_front_if(|(seq, _)| *seq <= durable) {
            answered += 1;
            // A producer that has gone needs no answer.
            let _ = ack.send(());
        }
        if hold {
            gathered = gather.wait(inbox, answered);
            if !gathered.is_empty() {
                continue;
            }
        }
        if !in_flight && !builder.is_empty() {
            in_flight = true;
            gather.batch_sent();
            disk.send(builder.take())
                .context("handing a batch to the disk's thread")?;
        }
    }
    Ok(())
}

fn write(
    mut store: RedbStore,
    batches: &Receiver<Batch>,
    inbox: &Sender<Mail>,
) -> Result<(), Failure> {
    for batch in batches {
        let head = store.append(&batch).context("appending")?;
        if inbox.send(Mail::Durable(head)).is_err() {
            break;
        }
    }
    Ok(())
}
