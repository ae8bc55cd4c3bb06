//! One queue: its tasks in the order in which they may be started, by the keys that they share with
//! others.
//!
//! A task stands at its [`Place`]: from when it could have been started, then by the event that
//! queued it. Tasks whose time has not come stand behind all that wait, so the first of a line is
//! also the next to become due, and nothing has to look through the others.
//!
//! A rate key that has to wait, or a concurrency key that is in use, holds all tasks of that key and
//! no other. So tasks of the same two keys share a lane, and only the first of each lane counts:
//!
//! ```text
//! order:   first place of each rate key ──> rate key
//! fronts:  rate key, first place of each lane ──> concurrency key
//! waiting: rate key, concurrency key, place ──> task
//! ```
//! Looking for the first task that may run passes over keys that are held, never over tasks.

use std::collections::BTreeMap;

use ledger_core::ids::Seq;
use ledger_core::time::Timestamp;

use super::counted::Counted;

/// Where a task stands in its queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// When it could first be started, as far as it alone is concerned.
    pub ready_at: Timestamp,
    /// The event that queued it.
    pub since: Seq,
}

impl Place {
    const FIRST: Self = Self {
        ready_at: Timestamp(0),
        since: Seq(0),
    };
    const LAST: Self = Self {
        ready_at: Timestamp(u64::MAX),
        since: Seq(u64::MAX),
    };
}

/// A key by the number it is known under; see [`super::keys::Keys`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key(pub(super) u32);

/// The keys that a task shares with others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Lane {
    pub(super) rate: Key,
    pub(super) concurrency: Key,
}

/// One queue's tasks.
#[derive(Debug, Clone, Default)]
pub(super) struct Line {
    places: Counted,
    waiting: BTreeMap<(Lane, Place), Seq>,
    fronts: BTreeMap<(Key, Place), Key>,
    order: BTreeMap<Place, Key>,
}

impl Line {
    pub(super) fn len(&self) -> usize {
        self.places.len()
    }

    /// How many stand before a place.
    pub(super) fn before(&self, place: Place) -> usize {
        self.places.before(place)
    }

    /// How many could be started by `now`, as far as they alone are concerned.
    pub(super) fn ready(&self, now: Timestamp) -> usize {
        self.places.before(Place {
            ready_at: Timestamp(now.0.saturating_add(1)),
            since: Seq(0),
        })
    }

    pub(super) fn insert(&mut self, lane: Lane, place: Place, task: Seq) {
        self.places.insert(place);
        self.change(lane, |waiting| {
            waiting.insert((lane, place), task);
        });
    }

    pub(super) fn remove(&mut self, lane: Lane, place: Place) {
        self.places.remove(place);
        self.change(lane, |waiting| {
            waiting.remove(&(lane, place));
        });
    }

    /// Changes a lane and keeps the two levels above true to it.
    fn change(&mut self, lane: Lane, change: impl FnOnce(&mut BTreeMap<(Lane, Place), Seq>)) {
        let (front, first) = (self.front_of_lane(lane), self.front_of_rate(lane.rate));
        change(&mut self.waiting);
        let front_now = self.front_of_lane(lane);
        if front == front_now {
            return;
        }
        if let Some(place) = front {
            self.fronts.remove(&(lane.rate, place));
        }
        if let Some(place) = front_now {
            self.fronts.insert((lane.rate, place), lane.concurrency);
        }
        let first_now = self.front_of_rate(lane.rate);
        if first != first_now {
            if let Some(place) = first {
                self.order.remove(&place);
            }
            if let Some(place) = first_now {
                self.order.insert(place, lane.rate);
            }
        }
    }

    fn front_of_lane(&self, lane: Lane) -> Option<Place> {
        let lane = (lane, Place::FIRST)..=(lane, Place::LAST);
        let ((_, place), _) = self.waiting.range(lane).next()?;
        Some(*place)
    }

    fn front_of_rate(&self, rate: Key) -> Option<Place> {
        self.fronts(rate).next().map(|(place, _)| place)
    }

    /// The first place of each rate key, in order.
    pub(super) fn rates(&self) -> impl Iterator<Item = (Place, Key)> {
        self.order.iter().map(|(place, rate)| (*place, *rate))
    }

    /// The first place of each lane of a rate key, in order, with its concurrency key.
    pub(super) fn fronts(&self, rate: Key) -> impl Iterator<Item = (Place, Key)> {
        self.fronts
            .range((rate, Place::FIRST)..=(rate, Place::LAST))
            .map(|((_, place), concurrency)| (*place, *concurrency))
    }

    /// The task at a place.
    pub(super) fn task(&self, lane: Lane, place: Place) -> Option<Seq> {
        self.waiting.get(&(lane, place)).copied()
    }

    /// How many tasks of a rate key could be started by `now`, as far as they alone are concerned.
    /// Costs a walk over them.
    pub(super) fn ready_in(&self, rate: Key, now: Timestamp) -> usize {
        self.count(rate, Key(0), Key(u32::MAX), now)
    }

    /// The same of one lane.
    pub(super) fn ready_in_lane(&self, rate: Key, concurrency: Key, now: Timestamp) -> usize {
        self.count(rate, concurrency, concurrency, now)
    }

    fn count(&self, rate: Key, from: Key, to: Key, now: Timestamp) -> usize {
        let edge = |concurrency| Lane { rate, concurrency };
        let range = (edge(from), Place::FIRST)..=(edge(to), Place::LAST);
        let places = self.waiting.range(range).map(|((_, place), _)| place);
        places.filter(|place| place.ready_at <= now).count()
    }
}
