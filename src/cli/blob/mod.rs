//! `ledger blob …`. Reading works on the files, with a node beside or without: blobs never change,
//! and every byte is checked here.

mod gc;
mod get;
mod list;
mod put;
pub(crate) mod verify;

use std::path::Path;

use clap::Subcommand;
use ledger_core::blobs::{BlobDir, BlobError};

pub(crate) use put::Content;

use super::error::{Exit, Failure};
use super::globals::Globals;
use crate::api::wire::{ApiError, ErrorCode};

/// What to do with blobs.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Store content and print its name; what no event names is collected some day
    Put(put::Args),
    /// Write a blob to standard output or a file, checked
    Get(get::Args),
    /// List the blobs
    List(list::Args),
    /// Check that every blob that an event names is there and is what it was
    Verify(verify::Args),
    /// Remove blobs that no event names
    Gc(gc::Args),
}

pub(crate) fn run(globals: &Globals, command: Command) -> Result<Exit, Failure> {
    match command {
        Command::Put(args) => put::run(globals, args),
        Command::Get(args) => get::run(globals, &args),
        Command::List(args) => list::run(globals, &args),
        Command::Verify(args) => verify::run(globals, &args),
        Command::Gc(args) => gc::run(globals, &args),
    }
}

/// The blobs of a data directory.
///
/// # Errors
/// [`Failure`] if it can't be opened.
pub(super) fn open(data_dir: &Path) -> Result<BlobDir, Failure> {
    BlobDir::open(data_dir).map_err(of_blob)
}

/// A failure of reading blobs.
pub(super) fn of_blob(error: BlobError) -> Failure {
    let message = error.to_string();
    match error {
        BlobError::Missing(_) => ApiError::new(ErrorCode::NotFound, message)
            .hint("`ledger blob list` shows those that there are"),
        BlobError::Damaged { .. } | BlobError::Size { .. } => {
            ApiError::new(ErrorCode::Tampered, message)
                .hint("`ledger blob verify` says which others are; restore it from a backup, or `ledger blob put` the same content again")
        }
        _ => ApiError::new(ErrorCode::Failed, message),
    }
    .into()
}
