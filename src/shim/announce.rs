//! That a child runs is said when it has run for a moment. Most short commands have ended by then,
//! and their end alone, which carries all that their start would have said, costs the node half as
//! much: one message, one turn, one sync, and nobody to watch meanwhile.

use std::time::Duration;

use nix::poll::PollTimeout;

use super::files::AttemptFiles;
use super::protocol::Report;
use super::records::Started;
use super::report::Reporter;
use super::sys;

/// What is to be said of a child, until it has been said.
pub(super) struct Announcement {
    started: Option<Started>,
    /// When, as time since boot.
    due: Duration,
}

impl Announcement {
    /// To be made `after` the `start`, if there is something to say.
    pub(super) fn new(started: Option<Started>, start: Duration, after: Duration) -> Self {
        Self {
            started,
            due: start.saturating_add(after),
        }
    }

    /// How long a wait may take at most for it to be in time.
    pub(super) fn patience(&self) -> PollTimeout {
        if self.started.is_none() {
            return PollTimeout::NONE;
        }
        let left = self.due.saturating_sub(sys::since_boot());
        // Up to the next millisecond, or it would wait for nothing again and again.
        let millis = left.as_micros().div_ceil(1000);
        PollTimeout::from(u16::try_from(millis).unwrap_or(u16::MAX))
    }

    /// Says on disk and to the node that the child runs, if it is time to. The file may fail: the
    /// claim already tells whom to watch, and the outcome tells the rest.
    pub(super) fn make_if_due(&mut self, files: &AttemptFiles, reporter: &mut Reporter<'_>) {
        if self.started.is_none() || sys::since_boot() < self.due {
            return;
        }
        if let Some(started) = self.started.take() {
            let _ = files.write_started(&started);
            reporter.send(&Report::Started(started));
        }
    }
}
