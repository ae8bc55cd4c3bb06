//! Making checkpoints apart from the core, having them recorded, and letting go of what the rule does not
//! keep.
//!
//! It folds by itself, from the newest checkpoint on, instead of copying the core's state: a copy would
//! stop the core for as long as it takes (a second for a million tasks) and hand on whatever the core has
//! got wrong. The price is memory for a second state while it works.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use crossbeam_channel::Sender;
use ledger_core::clock;
use ledger_core::envelope::Origin;
use ledger_core::event::{
    CheckpointCreated, CheckpointEvent, CheckpointFailed, CheckpointPruned, CheckpointRejected,
};
use ledger_core::ids::{Id, Seq};
use ledger_core::store::LogReader;
use ledger_core::time::Timestamp;
use projections::checkpoints::{Checkpoint, Checkpoints};
use projections::framework::ViewWorker;
use tokio::sync::oneshot;

use super::dir::{CheckpointDir, CheckpointFile, Presence};
use super::file::{CheckpointError, MAX_EXTRA};
use super::files::Files;
use super::fold::{PassedOver, file_of};
use super::keep::{Keep, Kept, KeptState, expendable};
use super::making::{MakeError, Wish, make_file};
use crate::node::command::Command;
use crate::node::core::node_subject;
use crate::node::threads::Mail;
use crate::redact;

/// How long the view may take to show what is durable.
const VIEW_PATIENCE: Duration = Duration::from_secs(60);
/// How many that were set aside stay for somebody to look at.
const SET_ASIDE: usize = 3;

/// A checkpoint that was made and recorded.
#[derive(Debug, Clone)]
pub(crate) struct Made {
    pub(crate) name: Id,
    pub(crate) facts: CheckpointCreated,
    /// The event that tells of it.
    pub(crate) recorded: Seq,
    /// What the rule let go.
    pub(crate) pruned: Vec<Id>,
}

/// Makes checkpoints for a node, one at a time.
pub(crate) struct Checkpointer {
    node: Id,
    pub(super) dir: CheckpointDir,
    keep: Keep,
    pub(super) reader: Arc<dyn LogReader>,
    /// Weak: the views stop when the node does, not when a checkpoint is done.
    pub(super) views: Weak<ViewWorker>,
    pub(super) inbox: Sender<Mail>,
    /// Held while one is made or removed.
    pub(super) at_work: Mutex<()>,
}

impl Checkpointer {
    pub(crate) fn new(
        node: Id,
        data_dir: &Path,
        keep: Keep,
        reader: Arc<dyn LogReader>,
        views: &Arc<ViewWorker>,
        inbox: Sender<Mail>,
    ) -> Self {
        Self {
            node,
            dir: CheckpointDir::new(data_dir),
            keep,
            reader,
            views: Arc::downgrade(views),
            inbox,
            at_work: Mutex::default(),
        }
    }

    /// Makes one, has it recorded, and lets go of what the rule does not keep. That one can't be made is
    /// recorded too, unless the wish itself can't be granted.
    ///
    /// # Errors
    /// [`MakeError`].
    pub(crate) fn make(&self, wish: &Wish) -> Result<Made, MakeError> {
        let _at_work = self.at_work.lock().unwrap_or_else(PoisonError::into_inner);
        let now = clock::now();
        let name = self.name(wish, now)?;
        let made =
            make_file(&self.dir, &*self.reader, wish, &name, now).and_then(|(file, facts)| {
                let recorded = self.note(&name, CheckpointEvent::Created(facts.clone()))?;
                Ok((file, facts, recorded))
            });
        match made {
            Ok((_, facts, recorded)) => {
                let pruned = self.prune_now(now).unwrap_or_else(|error| {
                    tracing::warn!(%error, "old checkpoints could not be removed");
                    Vec::new()
                });
                Ok(Made {
                    name,
                    facts,
                    recorded,
                    pruned,
                })
            }
            Err(MakeError::Stopping) => Err(MakeError::Stopping),
            Err(error) => {
                // A store that was closed fails whoever reads it.
                self.reader.head().map_err(|_| MakeError::Stopping)?;
                tracing::error!(%error, "a checkpoint could not be made");
                let failed = CheckpointFailed {
                    cause: wish.cause,
                    reason: redact::text(&error.to_string()).into_owned(),
                };
                self.note(&name, CheckpointEvent::Failed(failed))?;
                Err(error)
            }
        }
    }

