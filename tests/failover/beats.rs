//! Waiting for a leader's beats, which show as changes of the lease's record.

use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};

use crate::support::Ledger;

/// The beats of whoever leads a ledger.
pub(crate) struct Beats(Inotify);

impl Beats {
    /// From now on.
    pub(crate) fn of(ledger: &Ledger) -> Self {
        let watch = Inotify::init(InitFlags::IN_CLOEXEC).unwrap();
        let record = ledger.dir.join("run/lease");
        watch.add_watch(&record, AddWatchFlags::IN_MODIFY).unwrap();
        Self(watch)
    }

    /// Waits for so many.
    pub(crate) fn wait(&self, wanted: usize) {
        let mut beats = 0;
        while beats < wanted {
            beats += self.0.read_events().unwrap().len();
        }
    }
}
