//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::error::{Context, Failure};

/// Figures of the ledger against peers, and replay of recorded workloads.
#[derive(Debug, Parser)]
#[command(name = "bench")]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Measure figures beside those of peers, in interleaved rounds
    Compare(CompareArgs),
}

/// A group of comparisons.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Figure {
    /// Durable appends by 1, 64 and 1024 producers
    Append,
    /// Walking and verifying a ledger
    Scan,
    /// Rebuilding the tasks
    Rebuild,
}

impl Figure {
    /// All of them, in the order of the table.
    pub(crate) const ALL: [Self; 3] = [Self::Append, Self::Scan, Self::Rebuild];
}

#[derive(Debug, Args)]
pub(crate) struct CompareArgs {
    /// Only these
    #[arg(long, value_delimiter = ',', value_name = "FIGURE")]
    pub(crate) only: Vec<Figure>,
    /// Small ledgers and short rounds, for a first look
    #[arg(long)]
    pub(crate) quick: bool,
    /// One line of JSON a comparison instead of a table
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) place: Place,
}

/// Where files are kept while measuring.
#[derive(Debug, Args)]
pub(crate) struct Place {
    /// A directory on the disk to measure; what is made in it is removed at the end [default: the
    /// directory of this program]
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,
}

impl Place {
    /// Makes a directory there, which is removed when dropped. The default is beside this program,
    /// since a system's directory for temporary files is often kept in memory.
    ///
    /// # Errors
    /// [`Failure`] if that can't be done.
    pub(crate) fn make(&self) -> Result<tempfile::TempDir, Failure> {
        let beside = || -> std::io::Result<PathBuf> {
            let mut path = std::env::current_exe()?;
            path.pop();
            Ok(path)
        };
        let parent = match &self.dir {
            Some(dir) => dir.clone(),
            None => beside().context("looking for this program")?,
        };
        tempfile::Builder::new()
            .prefix("bench-")
            .tempdir_in(&parent)
            .context(format!("making a directory in {}", parent.display()))
    }
}
