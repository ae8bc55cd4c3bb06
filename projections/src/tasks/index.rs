//! The indexes over tasks: where each stands in its queue, what waits for what, when what expires.
//!
//! A task is taken out of them before it changes and put back after, so each index depends on the
//! task alone and on whether the tasks that it depends on have completed, which is for ever.

use ledger_core::ids::Seq;
use ledger_core::time::Timestamp;

use super::line::{Lane, Place};
use super::state::{Task, TaskState, Tasks, level};

/// How a task stands as far as those that depend on it are concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Promise {
    /// It may still complete.
    Open,
    /// It has completed.
    Kept,
    /// It has ended otherwise; only a person can change that.
    Broken,
}

impl Task {
    pub(super) fn promise(&self) -> Promise {
        match self.state {
            TaskState::Queued { .. }
            | TaskState::Running(_)
            | TaskState::Cancelling { .. }
            | TaskState::Undecided => Promise::Open,
            TaskState::Completed { .. } => Promise::Kept,
            TaskState::Cancelled { .. } | TaskState::Dead { .. } => Promise::Broken,
        }
    }
}

impl Tasks {
    /// The tasks that a task depends on and that have not completed.
    pub(super) fn unmet<'a>(&'a self, task: &'a Task) -> impl Iterator<Item = &'a Task> {
        let known = task.depends_on().iter().filter_map(|id| self.get(id));
        known.filter(|on| on.promise() != Promise::Kept)
    }

    /// Where a queued task stands, if it waits for no other task.
    pub(super) fn place(&self, task: &Task) -> Option<Place> {
        let TaskState::Queued {
            since,
            since_at,
            backoff_until,
            ..
        } = task.state
        else {
            return None;
        };
        if self.unmet(task).next().is_some() {
            return None;
        }
        let not_before = task.terms.as_deref().and_then(|terms| terms.not_before);
        let met = task.depends_on().iter().filter_map(|id| self.get(id));
        let met = met.filter_map(|on| match on.state {
            TaskState::Completed { at } => Some(at),
            _ => None,
        });
        let others = [not_before, backoff_until].into_iter().flatten().chain(met);
        Some(Place {
            ready_at: others.fold(since_at, Timestamp::max),
            since,
        })
    }

    fn lane(&mut self, seq: Seq) -> Lane {
        let none = Lane {
            rate: super::keys::Keys::NONE,
            concurrency: super::keys::Keys::NONE,
        };
        let Some(terms) = self.tasks.get(&seq).and_then(|task| task.terms.as_deref()) else {
            return none;
        };
        Lane {
            rate: self.keys.number(terms.rate_key.as_ref()),
            concurrency: self.keys.number(terms.concurrency_key.as_ref()),
        }
    }

    /// Puts a task into the indexes.
    pub(super) fn index(&mut self, seq: Seq) {
        let Some(task) = self.at(seq) else { return };
        let queue = level(task.priority);
        match &task.state {
            TaskState::Queued { .. } => {
                let expires = task.expires_at();
                let unmet = self.unmet(task).map(|on| (on.submitted, on.promise()));
                let unmet: Vec<_> = unmet.collect();
                match self.place(task) {
                    Some(place) => {
                        let lane = self.lane(seq);
                        self.lines[queue].insert(lane, place, seq);
                    }
                    None => self.dependent[queue] += 1,
                }
                for (on, promise) in unmet {
                    self.dependents.insert((on, seq));
                    if promise == Promise::Broken {
                        self.doomed.insert((seq, on));
                    }
                }
                self.expiries.extend(expires.map(|at| (at, seq)));
            }
            TaskState::Running(_) | TaskState::Cancelling { .. } => {
                let key = task.concurrency_key().cloned();
                self.open.insert(seq);
                self.open_in[queue] += 1;
                if let Some(key) = key {
                    *self.open_of.entry(key).or_default() += 1;
                }
            }
            TaskState::Undecided
            | TaskState::Completed { .. }
            | TaskState::Cancelled { .. }
            | TaskState::Dead { .. } => {}
        }
    }

    /// Takes a task out of the indexes.
    pub(super) fn unindex(&mut self, seq: Seq) {
        let Some(task) = self.at(seq) else { return };
        let queue = level(task.priority);
        match &task.state {
            TaskState::Queued { .. } => {
                let expires = task.expires_at();
                let unmet: Vec<_> = self.unmet(task).map(|on| on.submitted).collect();
                match self.place(task) {
                    Some(place) => {
                        let lane = self.lane(seq);
                        self.lines[queue].remove(lane, place);
                    }
                    None => self.dependent[queue] -= 1,
                }
                for on in unmet {
                    self.dependents.remove(&(on, seq));
                    self.doomed.remove(&(seq, on));
                }
                if let Some(at) = expires {
                    self.expiries.remove(&(at, seq));
                }
            }
            TaskState::Running(_) | TaskState::Cancelling { .. } => {
                let key = task.concurrency_key().cloned();
                self.open.remove(&seq);
                self.open_in[queue] -= 1;
                if let Some(key) = key
                    && let Some(count) = self.open_of.get_mut(&key)
                {
                    *count -= 1;
                    if *count == 0 {
                        self.open_of.remove(&key);
                    }
                }
            }
            TaskState::Undecided
            | TaskState::Completed { .. }
            | TaskState::Cancelled { .. }
            | TaskState::Dead { .. } => {}
        }
    }

    /// Tells those that depend on a task what has become of it.
    pub(super) fn promised(&mut self, seq: Seq, before: Promise) {
        let Some(now) = self.at(seq).map(Task::promise) else {
            return;
        };
        if now == before {
            return;
        }
        let waiting = (seq, Seq::ZERO)..=(seq, Seq(u64::MAX));
        let waiting: Vec<Seq> = self.dependents.range(waiting).map(|(_, by)| *by).collect();
        for by in waiting {
            match now {
                Promise::Kept => self.met(by, seq),
                Promise::Broken => {
                    self.doomed.insert((by, seq));
                }
                Promise::Open => {
                    self.doomed.remove(&(by, seq));
                }
            }
        }
    }

    /// One of the tasks that a queued task depends on has completed.
    fn met(&mut self, seq: Seq, on: Seq) {
        self.dependents.remove(&(on, seq));
        let Some(task) = self.at(seq) else { return };
        let queue = level(task.priority);
        if let Some(place) = self.place(task) {
            let lane = self.lane(seq);
            self.dependent[queue] -= 1;
            self.lines[queue].insert(lane, place, seq);
        }
    }
}
