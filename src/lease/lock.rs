//! The lock on a data directory: an exclusive `flock` on the directory's own descriptor.
//!
//! A lock *file* could be unlinked under a holder's feet and give two leaders; the directory
//! can't. The descriptor is close-on-exec, so that no child keeps the lock alive. Only the freed
//! lock proves that its holder is gone; pids mislead across namespaces.

use std::fs::File;
use std::io::ErrorKind;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

/// Why the lock was not taken.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another process holds it.
    #[error("{0} is in use by another node")]
    Held(PathBuf),
    /// The directory can't be opened or locked.
    #[error("{path}: {error}")]
    Io {
        /// The directory.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
}

/// Holds the lock until it is dropped or its process ends.
#[derive(Debug)]
pub struct DirLock {
    _held: Flock<File>,
}

impl DirLock {
    /// Takes the lock, or says at once that it is held.
    ///
    /// # Errors
    /// [`LockError`].
    pub fn take(dir: &Path) -> Result<Self, LockError> {
        Self::lock(dir, FlockArg::LockExclusiveNonblock)
    }

    /// Waits until nobody else holds the lock, and takes it: at once when its holder ends.
    ///
    /// # Errors
    /// [`LockError::Io`].
    pub fn wait(dir: &Path) -> Result<Self, LockError> {
        loop {
            match Self::lock(dir, FlockArg::LockExclusive) {
                Err(LockError::Io { error, .. }) if error.kind() == ErrorKind::Interrupted => {}
                other => return other,
            }
        }
    }

    fn lock(dir: &Path, how: FlockArg) -> Result<Self, LockError> {
        let io = |error: std::io::Error| LockError::Io {
            path: dir.to_owned(),
            error,
        };
        let file = File::options()
            .read(true)
            .custom_flags(libc::O_DIRECTORY | libc::O_CLOEXEC)
            .open(dir)
            .map_err(io)?;
        match Flock::lock(file, how) {
            Ok(held) => Ok(Self { _held: held }),
            Err((_, Errno::EWOULDBLOCK)) => Err(LockError::Held(dir.to_owned())),
            Err((_, errno)) => Err(io(errno.into())),
        }
    }

    /// Whether some process holds the lock now. It may be taken or freed right after.
    ///
    /// # Errors
    /// [`LockError::Io`] if the directory can't be opened.
    pub fn is_held(dir: &Path) -> Result<bool, LockError> {
        match Self::lock(dir, FlockArg::LockSharedNonblock) {
            Ok(_) => Ok(false),
            Err(LockError::Held(_)) => Ok(true),
            Err(error @ LockError::Io { .. }) => Err(error),
        }
    }
}

/// Whether a directory belongs to this user and nobody else may write to it.
///
/// # Errors
/// The system's, if it can't be looked at.
pub fn is_private(dir: &Path) -> std::io::Result<bool> {
    let meta = std::fs::metadata(dir)?;
    Ok(meta.uid() == nix::unistd::geteuid().as_raw() && meta.mode() & 0o022 == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_waits_gets_it_when_it_is_freed() {
        let dir = tempfile::tempdir().unwrap();
        let held = DirLock::take(dir.path()).unwrap();
        std::thread::scope(|scope| {
            let waiter = scope.spawn(|| DirLock::wait(dir.path()));
            assert!(!waiter.is_finished());
            drop(held);
            let taken = waiter.join().unwrap().unwrap();
            assert!(DirLock::is_held(dir.path()).unwrap());
            drop(taken);
        });
    }

    #[test]
    fn one_holder_at_a_time_even_in_one_process() {
        let dir = tempfile::tempdir().unwrap();
        let held = DirLock::take(dir.path()).unwrap();
        assert!(matches!(DirLock::take(dir.path()), Err(LockError::Held(_))));
        assert!(DirLock::is_held(dir.path()).unwrap());
        drop(held);
        assert!(!DirLock::is_held(dir.path()).unwrap());
        let missing = dir.path().join("none");
        assert!(matches!(DirLock::take(&missing), Err(LockError::Io { .. })));
    }
}
