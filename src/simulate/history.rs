//! The ledger's own history as a workload: what was handed over when, how long it really ran, and
//! what came of it then.
//!
//! What is taken over of each task: when it was submitted, to which queue, its limit and terms, and
//! how each of its attempts went. What people did to it meanwhile is not done again, except that it is
//! cancelled when it was: see [`Left`].

use std::collections::BTreeMap;

use ledger_core::envelope::Header;
use ledger_core::event::{Event, Priority, QueueEvent, TaskEvent, Terms};
use ledger_core::ids::Id;
use ledger_core::time::{Micros, Millis, Timestamp};
use serde::Serialize;

use super::mix::Unended;
use super::outcome::{Ending, Fate, HeldBy, Outcome, Spell, Wait};
use super::work::{Course, Manner, Work};
use crate::scheduler::decide::MAX_RUNTIME;

/// What of a history is not simulated.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Left {
    /// Tasks that had not ended, and are left out.
    pub unended: u64,
    /// Tasks that had not ended while they ran, and hang here.
    pub hang: u64,
    /// Tasks that ended without having run, except those that were cancelled: if one is started here
    /// it ends at once, since nobody knows how long it would have taken.
    pub without_length: u64,
    /// Dependencies on tasks that are not simulated; they count as met.
    pub dependencies: u64,
    /// Dead tasks that were retried by hand, tasks that were moved to another queue, reports that a
    /// rate key has to wait, and pauses of queues: none of it is done again.
    pub steps_by_hand: u64,
}

/// A history that is read.
#[derive(Debug, Clone, Default)]
pub struct History {
    tasks: Vec<Past>,
    numbers: BTreeMap<Id, usize>,
    by_hand: u64,
    last: Timestamp,
}

#[derive(Debug, Clone)]
struct Past {
    id: Id,
    arrival: Timestamp,
    queue: Priority,
    max_runtime: Millis,
    terms: Option<Box<Terms>>,
    runs: Vec<PastRun>,
    ended: Option<(Timestamp, Ending)>,
}

#[derive(Debug, Clone, Copy)]
struct PastRun {
    started: Timestamp,
    waited: Micros,
    ended: Option<(Timestamp, Course)>,
}

/// Whether a task that is submitted by an event is one of those asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// It is.
    Yes,
    /// It is not; the event may still tell how one ended that is.
    No,
}

impl History {
    /// Reads the next event.
    pub fn read(&mut self, header: &Header<'_>, event: &Event, wanted: Wanted) {
        let at = header.recorded_at;
        match event {
            Event::Task(TaskEvent::Submitted(task)) if wanted == Wanted::Yes => {
                let Ok(id) = Id::new(header.subject_id()) else {
                    return;
                };
                self.last = self.last.max(at);
                self.numbers.insert(id.clone(), self.tasks.len());
                self.tasks.push(Past {
                    id,
                    arrival: at,
                    queue: task.priority,
                    max_runtime: task.max_runtime_ms,
                    terms: task.terms.clone(),
                    runs: Vec::new(),
                    ended: None,
                });
            }
            Event::Task(event) => {
                let number = self.numbers.get(header.subject_id()).copied();
                if let Some(past) = number.and_then(|n| self.tasks.get_mut(n)) {
                    self.last = self.last.max(at);
                    self.by_hand += u64::from(past.read(at, event) == Step::ByHand);
                }
            }
            Event::Queue(QueueEvent::Paused(_)) if wanted == Wanted::Yes => self.by_hand += 1,
            Event::Queue(_)
            | Event::Snapshot(_)
            | Event::Process(_)
            | Event::Ledger(_)
            | Event::Lease(_)
            | Event::Node(_)
            | Event::Job(_)
            | Event::Checkpoint(_)
            | Event::Recovery(_)
            | Event::App
            | Event::Unknown => {}
        }
    }

    /// How many tasks there are.
    pub fn len(&self) -> usize {
        self.tasks.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.tasks.is_empty()
    }

    /// What came of all of them as far as it is known, those that have not ended too, and their ids.
    pub fn seen(&self) -> (Outcome, Vec<Id>) {
        let ids = self.tasks.iter().map(|past| past.id.clone()).collect();
        (outcome(&self.tasks, self.last), ids)
    }

    /// What came of those that are simulated, their work, and what is not simulated of it. Tasks have
    /// the same numbers in both.
    pub fn finish(self, unended: Unended) -> (Outcome, Vec<Work>, Left) {
        let mut left = Left {
            steps_by_hand: self.by_hand,
            ..Left::default()
        };
        let mut kept: Vec<Past> = Vec::with_capacity(self.tasks.len());
        for past in self.tasks {
            match (past.ended, unended, past.runs.last()) {
                (None, Unended::LeftOut, _) | (None, Unended::Hang, None) => {
                    left.unended += 1;
                    continue;
                }
                (None, Unended::Hang, Some(_)) => left.hang += 1,
                (Some((_, Ending::Cancelled)), ..) => {}
                (Some(_), _, last) => left.without_length += u64::from(last.is_none()),
            }
            kept.push(past);
        }
        let known: BTreeMap<Id, ()> = kept.iter().map(|past| (past.id.clone(), ())).collect();
        for past in &mut kept {
            if let Some(terms) = &mut past.terms {
                let before = terms.depends_on.len();
                terms.depends_on.retain(|on| known.contains_key(on));
                let dropped = before - terms.depends_on.len();
                left.dependencies += u64::try_from(dropped).unwrap_or(u64::MAX);
            }
        }
        let outcome = outcome(&kept, self.last);
        (outcome, kept.into_iter().map(Past::work).collect(), left)
    }
}

