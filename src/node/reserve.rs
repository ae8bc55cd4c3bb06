//! The reserve: a file in the data directory that holds nothing but room. When the disk is full it is
//! given up, so that the node can record why it stops and an operator has room to act.
//!
//! - It is made when a ledger is, and whenever a node comes up; a node that can't make it does not
//!   come up, because the next full disk would silence it.
//! - Its bytes can't be compressed, so that it takes the room that it stands for on any file system.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Its name in the data directory.
pub const RESERVE_FILE: &str = "reserve";

/// Sees to it that the reserve has `bytes` bytes; 0 is none. One that an interrupted attempt has left
/// too short is made anew.
///
/// # Errors
/// The file system's; there is then no reserve.
pub fn ensure(dir: &Path, bytes: u64) -> io::Result<()> {
    let path = dir.join(RESERVE_FILE);
    match fs::symlink_metadata(&path) {
        Ok(meta) if meta.is_file() && meta.len() == bytes && bytes > 0 => return Ok(()),
        Ok(_) => fs::remove_file(&path)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    if bytes == 0 {
        return Ok(());
    }
    make(&path, bytes).inspect_err(|_| {
        // Its room is what others may need.
        let _ = fs::remove_file(&path);
    })
}

fn make(path: &Path, bytes: u64) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    let mut noise = blake3::Hasher::new().finalize_xof();
    let mut buffer = vec![0; 64 * 1024];
    let mut left = bytes;
    while left > 0 {
        let step = usize::try_from(left).map_or(buffer.len(), |left| left.min(buffer.len()));
        noise.read_exact(&mut buffer[..step])?;
        file.write_all(&buffer[..step])?;
        left -= step as u64;
    }
    file.sync_all()
}

/// Gives the reserve up; its room is there for others when this returns. Returns how much that was.
///
/// # Errors
/// The file system's.
pub fn release(dir: &Path) -> io::Result<u64> {
    let path = dir.join(RESERVE_FILE);
    let bytes = match fs::symlink_metadata(&path) {
        Ok(meta) => meta.len(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        Err(error) => return Err(error),
    };
    fs::remove_file(&path)?;
    // A file system with a journal hands out freed room once the removal is committed.
    File::open(dir)?.sync_all()?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_made_once_kept_and_given_up() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(RESERVE_FILE);
        assert_eq!(release(dir.path()).unwrap(), 0);
        ensure(dir.path(), 100_000).unwrap();
        let made = fs::metadata(&path).unwrap();
        assert_eq!(made.len(), 100_000);
        ensure(dir.path(), 100_000).unwrap();
        let again = fs::metadata(&path).unwrap();
        assert_eq!(made.modified().unwrap(), again.modified().unwrap());
        // What an interrupted attempt has left, or another setting.
        fs::write(&path, "short").unwrap();
        ensure(dir.path(), 100_000).unwrap();
        assert_eq!(release(dir.path()).unwrap(), 100_000);
        assert!(!path.exists());
        ensure(dir.path(), 10).unwrap();
        ensure(dir.path(), 0).unwrap();
        assert!(!path.exists());
    }

    #[test]
    fn a_link_in_its_place_is_not_written_through() {
        let dir = tempfile::tempdir().unwrap();
        let other = dir.path().join("other");
        fs::write(&other, "precious").unwrap();
        std::os::unix::fs::symlink(&other, dir.path().join(RESERVE_FILE)).unwrap();
        ensure(dir.path(), 10).unwrap();
        assert_eq!(fs::read(&other).unwrap(), b"precious");
        assert_eq!(release(dir.path()).unwrap(), 10);
    }
}
