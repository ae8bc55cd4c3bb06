//! The node's spawner, and the next one when it dies.
//!
//! A spawner's death shows by its pidfd alone: its report socket is shared with every shim it
//! forked and stays open as long as one of them lives. Requests that it had not read die with it,
//! so whoever sent one looks into the attempt again once there is another spawner.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use tokio::io::unix::AsyncFd;
use tokio::sync::mpsc;

use super::command::AttemptId;
use super::processes::Event;
use crate::shim::{CgroupPlaces, ProcessIdentity, Report, SpawnRequest, Spawner};

/// Spawners that may die one after the other without a single report before attempts are given
/// up: something is wrong that another one would not mend.
const MAX_FUTILE: u32 = 5;

/// How spawners are started, and whom their deaths are told to.
pub(super) struct Launching {
    pub(super) exe: PathBuf,
    pub(super) data_dir: PathBuf,
    pub(super) cgroups: CgroupPlaces,
    pub(super) events: mpsc::UnboundedSender<Event>,
}

/// What came of starting another spawner.
pub(super) enum Relaunched {
    /// Requests can be sent again.
    Serving,
    /// The news was old: there is another one already.
    Already,
    /// There is no point in asking again for what was asked for.
    Futile(std::io::Error),
}

pub(super) struct Spawning {
    launching: Launching,
    spawner: Spawner,
    reports: AsyncFd<OwnedFd>,
    /// Whether the report socket is open at its other end.
    heard: bool,
    /// Which spawner this is, counted from 0.
    generation: u64,
    /// Spawners in a row that died without a report.
    futile: u32,
    /// Shims whose attempts are closed, though not durably yet, by their pids.
    ended: HashMap<AttemptId, i32>,
    /// Shims that this spawner may give another attempt; told with the next request.
    released: Vec<i32>,
}

impl Spawning {
    /// Launches the first spawner. Must be called in a tokio runtime.
    pub(super) fn begin(launching: Launching) -> std::io::Result<Self> {
        let (spawner, reports) = launch(&launching, 0)?;
        Ok(Self {
            launching,
            spawner,
            reports,
            heard: true,
            generation: 0,
            futile: 0,
            ended: HashMap::new(),
            released: Vec::new(),
        })
    }

    /// Sends a request. That the spawner does not take it is no failure of the request's: its end
    /// is announced as [`Event::SpawnerGone`], and the attempt is then looked into again.
    ///
    /// # Errors
    /// If no spawner could take this request.
    pub(super) fn send(&mut self, request: &SpawnRequest) -> std::io::Result<()> {
        let released = std::mem::take(&mut self.released);
        match self.spawner.send(request, &released) {
            Err(error) if error.kind() == std::io::ErrorKind::InvalidInput => Err(error),
            Err(error) => {
                tracing::warn!(%error, "the spawner does not take requests");
                // The node itself listens, so this can't fail while it matters.
                let _ = self
                    .launching
                    .events
                    .send(Event::SpawnerGone(self.generation));
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    }

    /// The spawner's process id.
    pub(super) fn pid(&self) -> u32 {
        self.spawner.pid()
    }

    /// A shim's attempt is closed, and nothing will be asked of it for that one any more.
    pub(super) fn ended(&mut self, attempt: AttemptId, shim: &ProcessIdentity) {
        self.ended.insert(attempt, shim.pid);
    }

    /// What followed from these attempts is durable: whoever served them may serve others, and needn't
    /// keep anything.
    pub(super) fn settled(&mut self, attempts: &[AttemptId]) {
        let shims = attempts.iter().filter_map(|id| self.ended.remove(id));
        self.released.extend(shims);
    }

    /// Waits until there may be reports.
    pub(super) async fn reported(&self) {
        if !self.heard {
            return std::future::pending().await;
        }
        if let Ok(mut ready) = self.reports.readable().await {
            ready.clear_ready();
        }
    }

    /// The next report, if one is there.
    pub(super) fn next(&mut self) -> Option<Report> {
        while self.heard {
            match self.spawner.receive() {
                Ok(Some(message)) => match Spawner::parse_report(&message) {
                    Ok(report) => {
                        self.futile = 0;
                        return Some(report);
                    }
                    Err(error) => tracing::warn!(%error, "an unreadable report from a shim"),
                },
                Ok(None) => return None,
                // Nobody is left who could report; that the spawner is gone is told by its pidfd.
                Err(_) => self.heard = false,
            }
        }
        None
    }

    /// Puts another spawner in the place of the one that is gone. What the old one's shims still
    /// report goes unheard; their ends are seen by their pidfds.
    pub(super) fn relaunch(&mut self, gone: u64) -> Relaunched {
        if gone != self.generation {
            return Relaunched::Already;
        }
        self.generation += 1;
        self.futile += 1;
        // Pids of shims that it did not fork; one of its own may get such a pid.
        self.ended.clear();
        self.released.clear();
        if self.futile > MAX_FUTILE {
            self.futile = 0;
            let error = std::io::Error::other("spawners die before they have done anything");
            // The next request finds that this one is gone, and begins anew.
            return Relaunched::Futile(error);
        }
        match launch(&self.launching, self.generation) {
            Ok((spawner, reports)) => {
                tracing::warn!("the spawner is gone; another one serves");
                (self.spawner, self.reports, self.heard) = (spawner, reports, true);
                Relaunched::Serving
            }
            Err(error) => Relaunched::Futile(error),
        }
    }
}

fn launch(launching: &Launching, generation: u64) -> std::io::Result<(Spawner, AsyncFd<OwnedFd>)> {
    let spawner = Spawner::launch(&launching.exe, &launching.data_dir, &launching.cgroups)?;
    let reports = readable(spawner.reports().try_clone_to_owned()?)?;
    let ends = readable(spawner.pidfd()?)?;
    let events = launching.events.clone();
    tokio::spawn(async move {
        // A pidfd is readable once its process has ended.
        let _ = ends.readable().await;
        let _ = events.send(Event::SpawnerGone(generation));
    });
    Ok((spawner, reports))
}

/// A descriptor that tells the runtime when it is readable. Must be called in a runtime.
#[allow(unsafe_code)] // tokio asks for a promise about the descriptor that its type can't express
pub(super) fn readable(fd: OwnedFd) -> std::io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an `OwnedFd` stays the same open descriptor for as long as it lives, and nothing
    // hands it out mutably.
    let registered = unsafe { AsyncFd::register_with_interest(fd, tokio::io::Interest::READABLE) };
    registered.map_err(std::io::Error::from)
}
