//! What the operator has decided: how much runs at once, how long waiting counts, which keys are
//! limited. Configuration, not history: where a decision rests on it, the event says what came out.

use std::collections::BTreeMap;

use ledger_core::event::{Priority, RateUse};
use ledger_core::ids::Id;
use ledger_core::time::{Micros, Millis, Timestamp};
use projections::tasks::{Gates, RateState, Tasks};

/// The rules of dispatch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// Attempts at once.
    pub max_running: usize,
    /// The three queues, most urgent first.
    pub queues: [QueuePolicy; 3],
    /// Rate keys that are limited.
    pub rates: BTreeMap<Id, Rate>,
    /// How many tasks of a concurrency key run at once; [`DEFAULT_CONCURRENCY`] of those that are
    /// not here.
    pub concurrency: BTreeMap<Id, usize>,
    /// The pause after an attempt that failed.
    pub backoff: BackoffPolicy,
}

/// How many tasks of a concurrency key run at once if nothing is configured: such a key is there to
/// keep tasks out of each other's way.
pub const DEFAULT_CONCURRENCY: usize = 1;

/// The rules of one queue.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct QueuePolicy {
    /// Attempts of its tasks at once, if there is a limit of its own.
    pub max_running: Option<usize>,
    /// How long a task waits before it counts as one queue more urgent, and again for the next.
    pub boost_after: Option<Millis>,
    /// How long an attempt may run before the next is of a less urgent queue.
    pub quantum: Option<Millis>,
}

/// A token bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Time in which one token comes back.
    pub interval: Micros,
    /// How many it holds.
    pub burst: u32,
}

/// Exponential backoff.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BackoffPolicy {
    /// The longest pause after the first failure; doubled with each that follows.
    pub base: Millis,
    /// The longest pause of all.
    pub cap: Millis,
}

impl Default for BackoffPolicy {
    fn default() -> Self {
        Self {
            base: Millis(1000),
            cap: Millis(300_000),
        }
    }
}

impl Default for Policy {
    fn default() -> Self {
        let queue = |boost_after, quantum| QueuePolicy {
            max_running: None,
            boost_after,
            quantum,
        };
        let minute = Some(Millis(60_000));
        Self {
            max_running: 4,
            queues: [
                queue(None, Some(Millis(2_000))),
                queue(minute, Some(Millis(10_000))),
                queue(minute, None),
            ],
            rates: BTreeMap::new(),
            concurrency: BTreeMap::new(),
            backoff: BackoffPolicy::default(),
        }
    }
}

/// How urgent a waiting task is: the least is started first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Urgency {
    /// The queue that it counts as.
    pub level: u8,
    /// When it came to count as that.
    pub entered: Timestamp,
}

impl Policy {
    /// The rules of a queue.
    pub fn queue(&self, queue: Priority) -> &QueuePolicy {
        &self.queues[usize::from(queue.level())]
    }

    /// How urgent a task of this queue is that has waited since `ready_at`, and by how many queues
    /// its wait has raised it.
    pub fn urgency(&self, queue: Priority, ready_at: Timestamp, now: Timestamp) -> (Urgency, u8) {
        let level = queue.level();
        let none = Urgency {
            level,
            entered: ready_at,
        };
        let Some(Millis(after)) = self.queue(queue).boost_after.filter(|d| d.0 > 0) else {
            return (none, 0);
        };
        let periods = now.since(ready_at).0 / after.saturating_mul(1000);
        let raised = u8::try_from(periods).unwrap_or(u8::MAX).min(level);
        let urgency = Urgency {
            level: level - raised,
            entered: ready_at.plus(Millis(after.saturating_mul(u64::from(raised)))),
        };
        (urgency, raised)
    }

    /// Whether the node and the queue have room for another attempt of this queue.
    ///
    /// One slot is kept for tasks *of* queue 0. One that waiting has raised to it does not count: a
    /// node full of long background work that had waited would lock health checks out just the same.
    pub fn has_room(&self, tasks: &Tasks, queue: Priority) -> bool {
        let (all, interactive) = (tasks.open_count(), tasks.open_in(Priority::Interactive));
        let kept = usize::from(queue != Priority::Interactive && self.max_running > 1);
        let others = if kept > 0 { all - interactive } else { all };
        let limit = self.queue(queue).max_running;
        all < self.max_running
            && others < self.max_running - kept
            && limit.is_none_or(|limit| tasks.open_in(queue) < limit)
    }

    /// The limits of keys over these tasks.
    pub fn gates<'a>(&'a self, tasks: &'a Tasks) -> KeyGates<'a> {
        KeyGates {
            policy: self,
            tasks,
        }
    }

    /// What a start takes from the bucket of its rate key, if that has one.
    pub fn rate_use(&self, tasks: &Tasks, key: Option<&Id>, now: Timestamp) -> Option<RateUse> {
        let key = key?;
        let rate = self.rates.get(key)?;
        let full_at = tasks.rate(key).full_at.max(now);
        Some(RateUse {
            key: key.clone(),
            full_at: Timestamp(full_at.0.saturating_add(rate.interval.0)).min(Timestamp::MAX),
        })
    }
}

impl Rate {
    /// From when on the bucket has a token. The moment at which it is full says all of it: each
    /// token that is missing moves that moment by one interval (the generic cell rate algorithm).
    fn opens(self, state: RateState) -> Timestamp {
        let all_but_one = u64::from(self.burst.saturating_sub(1)).saturating_mul(self.interval.0);
        Timestamp(state.full_at.0.saturating_sub(all_but_one))
    }
}

/// [`Gates`] by configuration and folded state.
#[derive(Debug, Clone, Copy)]
pub struct KeyGates<'a> {
    policy: &'a Policy,
    tasks: &'a Tasks,
}

impl Gates for KeyGates<'_> {
    fn rate_opens(&self, key: &Id) -> Timestamp {
        let state = self.tasks.rate(key);
        let rate = self.policy.rates.get(key);
        let bucket = rate.map_or(Timestamp(0), |rate| rate.opens(state));
        bucket.max(state.held_until)
    }

    fn has_room(&self, key: &Id) -> bool {
        let limit = self.policy.concurrency.get(key).copied();
        self.tasks.open_of(key) < limit.unwrap_or(DEFAULT_CONCURRENCY)
    }
}
