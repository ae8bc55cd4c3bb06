//! `ledger witness init`: the key and the state of a new witness. The log's key is fixed with it, so
//! that a ledger that was replaced can't bring a key of its own.

use std::path::Path;

use ledger_core::tree_head::{
    KeyFileError, KeyName, SignerKey, VerifierKey, create_key_file, read_key_file,
};
use ledger_core::witness::WitnessState;
use serde::Serialize;

use super::{Files, of_state};
use crate::api::wire::{ApiError, ErrorCode};
use crate::cli::error::{Exit, Failure};
use crate::cli::globals::Globals;
use crate::cli::output::{Buffering, Paging};
use crate::cli::source::Source;
use crate::cli::trust::{OwnKey, own_key, verifier_key};

/// Options.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// What to call the witness, such as example.org/backup-host
    #[arg(value_name = "NAME")]
    name: String,
    #[command(flatten)]
    files: Files,
    /// Whose heads it cosigns: the ledger's verifier key, or a file that holds it [default: that of
    /// the ledger at hand]
    #[arg(long, value_name = "KEY")]
    log: Option<String>,
}

/// What was made, for programs.
#[derive(Serialize)]
struct Made<'a> {
    witness: &'a str,
    log: &'a str,
    state: String,
    key_file: String,
}

pub(crate) fn run(globals: &Globals, args: &Args) -> Result<Exit, Failure> {
    let name = KeyName::new(&args.name).map_err(|e| {
        ApiError::new(ErrorCode::Usage, "the witness can't have this name").because(e)
    })?;
    let log = match &args.log {
        Some(key) => verifier_key(key)?,
        None => log_at_hand(globals)?,
    };
    let path = args.files.key()?;
    if args.files.state.exists() {
        let exists = ledger_core::witness::StateFileError::Exists(args.files.state.clone());
        return Err(of_state(&exists).into());
    }
    let key = key(&path, name)?;
    let witness = key.witness_verifier();
    let state = WitnessState::new(log, witness.clone()).map_err(|e| {
        ApiError::new(ErrorCode::Usage, "this is not the key of a ledger").because(e)
    })?;
    state.create(&args.files.state).map_err(|e| of_state(&e))?;
    let mut out = globals.out(Paging::Never, Buffering::Full);
    if globals.json {
        out.json(&Made {
            witness: &witness.to_string(),
            log: &state.log().to_string(),
            state: args.files.state.display().to_string(),
            key_file: path.display().to_string(),
        })?;
    } else {
        out.line(witness)?;
    }
    out.finish()?;
    Ok(Exit::OK)
}

/// The witness's key: made, or the one that is there already under this name.
fn key(path: &Path, name: KeyName) -> Result<SignerKey, Failure> {
    let failed = |error: KeyFileError| ApiError::new(ErrorCode::Failed, error.to_string());
    let made = SignerKey::generate(name.clone())
        .map_err(|e| ApiError::new(ErrorCode::Failed, "no key can be made").because(e))?;
    match create_key_file(path, &made) {
        Ok(()) => return Ok(made),
        Err(KeyFileError::Exists(_)) => {}
        Err(error) => return Err(failed(error).into()),
    }
    let there = read_key_file(path).map_err(failed)?;
    if *there.name() == name {
        return Ok(there);
    }
    let message = format!("{} holds the key of {}", path.display(), there.name());
    Err(ApiError::new(ErrorCode::Conflict, message)
        .hint("use its name, or name another file with --key")
        .into())
}

fn log_at_hand(globals: &Globals) -> Result<VerifierKey, Failure> {
    let data_dir = globals.data_dir()?;
    let source = Source::open(&data_dir)?;
    match own_key(&data_dir, source.reader())? {
        OwnKey::Fits(key) => Ok(key),
        OwnKey::Foreign(why) => Err(ApiError::new(
            ErrorCode::Tampered,
            "the ledger's key can't be believed",
        )
        .because(why)
        .hint("name the key with --log")
        .into()),
    }
}
