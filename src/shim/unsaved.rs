//! An outcome that is in its file and not yet on the disk itself.
//!
//! A sync costs more than all else that a short command does, and mostly buys nothing: the node that
//! hears of an outcome makes an event of it, which it syncs anyway, together with others. So a shim
//! syncs by itself only where nobody says that this has been done:
//!
//! | what comes after the report | what the shim does |
//! |---|---|
//! | it is given another attempt, for which the node has released it | nothing: the event is durable |
//! | nothing, for [`PATIENCE`]: the node is idle, stopped, or waits for its disk | it syncs, and stays |
//! | the spawner goes, and so has the node | it syncs, and ends |
//! | it can't serve another attempt | it syncs, and ends |
//!
//! The node releases a shim when the end of its attempt is durable, no sooner.
//!
//! What that is worth, by what is lost:
//! - *The node, killed between report and event:* the file is there for the next node to read, synced
//!   or not, for the machine is up. The shim syncs it because its spawner goes.
//! - *The machine, with the event durable:* nobody asks for the file any more.
//! - *The machine, without the event:* nobody was told of the end. The file is there whole, or cut
//!   off, which a reader takes for damage, or it is missing; then the attempt is lost and is tried again
//!   within its budget, as any that the machine took with it while it ran. The same holds for one that
//!   ended a moment before its shim could sync; this makes the moment as long as a node takes to
//!   write an event, [`PATIENCE`] at most.

use std::fs::File;
use std::time::Duration;

use nix::errno::Errno;

use super::error::AttemptError;
use super::files::AttemptFiles;
use super::records::Outcome;
use super::report::Reporter;

/// How long a node may take to make an event of an outcome durable, and to need the shim again,
/// before the shim syncs. Above what a busy disk takes, below what a person would notice.
pub(super) const PATIENCE: Duration = Duration::from_millis(500);

/// Between tries to write the outcome to a full disk, and how many.
const FULL_DISK_PAUSE: Duration = Duration::from_secs(1);
const FULL_DISK_TRIES: u32 = 3600;

/// The outcome, with what it takes to make it durable.
pub(super) struct Unsaved {
    files: AttemptFiles,
    file: File,
    outcome: Outcome,
}

impl Unsaved {
    /// Writes the outcome into its file: it is there to be read when this returns.
    pub(super) fn write(
        files: AttemptFiles,
        outcome: Outcome,
        reporter: &mut Reporter<'_>,
    ) -> Result<Self, AttemptError> {
        let file = with_room(reporter, || files.write_outcome(&outcome))?;
        Ok(Self {
            files,
            file,
            outcome,
        })
    }

    /// What was written.
    pub(super) fn outcome(&self) -> &Outcome {
        &self.outcome
    }

    /// Makes it durable.
    pub(super) fn save(self, reporter: &mut Reporter<'_>) -> Result<(), AttemptError> {
        match self.files.sync_outcome(&self.file) {
            // Some file systems find out only now, and what they found no room for is gone.
            Err(error) if is_full(&error) => with_room(reporter, || {
                let file = self.files.write_outcome(&self.outcome)?;
                self.files.sync_outcome(&file)
            }),
            other => other,
        }
    }
}

/// Does something that needs room on the disk, again and again while there's none: an outcome kept
/// in memory is worth more than one lost, and whoever watches sees that the shim is still there.
fn with_room<T>(
    reporter: &mut Reporter<'_>,
    write: impl Fn() -> Result<T, AttemptError>,
) -> Result<T, AttemptError> {
    let mut tries = 1;
    loop {
        match write() {
            Err(error) if is_full(&error) && tries < FULL_DISK_TRIES => {
                tries += 1;
                reporter.flush();
                std::thread::sleep(FULL_DISK_PAUSE);
            }
            other => return other,
        }
    }
}

fn is_full(error: &AttemptError) -> bool {
    let AttemptError::Io { source, .. } = error else {
        return false;
    };
    let full = [Errno::ENOSPC, Errno::EDQUOT];
    source
        .raw_os_error()
        .is_some_and(|code| full.iter().any(|errno| *errno as i32 == code))
}
