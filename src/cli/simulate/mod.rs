//! `ledger simulate`: what a recorded workload, or this ledger's own history, would look like under
//! other rules. Nothing is run and nothing is written.

mod history;
mod rules;
mod show;
mod trace;

use std::path::PathBuf;

use clap::{ArgGroup, ValueEnum};
use ledger_core::time::{Millis, Timestamp};

use self::rules::Slots;
use super::error::{Exit, Failure};
use super::globals::Globals;
use crate::api::wire::{ApiError, ErrorCode};
use crate::simulate::bound;
use crate::simulate::engine::{self, Run};
use crate::simulate::mix::{LIMIT_FACTOR, LoadOf, Unended};
use crate::simulate::work::{Discipline, Reaper, Settings, Work};
use crate::units::parse_duration;

/// Options.
#[derive(Debug, clap::Args)]
#[command(group(ArgGroup::new("workload").required(true).args(["trace", "history"])))]
pub(crate) struct Args {
    /// A recording of calls: JSON lines with run, tool, start_s and duration_s; commands in it are
    /// never run
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,
    /// The tasks submitted in this part of the ledger: A..B, A.., ..B; each end a position or a time
    /// (RFC 3339, 15m ago, today, 2026-01-31)
    #[arg(long, value_name = "A..B")]
    history: Option<String>,
    /// How tasks are put in order
    #[arg(long, value_name = "POLICY", default_value = "mlfq")]
    policy: Policy,
    /// Nothing ends what runs past its limit
    #[arg(long)]
    no_reaper: bool,
    /// Attempts at once, or by how many more or fewer than configured: 8, +2, -1
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    slots: Option<Slots>,
    /// Another value for a key of the configuration's [scheduler], [rate.NAME] or [concurrency.NAME],
    /// such as background.boost_after=30s (repeatable)
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// When it ends, since the first arrival; or `arrivals` for the last of them [default: when
    /// nothing more can happen]
    #[arg(long, value_name = "DURATION")]
    horizon: Option<Horizon>,
    /// What becomes of tasks that never ended in what was recorded
    #[arg(long, value_name = "WHAT", default_value = "leave-out")]
    unended: UnendedArg,
    /// What chance is made of: the same seed gives the same
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Arrivals of their own, CSV with a column arrival_s: a call is drawn for each
    #[arg(long, value_name = "FILE", requires = "trace", requires = "load")]
    #[arg(conflicts_with_all = ["history", "unended"])]
    arrivals: Option<PathBuf>,
    /// Arrival rate times mean service over slots: the time between arrivals is stretched to it
    #[arg(long, value_name = "LOAD", requires = "arrivals", value_parser = rules::load)]
    #[arg(conflicts_with = "history")]
    load: Option<f64>,
    /// What counts as the service of a task that hangs: what its call took, or its limit
    #[arg(long, value_name = "WHAT", requires = "load", default_value = "work")]
    #[arg(conflicts_with = "history")]
    load_of: LoadOfArg,
    /// How many of a hundred drawn tasks hang
    #[arg(
        long,
        value_name = "PERCENT",
        requires = "arrivals",
        default_value = "0"
    )]
    #[arg(conflicts_with = "history", value_parser = rules::percent)]
    hung: f64,
    /// How many times the 99th percentile of its tool a task of a recording may run, at least 1 s
    #[arg(long, value_name = "N", requires = "trace", default_value_t = LIMIT_FACTOR)]
    #[arg(conflicts_with = "history", value_parser = rules::factor)]
    limit_factor: f64,
}

/// `--policy`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Policy {
    /// First in first out
    Fifo,
    /// The multi-level feedback queues that a node has
    Mlfq,
}

/// `--load-of`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum LoadOfArg {
    /// What the call took
    Work,
    /// Its limit: for so long it holds its slot if it is reaped
    Slots,
}

/// `--unended`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum UnendedArg {
    /// They are left out
    LeaveOut,
    /// They hang
    Hang,
}

/// `--horizon`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Horizon {
    After(Millis),
    LastArrival,
}

impl std::str::FromStr for Horizon {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "arrivals" {
            return Ok(Self::LastArrival);
        }
        match parse_duration(text) {
            Ok(Millis(0)) => {
                Err("nothing happens in no time; write a duration or `arrivals`".into())
            }
            Ok(after) => Ok(Self::After(after)),
            Err(error) => Err(format!("{error}; or `arrivals`")),
        }
    }
}

impl Args {
    fn unended(&self) -> Unended {
        match self.unended {
            UnendedArg::LeaveOut => Unended::LeftOut,
            UnendedArg::Hang => Unended::Hang,
        }
    }

    fn load_of(&self) -> LoadOf {
        match self.load_of {
            LoadOfArg::Work => LoadOf::Work,
            LoadOfArg::Slots => LoadOf::Slots,
        }
    }

    /// Where this workload's simulation ends, if that was said.
    fn horizon(&self, work: &[Work]) -> Option<Timestamp> {
        let arrivals = || work.iter().map(|work| work.arrival);
        match self.horizon? {
            Horizon::LastArrival => arrivals().max(),
            Horizon::After(after) => arrivals().min().map(|first| first.plus(after)),
        }
    }

    fn settings(&self, work: &[Work], policy: crate::scheduler::policy::Policy) -> Settings {
        Settings {
            discipline: match self.policy {
                Policy::Fifo => Discipline::Fifo,
                Policy::Mlfq => Discipline::Mlfq,
            },
            policy,
            reaper: if self.no_reaper {
                Reaper::Off
            } else {
                Reaper::On
            },
            horizon: self.horizon(work),
            seed: self.seed,
        }
    }
}

pub(crate) fn run(globals: &Globals, args: &Args) -> Result<Exit, Failure> {
    match (&args.trace, &args.history) {
        (Some(file), _) => trace::run(globals, args, file),
        (None, Some(range)) => history::run(globals, args, range),
        // The parser has seen to it that one is there.
        (None, None) => Err(ApiError::new(ErrorCode::Usage, "nothing to simulate is named").into()),
    }
}

/// Simulates, and checks the order of what came out.
fn simulate(work: &[Work], settings: &Settings) -> Result<(Run, Option<bound::Checked>), Failure> {
    let broken = |why: &dyn std::fmt::Display| {
        ApiError::new(ErrorCode::Failed, "the workload can't be simulated").because(why)
    };
    let run = engine::run(work, settings).map_err(|e| broken(&e))?;
    let checked = run
        .rules
        .as_ref()
        .map(|rules| bound::check(&run.stays, rules));
    let checked = checked.transpose().map_err(|breach| {
        let message = "a promise of the scheduler was not kept";
        ApiError::new(ErrorCode::Failed, message)
            .because(breach)
            .hint("this is a fault of the scheduler: please report it with the workload")
    })?;
    Ok((run, checked))
}
