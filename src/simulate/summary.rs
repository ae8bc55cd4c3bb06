//! What came of a workload in a few numbers; [`crate::docs::simulation`] defines each.

use ledger_core::event::Priority;
use ledger_core::time::{Micros, Timestamp};
use serde::Serialize;

use super::outcome::{Ending, Fate, HeldBy, Outcome, Spell, Wait};

/// All of it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Summary {
    /// Slots; absent if they are not known.
    pub slots: Option<usize>,
    /// From the first arrival to the horizon.
    pub horizon_us: Micros,
    /// Tasks that arrived by then.
    pub tasks: u64,
    /// How they ended.
    pub ends: Ends,
    /// Tasks that completed, a second.
    pub throughput_per_s: f64,
    /// Slot time that was used for anything.
    pub busy_us: Micros,
    /// Slot time held by work that hung or was gone.
    pub waste_us: Micros,
    /// The same as a share of all slot time; absent if slots are not known.
    pub waste_share: Option<f64>,
    /// Attempts that run on at the horizon and that nothing will end.
    pub leftover: u64,
    /// The queues, most urgent first, by what tasks are for.
    pub queues: Vec<Queue>,
    /// All tasks.
    pub all: Times,
}

/// How tasks ended by the horizon.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Ends {
    /// Well.
    pub completed: u64,
    /// In the dead-letter queue.
    pub dead: u64,
    /// At somebody's wish.
    pub cancelled: u64,
    /// They could not be handed over: what they depend on had failed.
    pub refused: u64,
    /// Not at all: they wait or run.
    pub unended: u64,
}

/// A queue's tasks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Queue {
    /// Which.
    pub queue: Priority,
    /// Their times.
    #[serde(flatten)]
    pub times: Times,
}

/// Times of tasks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Times {
    /// Tasks.
    pub tasks: u64,
    /// Of those, not yet started: their waits count as long as they were by the horizon.
    pub unstarted: u64,
    /// Waits for the first start.
    pub wait: Spread,
    /// From arrival to completion, of those that completed.
    pub turnaround: Spread,
}

/// Durations by their percentiles (nearest rank, exact).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Spread {
    /// How many.
    pub count: u64,
    /// Half are at most as long; absent if there are none.
    pub p50_us: Option<Micros>,
    /// 95 of 100 are.
    pub p95_us: Option<Micros>,
    /// 99 of 100 are.
    pub p99_us: Option<Micros>,
    /// The longest.
    pub max_us: Option<Micros>,
}

impl Spread {
    /// Of these durations.
    pub fn of(mut durations: Vec<Micros>) -> Self {
        durations.sort_unstable();
        let at = |percent| percentile(&durations, percent);
        Self {
            count: count(durations.len()),
            p50_us: at(50),
            p95_us: at(95),
            p99_us: at(99),
            max_us: durations.last().copied(),
        }
    }
}

/// The duration that `percent` (1 to 100) of all are not longer than; `None` if there are none.
pub fn percentile(sorted: &[Micros], percent: usize) -> Option<Micros> {
    let rank = sorted.len().saturating_mul(percent).div_ceil(100);
    sorted.get(rank.max(1) - 1).copied()
}

impl Summary {
    /// Sums up what came of a workload on so many slots.
    pub fn of(outcome: &Outcome, slots: Option<usize>) -> Self {
        let horizon = outcome.end.since(outcome.begin);
        let held = |spell: &Spell| spell.ended.unwrap_or(outcome.end).since(spell.started).0;
        let wasted = outcome.spells.iter().filter(|s| s.held_by.is_waste());
        let waste: u64 = wasted.map(held).sum();
        let ends = ends(&outcome.tasks, outcome.end);
        let left = |s: &&Spell| s.held_by == HeldBy::Hung && s.ended.is_none();
        Self {
            slots,
            horizon_us: horizon,
            tasks: count(outcome.tasks.len()),
            ends,
            throughput_per_s: share(ends.completed, horizon.0) * 1e6,
            busy_us: Micros(outcome.spells.iter().map(held).sum()),
            waste_us: Micros(waste),
            waste_share: slots.map(|slots| share(waste, horizon.0.saturating_mul(count(slots)))),
            leftover: count(outcome.spells.iter().filter(left).count()),
            queues: Priority::ALL
                .into_iter()
                .map(|queue| Queue {
                    queue,
                    times: times(outcome.tasks.iter().filter(|task| task.queue == queue)),
                })
                .collect(),
            all: times(outcome.tasks.iter()),
        }
    }

    /// Busy slot time as a share of all slot time.
    pub fn busy_share(&self) -> Option<f64> {
        let all = |slots: usize| self.horizon_us.0.saturating_mul(count(slots));
        Some(share(self.busy_us.0, all(self.slots?)))
    }
}

fn count(n: usize) -> u64 {
    u64::try_from(n).unwrap_or(u64::MAX)
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a ratio for people; times are below 2^53 µs"
)]
fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 {
        0.0
    } else {
        part as f64 / whole as f64
    }
}

fn ends(tasks: &[Fate], end: Timestamp) -> Ends {
    let mut ends = Ends::default();
    for task in tasks {
        let of = match task.ended.filter(|(at, _)| *at <= end) {
            None => &mut ends.unended,
            Some((_, Ending::Completed)) => &mut ends.completed,
            Some((_, Ending::Cancelled)) => &mut ends.cancelled,
            Some((_, Ending::Dead)) => &mut ends.dead,
            Some((_, Ending::Refused)) => &mut ends.refused,
        };
        *of += 1;
    }
    ends
}

fn times<'f>(tasks: impl Iterator<Item = &'f Fate> + Clone) -> Times {
    let completed = |task: &Fate| match task.ended {
        Some((at, Ending::Completed)) => Some(at.since(task.arrival)),
        _ => None,
    };
    let still = |task: &&Fate| matches!(task.wait, Wait::Still(_));
    Times {
        tasks: count(tasks.clone().count()),
        unstarted: count(tasks.clone().filter(still).count()),
        wait: Spread::of(tasks.clone().filter_map(|task| task.wait.known()).collect()),
        turnaround: Spread::of(tasks.filter_map(completed).collect()),
    }
}
