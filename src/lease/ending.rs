//! Whom a standby is about to end, and why: `run/ending`, for whichever node leads next.
//!
//! The lock of a holder that was killed goes to any one of those that wait for it, so the one that killed
//! need not be the one that records it. The note stands before the signal is sent, and goes again if none
//! was: a node that takes over uses it only for the life that it names, so an old one says nothing. A disk
//! that hangs, which is why many a holder is silent, delays no signal: then the note comes when it can.

use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use ledger_core::ids::Id;
use serde::{Deserialize, Serialize};

use super::decide::Ended;
use crate::run_dir;

/// How long a note is waited for. It takes some 50 us; a takeover has half a second beyond the TTL.
const PATIENCE: Duration = Duration::from_millis(100);

/// Longest note that is read, in bytes.
const MAX: u64 = 64 * 1024;

fn path(data_dir: &Path) -> PathBuf {
    run_dir::path(data_dir).join("ending")
}

/// What a note says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ending {
    /// Who is ended, and why.
    #[serde(flatten)]
    pub ended: Ended,
    /// The node that is to lead next: others that wait give way to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<Id>,
}

/// A note that its writer can still take back.
#[derive(Debug)]
pub struct Note {
    taken_back: Sender<()>,
}

impl Note {
    /// Leaves one, and waits until it stands, but not for long.
    ///
    /// # Errors
    /// The system's, if it can't be written.
    pub fn leave(data_dir: &Path, ending: Ending) -> io::Result<Self> {
        let (taken_back, back) = channel();
        let (done, stands) = channel();
        let data_dir = data_dir.to_owned();
        std::thread::Builder::new()
            .name("note".into())
            .spawn(move || write_until_settled(&data_dir, &ending, &done, &back))?;
        // What is late is the disk's: nothing else is between here and the file.
        stands.recv_timeout(PATIENCE).unwrap_or(Ok(()))?;
        Ok(Self { taken_back })
    }

    /// Takes it away: nobody was ended.
    pub fn take_back(self) {
        // A thread that has gone had nothing to take back.
        let _ = self.taken_back.send(());
    }
}

fn write_until_settled(
    data_dir: &Path,
    ending: &Ending,
    done: &Sender<io::Result<()>>,
    back: &Receiver<()>,
) {
    let written = write(data_dir, ending);
    let is_mine = matches!(written, Ok(true));
    // Nobody waits for it any more if it was late.
    let _ = done.send(written.map(drop));
    if is_mine && back.recv().is_ok() {
        // Where it stays it names a life that ends by itself.
        let _ = std::fs::remove_file(path(data_dir));
    }
}

/// Writes a note, unless another one says the same; whether that was done. It need not outlive the host, as
/// no holder does.
fn write(data_dir: &Path, ending: &Ending) -> io::Result<bool> {
    // Not through a link that somebody has put there.
    if !run_dir::path(data_dir).symlink_metadata()?.is_dir() {
        return Err(ErrorKind::NotADirectory.into());
    }
    let path = path(data_dir);
    let new = path.with_file_name(format!(".ending-{}", std::process::id()));
    match std::fs::remove_file(&new) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let mut file = File::options()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&new)?;
    file.write_all(&serde_json::to_vec(ending)?)?;
    // Of two that end the same holder, the first one's note stands.
    match std::fs::hard_link(&new, &path) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            let same = |noted: Ending| noted.ended.incarnation == ending.ended.incarnation;
            if read(data_dir).is_some_and(same) {
                std::fs::remove_file(new)?;
                return Ok(false);
            }
            std::fs::rename(&new, path)?;
            return Ok(true);
        }
        linked => linked?,
    }
    std::fs::remove_file(new)?;
    Ok(true)
}

/// The note that somebody has left, if it can be read.
pub fn read(data_dir: &Path) -> Option<Ending> {
    let file = File::options()
        .read(true)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
        .open(path(data_dir))
        .ok()?;
    let mut text = Vec::new();
    file.take(MAX).read_to_end(&mut text).ok()?;
    serde_json::from_slice(&text).ok()
}

#[cfg(test)]
mod tests {
    use ledger_core::event::FenceCause;
    use ledger_core::time::Millis;

    use super::*;

    fn ending(incarnation: &str) -> Ending {
        let ended = Ended {
            incarnation: incarnation.into(),
            pid: 7,
            start_time: 8,
            cause: FenceCause::Silent {
                silent_ms: Millis(3000),
            },
        };
        Ending { ended, next: None }
    }

    #[test]
    fn the_last_note_is_read_until_it_is_taken_back() {
        let dir = tempfile::tempdir().unwrap();
        let leave = |life| Note::leave(dir.path(), ending(life));
        assert_eq!(read(dir.path()), None);
        assert!(leave("a").is_err(), "no node was there");
        let elsewhere = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink(elsewhere.path(), dir.path().join("run")).unwrap();
        assert!(leave("a").is_err(), "what a link leads to is not ours");
        assert_eq!(elsewhere.path().read_dir().unwrap().count(), 0);
        std::fs::remove_file(dir.path().join("run")).unwrap();
        std::fs::create_dir(dir.path().join("run")).unwrap();
        for life in ["a", "b"] {
            leave(life).unwrap();
            assert_eq!(read(dir.path()), Some(ending(life)));
        }
        // Another one says the same, and its note is not the second one's to take.
        assert!(!write(dir.path(), &ending("b")).unwrap());
        assert_eq!(
            std::fs::read_dir(dir.path().join("run")).unwrap().count(),
            1
        );
        for damaged in ["", "{}", "x"] {
            std::fs::write(path(dir.path()), damaged).unwrap();
            assert_eq!(read(dir.path()), None);
        }
        let (done, stands) = channel();
        let (taken_back, back) = channel();
        taken_back.send(()).unwrap();
        write_until_settled(dir.path(), &ending("c"), &done, &back);
        stands.recv().unwrap().unwrap();
        assert_eq!(read(dir.path()), None);
    }
}
