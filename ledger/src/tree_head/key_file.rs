//! The file of a signer key: one line, for its owner alone.
//!
//! Whoever reads the key can sign any history, so a file that others can read is refused rather
//! than used: it must be assumed to be known. That its mode gives nothing to others and that it
//! could be opened means that it belongs to this process's user, or that this is root.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::key::{KeyError, SignerKey};

/// Mode of the file: read and written by its owner.
pub const KEY_FILE_MODE: u32 = 0o600;

/// More than the longest key.
const MAX_FILE: u64 = 1024;
/// Bits of a mode that give something to others.
const OTHERS: u32 = 0o077;

/// Why there is no key to sign with.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// There is a file already; keys are never overwritten.
    #[error("{0} exists already")]
    Exists(PathBuf),
    /// There is none.
    #[error("there is no key in {0}")]
    Missing(PathBuf),
    /// The file system refused.
    #[error("{path}: {error}")]
    Io {
        /// Which file.
        path: PathBuf,
        /// What it said.
        #[source]
        error: io::Error,
    },
    /// A directory, a device, a pipe.
    #[error("{0} is not a file")]
    NotAFile(PathBuf),
    /// Others than its owner can read or change it.
    #[error("{path} has mode {mode:04o}: others than its owner can get at the key in it")]
    Exposed {
        /// Which file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// It holds something else.
    #[error("{path} does not hold a signer key: {error}")]
    Malformed {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        error: KeyError,
    },
}

/// Writes a key into a new file of mode 0600. When this returns, file and name are on disk.
///
/// # Errors
/// [`KeyFileError::Exists`] if there is anything under that name, even a link that leads nowhere.
pub fn create_key_file(path: &Path, key: &SignerKey) -> Result<(), KeyFileError> {
    let mut text = key.to_text();
    text.push('\n');
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(KEY_FILE_MODE)
        .open(path)
        .map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => KeyFileError::Exists(path.to_owned()),
            _ => io_error(path)(error),
        })?;
    let written = file
        .set_permissions(fs::Permissions::from_mode(KEY_FILE_MODE))
        .and_then(|()| file.write_all(text.as_bytes()))
        .and_then(|()| file.sync_all())
        .and_then(|()| sync_directory(path));
    written.map_err(|error| {
        // A half-written key would only be in the way. If it stays, the next attempt says so.
        let _ = fs::remove_file(path);
        io_error(path)(error)
    })
}

/// Reads a key from its file. Links are followed: whoever may place them could place a key.
///
/// # Errors
/// [`KeyFileError`] if there is none, if it is not only its owner's, or if it is not a key.
pub fn read_key_file(path: &Path) -> Result<SignerKey, KeyFileError> {
    // Looked at before it is opened, because opening a pipe would wait for its other end.
    let looked = fs::metadata(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => KeyFileError::Missing(path.to_owned()),
        _ => io_error(path)(error),
    })?;
    if !looked.is_file() {
        return Err(KeyFileError::NotAFile(path.to_owned()));
    }
    let file = File::open(path).map_err(io_error(path))?;
    let opened = file.metadata().map_err(io_error(path))?;
    if !opened.is_file() {
        return Err(KeyFileError::NotAFile(path.to_owned()));
    }
    let mode = opened.mode() & 0o7777;
    if mode & OTHERS != 0 {
        let path = path.to_owned();
        return Err(KeyFileError::Exposed { path, mode });
    }
    let malformed = |error| KeyFileError::Malformed {
        path: path.to_owned(),
        error,
    };
    let mut bytes = Zeroizing::new(Vec::with_capacity(MAX_FILE as usize + 1));
    file.take(MAX_FILE + 1)
        .read_to_end(&mut bytes)
        .map_err(io_error(path))?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(malformed(KeyError::Form("it is too long")));
    }
    let text = str::from_utf8(&bytes).map_err(|_| malformed(KeyError::Form("it is not text")))?;
    SignerKey::parse(text.strip_suffix('\n').unwrap_or(text)).map_err(malformed)
}

fn io_error(path: &Path) -> impl Fn(io::Error) -> KeyFileError + '_ {
    |error| KeyFileError::Io {
        path: path.to_owned(),
        error,
    }
}

/// Makes a new name in a directory last.
fn sync_directory(path: &Path) -> io::Result<()> {
    let parent = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty());
    File::open(parent.unwrap_or(Path::new(".")))?.sync_all()
}
