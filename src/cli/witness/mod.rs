//! `ledger witness …`: cosigning the heads of a ledger, here or elsewhere. A witness is a key and the
//! memory of what it signed last ([`ledger_core::witness`]); it needs no ledger, only heads and proofs.

mod head;
mod init;
mod sign;

use std::path::{Path, PathBuf};

use clap::Subcommand;
use ledger_core::witness::{Refusal, StateFileError};

use super::error::{Exit, Failure};
use super::globals::Globals;
use super::trust::key_file;
use crate::api::wire::{ApiError, ErrorCode};

/// What a witness does.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Make a witness of a ledger: its key, and the state that remembers what it signed
    Init(init::Args),
    /// Cosign a head that has grown out of the one that was cosigned last
    #[command(after_help = sign::CODES)]
    Sign(sign::Args),
    /// Print the head that was cosigned last, as the state has it
    Head(head::Args),
}

pub(crate) fn run(globals: &Globals, command: Command) -> Result<Exit, Failure> {
    match command {
        Command::Init(args) => init::run(globals, &args),
        Command::Sign(args) => sign::run(globals, &args),
        Command::Head(args) => head::run(globals, &args),
    }
}

/// Where a witness keeps its things.
#[derive(Debug, Clone, clap::Args)]
struct Files {
    /// The file that remembers what was signed last
    #[arg(long, value_name = "FILE")]
    state: PathBuf,
    /// The file of the witness's own key [default: the state's name, ending in .key]
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
}

impl Files {
    fn key(&self) -> Result<PathBuf, Failure> {
        let beside = || self.state.with_extension("key");
        let key = self.key.clone().unwrap_or_else(beside);
        key_file(&key)?;
        Ok(key)
    }
}

/// Why a state can't be had, at the boundary.
fn of_state(error: &StateFileError) -> ApiError {
    let message = error.to_string();
    match error {
        StateFileError::Exists(_) => ApiError::new(ErrorCode::Conflict, message)
            .hint("a witness that forgets could sign what contradicts it: go on with this one"),
        StateFileError::Missing(_) => ApiError::new(ErrorCode::NotFound, message)
            .hint("`ledger witness init` makes one, once; if there was one, restore it"),
        StateFileError::Io { .. } => ApiError::new(ErrorCode::Failed, message),
        StateFileError::Malformed { .. } => ApiError::new(ErrorCode::Tampered, message)
            .hint("restore the latest copy: an older one lets the witness contradict itself"),
    }
}

/// Why a head was not cosigned, at the boundary.
fn of_refusal(error: &Refusal, state: &Path) -> ApiError {
    let refused = |code| ApiError::new(code, "the head is not cosigned").because(error);
    match error {
        Refusal::Untrusted(_) => refused(ErrorCode::Unanchored),
        Refusal::Smaller { .. } => refused(ErrorCode::Unanchored).hint(
            "if this is the ledger's latest head, its end was cut off; \
             keep it together with the last head in the state",
        ),
        Refusal::Forked(_) => refused(ErrorCode::Unanchored).hint(format!(
            "both are signed by the ledger's key: this head and the one in {} prove that it shows \
             different histories; keep them",
            state.display()
        )),
        Refusal::Inconsistent(_) => refused(ErrorCode::Unanchored).hint(
            "if the proof is one between these two heads, the ledger's history was rewritten: \
             keep both heads",
        ),
        Refusal::Key { .. } => refused(ErrorCode::Refused).hint("name the right key with --key"),
        Refusal::Note(_) => refused(ErrorCode::Usage),
    }
}
