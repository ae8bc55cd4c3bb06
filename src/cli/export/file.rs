//! Where a stream goes: standard output, or a file that is whole or not there.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Stdout, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::api::wire::{ApiError, ErrorCode};
use crate::cli::error::Failure;

/// A stream that is being written.
pub(super) enum Target {
    Stdout(BufWriter<Stdout>),
    File(NewFile),
}

/// A file under another name until it is finished; removed if it never is.
pub(super) struct NewFile {
    file: BufWriter<File>,
    new: PathBuf,
    path: PathBuf,
    finished: bool,
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if !self.finished {
            let _ = fs::remove_file(&self.new);
        }
    }
}

fn failed(path: &Path, error: &io::Error) -> Failure {
    ApiError::new(
        ErrorCode::Failed,
        format!("{} can't be written", path.display()),
    )
    .because(error)
    .into()
}

impl Target {
    /// Standard output, or the file `to`, which must not be there.
    pub(super) fn open(to: Option<&Path>) -> Result<Self, Failure> {
        let Some(path) = to else {
            return Ok(Self::Stdout(BufWriter::with_capacity(
                256 * 1024,
                io::stdout(),
            )));
        };
        if path.symlink_metadata().is_ok() {
            return Err(exists(path));
        }
        let mut name = std::ffi::OsString::from(".");
        name.push(path.file_name().unwrap_or_default());
        name.push(format!(".new-{}", std::process::id()));
        let new = path.with_file_name(name);
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&new)
            .map_err(|e| failed(path, &e))?;
        Ok(Self::File(NewFile {
            file: BufWriter::with_capacity(256 * 1024, file),
            new,
            path: path.to_owned(),
            finished: false,
        }))
    }

    pub(super) fn sink(&mut self) -> &mut dyn Write {
        match self {
            Self::Stdout(stdout) => stdout,
            Self::File(file) => &mut file.file,
        }
    }

    /// Makes it last and gives it its name.
    pub(super) fn finish(self) -> Result<(), Failure> {
        let mut file = match self {
            Self::Stdout(mut stdout) => {
                return stdout.flush().map_err(|e| Failure::of_output(&e));
            }
            Self::File(file) => file,
        };
        let written = file
            .file
            .flush()
            .and_then(|()| file.file.get_ref().sync_all());
        written.map_err(|e| failed(&file.path, &e))?;
        // A link takes no other's place.
        match fs::hard_link(&file.new, &file.path) {
            Ok(()) => {}
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => return Err(exists(&file.path)),
            // Not every file system has links.
            Err(_) => {
                fs::rename(&file.new, &file.path).map_err(|e| failed(&file.path, &e))?;
                file.finished = true;
            }
        }
        let parent = match file.path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let synced = File::open(parent).and_then(|dir| dir.sync_all());
        synced.map_err(|e| failed(&file.path, &e))
    }
}

fn exists(path: &Path) -> Failure {
    ApiError::new(
        ErrorCode::Conflict,
        format!("{} is there already", path.display()),
    )
    .hint("name another with --to, or move it away")
    .into()
}
