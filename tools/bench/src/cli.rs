//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use opsledger::simulate::mix::LoadOf;

use crate::error::{Context, Failure};
use crate::store::Sealed;

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
    /// Grow a ledger and be killed: what `compare` opens
    #[command(hide = true)]
    Grow(GrowArgs),
    /// Replay a recorded workload through a real node and check what it wrote
    Replay(ReplayArgs),
    /// First in first out beside the node's queues, with and without the reaper: drawn tasks in virtual
    /// time, and as processes of a real node
    Arms(ArmsArgs),
}

/// A group of comparisons.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Figure {
    /// Durable appends by 1, 64 and 1024 producers
    Append,
    /// Walking and verifying a ledger
    Scan,
    /// Opening a large ledger after a kill, proofs, size and memory
    Store,
    /// Rebuilding the tasks
    Rebuild,
    /// Tasks from submit to end, without processes
    Tasks,
    /// Short commands through a node
    Exec,
    /// From the acknowledged cancel of a command to its durable end
    Reap,
    /// What a node costs that has nothing to do
    Idle,
    /// From the loss of a leader, or of all nodes, to the first acknowledged append of the next one
    Takeover,
    /// What it costs to watch a thousand processes of others
    Watched,
}

impl Figure {
    /// All of them, in the order of the table.
    pub(crate) const ALL: [Self; 10] = [
        Self::Append,
        Self::Scan,
        Self::Store,
        Self::Rebuild,
        Self::Tasks,
        Self::Exec,
        Self::Reap,
        Self::Idle,
        Self::Takeover,
        Self::Watched,
    ];
}

#[derive(Debug, Args)]
pub(crate) struct GrowArgs {
    /// The ledger, which is made if it is not there
    pub(crate) dir: PathBuf,
    /// How many events it gets
    pub(crate) events: usize,
    /// How far they are sealed
    pub(crate) sealed: Sealed,
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
    /// The `ledger` binary [default: the one beside this program]
    #[arg(long, value_name = "FILE")]
    pub(crate) ledger: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) place: Place,
}

#[derive(Debug, Args)]
pub(crate) struct ReplayArgs {
    /// The recording: JSON lines with run, tool, start_s and duration_s; commands in it are never
    /// run
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// All times of the recording are divided by this
    #[arg(long, value_name = "N", default_value = "20")]
    pub(crate) scale: Scale,
    /// Attempts that may run at once; they only sleep
    #[arg(long, value_name = "N", default_value_t = 16)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) max_running: u32,
    /// One line of JSON instead of a report
    #[arg(long)]
    pub(crate) json: bool,
    /// Keep the node's files in this directory, which must be empty or not there
    #[arg(long, value_name = "DIR")]
    pub(crate) keep: Option<PathBuf>,
    /// The `ledger` binary [default: the one beside this program]
    #[arg(long, value_name = "FILE")]
    pub(crate) ledger: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) place: Place,
}

#[derive(Debug, Args)]
pub(crate) struct ArmsArgs {
    /// The calls: JSON lines with run, tool, start_s and duration_s; commands in them are never run
    #[arg(long, value_name = "FILE")]
    pub(crate) calls: PathBuf,
    /// The arrivals: CSV with a column arrival_s
    #[arg(long, value_name = "FILE")]
    pub(crate) arrivals: PathBuf,
    /// Loads: arrival rate times mean service over slots
    #[arg(long, value_name = "LOAD,…", value_delimiter = ',', default_values_t = [0.7, 0.9, 1.2])]
    #[arg(value_parser = load)]
    pub(crate) loads: Vec<f64>,
    /// What counts as the service of a task that hangs: what its call took, its limit, or one after
    /// the other
    #[arg(long, value_name = "WHAT", default_value = "both")]
    load_of: LoadOfArg,
    /// Attempts that may run at once
    #[arg(long, value_name = "N", default_value_t = 8)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) slots: u32,
    /// The share of tasks that hang, 0 to 1
    #[arg(long, value_name = "SHARE", default_value_t = 0.03, value_parser = fraction)]
    pub(crate) hung: f64,
    /// How many times the 99th percentile of its tool a task may run
    #[arg(long, value_name = "N", default_value_t = opsledger::simulate::mix::LIMIT_FACTOR)]
    #[arg(value_parser = factor)]
    pub(crate) limit_factor: f64,
    /// Seeds of the simulations, from 1
    #[arg(long, value_name = "N", default_value_t = 5)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) seeds: u32,
    /// How many times faster than in the trace time runs on the real node
    #[arg(long, value_name = "N", default_value = "20")]
    pub(crate) time_scale: Scale,
    /// Only in virtual time
    #[arg(long)]
    pub(crate) no_real: bool,
    /// One line of JSON instead of tables
    #[arg(long)]
    pub(crate) json: bool,
    /// The `ledger` binary [default: the one beside this program]
    #[arg(long, value_name = "FILE")]
    pub(crate) ledger: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) place: Place,
}

impl ArmsArgs {
    /// What counts as service, one after the other.
    pub(crate) fn load_of(&self) -> Vec<LoadOf> {
        match self.load_of {
            LoadOfArg::Work => vec![LoadOf::Work],
            LoadOfArg::Slots => vec![LoadOf::Slots],
            LoadOfArg::Both => vec![LoadOf::Work, LoadOf::Slots],
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum LoadOfArg {
    /// What the call took
    Work,
    /// Its limit: for so long it holds its slot if it is reaped
    Slots,
    /// Both
    Both,
}

fn load(text: &str) -> Result<f64, String> {
    within(text, 0.001, 1000.0)
}

fn fraction(text: &str) -> Result<f64, String> {
    within(text, 0.0, 1.0)
}

fn factor(text: &str) -> Result<f64, String> {
    within(text, 0.001, 1_000_000.0)
}

fn within(text: &str, least: f64, most: f64) -> Result<f64, String> {
    let number = text.parse::<f64>().ok();
    let number = number.filter(|number| (least..=most).contains(number));
    number.ok_or_else(|| format!("write a number from {least} to {most}"))
}

/// What times are divided by, 0.001 to 1,000,000.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Scale(pub(crate) f64);

impl std::str::FromStr for Scale {
    type Err = &'static str;
    fn from_str(s: &str) -> Result<Self, Self::Err> {
        s.parse()
            .ok()
            .filter(|scale| (0.001..=1_000_000.0).contains(scale))
            .map(Self)
            .ok_or("a scale is a number from 0.001 to 1000000")
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_options_are_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_scale_is_a_number_in_its_range() {
        assert_eq!("20".parse(), Ok(Scale(20.0)));
        assert_eq!("0.5".parse(), Ok(Scale(0.5)));
        for bad in ["0", "-1", "NaN", "inf", "1e9", "fast"] {
            assert!(bad.parse::<Scale>().is_err(), "{bad}");
        }
    }
}
