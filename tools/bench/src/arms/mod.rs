//! First in first out beside the node's queues, each with and without the reaper: the same drawn tasks in
//! virtual time, and some of them as real processes of a real node.
//!
//! What is drawn, what a load is and what is printed is defined in `opsledger::docs::simulation`.

mod plot;
mod real;
mod report;
mod table;

use std::path::Path;

use ledger_core::time::Micros;
use opsledger::scheduler::policy::Policy;
use opsledger::simulate::bound;
use opsledger::simulate::engine;
use opsledger::simulate::mix::{BEGIN, Drawn, Limits, LoadOf, Mix, draw};
use opsledger::simulate::summary::Summary;
use opsledger::simulate::trace::{ARRIVALS_SOURCE, Call, read_arrivals};
use opsledger::simulate::work::{Discipline, Reaper, Settings};

use self::report::{Comparison, Figures, RealRun, Report, Setting};
use crate::cli::ArmsArgs;
use crate::error::{Context, Failure};
use crate::machine::Machine;
use crate::node::Ledger;
use crate::note;
use crate::replay::Outcome;
use crate::replay::trace::{calls, open};

/// One way to run the same tasks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Arm {
    pub(super) name: &'static str,
    pub(super) discipline: Discipline,
    pub(super) reaper: Reaper,
}

/// All of them; what the others are held against is the first, and then the second.
pub(super) const ARMS: [Arm; 4] = [
    Arm {
        name: "fifo",
        discipline: Discipline::Fifo,
        reaper: Reaper::Off,
    },
    Arm {
        name: "fifo+reaper",
        discipline: Discipline::Fifo,
        reaper: Reaper::On,
    },
    Arm {
        name: "mlfq",
        discipline: Discipline::Mlfq,
        reaper: Reaper::Off,
    },
    Arm {
        name: "mlfq+reaper",
        discipline: Discipline::Mlfq,
        reaper: Reaper::On,
    },
];

/// What was read.
struct Data {
    calls: Vec<Call>,
    arrivals: Vec<Micros>,
    limits: Limits,
}

impl Data {
    fn draw(&self, mix: &Mix) -> Result<Drawn, Failure> {
        draw(&self.arrivals, &self.calls, &self.limits, mix).ok_or_else(|| {
            Failure::new("nothing can be drawn: no call ended, or all arrivals are at one time")
        })
    }
}

/// Runs all arms; returns what is to be printed.
///
/// # Errors
/// [`Failure`] if the data can't be read, or an arm not be carried through.
pub(crate) fn run(args: &ArmsArgs) -> Result<(String, Outcome), Failure> {
    let read = calls(&args.calls)?;
    let table = read_arrivals(open(&args.arrivals, ARRIVALS_SOURCE)?);
    let data = Data {
        limits: Limits::of(&read, args.limit_factor),
        arrivals: table.context(args.arrivals.display().to_string())?,
        calls: read,
    };
    let mut settings = Vec::new();
    for load_of in args.load_of() {
        for load in &args.loads {
            settings.push(simulated(args, &data, *load, load_of)?);
        }
    }
    let mut real = Vec::new();
    let mut machine = None;
    if !args.no_real {
        let ledger = Ledger::find(args.ledger.as_deref())?;
        let place = args.place.make()?;
        machine = Some(Machine::look(place.path())?.to_string());
        for load in &args.loads {
            real.push(really(args, &data, *load, &ledger, place.path())?);
        }
    }
    let report = Report {
        slots: args.slots,
        hung: args.hung,
        limit_factor: args.limit_factor,
        seeds: args.seeds,
        tasks: data.arrivals.len(),
        calls: data.calls.iter().filter(|c| c.duration.is_some()).count(),
        limits_ms: data
            .limits
            .iter()
            .map(|(t, l)| (t.to_owned(), l.0))
            .collect(),
        settings,
        time_scale: args.time_scale.0,
        real,
        machine,
    };
    let outcome = if report.is_sound() {
        Outcome::Sound
    } else {
        Outcome::Unsound
    };
    let text = if args.json {
        serde_json::to_string(&report).context("writing JSON")? + "\n"
    } else {
        table::render(&report)
    };
    Ok((text, outcome))
}

/// The rules of a node with so many slots, as they are if nothing is configured.
fn settings(arm: Arm, slots: u32, span: Micros) -> Settings {
    Settings {
        discipline: arm.discipline,
        policy: Policy {
            max_running: usize::try_from(slots).unwrap_or(usize::MAX),
            ..Policy::default()
        },
        reaper: arm.reaper,
        horizon: Some(ledger_core::time::Timestamp(BEGIN.0 + span.0)),
        seed: 1,
    }
}

fn mix(args: &ArmsArgs, load: f64, load_of: LoadOf, seed: u64) -> Mix {
    Mix {
        load,
        load_of,
        slots: usize::try_from(args.slots).unwrap_or(usize::MAX),
        hung: args.hung,
        seed,
    }
}

/// One arm in virtual time; what it came to has kept every promise.
fn simulate(arm: Arm, drawn: &Drawn, slots: u32) -> Result<Summary, Failure> {
    let settings = settings(arm, slots, drawn.span);
    let run = engine::run(&drawn.work, &settings).context(format!("simulating {}", arm.name))?;
    let rules = run.rules.as_ref();
    let rules = rules.ok_or_else(|| Failure::new("there is nothing to check the order by"))?;
    bound::check(&run.stays, rules).context(format!("checking the order of {}", arm.name))?;
    Ok(Summary::of(&run.outcome, Some(settings.policy.max_running)))
}

fn simulated(args: &ArmsArgs, data: &Data, load: f64, load_of: LoadOf) -> Result<Setting, Failure> {
    let mut setting = Setting::new(load, load_of);
    for seed in 1..=u64::from(args.seeds) {
        let drawn = data.draw(&mix(args, load, load_of, seed))?;
        let arms = ARMS.map(|arm| simulate(arm, &drawn, args.slots));
        let mut figures = Vec::new();
        for summary in arms {
            figures.push(Figures::of(&summary?));
        }
        setting.add(&drawn, figures);
    }
    Ok(setting)
}

/// All arms of a load as real processes, beside the same in virtual time.
fn really(
    args: &ArmsArgs,
    data: &Data,
    load: f64,
    ledger: &Ledger,
    place: &Path,
) -> Result<Comparison, Failure> {
    let drawn = data.draw(&mix(args, load, LoadOf::Work, 1))?;
    let mut runs = Vec::new();
    for arm in ARMS {
        note::progress(&format!("load {load}: {} on a real node", arm.name));
        let simulated = Figures::of(&simulate(arm, &drawn, args.slots)?);
        let home = tempfile::tempdir_in(place).context("making a directory for a node")?;
        let real = real::run(arm, &drawn, args, ledger, home.path());
        let (summary, processes_left) = real.context(format!("{} at load {load}", arm.name))?;
        runs.push(RealRun {
            arm: arm.name,
            simulated,
            real: Figures::of(&summary),
            processes_left,
        });
    }
    note::done();
    Ok(Comparison { load, runs })
}
