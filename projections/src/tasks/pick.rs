//! What may be started next, and when something may: questions of whoever knows the time and the
//! limits, answered without looking through the queues.

use ledger_core::event::Priority;
use ledger_core::ids::Id;
use ledger_core::time::Timestamp;

use super::line::{Lane, Place};
use super::state::{Task, TaskState, Tasks, level};

/// What holds keys: configuration, and what runs.
pub trait Gates {
    /// From when on the next task of this rate key may be started.
    fn rate_opens(&self, key: &Id) -> Timestamp;

    /// Whether another task of this concurrency key may run.
    fn has_room(&self, key: &Id) -> bool;
}

/// How many tasks of a queue wait for what.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Standing {
    /// Wait for other tasks.
    pub dependent: usize,
    /// Wait for their time: not before, or the pause between attempts.
    pub early: usize,
    /// Wait for a rate or a concurrency key.
    pub keyed: usize,
    /// Could be started.
    pub ready: usize,
}

impl Tasks {
    /// The task of a queue that is to be started first of those that may be started.
    pub fn first_ready(
        &self,
        queue: Priority,
        now: Timestamp,
        gates: &impl Gates,
    ) -> Option<(Place, &Task)> {
        let line = &self.lines[level(queue)];
        let mut best: Option<(Place, Lane)> = None;
        let better = |place: Place, best: Option<(Place, Lane)>| {
            place.ready_at <= now && best.is_none_or(|(found, _)| place < found)
        };
        for (first, rate) in line.rates() {
            if !better(first, best) {
                break;
            }
            if self.rate_opens(rate, gates) > now {
                continue;
            }
            let mut fronts = line
                .fronts(rate)
                .take_while(|(place, _)| better(*place, best));
            let free = fronts.find(|(_, concurrency)| self.has_room(*concurrency, gates));
            if let Some((place, concurrency)) = free {
                best = Some((place, Lane { rate, concurrency }));
            }
        }
        let (place, lane) = best?;
        let task = line.task(lane, place)?;
        Some((place, self.at(task)?))
    }

    /// When the first task of a queue may be started, if time alone decides that: `now` if one may be
    /// at once.
    pub fn next_ready(
        &self,
        queue: Priority,
        now: Timestamp,
        gates: &impl Gates,
    ) -> Option<Timestamp> {
        let line = &self.lines[level(queue)];
        let mut next: Option<Timestamp> = None;
        for (first, rate) in line.rates() {
            if next.is_some_and(|next| first.ready_at >= next) {
                break;
            }
            let opens = self.rate_opens(rate, gates);
            let mut fronts = line.fronts(rate);
            let free = fronts.find(|(_, concurrency)| self.has_room(*concurrency, gates));
            let Some((place, _)) = free else { continue };
            let due = place.ready_at.max(opens);
            if due <= now {
                return Some(now);
            }
            next = Some(next.map_or(due, |next| next.min(due)));
        }
        next
    }

    /// Whether and from when a rate key lets its next task through.
    fn rate_opens(&self, rate: super::line::Key, gates: &impl Gates) -> Timestamp {
        let key = self.keys.name(rate);
        key.map_or(Timestamp(0), |key| gates.rate_opens(key))
    }

    fn has_room(&self, concurrency: super::line::Key, gates: &impl Gates) -> bool {
        let key = self.keys.name(concurrency);
        key.is_none_or(|key| gates.has_room(key))
    }

    /// How many tasks of a queue stand before a queued one, whatever they wait for; nothing if it
    /// waits for other tasks.
    pub fn position(&self, task: &Task) -> Option<usize> {
        let place = self.place(task)?;
        Some(self.lines[level(task.priority)].before(place))
    }

    /// When a queued task could first be started, as far as it alone is concerned; nothing if it
    /// waits for other tasks.
    pub fn ready_at(&self, task: &Task) -> Option<Timestamp> {
        self.place(task).map(|place| place.ready_at)
    }

    /// The first task that a queued one waits for.
    pub fn waits_for<'a>(&'a self, task: &'a Task) -> Option<&'a Task> {
        match task.state {
            TaskState::Queued { .. } => self.unmet(task).next(),
            TaskState::Running(_)
            | TaskState::Cancelling { .. }
            | TaskState::Undecided
            | TaskState::Completed { .. }
            | TaskState::Cancelled { .. }
            | TaskState::Dead { .. } => None,
        }
    }

    /// The first task that has expired while it waited.
    pub fn first_expired(&self, now: Timestamp) -> Option<&Task> {
        let (at, seq) = self.expiries.first()?;
        self.at(*seq).filter(|_| *at <= now)
    }

    /// When the next task expires.
    pub fn next_expiry(&self) -> Option<Timestamp> {
        self.expiries.first().map(|(at, _)| *at)
    }

    /// A queued task that depends on one that ended without completing, and that one.
    pub fn first_doomed(&self) -> Option<(&Task, &Task)> {
        let (seq, on) = self.doomed.first()?;
        Some((self.at(*seq)?, self.at(*on)?))
    }

    /// How many tasks of a queue wait for what. Walks over the tasks of rate keys that are held.
    pub fn standing(&self, queue: Priority, now: Timestamp, gates: &impl Gates) -> Standing {
        let line = &self.lines[level(queue)];
        let ready = line.ready(now);
        let held = line.rates().map(|(_, rate)| {
            if self.rate_opens(rate, gates) > now {
                return line.ready_in(rate, now);
            }
            let full = line
                .fronts(rate)
                .filter(|(_, key)| !self.has_room(*key, gates));
            full.map(|(_, key)| line.ready_in_lane(rate, key, now))
                .sum()
        });
        let keyed: usize = held.sum();
        Standing {
            dependent: self.dependent[level(queue)],
            early: line.len() - ready,
            keyed,
            ready: ready - keyed,
        }
    }
}
