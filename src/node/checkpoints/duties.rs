//! What is done about checkpoints without anybody asking for it: telling what a recovery has passed over,
//! holding the state it came to against other folds, and making checkpoints as events come.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError};
use ledger_core::event::{CheckpointCause, OtherFold, RecoveryEvent, RecoveryVerified};
use ledger_core::ids::Seq;
use projections::checkpoints::Checkpoints;

use super::compare::{Reference, compare};
use super::fold::PassedOver;
use super::maker::Checkpointer;
use super::making::{MakeError, Wish};
use crate::node::command::{Command, Input};
use crate::node::ports::Stopwatch;
use crate::node::threads::Mail;

/// How often it is looked whether enough events have come.
const NAP: Duration = Duration::from_secs(5);
/// However many events come, making checkpoints by their number takes at most a part of the time: after
/// one, so many times as long as it took passes until the next.
const REST: u64 = 20;

/// What there is to do.
pub(crate) struct Duties {
    /// What the recovery has passed over.
    pub(crate) passed_over: Vec<PassedOver>,
    /// Where the node began to lead.
    pub(crate) began: Seq,
    /// What its state was some time before, if it has that from a leader's blocks and not from the files.
    pub(crate) own: Option<Reference>,
    /// How long after it began it is compared.
    pub(crate) compare_after: Duration,
    /// After how many events a checkpoint is made, if any is.
    pub(crate) every: Option<u64>,
}

impl Checkpointer {
    /// Starts the thread that does what there is to do. It ends after `stop` was closed.
    pub(crate) fn start(
        self: &Arc<Self>,
        duties: Duties,
        stop: Receiver<()>,
    ) -> std::io::Result<()> {
        let own = Arc::clone(self);
        let thread = std::thread::Builder::new().name("checkpoints".into());
        // Nobody waits for it: it ends when the node stops.
        thread
            .spawn(move || drop(own.serve(duties, &stop)))
            .map(drop)
    }

    fn serve(&self, duties: Duties, stop: &Receiver<()>) -> Result<(), MakeError> {
        self.pass_over(&duties.passed_over)?;
        match stop.recv_timeout(duties.compare_after) {
            Err(RecvTimeoutError::Timeout) => self.compare(duties.began, duties.own)?,
            Ok(()) | Err(RecvTimeoutError::Disconnected) => return Err(MakeError::Stopping),
        }
        match duties.every {
            Some(every) => self.watch(every, stop),
            None => Ok(()),
        }
    }

    /// Holds the state that this node began to lead with against other folds, and has recorded what comes of
    /// it. If it is not what the events say, the node stops leading.
    fn compare(&self, began: Seq, own: Option<Reference>) -> Result<(), MakeError> {
        let begun = Stopwatch::start();
        let references = self.known(recorded)?.into_iter().chain(own).collect();
        let compared = {
            let _at_work = self.at_work.lock().unwrap_or_else(PoisonError::into_inner);
            compare(&self.dir, &*self.reader, references, began)
        };
        let compared = match compared {
            Ok(compared) => compared,
            Err(error) => {
                self.reader.head().map_err(|_| MakeError::Stopping)?;
                tracing::error!(%error, "state can't be held against other folds");
                return Ok(());
            }
        };
        let (mut differs, mut wrong) = (false, None);
        for diverged in compared.diverged {
            let parts: Vec<_> = diverged.parts.iter().map(|p| p.name.as_str()).collect();
            let (seq, parts) = (diverged.seq, parts.join(", "));
            tracing::error!(%seq, parts, with = ?diverged.with, "two folds of the same events differ");
            differs = true;
            if diverged.with == OtherFold::Standby {
                wrong = Some(format!("at seq {seq} it differs in {parts}"));
            }
            self.note_recovery(RecoveryEvent::Diverged(diverged))?;
        }
        if let Some(wrong) = wrong {
            // One that has stopped needs to know no more.
            drop(self.inbox.send(Mail::Tell(Input::Diverged(wrong))));
            return Err(MakeError::Stopping);
        }
        // Nothing later is held against what may itself be wrong.
        if differs {
            return Ok(());
        }
        self.note_recovery(RecoveryEvent::Verified(RecoveryVerified {
            checkpoint: compared.checkpoint,
            seq: compared.position.seq,
            hash: compared.position.hash,
            parts: compared.parts,
            compared: compared.same,
            took_us: begun.elapsed(),
        }))
    }

    fn note_recovery(&self, event: RecoveryEvent) -> Result<(), MakeError> {
        let event = Box::new(event);
        self.ask(Command::NoteRecovery { event }).map(drop)
    }

    fn watch(&self, every: u64, stop: &Receiver<()>) -> Result<(), MakeError> {
        let mut rest = Duration::ZERO;
        loop {
            match stop.recv_timeout(NAP.max(rest)) {
                Err(RecvTimeoutError::Timeout) => {}
                Ok(()) | Err(RecvTimeoutError::Disconnected) => return Err(MakeError::Stopping),
            }
            rest = Duration::ZERO;
            let head = self.reader.head().map_err(|_| MakeError::Stopping)?.seq;
            let views = self.views.upgrade().ok_or(MakeError::Stopping)?;
            let last = views.with_checkpoints(|all, _| all.latest().map(|c| c.facts.seq));
            let last = last.flatten().unwrap_or(Seq::ZERO);
            drop(views);
            if head.0.saturating_sub(last.0) < every {
                continue;
            }
            let begun = Stopwatch::start();
            let wish = Wish {
                cause: CheckpointCause::Events,
                name: None,
                extra: None,
            };
            if let Err(MakeError::Stopping) = self.make(&wish) {
                return Err(MakeError::Stopping);
            }
            rest = Duration::from_micros(begun.elapsed().0.saturating_mul(REST));
        }
    }
}

/// The latest fold that the ledger tells of: a checkpoint's, or one that was compared before.
pub(super) fn recorded(all: &Checkpoints) -> Option<Reference> {
    let checkpoint = all.kept().rev().find(|one| !one.facts.parts.is_empty());
    let checkpoint = checkpoint.map(|one| Reference {
        seq: one.facts.seq,
        with: OtherFold::Checkpoint {
            name: one.name.clone(),
        },
        parts: one.facts.parts.clone(),
    });
    let verified = all.verified().map(|told| Reference {
        seq: told.facts.seq,
        with: OtherFold::Verified {
            recorded: told.recorded,
        },
        parts: told.facts.parts.clone(),
    });
    [checkpoint, verified]
        .into_iter()
        .flatten()
        .max_by_key(|one| one.seq)
}
