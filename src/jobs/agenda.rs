//! Which job is due next: a sorted shadow of the folded jobs, made anew whenever they differ.

use std::collections::{BTreeMap, BTreeSet};

use ledger_core::ids::{Id, Seq};
use ledger_core::time::Timestamp;
use projections::jobs::{Job, JobState, Jobs};

use super::timetable::Timetable;

/// What an entry was made from.
type Basis = (Option<Seq>, JobState, Timestamp);

struct Entry {
    basis: Basis,
    timetable: Option<Timetable>,
    next: Option<Timestamp>,
}

/// When jobs are due.
#[derive(Default)]
pub struct Agenda {
    entries: BTreeMap<Id, Entry>,
    order: BTreeSet<(Timestamp, Id)>,
}

impl Agenda {
    /// Looks at all jobs.
    pub fn refresh(&mut self, jobs: &Jobs) {
        for job in jobs.iter() {
            self.update(job);
        }
    }

    /// Looks at one job.
    pub fn update(&mut self, job: &Job) {
        let told = job.definition.as_ref().map(|definition| definition.told);
        let basis = (told, job.state(), job.decided);
        let before = self.entries.get(&job.name);
        if before.is_some_and(|entry| entry.basis == basis) {
            return;
        }
        let before = self.entries.remove(&job.name);
        let known = before.and_then(|entry| {
            if let Some(next) = entry.next {
                self.order.remove(&(next, job.name.clone()));
            }
            entry.timetable.filter(|_| entry.basis.0 == told)
        });
        // One whose zone this host does not know is due never here; `job list` says why.
        let timetable = known.or_else(|| Timetable::new(&job.spec()?.schedule).ok());
        let active = job.state() == JobState::Active;
        let next = timetable.as_ref().filter(|_| active);
        let next = next.and_then(|timetable| timetable.after(job.decided));
        if let Some(next) = next {
            self.order.insert((next, job.name.clone()));
        }
        let entry = Entry {
            basis,
            timetable,
            next,
        };
        self.entries.insert(job.name.clone(), entry);
    }

    /// When something is due next.
    pub fn next(&self) -> Option<Timestamp> {
        self.order.first().map(|(next, _)| *next)
    }

    /// A job that is due by now, and its timetable.
    pub fn due(&self, now: Timestamp) -> Option<(&Id, &Timetable)> {
        let (_, name) = self.order.first().filter(|(next, _)| *next <= now)?;
        let timetable = self.entries.get(name)?.timetable.as_ref()?;
        Some((name, timetable))
    }
}
