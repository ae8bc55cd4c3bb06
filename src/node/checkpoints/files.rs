//! Where the files of checkpoints are: what making them and recovering from them needs of it. It is a
//! port, so that both run over simulated disks too.

use std::fmt;
use std::io::{self, Seek, Write};

use super::dir::CheckpointFile;
use super::file::CheckpointError;

/// A place for the files of checkpoints; displayed, it says where that is.
pub trait Files: fmt::Display {
    /// The files there are by their names, the oldest position first; none if there is no such place yet.
    ///
    /// # Errors
    /// The system's.
    fn list(&self) -> io::Result<Vec<CheckpointFile>>;

    /// All of a file, which has at most `limit` bytes.
    ///
    /// # Errors
    /// [`CheckpointError`], also if it has more.
    fn read(&self, file: &CheckpointFile, limit: u64) -> Result<Vec<u8>, CheckpointError>;

    /// A new file that has no name yet, in the place of what an interrupted making has left. The place
    /// itself is made if it is missing.
    ///
    /// # Errors
    /// The system's.
    fn create(&self) -> io::Result<Box<dyn NewFile + '_>>;

    /// All of the new file, as it can be read again.
    ///
    /// # Errors
    /// [`CheckpointError`].
    fn read_new(&self) -> Result<Vec<u8>, CheckpointError>;

    /// Gives the new file its name. It has it for good when this returns.
    ///
    /// # Errors
    /// The system's.
    fn publish(&self, file: &CheckpointFile) -> io::Result<()>;
}

/// A file that is being written.
pub trait NewFile: Write + Seek {
    /// Everything was written, and stays when this returns, whatever happens to the host.
    ///
    /// # Errors
    /// The system's.
    fn finish(self: Box<Self>) -> io::Result<()>;
}
