//! Shims that are watched, and what is left of an attempt whose shim was killed.
//!
//! An attempt is lost only when its whole tree is gone. While something of it outlives SIGKILL, or
//! nobody can tell whether something is left, it stays open and is looked for again.

use std::os::fd::OwnedFd;
use std::time::Duration;

use nix::sys::signal::Signal;
use tokio::task::AbortHandle;

use super::{AttemptId, Event, Port, outcome};
use crate::node::command::Input;
use crate::node::spawning::readable;
use crate::shim::orphans::{Orphaned, OrphansEnded};
use crate::shim::watch::{Attach, attach, signal_shim};
use crate::shim::{IdentityError, ProcessIdentity};

/// How long orphans of a shim that died may take to die of SIGKILL before they count as unkillable.
const ORPHAN_PATIENCE: Duration = Duration::from_secs(3);
/// Between looks for orphans that outlive it.
const ORPHAN_PAUSE: Duration = Duration::from_secs(2);

/// What came of a look for orphans.
pub(in crate::node) type OrphansLook = Result<OrphansEnded, IdentityError>;

/// A shim that is being watched for as long as this lives: it may outlive its attempt.
pub(super) struct Watch {
    pub(super) pidfd: OwnedFd,
    task: AbortHandle,
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What watching a shim began with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Watched {
    /// It is at work, as far as can be known, and its end will be seen.
    Working,
    /// It had gone, and what follows has been seen to.
    Gone,
}

impl Port {
    /// Watches the shim of an attempt in our care until it ends.
    pub(super) fn watch(&mut self, id: &AttemptId) -> Watched {
        let Some(tracked) = self.tracked.get_mut(id) else {
            return Watched::Gone;
        };
        let (Some(shim), None) = (&tracked.shim, &tracked.watch) else {
            return Watched::Working;
        };
        let attached = attach(shim).and_then(|attached| match attached {
            Attach::Alive(pidfd) => Ok(Some((readable(pidfd.try_clone()?)?, pidfd))),
            Attach::Gone => Ok(None),
        });
        match attached {
            Ok(Some((ends, pidfd))) => {
                let (events, id) = (self.events.clone(), id.clone());
                if tracked.cancel {
                    signal(&id, &pidfd);
                }
                let task = tokio::spawn(async move {
                    // A pidfd is readable once its process has ended.
                    let _ = ends.readable().await;
                    let _ = events.send(Event::ShimGone(id));
                });
                tracked.watch = Some(Watch {
                    pidfd,
                    task: task.abort_handle(),
                });
                Watched::Working
            }
            Ok(None) => {
                self.shim_gone(id);
                Watched::Gone
            }
            // It may be at work; the attempt stays open.
            Err(error) => {
                tracing::error!(task = %id.task, %error, "a shim can't be watched");
                Watched::Working
            }
        }
    }

    pub(super) fn event(&mut self, event: Event) {
        match event {
            Event::SpawnerGone(generation) => self.spawner_gone(generation),
            Event::ShimGone(id) => self.shim_gone(&id),
            Event::OrphansEnded { attempt, ended } => self.orphans_ended(&attempt, ended),
            Event::LookForOrphans(id) => self.look_for_orphans(&id),
            Event::Woken(id) => self.woken(&id),
        }
    }

    /// The shim has ended: with an outcome, or killed, with orphans left perhaps.
    fn shim_gone(&mut self, id: &AttemptId) {
        if !self.tracked.contains_key(id) {
            return;
        }
        match self.dir(id).and_then(|dir| dir.read_outcome()) {
            Ok(Some(outcome)) => return self.close(id, outcome),
            Ok(None) => {}
            Err(error) => tracing::error!(task = %id.task, %error, "an outcome can't be read"),
        }
        self.look_for_orphans(id);
    }

    fn look_for_orphans(&mut self, id: &AttemptId) {
        let Some(shim) = self.tracked.get(id).and_then(|t| t.shim.clone()) else {
            return;
        };
        let (events, attempt) = (self.events.clone(), id.clone());
        let orphaned = self.orphaned(id, shim);
        tokio::task::spawn_blocking(move || {
            let ended = orphaned.end(ORPHAN_PATIENCE);
            let _ = events.send(Event::OrphansEnded { attempt, ended });
        });
    }

    /// What a shim may have left. Its claim says in which cgroup to look.
    fn orphaned(&self, id: &AttemptId, shim: ProcessIdentity) -> Orphaned {
        match self.dir(id).and_then(|dir| dir.read_claim()) {
            Ok(Some(claim)) if claim.by == shim => Orphaned::by(&claim, &self.config.data_dir),
            Ok(_) | Err(_) => Orphaned::of_shim(shim),
        }
    }

    fn orphans_ended(&mut self, id: &AttemptId, ended: OrphansLook) {
        let Some(tracked) = self.tracked.get_mut(id) else {
            return;
        };
        match ended {
            Ok(ended) => {
                tracked.orphans.extend(ended.killed.iter().cloned());
                if ended.survivors.is_empty() {
                    let all = u32::try_from(tracked.orphans.len()).unwrap_or(u32::MAX);
                    let why = tracked.given_up;
                    self.lose(id, why.unwrap_or("its shim ended without an outcome"), all);
                    return;
                }
                // Requeueing it would run it twice at a time.
                self.orphans_outlive(id, &ended);
            }
            // As long as nobody knows, something may be left.
            Err(error) => tracing::error!(task = %id.task, %error, "orphans can't be looked for"),
        }
        let (events, id) = (self.events.clone(), id.clone());
        tokio::spawn(async move {
            tokio::time::sleep(ORPHAN_PAUSE).await;
            let _ = events.send(Event::LookForOrphans(id));
        });
    }

    /// Orphans outlive SIGKILL.
    fn orphans_outlive(&mut self, id: &AttemptId, ended: &OrphansEnded) {
        let started = self.dir(id).and_then(|dir| dir.read_started());
        let started = started.ok().flatten();
        let process = started.map(|s| outcome::process_ref(&s.child, Some(&s.shim)));
        tracing::error!(task = %id.task, survivors = ended.survivors.len(), "orphans outlive SIGKILL");
        self.tell(Input::Unkillable {
            attempt: id.clone(),
            found: Box::new(outcome::orphans_outlive(ended, process)),
        });
    }

    pub(super) fn cancel(&mut self, id: &AttemptId) {
        let Some(tracked) = self.tracked.get_mut(id) else {
            return;
        };
        tracked.cancel = true;
        if let Some(watch) = &tracked.watch {
            signal(id, &watch.pidfd);
        }
    }
}

/// Asks a shim to end its tree. A shim that has gone meanwhile needs no asking.
fn signal(id: &AttemptId, pidfd: &OwnedFd) {
    match signal_shim(pidfd, Signal::SIGTERM) {
        Err(error) if error.raw_os_error() != Some(libc::ESRCH) => {
            tracing::error!(task = %id.task, %error, "a shim can't be signaled");
        }
        Ok(()) | Err(_) => {}
    }
}
