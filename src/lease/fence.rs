//! Ending a holder that hangs, so that its lock comes free.
//!
//! | must hold | why |
//! |---|---|
//! | the process is held by a pidfd before anything is checked | what was checked can't become another process |
//! | pid, start time and boot are those of the record | the number alone may be an innocent's by now |
//! | it has the data directory open and locked, by the kernel's word | a record may be stale, and other programs take the lock too |
//! | the beat still stands still right before the signal | a holder that came back is not ended |
//! | nothing else follows until the process is gone | only the freed lock lets anyone lead |
//!
//! The idea is fencing (STONITH) as high-availability clusters do it, with the identity check of this
//! program's reaper in place of a power switch.

use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;

use super::file;
use super::record::{Beat, Record};
use crate::shim::watch::{Attach, attach, signal_shim};

/// How long a killed process may take to go.
pub const EXIT_PATIENCE: Duration = Duration::from_secs(5);

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fenced {
    /// It was killed and has gone.
    Ended,
    /// It had gone by itself, or its number is another's now: nobody was signaled.
    Gone,
    /// It gave a sign of life just before: nobody was signaled.
    Revived,
}

/// Why a holder could not be ended. There is no takeover then.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FenceError {
    /// Nobody is named.
    #[error("nothing says who holds the lock on the data directory")]
    Nobody,
    /// Who is named does not hold the lock, so somebody unknown does.
    #[error(
        "process {pid} of node {holder} does not hold the lock on the data directory, and nothing says who does"
    )]
    NotHolder {
        /// The process that the record names.
        pid: i32,
        /// The node that it names.
        holder: String,
    },
    /// What it has open can't be looked at, or it can't be signaled.
    #[error("process {pid} can't be ended: {reason}")]
    Powerless {
        /// The process.
        pid: i32,
        /// Why.
        reason: String,
    },
    /// It was killed and is still there.
    #[error(
        "process {pid} was killed and does not go: the kernel holds it in an uninterruptible wait"
    )]
    Unkillable {
        /// The process.
        pid: i32,
    },
}

/// Whether a sign of life spares the holder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mercy {
    /// It is ended because its beat stands still here: any other one spares it.
    OnBeat(Option<Beat>),
    /// An operator wants it gone.
    None,
}

/// Ends the process that a record names, if it is the one that holds the lock on `data_dir`.
///
/// # Errors
/// [`FenceError`]; nobody else was signaled.
pub fn fence(data_dir: &Path, record: &Record, mercy: Mercy) -> Result<Fenced, FenceError> {
    let pid = record.process.pid;
    let powerless = |reason: String| FenceError::Powerless { pid, reason };
    let held = match attach(&record.process).map_err(|e| powerless(e.to_string()))? {
        Attach::Alive(pidfd) => pidfd,
        Attach::Gone => return Ok(Fenced::Gone),
    };
    match holds_lock(pid, data_dir) {
        Ok(true) => {}
        // It may be gone by now, and with it what it had open.
        Ok(false) if has_ended(&held, Duration::ZERO) => return Ok(Fenced::Gone),
        Ok(false) => {
            return Err(FenceError::NotHolder {
                pid,
                holder: record.holder.to_string(),
            });
        }
        Err(error) => {
            return Err(powerless(format!(
                "what it has open can't be seen: {error}"
            )));
        }
    }
    if let (Mercy::OnBeat(still), Ok((_, beat))) = (mercy, file::read(data_dir))
        && still != Some(beat)
    {
        return Ok(Fenced::Revived);
    }
    match signal_shim(&held, Signal::SIGKILL) {
        Ok(()) => {}
        Err(e) if e.raw_os_error() == Some(libc::ESRCH) => return Ok(Fenced::Gone),
        Err(e) => return Err(powerless(e.to_string())),
    }
    match has_ended(&held, EXIT_PATIENCE) {
        true => Ok(Fenced::Ended),
        false => Err(FenceError::Unkillable { pid }),
    }
}

/// Whether a process has ended, or does so within `patience`.
fn has_ended(pidfd: &OwnedFd, patience: Duration) -> bool {
    let timeout = PollTimeout::try_from(patience).unwrap_or(PollTimeout::MAX);
    loop {
        let mut fds = [PollFd::new(pidfd.as_fd(), PollFlags::POLLIN)];
        match poll(&mut fds, timeout) {
            Ok(ready) => return ready > 0,
            Err(Errno::EINTR) => {}
            Err(_) => return false,
        }
    }
}