    /// What the rule would let go, and what it lets go unless that is only asked.
    ///
    /// # Errors
    /// [`MakeError`].
    pub(crate) fn prune(&self, only_asked: bool) -> Result<Vec<Id>, MakeError> {
        let _at_work = self.at_work.lock().unwrap_or_else(PoisonError::into_inner);
        if only_asked {
            let gone = self.expendable(clock::now())?;
            return Ok(gone.into_iter().map(|file| file.name).collect());
        }
        self.prune_now(clock::now())
    }

    /// Has recorded what a recovery has passed over, and sets those files aside; removes what an
    /// interrupted making has left.
    pub(super) fn pass_over(&self, passed: &[PassedOver]) -> Result<(), MakeError> {
        let _at_work = self.at_work.lock().unwrap_or_else(PoisonError::into_inner);
        for PassedOver { file, reason } in passed {
            let rejected = CheckpointRejected {
                reason: redact::text(reason).into_owned(),
                seq: Some(file.seq),
            };
            self.note(&file.name, CheckpointEvent::Rejected(rejected))?;
            self.set_aside(file);
        }
        // It may be as large as the state, and the next one long in coming.
        if let Err(error) = self.dir.clear() {
            tracing::warn!(%error, "what an interrupted making left could not be removed");
        }
        Ok(())
    }

    fn set_aside(&self, file: &CheckpointFile) {
        if let Err(error) = self.dir.reject(file) {
            tracing::warn!(%error, checkpoint = %file.name, "it could not be set aside");
        }
    }

    /// What is known of checkpoints, up to everything that is durable now.
    pub(super) fn known<R>(&self, read: impl FnOnce(&Checkpoints) -> R) -> Result<R, MakeError> {
        let head = self.reader.head().map_err(|_| MakeError::Stopping)?;
        let views = self.views.upgrade().ok_or(MakeError::Stopping)?;
        views
            .wait_for(head.seq, VIEW_PATIENCE)
            .map_err(|e| MakeError::View(e.to_string()))?;
        let seen = views.with_checkpoints(|all, at| (at.seq >= head.seq).then(|| read(all)));
        let lags = || MakeError::View("the view of checkpoints has stopped".into());
        seen.flatten().ok_or_else(lags)
    }

    fn name(&self, wish: &Wish, now: Timestamp) -> Result<Id, MakeError> {
        if let Some(extra) = &wish.extra {
            let len = extra.to_string().len();
            if len > MAX_EXTRA {
                return Err(MakeError::Extra(len));
            }
        }
        let files = self.dir.list().map_err(CheckpointError::from)?;
        let taken = |name: &str, all: &Checkpoints| {
            all.get(name).is_some() || files.iter().any(|file| &*file.name == name)
        };
        if let Some(name) = &wish.name {
            return match self.known(|all| taken(name, all))? {
                true => Err(MakeError::Exists(name.clone())),
                false => Ok(name.clone()),
            };
        }
        let plain = format!("{}-{}", compact(now), wish.cause.name());
        self.known(|all| {
            let nth = |n: u64| match n {
                1 => plain.clone(),
                n => format!("{plain}-{n}"),
            };
            let free = (1..).map(nth).find(|name| !taken(name, all));
            let name = free.unwrap_or(plain.clone());
            Id::new(name).expect("a time and a cause are an id")
        })
    }

