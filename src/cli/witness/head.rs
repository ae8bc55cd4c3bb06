//! `ledger witness head`: the head that a witness cosigned last, out of its state. It is what the next
//! proof has to begin with.

use std::path::PathBuf;

use ledger_core::witness::WitnessState;
use serde::Serialize;

use super::of_state;
use crate::api::wire::{ApiError, ErrorCode};
use crate::cli::error::{Exit, Failure};
use crate::cli::globals::Globals;
use crate::cli::output::{Buffering, Paging};

/// Options.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The file that remembers what was signed last
    #[arg(long, value_name = "FILE")]
    state: PathBuf,
}

/// The head, for programs.
#[derive(Serialize)]
struct Shown<'a> {
    note: &'a str,
}

pub(crate) fn run(globals: &Globals, args: &Args) -> Result<Exit, Failure> {
    let state = WitnessState::read(&args.state).map_err(|e| of_state(&e))?;
    let Some(note) = state.note() else {
        return Err(
            ApiError::new(ErrorCode::NotFound, "the witness has cosigned nothing yet")
                .hint("`ledger witness sign HEAD` cosigns the first head, without a proof")
                .into(),
        );
    };
    let mut out = globals.out(Paging::Never, Buffering::Full);
    if globals.json {
        out.json(&Shown {
            note: &note.to_string(),
        })?;
    } else {
        out.raw(&note.to_string())?;
    }
    out.finish()?;
    Ok(Exit::OK)
}