/// Whether a process has an exclusive `flock` on a directory, by what the kernel says of each of its
/// descriptors. (`/proc/locks` names locks by device numbers that differ from stat's on some file
/// systems.)
///
/// # Errors
/// The system's, if the process may not be looked at.
fn holds_lock(pid: i32, dir: &Path) -> io::Result<bool> {
    let wanted = fs::metadata(dir)?;
    for entry in fs::read_dir(format!("/proc/{pid}/fd"))? {
        let entry = entry?;
        // Descriptors come and go meanwhile.
        let Ok(open) = fs::metadata(entry.path()) else {
            continue;
        };
        if (open.dev(), open.ino()) != (wanted.dev(), wanted.ino()) {
            continue;
        }
        let info = Path::new("/proc").join(pid.to_string()).join("fdinfo");
        let info = fs::read_to_string(info.join(entry.file_name())).unwrap_or_default();
        if info.lines().any(is_exclusive_flock) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// A line such as `lock: 1: FLOCK  ADVISORY  WRITE 71 fd:01:42 0 EOF`.
fn is_exclusive_flock(line: &str) -> bool {
    let mut words = line.split_whitespace();
    words.next() == Some("lock:") && words.nth(1) == Some("FLOCK") && words.nth(1) == Some("WRITE")
}

#[cfg(test)]
mod tests {
    use std::process::{Child, Command, Stdio};

    use ledger_core::ids::Id;
    use ledger_core::time::Millis;

    use super::*;
    use crate::lease::lock::DirLock;
    use crate::shim::ProcessIdentity;

    /// A process that is not ended by this test, except by its id at the end.
    struct Bystander(Child);

    impl Bystander {
        fn new(command: &mut Command) -> Self {
            let child = command.stdin(Stdio::piped()).stdout(Stdio::piped());
            Self(child.spawn().unwrap())
        }

        fn record(&self) -> Record {
            let pid = i32::try_from(self.0.id()).unwrap();
            record(ProcessIdentity::of(pid).unwrap().unwrap())
        }

        fn lives(&mut self) -> bool {
            self.0.try_wait().unwrap().is_none()
        }
    }

    impl Drop for Bystander {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    fn record(process: ProcessIdentity) -> Record {
        let holder = Id::new("primary").unwrap();
        Record::new(holder, process, "i".into(), None, Millis(3000))
    }

    /// A process that has locked a directory, as soon as this returns.
    fn locker(dir: &Path) -> Bystander {
        use std::io::{BufRead, BufReader};
        let script = "exec 9<\"$0\"; flock -x 9; echo locked; read -r _";
        let mut command = Command::new("sh");
        command.args(["-c", script]).arg(dir);
        let mut locker = Bystander::new(&mut command);
        let mut line = String::new();
        let out = locker.0.stdout.as_mut().unwrap();
        BufReader::new(out).read_line(&mut line).unwrap();
        assert_eq!(line, "locked\n");
        locker
    }

    #[test]
    fn the_process_that_has_the_lock_is_ended() {
        let dir = tempfile::tempdir().unwrap();
        let mut holder = locker(dir.path());
        // `flock` is a process of its own; the descriptor that holds the lock is the shell's.
        let fenced = fence(dir.path(), &holder.record(), Mercy::OnBeat(None));
        assert_eq!(fenced, Ok(Fenced::Ended));
        assert!(!holder.lives());
        DirLock::take(dir.path()).unwrap();
        assert_eq!(
            fence(dir.path(), &record(gone()), Mercy::OnBeat(None)),
            Ok(Fenced::Gone)
        );
    }

    /// Somebody who has ended.
    fn gone() -> ProcessIdentity {
        let mut child = Command::new("true").spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        let identity = ProcessIdentity::of(pid).unwrap().unwrap();
        child.wait().unwrap();
        identity
    }

    #[test]
    fn an_innocent_process_is_never_ended() {
        let dir = tempfile::tempdir().unwrap();
        let mut innocent = Bystander::new(Command::new("cat").arg("-"));
        let _lock = DirLock::take(dir.path()).unwrap();
        // It does not hold the lock.
        let named = innocent.record();
        let refused = fence(dir.path(), &named, Mercy::OnBeat(None));
        assert!(matches!(refused, Err(FenceError::NotHolder { .. })));
        // Its number was another's when the record was written.
        for other in [
            ProcessIdentity {
                start_time: named.process.start_time - 1,
                ..named.process.clone()
            },
            ProcessIdentity {
                boot_id: "another".into(),
                ..named.process.clone()
            },
        ] {
            let fenced = fence(dir.path(), &record(other), Mercy::None);
            assert_eq!(fenced, Ok(Fenced::Gone));
        }
        // It only reads the directory, or holds a shared lock.
        let script = "exec 9<\"$0\"; echo open; read -r _";
        let mut reader = Bystander::new(Command::new("sh").args(["-c", script]).arg(dir.path()));
        let refused = fence(dir.path(), &reader.record(), Mercy::None);
        assert!(matches!(refused, Err(FenceError::NotHolder { .. })));
        assert!(innocent.lives() && reader.lives());
        // Nor does this process end itself, though it holds the lock.
        let own = record(ProcessIdentity::current().unwrap());
        assert_eq!(fence(dir.path(), &own, Mercy::None), Ok(Fenced::Gone));
    }

    #[test]
    fn a_beat_since_it_was_judged_spares_the_holder() {
        let dir = tempfile::tempdir().unwrap();
        let mut holder = locker(dir.path());
        let mut record = file::RecordFile::create(dir.path(), holder.record()).unwrap();
        let (_, judged) = file::read(dir.path()).unwrap();
        record.beat().unwrap();
        let judge = |beat| fence(dir.path(), record.record(), Mercy::OnBeat(Some(beat)));
        assert_eq!(judge(judged), Ok(Fenced::Revived));
        assert!(holder.lives());
        let (_, now) = file::read(dir.path()).unwrap();
        assert_eq!(judge(now), Ok(Fenced::Ended));
    }

    #[test]
    fn only_an_exclusive_flock_counts() {
        assert!(is_exclusive_flock(
            "lock:\t1: FLOCK  ADVISORY  WRITE 71 fd:01:42 0 EOF"
        ));
        for other in [
            "lock:\t1: FLOCK  ADVISORY  READ 71 fd:01:42 0 EOF",
            "lock:\t1: POSIX  ADVISORY  WRITE 71 fd:01:42 0 EOF",
            "flags:\t02100000",
            "",
        ] {
            assert!(!is_exclusive_flock(other), "{other}");
        }
    }
}
