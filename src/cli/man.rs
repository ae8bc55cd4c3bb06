//! `ledger man DIR`: a page for each command.

use std::io;
use std::path::{Path, PathBuf};

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
    let mut command = super::Cli::command().disable_help_subcommand(true);
    command.build();
    std::fs::create_dir_all(&args.dir)
        .and_then(|()| pages(&command, &args.dir))
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

/// What every command reads from its environment.
const ENVIRONMENT: &str = r".SH ENVIRONMENT
.TP
\fBLEDGER_DATA_DIR\fR
The data directory, where \fB\-\-data\-dir\fR does not name one.
.TP
\fBXDG_STATE_HOME\fR, \fBHOME\fR
Where it is looked for if nothing names it.
.TP
\fBLEDGER_LOG\fR
What a node logs, such as \fBdebug\fR; \fBinfo\fR if it is not set.
.TP
\fBNO_COLOR\fR
If set, nothing is painted unless \fB\-\-color\fR asks for it.
.TP
\fBPAGER\fR
What long output is shown with on a terminal.
.TP
\fBTRACEPARENT\fR
The trace that what is appended or submitted belongs to (W3C trace context).
";

/// The page of a command, and those of its subcommands.
fn pages(command: &clap::Command, dir: &Path) -> io::Result<()> {
    for sub in command.get_subcommands().filter(|sub| !sub.is_hide_set()) {
        pages(sub, dir)?;
    }
    let man = clap_mangen::Man::new(command.clone())
        .source(concat!("opsledger ", env!("CARGO_PKG_VERSION")))
        .manual("Opsledger");
    let mut page = Vec::new();
    man.render(&mut page)?;
    page.extend_from_slice(ENVIRONMENT.as_bytes());
    std::fs::write(dir.join(man.get_filename()), page)
}
