//! The node's view of an attempt's directory, `<data>/attempts/<task_id>/<n>/`.
//!
//! The node makes the directory before it asks for a start, and reads what shims leave in it.
//! A recovering node that finds no claim takes it itself; then nothing can be started any more.

use std::fs::File;
use std::num::NonZeroU32;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use super::error::AttemptError;
use super::files::{self, AttemptFiles, ClaimResult};
use super::identity::ProcessIdentity;
use super::records::{Claim, Claimant, Outcome, PROTOCOL_VERSION, Started, TaskId, Unkillable};

/// Where a child works that was not told where to.
const WORK: &str = "work";

/// The directory of one attempt. Making one of these touches no file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttemptDir {
    data_dir: PathBuf,
    task_id: TaskId,
    attempt: NonZeroU32,
}

/// What came of a node's try to take a claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClaimAttempt {
    /// The node has it: the attempt was not started and never will be.
    Taken(Claim),
    /// Somebody was first.
    HeldBy(Claim),
}

/// The directory that those of all attempts are in, open.
#[derive(Debug)]
pub struct Attempts {
    dir: OwnedFd,
    path: PathBuf,
}

/// What an attempt's directory has besides the records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Workplace {
    /// Nothing.
    None,
    /// A directory [`AttemptDir::work`], for the child to work in.
    Own,
}

impl Attempts {
    /// Opens it below the data directory, and makes it (0700) if there's none.
    ///
    /// # Errors
    /// [`AttemptError::Io`]; a link in its place is refused.
    pub fn open(data_dir: &Path) -> Result<Self, AttemptError> {
        let root = files::open_root(data_dir)?;
        let path = data_dir.join(files::ATTEMPTS);
        let dir = match files::open_beneath(root.as_fd(), files::ATTEMPTS, &path) {
            Err(error) if is_missing(&error) => {
                files::make_dir(root.as_fd(), files::ATTEMPTS, &path)?;
                files::open_beneath(root.as_fd(), files::ATTEMPTS, &path)?
            }
            other => other?,
        };
        Ok(Self { dir, path })
    }

    /// Makes the directory of an attempt (0700), the task's above it and what it is to have besides,
    /// as far as they are missing. Not synced: an attempt does not outlive the machine's uptime.
    ///
    /// # Errors
    /// [`AttemptError::Io`]; a link in the place of a directory is refused.
    pub fn make(&self, attempt: &AttemptDir, work: Workplace) -> Result<(), AttemptError> {
        let (task, name) = self.make_one(attempt)?;
        match work {
            Workplace::None => Ok(()),
            Workplace::Own => {
                let dir = files::open_beneath(task.as_fd(), &name, &attempt.path())?;
                files::make_dir(dir.as_fd(), WORK, &attempt.work())
            }
        }
    }

    /// Makes the directory of an attempt. Returns the open one of its task, and its name in that.
    fn make_one(&self, attempt: &AttemptDir) -> Result<(OwnedFd, String), AttemptError> {
        let task = attempt.task_id.as_str();
        let path = self.path.join(task);
        files::make_dir(self.dir.as_fd(), task, &path)?;
        let dir = files::open_beneath(self.dir.as_fd(), task, &path)?;
        let name = attempt.attempt.to_string();
        files::make_dir(dir.as_fd(), &name, &path.join(&name))?;
        Ok((dir, name))
    }
}

impl AttemptDir {
    /// Names the directory of attempt `attempt` (from 1) of `task_id`.
    ///
    /// # Errors
    /// [`AttemptError::InvalidTaskId`] and [`AttemptError::InvalidAttempt`].
    pub fn new(data_dir: &Path, task_id: &str, attempt: u32) -> Result<Self, AttemptError> {
        let task_id = TaskId::new(task_id)?;
        let attempt = NonZeroU32::new(attempt).ok_or(AttemptError::InvalidAttempt)?;
        Ok(Self {
            data_dir: data_dir.to_owned(),
            task_id,
            attempt,
        })
    }

    /// Makes the directory (0700) and those above it up to the data directory, as far as they are
    /// missing. Not synced: an attempt does not outlive the machine's uptime.
    ///
    /// # Errors
    /// [`AttemptError::Io`]; a link in the place of a directory is refused.
    pub fn create(&self) -> Result<(), AttemptError> {
        self.create_and_open().map(drop)
    }

    /// Who has the claim; `None` while nobody has.
    ///
    /// # Errors
    /// As all readers here: [`AttemptError::Io`], [`AttemptError::Damaged`],
    /// [`AttemptError::UnknownVersion`].
    pub fn read_claim(&self) -> Result<Option<Claim>, AttemptError> {
        self.read(files::CLAIM)
    }

    /// What was started; `None` before the child runs, or if it never could.
    ///
    /// # Errors
    /// See [`Self::read_claim`].
    pub fn read_started(&self) -> Result<Option<Started>, AttemptError> {
        self.read(files::STARTED)
    }

