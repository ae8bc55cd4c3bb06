//! `ledger blob get DIGEST`. The last bytes come only if all of them are what was stored; a file is
//! given its name only then.

use std::fs::{self, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use ledger_core::blobs::{BlobError, BlobReader};
use ledger_core::hash::Hash;

use super::{of_blob, open};
use crate::api::wire::{ApiError, ErrorCode};
use crate::cli::error::{Exit, Failure};
use crate::cli::globals::Globals;

/// Options.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The blob's name, 64 hex digits
    #[arg(value_name = "DIGEST")]
    digest: Hash,
    /// Write it to a new file instead of standard output
    #[arg(long, short = 'o', value_name = "FILE")]
    output: Option<PathBuf>,
}

pub(crate) fn run(globals: &Globals, args: &Args) -> Result<Exit, Failure> {
    let blob = open(&globals.data_dir()?)?;
    let blob = blob.read(args.digest).map_err(of_blob)?;
    match &args.output {
        None => {
            let mut out = io::stdout().lock();
            copy(blob, &mut out, |e| Failure::of_output(&e))?;
            out.flush().map_err(|e| Failure::of_output(&e))?;
        }
        Some(path) => to_file(blob, path)?,
    }
    Ok(Exit::OK)
}

fn copy(
    mut blob: BlobReader,
    out: &mut impl Write,
    unwritten: impl Fn(io::Error) -> Failure,
) -> Result<(), Failure> {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match blob.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(count) => out.write_all(&buffer[..count]).map_err(&unwritten)?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => {
                return Err(match error.downcast::<BlobError>() {
                    Ok(error) => of_blob(error),
                    Err(error) => ApiError::new(ErrorCode::Failed, "the blob can't be read")
                        .because(error)
                        .into(),
                });
            }
        }
    }
}

fn to_file(blob: BlobReader, path: &Path) -> Result<(), Failure> {
    let failed = |e: io::Error| {
        let what = format!("{} can't be written", path.display());
        let code = match e.kind() {
            io::ErrorKind::AlreadyExists => ErrorCode::Conflict,
            _ => ErrorCode::Failed,
        };
        Failure::from(ApiError::new(code, what).because(e))
    };
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .map_err(failed)?;
    copy(blob, &mut file, failed).inspect_err(|_| {
        // What is damaged or cut short must not be taken for the blob.
        let _ = fs::remove_file(path);
    })
}
