//! `ledger completions SHELL`.

use clap::CommandFactory;
use clap_complete::{Shell, generate};

use super::error::{Exit, Failure};
use super::globals::Globals;
use super::output::{Buffering, Paging};

/// Options.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// For which shell
    #[arg(value_name = "SHELL", value_enum)]
    shell: Shell,
}

pub(crate) fn run(globals: &Globals, args: &Args) -> Result<Exit, Failure> {
    let mut script = Vec::new();
    generate(
        args.shell,
        &mut super::Cli::command(),
        "ledger",
        &mut script,
    );
    let mut out = globals.out(Paging::Never, Buffering::Full);
    out.line(String::from_utf8_lossy(&script).trim_end())?;
    out.finish()?;
    Ok(Exit::OK)
}
