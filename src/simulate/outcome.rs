//! What came of a workload, simulated or real, as the summary reads it.

use ledger_core::event::Priority;
use ledger_core::time::{Micros, Timestamp};

/// What became of a workload from its first arrival to the horizon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// The first arrival.
    pub begin: Timestamp,
    /// The horizon.
    pub end: Timestamp,
    /// Every task that arrived by then, in the order of arrival.
    pub tasks: Vec<Fate>,
    /// Every attempt that was started by then, in that order.
    pub spells: Vec<Spell>,
}

/// What became of a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fate {
    /// Its number among all that are there.
    pub task: usize,
    /// The queue it is for.
    pub queue: Priority,
    /// When it was handed over.
    pub arrival: Timestamp,
    /// How long it waited for its first start, from when it could have been started.
    pub wait: Wait,
    /// When it was first started.
    pub started: Option<Timestamp>,
    /// When and how it ended.
    pub ended: Option<(Timestamp, Ending)>,
}

/// A wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    /// It is over.
    Was(Micros),
    /// It was not over at the horizon, and so long by then.
    Still(Micros),
    /// It never could have been started, or was taken back before it was.
    None,
}

impl Wait {
    /// How long it was, as far as it can be told.
    pub fn known(self) -> Option<Micros> {
        match self {
            Self::Was(wait) | Self::Still(wait) => Some(wait),
            Self::None => None,
        }
    }
}

/// How a task ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// Well.
    Completed,
    /// At somebody's wish.
    Cancelled,
    /// In the dead-letter queue.
    Dead,
    /// It was refused when it was handed over: what it depends on had failed by then.
    Refused,
}

/// An attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spell {
    /// The number of its task, as in [`Fate::task`].
    pub task: usize,
    /// When it was started.
    pub started: Timestamp,
    /// When its slot was free again, if that was before the horizon.
    pub ended: Option<Timestamp>,
    /// What its slot was held by.
    pub held_by: HeldBy,
}

/// What a slot is held by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeldBy {
    /// Work that comes or came to an end of its own.
    Work,
    /// Work that was cancelled.
    Unwanted,
    /// Work that had to be ended: at its limit, or because it stood still.
    Overdue,
    /// Work that never ends and that nothing ends.
    Hung,
    /// Work that was gone without an outcome.
    Dead,
}

impl Outcome {
    /// The same as it was seen at `end`, if that lies before its own. A task that was taken back later
    /// without having been started counts as having waited since it arrived.
    #[must_use]
    pub fn cut(mut self, end: Timestamp) -> Self {
        let end = end.min(self.end);
        self.end = end;
        self.tasks.retain(|task| task.arrival <= end);
        self.spells.retain(|spell| spell.started <= end);
        for task in &mut self.tasks {
            let went_later = task.ended.is_some_and(|(at, _)| at > end);
            task.ended = task.ended.filter(|(at, _)| *at <= end);
            task.wait = match (task.wait, task.started) {
                (Wait::Was(wait), Some(start)) if start > end => {
                    let ready_at = start.0.saturating_sub(wait.0);
                    if ready_at <= end.0 {
                        Wait::Still(end.since(Timestamp(ready_at)))
                    } else {
                        Wait::None
                    }
                }
                (Wait::None, None) if went_later => Wait::Still(end.since(task.arrival)),
                (Wait::Still(_), None) => Wait::Still(end.since(task.arrival)),
                (wait, _) => wait,
            };
            task.started = task.started.filter(|at| *at <= end);
        }
        for spell in &mut self.spells {
            spell.ended = spell.ended.filter(|at| *at <= end);
        }
        self
    }
}

impl HeldBy {
    /// Whether the slot was of no use to anybody.
    pub fn is_waste(self) -> bool {
        match self {
            Self::Work | Self::Unwanted => false,
            Self::Overdue | Self::Hung | Self::Dead => true,
        }
    }
}
