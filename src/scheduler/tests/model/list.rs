//! The model: a list of tasks, looked through from end to end for every question.

use std::collections::{BTreeMap, BTreeSet};

use ledger_core::time::{Micros, Millis};

use super::super::super::policy::{Policy, QueuePolicy, Rate};
use super::super::{World, id};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    Waits,
    Runs,
    Cancelling,
    Completed(u64),
    Cancelled,
    Dead,
}

#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) queue: usize,
    pub(super) stage: Stage,
    /// Since when it waits in its queue, and the event that put it there.
    pub(super) since: (u64, u64),
    pub(super) pause_until: u64,
    pub(super) not_before: u64,
    pub(super) expires: Option<u64>,
    pub(super) depends_on: Option<usize>,
    pub(super) max_attempts: u32,
    pub(super) rated: bool,
    pub(super) concurrency: Option<u8>,
    pub(super) failed: u32,
    pub(super) lost: u32,
    pub(super) attempt: u32,
}

/// A bucket as one would build it by hand.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bucket {
    /// Microseconds' worth of tokens.
    pub(super) filled: u64,
    pub(super) at: u64,
    pub(super) held_until: u64,
}

pub(super) const INTERVAL: u64 = 2_000_000;
pub(super) const BURST: u64 = 2;
pub(super) const BOOST: [u64; 3] = [0, 10_000_000, 60_000_000];
pub(super) const QUANTUM: [u64; 2] = [2_000_000, 10_000_000];

pub(super) struct Model {
    pub(super) max_running: usize,
    pub(super) tasks: Vec<Entry>,
    pub(super) paused: BTreeSet<usize>,
    pub(super) bucket: Bucket,
}

pub(super) fn policy(max_running: usize) -> Policy {
    let millis = |us: u64| Some(Millis(us / 1000));
    let queue = |n: usize| QueuePolicy {
        max_running: (n == 1).then_some(2),
        boost_after: millis(BOOST[n]).filter(|_| n > 0),
        quantum: QUANTUM.get(n).and_then(|us| millis(*us)),
    };
    let rate = Rate {
        interval: Micros(INTERVAL),
        burst: u32::try_from(BURST).unwrap(),
    };
    Policy {
        max_running,
        queues: [queue(0), queue(1), queue(2)],
        rates: BTreeMap::from([(id("rate"), rate)]),
        concurrency: BTreeMap::from([(id("c1"), 2)]),
        ..Policy::default()
    }
}

impl Model {
    pub(super) fn new(max_running: usize) -> Self {
        Self {
            max_running,
            tasks: Vec::new(),
            paused: BTreeSet::new(),
            bucket: Bucket {
                filled: BURST * INTERVAL,
                at: 0,
                held_until: 0,
            },
        }
    }

    pub(super) fn pick(&self, n: usize, of: impl Fn(&Entry) -> bool) -> Option<usize> {
        let found: Vec<usize> = (0..self.tasks.len())
            .filter(|&t| of(&self.tasks[t]))
            .collect();
        (!found.is_empty()).then(|| found[n % found.len()])
    }

    pub(super) fn open(&self) -> impl Iterator<Item = &Entry> {
        let open = |t: &&Entry| matches!(t.stage, Stage::Runs | Stage::Cancelling);
        self.tasks.iter().filter(open)
    }

    /// When a task that waits for no other could be started.
    pub(super) fn ready_at(&self, task: &Entry) -> Option<u64> {
        let met = match task.depends_on.map(|on| self.tasks[on].stage) {
            None => 0,
            Some(Stage::Completed(at)) => at,
            Some(_) => return None,
        };
        Some(
            task.since
                .0
                .max(task.pause_until)
                .max(task.not_before)
                .max(met),
        )
    }

    pub(super) fn tokens(&self, now: u64) -> u64 {
        (self.bucket.filled + (now - self.bucket.at)).min(BURST * INTERVAL)
    }

    /// Whether the keys of a task let it through.
    pub(super) fn keys_open(&self, task: &Entry, now: u64) -> bool {
        let rate = !task.rated || (self.tokens(now) >= INTERVAL && self.bucket.held_until <= now);
        let used = |key: u8| self.open().filter(|t| t.concurrency == Some(key)).count();
        rate && task
            .concurrency
            .is_none_or(|key| used(key) <= usize::from(key))
    }

    pub(super) fn has_room(&self, queue: usize) -> bool {
        let open = self.open().count();
        let others = self.open().filter(|t| t.queue > 0).count();
        let kept = usize::from(self.max_running > 1);
        open < self.max_running
            && (queue == 0 || kept == 0 || others < self.max_running - kept)
            && (queue != 1 || self.open().filter(|t| t.queue == 1).count() < 2)
    }

    /// Level, when it came there, and by how much it was raised: step by step.
    pub(super) fn urgency(&self, queue: usize, ready_at: u64, now: u64) -> (usize, u64, u8) {
        let (mut level, mut entered, mut raised) = (queue, ready_at, 0);
        while level > 0 && entered + BOOST[queue] <= now {
            (level, entered, raised) = (level - 1, entered + BOOST[queue], raised + 1);
        }
        (level, entered, raised)
    }

    pub(super) fn may_start(&self, task: &Entry, now: u64) -> bool {
        task.stage == Stage::Waits
            && !self.paused.contains(&task.queue)
            && self.ready_at(task).is_some_and(|at| at <= now)
            && self.keys_open(task, now)
            && self.has_room(task.queue)
    }

    /// All that may be started, the most urgent first.
    pub(super) fn startable(&self, now: u64) -> Vec<(usize, u64, u64, u8, usize)> {
        let may = self
            .tasks
            .iter()
            .enumerate()
            .filter(|(_, t)| self.may_start(t, now));
        let mut all: Vec<_> = may
            .map(|(n, t)| {
                let ready_at = self.ready_at(t).unwrap();
                let (level, entered, raised) = self.urgency(t.queue, ready_at, now);
                (level, entered, t.since.1, raised, n)
            })
            .collect();
        all.sort_unstable();
        all
    }

    /// Who waits for what will never be.
    pub(super) fn perishing(&self, now: u64) -> BTreeSet<usize> {
        let broken = |t: &Entry| {
            let on = t.depends_on.map(|on| self.tasks[on].stage);
            matches!(on, Some(Stage::Dead | Stage::Cancelled))
        };
        let perishes = |t: &Entry| broken(t) || t.expires.is_some_and(|at| at <= now);
        let waits = |n: &usize| self.tasks[*n].stage == Stage::Waits;
        let all = (0..self.tasks.len()).filter(waits);
        all.filter(|&n| perishes(&self.tasks[n])).collect()
    }

    pub(super) fn requeue(&mut self, n: usize, world: &World) {
        let task = &mut self.tasks[n];
        task.stage = Stage::Waits;
        task.since = (world.clock, world.seq);
        task.pause_until = 0;
        task.attempt += 1;
    }
}
