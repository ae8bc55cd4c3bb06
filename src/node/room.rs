//! How much room there is on the file system of the data directory, for people who have to make some.

use std::fmt;
use std::io;
use std::path::Path;

use nix::sys::statvfs::statvfs;

use crate::units::format_size;

/// Room on a file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// What this process may still take.
    pub free: u64,
    /// All there is.
    pub total: u64,
}

impl Room {
    /// The room on the file system that `dir` is on. What is kept back for the superuser counts as
    /// free only for him.
    ///
    /// # Errors
    /// The system's.
    pub fn of(dir: &Path) -> io::Result<Self> {
        let fs = statvfs(dir)?;
        let unit = fs.fragment_size();
        let free = if nix::unistd::geteuid().is_root() {
            fs.blocks_free()
        } else {
            fs.blocks_available()
        };
        Ok(Self {
            free: free.saturating_mul(unit),
            total: fs.blocks().saturating_mul(unit),
        })
    }
}

/// What is missing, in words: `48.0 KiB were to be written to DIR, where 12.0 KiB are free`.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    /// How much was to be written.
    pub bytes: u64,
    /// Where.
    pub dir: &'a Path,
}

impl fmt::Display for Wanted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let wanted = format_size(self.bytes);
        write!(f, "{wanted} were to be written to {}", self.dir.display())?;
        match Room::of(self.dir) {
            Ok(room) => {
                write!(f, ", where {} are free", format_size(room.free))?;
                if room.free < self.bytes {
                    return Ok(());
                }
                f.write_str(" by its own count: a quota, or the device below, may have less")
            }
            Err(_) => Ok(()),
        }
    }
}
