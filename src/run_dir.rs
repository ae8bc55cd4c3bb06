//! The directory `run/` below the data directory, in which nodes find each other: sockets, and the record
//! of the lease.
//!
//! It is a directory of its own and 0700. What stands in its place and is none, a file or a link, is given
//! another name, and nothing is done through a link: whatever it leads to is somebody else's.

use std::fs::{DirBuilder, File, Permissions};
use std::io::{self, ErrorKind};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Its name.
const NAME: &str = "run";
const MODE: u32 = 0o700;
/// How many things are set aside that take the same place.
const MAX_ASIDE: u32 = 100;
/// How often it is made, where somebody else removes it meanwhile.
const TRIES: u32 = 10;

/// Where it is.
pub fn path(data_dir: &Path) -> PathBuf {
    data_dir.join(NAME)
}

/// Opens it, and makes it where there is none.
///
/// # Errors
/// The system's, also if it belongs to somebody else.
pub fn open(data_dir: &Path) -> io::Result<File> {
    let run = path(data_dir);
    let mut tries = TRIES;
    loop {
        match DirBuilder::new().mode(MODE).create(&run) {
            Err(e) if e.kind() != ErrorKind::AlreadyExists => return Err(e),
            Ok(()) | Err(_) => {}
        }
        match as_it_is(&run) {
            Ok(dir) => return usable(&dir),
            Err(e) if tries == 0 => return Err(e),
            Err(e) => match e.raw_os_error() {
                Some(libc::ENOENT) => {}
                Some(libc::ENOTDIR | libc::ELOOP) => set_aside(&run)?,
                _ => return Err(e),
            },
        }
        tries -= 1;
    }
}

/// A directory, whatever its mode; never what a link leads to.
fn as_it_is(path: &Path) -> io::Result<File> {
    File::options()
        .read(true)
        .custom_flags(libc::O_PATH | libc::O_DIRECTORY | libc::O_NOFOLLOW)
        .open(path)
}

/// The same to be read, with its mode mended.
fn usable(dir: &File) -> io::Result<File> {
    // By the descriptor, so that what is changed is what was looked at.
    let same = PathBuf::from(format!("/proc/self/fd/{}", dir.as_raw_fd()));
    if dir.metadata()?.permissions().mode() & 0o7777 != MODE {
        std::fs::set_permissions(&same, Permissions::from_mode(MODE))?;
    }
    File::options()
        .read(true)
        .custom_flags(libc::O_DIRECTORY)
        .open(&same)
}

/// Gives another name to what stands in the place of something of ours.
///
/// # Errors
/// The system's; if that has been done too often.
pub fn set_aside(path: &Path) -> io::Result<()> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let aside = |n: u32| path.with_file_name(format!("{name}.aside-{n}"));
    let free = (1..MAX_ASIDE)
        .map(aside)
        .find(|path| path.symlink_metadata().is_err());
    let free = free.ok_or(ErrorKind::AlreadyExists)?;
    tracing::warn!(
        aside = %free.display(),
        "something was in the place of {}, and is set aside", path.display()
    );
    std::fs::rename(path, free)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_is_in_its_place_it_is_a_directory_afterwards() {
        let room = tempfile::tempdir().unwrap();
        let run = path(room.path());
        let elsewhere = room.path().join("elsewhere");
        std::fs::create_dir(&elsewhere).unwrap();
        let mode = |path: &Path| path.symlink_metadata().unwrap().permissions().mode() & 0o777;
        std::fs::set_permissions(&elsewhere, Permissions::from_mode(0o755)).unwrap();
        let places: [&dyn Fn(); 5] = [
            &|| {},
            &|| std::fs::set_permissions(&run, Permissions::from_mode(0o000)).unwrap(),
            &|| std::fs::remove_dir(&run).unwrap(),
            &|| {
                std::fs::remove_dir(&run).unwrap();
                std::fs::write(&run, "kept").unwrap();
            },
            &|| {
                std::fs::remove_dir(&run).unwrap();
                std::os::unix::fs::symlink(&elsewhere, &run).unwrap();
            },
        ];
        for place in places {
            place();
            assert!(open(room.path()).unwrap().metadata().unwrap().is_dir());
            assert!(run.symlink_metadata().unwrap().is_dir());
            assert_eq!(mode(&run), 0o700);
        }
        assert_eq!(mode(&elsewhere), 0o755);
        let aside = |n: u32| room.path().join(format!("run.aside-{n}"));
        assert_eq!(std::fs::read_to_string(aside(1)).unwrap(), "kept");
        assert_eq!(std::fs::read_link(aside(2)).unwrap(), elsewhere);
    }
}