    /// What of the attempt outlives SIGKILL, as far as its shim has found; `None` if nothing.
    ///
    /// # Errors
    /// See [`Self::read_claim`].
    pub fn read_unkillable(&self) -> Result<Option<Unkillable>, AttemptError> {
        self.read(files::UNKILLABLE)
    }

    /// How the attempt ended; `None` while it hasn't.
    ///
    /// It is visible before it is durable: it is made durable by a shim that exits or that nobody
    /// releases for half a second. Whoever made a durable event of it needs it no more, and releases
    /// the shim.
    ///
    /// # Errors
    /// See [`Self::read_claim`].
    pub fn read_outcome(&self) -> Result<Option<Outcome>, AttemptError> {
        let outcome: Option<Outcome> = self.read(files::OUTCOME)?;
        match outcome {
            // What a file system shows after a crash need not be what was written there.
            Some(other) if !other.is_of(&self.task_id, self.attempt) => {
                Err(AttemptError::Damaged {
                    path: self.path().join(files::OUTCOME),
                    reason: "it is of another attempt".into(),
                })
            }
            outcome => Ok(outcome),
        }
    }

    /// Takes the claim for the calling node, making the directory if there's none: either the
    /// attempt can never be started from here on, or who may start it is known.
    ///
    /// # Errors
    /// See [`Self::read_claim`]; on any error nothing is known.
    pub fn take_claim_as_node(&self) -> Result<ClaimAttempt, AttemptError> {
        let by = ProcessIdentity::current().map_err(|error| AttemptError::Io {
            operation: "identify",
            path: self.path(),
            source: std::io::Error::other(error),
        })?;
        let claim = Claim {
            protocol: PROTOCOL_VERSION,
            kind: Claimant::Node,
            by,
            cgroup: None,
        };
        let files = self.create_and_open()?;
        match files.take_claim(&claim)? {
            ClaimResult::Taken => Ok(ClaimAttempt::Taken(claim)),
            ClaimResult::Held => match files.read_record(files::CLAIM)? {
                Some(other) => Ok(ClaimAttempt::HeldBy(other)),
                None => Err(AttemptError::Damaged {
                    path: self.path().join(files::CLAIM),
                    reason: "it vanished while it was read".into(),
                }),
            },
        }
    }

    /// Opens the kept standard output for reading; `None` if nothing was written yet.
    ///
    /// # Errors
    /// [`AttemptError::Io`].
    pub fn open_stdout(&self) -> Result<Option<File>, AttemptError> {
        self.open(files::STDOUT)
    }

    /// Opens the kept standard error for reading; `None` if nothing was written yet.
    ///
    /// # Errors
    /// [`AttemptError::Io`].
    pub fn open_stderr(&self) -> Result<Option<File>, AttemptError> {
        self.open(files::STDERR)
    }

    /// Where standard output is kept. The file appears with its first byte.
    pub fn stdout_path(&self) -> PathBuf {
        self.path().join(files::STDOUT)
    }

    /// Where standard error is kept. The file appears with its first byte.
    pub fn stderr_path(&self) -> PathBuf {
        self.path().join(files::STDERR)
    }

    /// The child's own place to work in, beside the records.
    pub fn work(&self) -> PathBuf {
        self.path().join(WORK)
    }

    /// The directory.
    pub fn path(&self) -> PathBuf {
        self.data_dir.join(files::ATTEMPTS).join(self.relative())
    }

    /// The task.
    pub fn task_id(&self) -> &TaskId {
        &self.task_id
    }

    /// Which attempt of the task, from 1.
    pub fn attempt(&self) -> NonZeroU32 {
        self.attempt
    }

    fn relative(&self) -> String {
        format!("{}/{}", self.task_id, self.attempt)
    }

    fn create_and_open(&self) -> Result<AttemptFiles, AttemptError> {
        let (task, name) = Attempts::open(&self.data_dir)?.make_one(self)?;
        let dir = files::open_beneath(task.as_fd(), &name, &self.path())?;
        Ok(AttemptFiles::new(dir, self.path()))
    }

