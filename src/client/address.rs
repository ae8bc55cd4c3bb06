//! Where sockets are. A Unix socket's path has at most 107 bytes and a data directory may lie
//! deeper, so a socket is addressed through a descriptor of its directory,
//! `/proc/self/fd/N/NAME.sock`, which is always short (and can't be swapped meanwhile).

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::net::UnixStream;

/// A socket in a directory that is held open.
#[derive(Debug, Clone)]
pub(super) struct Address {
    dir: Arc<File>,
    name: OsString,
}

impl Address {
    /// The file's name, if it is text.
    pub(super) fn name(&self) -> Option<&str> {
        self.name.to_str()
    }

    /// The address of a socket's path.
    pub(super) fn of(socket: &Path) -> io::Result<Self> {
        let name = socket
            .file_name()
            .ok_or(io::ErrorKind::InvalidInput)?
            .to_owned();
        let dir = match socket.parent() {
            Some(dir) if !dir.as_os_str().is_empty() => dir,
            _ => Path::new("."),
        };
        Ok(Self {
            dir: Arc::new(open_dir(dir)?),
            name,
        })
    }

    /// Connects to whoever listens there.
    pub(super) async fn connect(&self) -> io::Result<UnixStream> {
        let dir = PathBuf::from(format!("/proc/self/fd/{}", self.dir.as_raw_fd()));
        UnixStream::connect(dir.join(&self.name)).await
    }
}

fn open_dir(dir: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_PATH | libc::O_DIRECTORY | libc::O_NOFOLLOW)
        .open(dir)
}

/// All sockets of a `run` directory, by name; none if there is no such directory.
pub(super) fn sockets(run: &Path) -> io::Result<Vec<Address>> {
    let entries = match std::fs::read_dir(run) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(e),
    };
    let dir = Arc::new(open_dir(run)?);
    let mut names = Vec::new();
    for entry in entries {
        let name = entry?.file_name();
        if Path::new(&name).extension().is_some_and(|e| e == "sock") {
            names.push(name);
        }
    }
    names.sort();
    Ok(names
        .into_iter()
        .map(|name| Address {
            dir: Arc::clone(&dir),
            name,
        })
        .collect())
}
