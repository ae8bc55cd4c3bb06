//! What the arms came to, and how they stand to each other.

use std::collections::BTreeMap;

use ledger_core::time::Micros;
use opsledger::simulate::mix::{Drawn, LoadOf};
use opsledger::simulate::summary::Summary;
use serde::Serialize;

use super::ARMS;
use crate::comparison::median;

/// All of it.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    pub(super) slots: u32,
    /// The share of tasks that hang.
    pub(super) hung: f64,
    /// Limits are so many times the 99th percentile of the tool.
    pub(super) limit_factor: f64,
    /// Every figure is the median over so many seeds.
    pub(super) seeds: u32,
    /// Tasks, one for each arrival.
    pub(super) tasks: usize,
    /// Calls that are drawn from.
    pub(super) calls: usize,
    pub(super) limits_ms: BTreeMap<String, u64>,
    pub(super) settings: Vec<Setting>,
    /// Real time runs so many times faster than the trace's.
    pub(super) time_scale: f64,
    pub(super) real: Vec<Comparison>,
    pub(super) machine: Option<String>,
}

/// One load, in virtual time.
#[derive(Debug, Serialize)]
pub(super) struct Setting {
    pub(super) load: f64,
    pub(super) load_of: LoadOf,
    /// Of each seed.
    pub(super) draws: Vec<Draw>,
    /// Of each seed, the figures of each arm.
    pub(super) figures: Vec<Vec<Figures>>,
}

/// What a seed drew.
#[derive(Debug, Clone, Copy, Serialize)]
pub(super) struct Draw {
    pub(super) horizon_us: Micros,
    pub(super) mean_work_us: Micros,
    pub(super) mean_slots_us: Micros,
    pub(super) hung: usize,
}

/// What one arm came to.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Figures {
    /// Waits of each queue, seconds: median, 95th and 99th percentile.
    pub(super) waits_s: [[f64; 3]; 3],
    pub(super) unstarted: u64,
    pub(super) completed: u64,
    pub(super) throughput_per_s: f64,
    /// The share of slot time that hung or dead work held.
    pub(super) waste: f64,
    pub(super) busy: f64,
    /// Attempts that nothing will end.
    pub(super) leftover: u64,
}

/// An arm on a real node beside the same in virtual time.
#[derive(Debug, Serialize)]
pub(super) struct RealRun {
    pub(super) arm: &'static str,
    pub(super) simulated: Figures,
    pub(super) real: Figures,
    /// Processes that were there after the node had ended.
    pub(super) processes_left: usize,
}

/// All arms of a load on real nodes.
#[derive(Debug, Serialize)]
pub(super) struct Comparison {
    pub(super) load: f64,
    pub(super) runs: Vec<RealRun>,
}

fn seconds(time: Micros) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52 microseconds")]
    let seconds = time.0 as f64 / 1e6;
    seconds
}

impl Figures {
    pub(super) fn of(summary: &Summary) -> Self {
        let waits = |level: usize| {
            let wait = summary.queues[level].times.wait;
            [wait.p50_us, wait.p95_us, wait.p99_us].map(|at| seconds(at.unwrap_or_default()))
        };
        Self {
            waits_s: [waits(0), waits(1), waits(2)],
            unstarted: summary.all.unstarted,
            completed: summary.ends.completed,
            throughput_per_s: summary.throughput_per_s,
            waste: summary.waste_share.unwrap_or_default(),
            busy: summary.busy_share().unwrap_or_default(),
            leftover: summary.leftover,
        }
    }
}

/// Median, least and most over seeds.
#[derive(Debug, Clone, Copy)]
pub(super) struct Over {
    pub(super) median: f64,
    pub(super) least: f64,
    pub(super) most: f64,
}

impl Setting {
    pub(super) fn new(load: f64, load_of: LoadOf) -> Self {
        Self {
            load,
            load_of,
            draws: Vec::new(),
            figures: Vec::new(),
        }
    }

    pub(super) fn add(&mut self, drawn: &Drawn, figures: Vec<Figures>) {
        self.draws.push(Draw {
            horizon_us: drawn.span,
            mean_work_us: drawn.mean_work,
            mean_slots_us: drawn.mean_slots,
            hung: drawn.hung,
        });
        self.figures.push(figures);
    }

    /// The median over seeds of what was drawn.
    pub(super) fn drawn(&self, of: impl Fn(&Draw) -> f64) -> f64 {
        median(&self.draws.iter().map(of).collect::<Vec<_>>())
    }

    /// A figure of an arm over all seeds.
    pub(super) fn figure(&self, arm: usize, of: impl Fn(&Figures) -> f64) -> Over {
        self.over(|figures| of(&figures[arm]))
    }

    /// How a figure of an arm stands to that of another, seed by seed.
    pub(super) fn ratio(&self, arm: usize, to: usize, of: impl Fn(&Figures) -> f64) -> Over {
        self.over(|figures| {
            let (ours, theirs) = (of(&figures[arm]), of(&figures[to]));
            // Of nothing there is no share.
            if theirs > 0.0 {
                ours / theirs
            } else {
                f64::NAN
            }
        })
    }

    fn over(&self, of: impl Fn(&[Figures]) -> f64) -> Over {
        let all: Vec<f64> = self.figures.iter().map(|figures| of(figures)).collect();
        Over {
            median: median(&all),
            least: all.iter().copied().fold(f64::INFINITY, f64::min),
            most: all.iter().copied().fold(f64::NEG_INFINITY, f64::max),
        }
    }
}

impl Report {
    /// Whether nothing is left over where it should not be. The order of every simulation was checked
    /// when it was made.
    pub(super) fn is_sound(&self) -> bool {
        let reaped = |arm: usize| ARMS[arm].name.ends_with("+reaper");
        let clean = |figures: &Vec<Figures>| {
            let arms = figures.iter().enumerate();
            arms.filter(|(arm, _)| reaped(*arm))
                .all(|(_, f)| f.leftover == 0)
        };
        let runs = || self.real.iter().flat_map(|c| &c.runs);
        self.settings.iter().all(|s| s.figures.iter().all(clean))
            && runs().all(|run| run.processes_left == 0)
    }
}
