//! `ledger init`: makes a ledger. The only command that does: a node that made one silently would
//! hide that the history it should have had is gone.

use std::path::PathBuf;

use ledger_core::hash::Hash;
use ledger_core::ids::{Id, IdError, LedgerId, Seq};
use ledger_core::tree_head::{KeyFileError, read_key_file};
use serde::Serialize;

use super::error::{Exit, Failure, damaged, of_io};
use super::globals::Globals;
use super::output::{Buffering, Paging};
use super::trust::key_file;
use crate::api::wire::{ApiError, ErrorCode};
use crate::lease::lock::LockError;
use crate::names::name;
use crate::node::{BootError, create_ledger};

/// Options.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// What to call it [default: the name of the directory, or `ledger`]
    #[arg(long, value_name = "NAME", value_parser = name)]
    name: Option<Id>,
    /// Sign its heads with the key in this file (mode 0600) instead of a new one
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
}

#[derive(Serialize)]
struct Made<'a> {
    ledger_id: LedgerId,
    name: &'a Id,
    data_dir: &'a str,
    seq: Seq,
    hash: Hash,
    key: String,
}

pub(crate) fn run(globals: &Globals, args: &Args) -> Result<Exit, Failure> {
    let dir = globals.data_dir()?;
    let name = match &args.name {
        Some(name) => name.clone(),
        None => default_name(&dir).map_err(|e| {
            ApiError::new(ErrorCode::Usage, "the ledger needs a name")
                .because(e)
                .hint("--name")
        })?,
    };
    let file = args.key.as_deref().map(key_file).transpose()?;
    let key = file.map(read_key_file).transpose();
    let key = key.map_err(|e| of_boot(e.into()))?;
    let made = create_ledger(&dir, &name, key.as_ref()).map_err(of_boot)?;
    let shown = dir.display().to_string();
    let mut out = globals.out(Paging::Never, Buffering::Full);
    if globals.json {
        out.json(&Made {
            ledger_id: made.ledger_id,
            name: &name,
            data_dir: &shown,
            seq: made.head.seq,
            hash: made.head.hash,
            key: made.key.to_string(),
        })?;
    } else {
        let shown = super::output::escape::escape(&shown).into_owned();
        out.line(format_args!(
            "ledger {name} ({}) is in {shown}",
            made.ledger_id
        ))?;
        out.wrapped(format_args!(
            "seq {} has hash {}",
            made.head.seq, made.head.hash
        ))?;
        out.line(format_args!("its heads are signed by {}", made.key))?;
        out.line("start a node with `ledger up`")?;
    }
    out.finish()?;
    Ok(Exit::OK)
}

/// The directory's own name where it is an id; a hidden one is called after its parent.
fn default_name(dir: &std::path::Path) -> Result<Id, IdError> {
    let names = dir
        .ancestors()
        .take(2)
        .filter_map(|d| d.file_name()?.to_str());
    let found = names.filter_map(|name| Id::new(name).ok()).next();
    found.map_or_else(|| Id::new("ledger"), Ok)
}

/// Why a node or a ledger could not come up, at the boundary.
pub(crate) fn of_boot(error: BootError) -> Failure {
    let message = error.to_string();
    match error {
        BootError::Open(error) => error.into(),
        BootError::Lock(LockError::Io { error, .. }) => of_io(message, &error).into(),
        BootError::Lock(LockError::Held(_)) => ApiError::new(ErrorCode::Refused, message)
            .hint("`ledger status` shows the node that has it")
            .into(),
        BootError::UnknownKind { .. } => ApiError::new(ErrorCode::Refused, message)
            .hint("use the version of `ledger` that wrote it, or a later one; reading works")
            .into(),
        BootError::Replay(_) => damaged(message).into(),
        BootError::Full(_) => ApiError::new(ErrorCode::Failed, message)
            .hint("make room on that file system, then try again; reading works meanwhile")
            .into(),
        BootError::Key(KeyFileError::Exists(_)) => ApiError::new(ErrorCode::Conflict, message)
            .because("a key without its ledger: an interrupted `ledger init` leaves it, or a ledger that was lost")
            .hint("move it away, or use it for the new ledger with --key")
            .into(),
        BootError::Key(error) => ApiError::new(ErrorCode::Refused, error.to_string())
            .hint("a key file holds one line and has mode 0600 (chmod 600)")
            .into(),
        BootError::Io { error, .. } => of_io(message, &error).into(),
        BootError::Identity(_) => ApiError::new(ErrorCode::Failed, message).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ledger_is_called_after_its_directory() {
        let name = |dir: &str| default_name(std::path::Path::new(dir)).unwrap().to_string();
        assert_eq!(name("/srv/fleet"), "fleet");
        assert_eq!(name("/home/ada/project/.ledger"), "project");
        assert_eq!(name("/ü/ö"), "ledger");
    }
}