    fn expendable(&self, now: Timestamp) -> Result<Vec<CheckpointFile>, MakeError> {
        let keep = self.keep;
        self.known(|all| {
            let kept: Vec<_> = all.kept().collect();
            let seen: Vec<_> = kept
                .iter()
                .map(|one| Kept {
                    seq: one.facts.seq,
                    made_at: one.facts.made_at.unwrap_or(one.recorded_at),
                    state: self.state_of(one),
                })
                .collect();
            expendable(&seen, keep, now)
                .into_iter()
                .map(|at| file_of(&kept[at].name, kept[at].facts.seq))
                .collect()
        })
    }

    fn state_of(&self, one: &Checkpoint) -> KeptState {
        let file = file_of(&one.name, one.facts.seq);
        match self.dir.presence(&file, one.facts.bytes) {
            Presence::There if one.rejected.is_none() => KeptState::Sound,
            _ => KeptState::Useless,
        }
    }

    fn prune_now(&self, now: Timestamp) -> Result<Vec<Id>, MakeError> {
        let gone = self.expendable(now)?;
        for file in &gone {
            // First the event: a file that is left over is removed below, next time.
            self.note(&file.name, CheckpointEvent::Pruned(CheckpointPruned {}))?;
        }
        self.sweep()?;
        Ok(gone.into_iter().map(|file| file.name).collect())
    }

    /// Removes the files of what was pruned, and sets those aside that no event tells of: what a crash has
    /// left, or somebody put there.
    fn sweep(&self) -> Result<(), MakeError> {
        let io = CheckpointError::from;
        let mut files = self.dir.list().map_err(io)?;
        let pruned = self.known(|all| {
            let kept = |file: &CheckpointFile| {
                let one = all.get(&file.name);
                one.is_some_and(|one| one.facts.seq == file.seq)
            };
            files.retain(|file| !kept(file));
            let gone = |file: &CheckpointFile| {
                let mut gone = all.gone();
                gone.any(|gone| gone.name == file.name && gone.seq == file.seq)
            };
            files.iter().map(gone).collect::<Vec<_>>()
        })?;
        for (file, pruned) in files.iter().zip(pruned) {
            if pruned {
                self.dir.remove(file).map_err(io)?;
                continue;
            }
            let reason = CheckpointError::Unrecorded.to_string();
            tracing::warn!(checkpoint = %file.name, seq = %file.seq, reason, "a checkpoint is set aside");
            let seq = Some(file.seq);
            let rejected = CheckpointRejected { reason, seq };
            self.note(&file.name, CheckpointEvent::Rejected(rejected))?;
            self.set_aside(file);
        }
        let aside = self.dir.set_aside().map_err(io)?;
        for file in aside.iter().rev().skip(SET_ASIDE) {
            tracing::info!(checkpoint = %file.name, seq = %file.seq, "one that was set aside is removed");
            self.dir.remove_aside(file).map_err(io)?;
        }
        Ok(())
    }

    /// Has something recorded, and waits until it is durable.
    fn note(&self, name: &Id, event: CheckpointEvent) -> Result<Seq, MakeError> {
        self.ask(Command::NoteCheckpoint {
            name: name.clone(),
            event: Box::new(event),
        })
    }

    /// Has a command carried out that records something, and waits until that is durable.
    pub(super) fn ask(&self, command: Command) -> Result<Seq, MakeError> {
        let (reply, answer) = oneshot::channel();
        let asked = Mail::Ask {
            origin: Origin::of(node_subject(&self.node)),
            command,
            reply,
        };
        self.inbox.send(asked).map_err(|_| MakeError::Stopping)?;
        match answer.blocking_recv() {
            Ok(Ok(crate::node::command::Reply::Recorded(head))) => Ok(head.seq),
            Ok(_) | Err(_) => Err(MakeError::Stopping),
        }
    }
}

/// A time as it may stand in an id: `20260101T020000Z`.
fn compact(at: Timestamp) -> String {
    let text = at.to_string();
    let whole = text.split(['.', 'Z']).next().unwrap_or_default();
    let mut short: String = whole.chars().filter(|c| !matches!(c, '-' | ':')).collect();
    short.push('Z');
    short
}