    /// `None` if the directory is not there.
    fn open_existing(&self) -> Result<Option<AttemptFiles>, AttemptError> {
        let root = files::open_root(&self.data_dir)?;
        let relative = format!("{}/{}", files::ATTEMPTS, self.relative());
        match files::open_beneath(root.as_fd(), &relative, &self.path()) {
            Ok(dir) => Ok(Some(AttemptFiles::new(dir, self.path()))),
            Err(error) if is_missing(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn read<T: serde::de::DeserializeOwned>(&self, name: &str) -> Result<Option<T>, AttemptError> {
        match self.open_existing()? {
            Some(files) => files.read_record(name),
            None => Ok(None),
        }
    }

    fn open(&self, name: &str) -> Result<Option<File>, AttemptError> {
        match self.open_existing()? {
            Some(files) => files.open_file(name),
            None => Ok(None),
        }
    }
}

fn is_missing(error: &AttemptError) -> bool {
    matches!(error, AttemptError::Io { source, .. } if source.kind() == std::io::ErrorKind::NotFound)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    fn dir() -> (tempfile::TempDir, AttemptDir) {
        let data = tempfile::tempdir().unwrap();
        let dir = AttemptDir::new(data.path(), "t", 1).unwrap();
        (data, dir)
    }

    #[test]
    fn nothing_is_there_before_it_is_made() {
        let (_data, dir) = dir();
        assert_eq!(dir.read_claim().unwrap(), None);
        assert_eq!(dir.read_started().unwrap(), None);
        assert_eq!(dir.read_outcome().unwrap(), None);
        assert!(dir.open_stdout().unwrap().is_none());
        dir.create().unwrap();
        dir.create().unwrap();
        let mode = fs::metadata(dir.path()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
        assert_eq!(dir.read_outcome().unwrap(), None);
    }

    #[test]
    fn traversal_is_refused() {
        let data = tempfile::tempdir().unwrap();
        for bad in ["..", "../x", "a/../../b", "", "/etc", ".hidden", "a\0"] {
            let error = AttemptDir::new(data.path(), bad, 1).unwrap_err();
            assert!(
                matches!(error, AttemptError::InvalidTaskId(_)),
                "{bad:?}: {error}"
            );
        }
        let error = AttemptDir::new(data.path(), "a", 0).unwrap_err();
        assert!(matches!(error, AttemptError::InvalidAttempt));
    }

    #[test]
    fn links_on_the_way_are_not_followed() {
        let (data, dir) = dir();
        let elsewhere = tempfile::tempdir().unwrap();
        fs::create_dir(data.path().join("attempts")).unwrap();
        std::os::unix::fs::symlink(elsewhere.path(), data.path().join("attempts/t")).unwrap();
        assert!(matches!(dir.create(), Err(AttemptError::Io { .. })));
        assert!(matches!(
            dir.take_claim_as_node(),
            Err(AttemptError::Io { .. })
        ));
        assert!(matches!(dir.read_claim(), Err(AttemptError::Io { .. })));
        assert_eq!(fs::read_dir(elsewhere.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_claim_is_taken_once_and_leaves_nothing_else_behind() {
        let (_data, dir) = dir();
        let ClaimAttempt::Taken(mine) = dir.take_claim_as_node().unwrap() else {
            panic!("nobody else was there");
        };
        assert_eq!(dir.read_claim().unwrap(), Some(mine.clone()));
        assert_eq!(
            dir.take_claim_as_node().unwrap(),
            ClaimAttempt::HeldBy(mine)
        );
        let names: Vec<_> = fs::read_dir(dir.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        assert_eq!(names, ["claim"]);
        let mode = fs::metadata(dir.path().join("claim"))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn of_many_takers_one_wins() {
        let (_data, dir) = dir();
        let taken = std::thread::scope(|scope| {
            let takers: Vec<_> = (0..8)
                .map(|_| scope.spawn(|| dir.take_claim_as_node()))
                .collect();
            let results = takers
                .into_iter()
                .map(|taker| taker.join().unwrap().unwrap());
            results
                .filter(|result| matches!(result, ClaimAttempt::Taken(_)))
                .count()
        });
        assert_eq!(taken, 1);
    }

    #[test]
    fn damaged_records_are_errors() {
        let (_data, dir) = dir();
        dir.create().unwrap();
        let huge = format!("{{\"protocol\":1,\"x\":\"{}\"}}", "a".repeat(200_000));
        for junk in [
            "",
            "{",
            "{}",
            "null",
            "[1]",
            r#"{"protocol":1}"#,
            "\u{0}",
            &huge,
        ] {
            for name in ["claim", "started", "outcome"] {
                fs::write(dir.path().join(name), junk).unwrap();
            }
            let is_damaged = |error: Option<AttemptError>| {
                assert!(
                    matches!(error, Some(AttemptError::Damaged { .. })),
                    "{error:?}"
                );
            };
            is_damaged(dir.read_claim().err());
            is_damaged(dir.read_started().err());
            is_damaged(dir.read_outcome().err());
            is_damaged(dir.take_claim_as_node().err());
        }
        fs::write(dir.path().join("outcome"), r#"{"protocol":2}"#).unwrap();
        let error = dir.read_outcome().unwrap_err();
        assert!(matches!(error, AttemptError::UnknownVersion { .. }));
    }

    #[test]
    fn a_link_in_the_place_of_a_record_is_not_followed() {
        let (_data, dir) = dir();
        dir.create().unwrap();
        std::os::unix::fs::symlink("/etc/passwd", dir.path().join("outcome")).unwrap();
        assert!(matches!(dir.read_outcome(), Err(AttemptError::Io { .. })));
    }
}