/// What an event about a task was.
#[derive(PartialEq, Eq)]
enum Step {
    OfItself,
    ByHand,
}

impl Past {
    fn read(&mut self, at: Timestamp, event: &TaskEvent) -> Step {
        let mut close = |course: &dyn Fn(Micros) -> Course, ran: Option<Micros>| {
            if let Some(run) = self.runs.last_mut().filter(|run| run.ended.is_none()) {
                let ran = ran.unwrap_or(at.since(run.started));
                run.ended = Some((at, course(ran)));
            }
        };
        let ends = |manner| move |ran| Course::Ends(ran, manner);
        match event {
            TaskEvent::Started(e) => self.runs.push(PastRun {
                started: at,
                waited: e.waited_us,
                ended: None,
            }),
            TaskEvent::Completed(e) => {
                close(&ends(Manner::Well), Some(e.runtime_us));
                self.ended = Some((at, Ending::Completed));
            }
            TaskEvent::Failed(e) => close(&ends(Manner::Badly), Some(e.runtime_us)),
            // What it would have taken is not known; it was to be ended then, and is here.
            TaskEvent::TimedOut(e) => match e.stalled_ms {
                Some(_) => close(&Course::Stalls, Some(e.runtime_us)),
                None => close(&|_| Course::Hangs, None),
            },
            TaskEvent::Lost(_) => close(&ends(Manner::Lost), None),
            TaskEvent::Cancelled(e) => {
                close(&ends(Manner::Cancelled), e.runtime_us);
                self.ended = Some((at, Ending::Cancelled));
            }
            TaskEvent::Dead(_) => self.ended = Some((at, Ending::Dead)),
            TaskEvent::Retried(_) => {
                self.ended = None;
                return Step::ByHand;
            }
            TaskEvent::Reprioritized(_) | TaskEvent::Throttled(_) => return Step::ByHand,
            TaskEvent::Submitted(_) | TaskEvent::Requeued(_) | TaskEvent::CancelRequested(_) => {}
        }
        Step::OfItself
    }

    fn work(self) -> Work {
        let courses = self.runs.iter().map(|run| match run.ended {
            Some((_, course)) => course,
            None => Course::Hangs,
        });
        let courses: Vec<Course> = courses.collect();
        // What ended by itself in the moment in which its limit came did end by itself.
        let own = courses.iter().filter_map(|course| match course {
            Course::Ends(ran, Manner::Well | Manner::Badly) => Some(Millis(ran.0.div_ceil(1000))),
            Course::Ends(_, Manner::Lost | Manner::Cancelled)
            | Course::Stalls(_)
            | Course::Hangs => None,
        });
        let longest = own.max().unwrap_or_default().min(MAX_RUNTIME);
        // One that was cancelled while it ran ends after as long as it ran, not at the same time.
        let ran = courses
            .iter()
            .any(|c| matches!(c, Course::Ends(_, Manner::Cancelled)));
        let cancelled = self
            .ended
            .filter(|(_, ending)| *ending == Ending::Cancelled);
        Work {
            id: self.id,
            arrival: self.arrival,
            queue: self.queue,
            max_runtime: self.max_runtime.max(longest),
            terms: self.terms,
            // Nobody knows how long it would have run: until it is cancelled.
            courses: if courses.is_empty() && cancelled.is_some() {
                vec![Course::Hangs]
            } else {
                courses
            },
            withdrawn: cancelled.filter(|_| !ran).map(|(at, _)| at),
        }
    }
}

fn outcome(kept: &[Past], end: Timestamp) -> Outcome {
    let fate = |(task, past): (usize, &Past)| Fate {
        task,
        queue: past.queue,
        arrival: past.arrival,
        wait: match (past.runs.first(), past.ended) {
            (Some(run), _) => Wait::Was(run.waited),
            (None, Some(_)) => Wait::None,
            (None, None) => Wait::Still(end.since(past.arrival)),
        },
        started: past.runs.first().map(|run| run.started),
        ended: past.ended,
    };
    let mut spells: Vec<Spell> = kept
        .iter()
        .enumerate()
        .flat_map(|(task, past)| past.runs.iter().map(move |run| spell(task, run)))
        .collect();
    spells.sort_by_key(|spell| (spell.started, spell.task));
    Outcome {
        begin: kept.first().map_or(end, |past| past.arrival),
        end,
        tasks: kept.iter().enumerate().map(fate).collect(),
        spells,
    }
}

fn spell(task: usize, run: &PastRun) -> Spell {
    let held_by = match run.ended {
        None => HeldBy::Hung,
        Some((_, Course::Hangs | Course::Stalls(_))) => HeldBy::Overdue,
        Some((_, Course::Ends(_, Manner::Lost))) => HeldBy::Dead,
        Some((_, Course::Ends(_, Manner::Cancelled))) => HeldBy::Unwanted,
        Some((_, Course::Ends(_, Manner::Well | Manner::Badly))) => HeldBy::Work,
    };
    Spell {
        task,
        started: run.started,
        ended: run.ended.map(|(at, _)| at),
        held_by,
    }
}
