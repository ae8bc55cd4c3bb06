//! Signs of life, written to the lease's record: from a thread while a node comes up, which may take
//! long for good reasons, and then from the loop that works.

use std::io;
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::{RecvTimeoutError, Sender, bounded};
use ledger_core::ids::Term;
use ledger_core::time::Micros;

use super::ports::{Stopwatch, uptime};
use crate::lease::file::RecordFile;
use crate::lease::holding::{Authority, Duty, Holding, Progress};
use crate::lease::timing::Timing;
use crate::lease::uptime::Uptime;

/// How long a node may take to come up until it counts as hung. A replay without a checkpoint takes
/// about two seconds for a million events.
const BOOT_PATIENCE: Micros = Micros(10 * 60 * 1_000_000);

/// Beats while a node comes up.
pub(super) struct Pulse {
    stop: Sender<()>,
    thread: JoinHandle<RecordFile>,
    timing: Timing,
}

impl Pulse {
    /// Starts to beat.
    ///
    /// # Errors
    /// If there can be no thread for it.
    pub(super) fn start(mut file: RecordFile, timing: Timing) -> io::Result<Self> {
        let (stop, stopped) = bounded(0);
        let every = Duration::from_millis(timing.heartbeat().0);
        let begun = Stopwatch::start();
        let thread = std::thread::Builder::new()
            .name("pulse".into())
            .spawn(move || {
                let mut said = None;
                while stopped.recv_timeout(every) == Err(RecvTimeoutError::Timeout) {
                    if begun.elapsed() < BOOT_PATIENCE {
                        beat(&mut file, &mut said);
                    }
                }
                file
            })?;
        Ok(Self {
            stop,
            thread,
            timing,
        })
    }

    /// Hands over to the loop that works from now on.
    ///
    /// # Errors
    /// If the thread has panicked, or the first beat of the term can't be written.
    pub(super) fn hand_over(self, term: Term) -> io::Result<Tenure> {
        drop(self.stop);
        let file = self.thread.join();
        let mut file = file.map_err(|_| io::Error::other("the thread of the pulse panicked"))?;
        file.set_term(term);
        let begun = uptime();
        file.beat()?;
        Ok(Tenure {
            holding: Holding::new(self.timing, begun),
            file,
            waiting: None,
            said: None,
        })
    }
}

/// Beats, and says what keeps it from that once.
fn beat(file: &mut RecordFile, said: &mut Option<String>) -> bool {
    let Err(error) = file.beat() else {
        *said = None;
        return true;
    };
    let error = error.to_string();
    if said.as_ref() != Some(&error) {
        tracing::warn!(%error, file = "run/lease", "the lease could not be renewed");
        *said = Some(error);
    }
    false
}

/// The lease in the hands of the loop that works.
pub(super) struct Tenure {
    holding: Holding,
    file: RecordFile,
    /// Since when a batch is with the disk.
    waiting: Option<Uptime>,
    /// Why it was last said not to be renewed.
    said: Option<String>,
}

/// What a look at the lease says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Keep {
    /// Go on, and look again after this long.
    For(Micros),
    /// It was not renewed in time.
    Over {
        /// How long ago the last renewal was.
        since: Micros,
    },
}

impl Tenure {
    /// Renews if that is due.
    pub(super) fn keep(&mut self) -> Keep {
        let now = uptime();
        let progress = self.waiting.map_or(Progress::Making, Progress::Waiting);
        match self.holding.duty(now, progress) {
            Duty::Rest(time) => return Keep::For(time),
            Duty::Yield { since } => return Keep::Over { since },
            Duty::Renew => {}
        }
        if beat(&mut self.file, &mut self.said) {
            self.holding.renewed(now);
        }
        match self.holding.duty(uptime(), progress) {
            Duty::Rest(time) => Keep::For(time),
            Duty::Yield { since } => Keep::Over { since },
            // It could not be written; soon again.
            Duty::Renew => Keep::For(AGAIN),
        }
    }

    /// A batch is with the disk from now on.
    pub(super) fn waits(&mut self) {
        self.waiting = Some(uptime());
    }

    /// The disk has answered.
    pub(super) fn answered(&mut self) {
        self.waiting = None;
    }

    /// Until when others may act.
    pub(super) fn authority(&self) -> Authority {
        self.holding.authority()
    }
}

/// After how long a beat is tried again that could not be written.
const AGAIN: Micros = Micros(50_000);
