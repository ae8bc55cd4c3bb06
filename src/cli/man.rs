//! `ledger man DIR`: a page for each command.

use std::path::PathBuf;

use clap::CommandFactory;

use super::error::{Exit, Failure};
use super::globals::Globals;
use super::output::{Buffering, Paging};
use crate::api::wire::{ApiError, ErrorCode};

/// Options.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Where to write them; made if it is missing
    #[arg(value_name = "DIR")]
    dir: PathBuf,
}

pub(crate) fn run(globals: &Globals, args: &Args) -> Result<Exit, Failure> {
    std::fs::create_dir_all(&args.dir)
        .and_then(|()| clap_mangen::generate_to(super::Cli::command(), &args.dir))
        .map_err(|e| {
            let what = format!("the man pages can't be written to {}", args.dir.display());
            ApiError::new(ErrorCode::Failed, what).because(e)
        })?;
    let mut out = globals.out(Paging::Never, Buffering::Full);
    let dir = args.dir.display().to_string();
    out.line(super::output::escape::escape(&dir))?;
    out.finish()?;
    Ok(Exit::OK)
}
