//! Which job is due next: a sorted shadow of the folded jobs, made anew whenever they differ.

use std::collections::{BTreeMap, BTreeSet};

use ledger_core::ids::{Id, Seq};
use ledger_core::time::{Micros, Timestamp};
use projections::jobs::{Job, JobState, Jobs};

use super::timetable::Timetable;

/// What an entry was made from.
type Basis = (Option<Seq>, JobState, Timestamp);

struct Entry {
    basis: Basis,
    timetable: Option<Timetable>,
    next: Option<Timestamp>,
}

/// The two times that jobs go by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Times {
    /// What clocks on walls show: for what is due by the calendar.
    pub wall: Timestamp,
    /// What no clock on a wall can change: for intervals.
    pub log: Timestamp,
}

impl Times {
    /// Where both agree.
    pub fn same(at: Timestamp) -> Self {
        Self { wall: at, log: at }
    }

    /// The one that a timetable goes by.
    pub fn of(self, timetable: &Timetable) -> Timestamp {
        match timetable {
            Timetable::Every(_) => self.log,
            Timetable::Cron(..) => self.wall,
        }
    }
}

/// When jobs are due.
#[derive(Default)]
pub struct Agenda {
    entries: BTreeMap<Id, Entry>,
    /// Those of the calendar.
    dates: BTreeSet<(Timestamp, Id)>,
    /// Those of intervals.
    intervals: BTreeSet<(Timestamp, Id)>,
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
                let place = (next, job.name.clone());
                if !self.dates.remove(&place) {
                    self.intervals.remove(&place);
                }
            }
            entry.timetable.filter(|_| entry.basis.0 == told)
        });
        // One whose zone this host does not know is due never here; `job list` says why.
        let timetable = known.or_else(|| Timetable::new(&job.spec()?.schedule).ok());
        let active = job.state() == JobState::Active;
        let next = timetable.as_ref().filter(|_| active);
        let next = next.and_then(|timetable| timetable.after(job.decided));
        if let (Some(next), Some(timetable)) = (next, &timetable) {
            let order = match timetable {
                Timetable::Every(_) => &mut self.intervals,
                Timetable::Cron(..) => &mut self.dates,
            };
            order.insert((next, job.name.clone()));
        }
        let entry = Entry {
            basis,
            timetable,
            next,
        };
        self.entries.insert(job.name.clone(), entry);
    }

    /// How long until something is due.
    pub fn next(&self, now: Times) -> Option<Micros> {
        let date = self.dates.first().map(|(next, _)| next.since(now.wall));
        let interval = self.intervals.first().map(|(next, _)| next.since(now.log));
        date.into_iter().chain(interval).min()
    }

    /// A job that is due by now, and its timetable.
    pub fn due(&self, now: Times) -> Option<(&Id, &Timetable)> {
        let date = self.dates.first().filter(|(next, _)| *next <= now.wall);
        let interval = self.intervals.first().filter(|(next, _)| *next <= now.log);
        let (_, name) = date.into_iter().chain(interval).min()?;
        let timetable = self.entries.get(name)?.timetable.as_ref()?;
        Some((name, timetable))
    }
}
