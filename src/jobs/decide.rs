//! Define, due, run by hand, pause, resume: pure functions of the folded jobs.
//!
//! Policy: of what was due since the last decision, the latest is on time if it fell due while this
//! node led; all before it is missed. A job whose run before still waits or runs goes by its
//! `overlap`, and what was missed by its `missed`.

use std::collections::BTreeMap;

use ledger_core::event::{
    JobChanged, JobDefined, JobEvent, JobPaused, JobRemoved, JobResumed, JobSkipped, JobSpec,
    Missed, Overlap, SkipReason, TaskSubmitted, job_subject,
};
use ledger_core::ids::Id;
use ledger_core::time::Timestamp;
use projections::jobs::{Job, JobState, Jobs};

use super::agenda::Times;
use super::timetable::{Backlog, ScheduleError, Timetable};
use crate::decided::Decided;

/// Longest name of a job: with a due time behind it, it must still be an id.
pub const MAX_NAME: usize = 64;
/// Most runs that are made up for at once.
pub const MAX_MADE_UP: u32 = 1000;
/// How many are, if nothing is said.
pub const MADE_UP: u32 = 10;

/// Why something about a job is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// There is none of this name.
    #[error("there is no job {0}")]
    Unknown(Id),
    /// What it is to be makes no sense.
    #[error("job {name}: {reason}")]
    Invalid {
        /// The job.
        name: Id,
        /// Why.
        reason: Unsound,
    },
}

/// Why a job could never run as it is written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unsound {
    /// Its name is too long.
    #[error("a job's name has at most {MAX_NAME} characters")]
    Name,
    /// Its schedule is none.
    #[error(transparent)]
    Schedule(#[from] ScheduleError),
    /// All that it missed would run at once.
    #[error("missed = \"run_all\" needs overlap = \"queue\": the runs are submitted all at once")]
    AllAtOnce,
    /// Its task could be no task; the text says why.
    #[error("{0}")]
    Task(String),
    /// See [`MAX_MADE_UP`].
    #[error("at most 1 to {MAX_MADE_UP} runs are made up for")]
    MadeUp,
}

/// Checks what a job is to be, but for its task.
///
/// # Errors
/// What is wrong with it.
pub fn check(name: &Id, spec: &JobSpec) -> Result<(), Unsound> {
    if name.len() > MAX_NAME {
        return Err(Unsound::Name);
    }
    Timetable::new(&spec.schedule)?;
    match spec.missed {
        Missed::RunAll { .. } if spec.overlap != Overlap::Queue => Err(Unsound::AllAtOnce),
        Missed::RunAll { at_most } if !(1..=MAX_MADE_UP).contains(&at_most) => Err(Unsound::MadeUp),
        Missed::RunAll { .. } | Missed::RunOnce | Missed::Skip => Ok(()),
    }
}

/// What makes the jobs there are into those that are wanted.
///
/// # Errors
/// [`Refusal::Invalid`] for the first of them that makes no sense.
pub fn define(
    jobs: &Jobs,
    wanted: &BTreeMap<Id, JobSpec>,
    now: Times,
) -> Result<Vec<Decided>, Refusal> {
    let mut decided = Vec::new();
    for (name, spec) in wanted {
        let before = jobs.get(name).and_then(Job::spec);
        if before == Some(spec) {
            continue;
        }
        let invalid = |reason: Unsound| Refusal::Invalid {
            name: name.clone(),
            reason,
        };
        check(name, spec).map_err(invalid)?;
        let timetable = Timetable::new(&spec.schedule).map_err(|e| invalid(e.into()))?;
        let from = timetable.anchor(now.of(&timetable));
        let spec = spec.clone();
        let event = match before {
            None => JobEvent::Defined(JobDefined { spec, from }),
            Some(before) => {
                let from = (before.schedule != spec.schedule).then_some(from);
                JobEvent::Changed(JobChanged { spec, from })
            }
        };
        decided.push(Decided::new(job_subject(name), event));
    }
    let gone = jobs
        .iter()
        .filter(|job| job.definition.is_some() && !wanted.contains_key(&job.name));
    let removed = || JobEvent::Removed(JobRemoved {});
    decided.extend(gone.map(|job| Decided::new(job_subject(&job.name), removed())));
    Ok(decided)
}

/// One thing that follows from what was due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// It is left out.
    Skip(JobSkipped),
    /// It is submitted.
    Run {
        /// When it was due.
        due_at: Timestamp,
        /// Runs before it that are to be cancelled.
        cancel: Vec<Id>,
    },
}

/// What follows from what of a job is due by `now`, in order; nothing if nothing is. Who asks has
/// watched the clock since `watched_since`.
pub fn due(
    job: &Job,
    timetable: &Timetable,
    now: Timestamp,
    watched_since: Timestamp,
) -> Vec<Step> {
    let (Some(spec), JobState::Active) = (job.spec(), job.state()) else {
        return Vec::new();
    };
    let want = match spec.missed {
        Missed::RunAll { at_most } => usize::try_from(at_most).unwrap_or(1),
        Missed::RunOnce | Missed::Skip => 1,
    };
    let Some(backlog) = timetable.backlog(job.decided, now, want) else {
        return Vec::new();
    };
    let Backlog {
        first,
        older,
        latest,
    } = backlog;
    let mut steps = Vec::new();
    let on_time = latest.last().is_some_and(|last| *last > watched_since);
    if spec.missed == Missed::Skip && !on_time {
        steps.push(skip(first, latest.last().copied(), SkipReason::Missed));
        return steps;
    }
    steps.extend(older.map(|older| skip(first, Some(older), SkipReason::Missed)));
    let live: Vec<Id> = job.live().map(|run| run.task.clone()).collect();
    for due_at in latest {
        steps.push(match spec.overlap {
            Overlap::Skip if !live.is_empty() => skip(due_at, None, SkipReason::Overlap),
            Overlap::Skip | Overlap::Queue => Step::Run {
                due_at,
                cancel: Vec::new(),
            },
            Overlap::CancelRunning => Step::Run {
                due_at,
                cancel: live.clone(),
            },
        });
    }
    steps
}

fn skip(due_at: Timestamp, last: Option<Timestamp>, reason: SkipReason) -> Step {
    Step::Skip(JobSkipped {
        due_at,
        reason,
        through: last.filter(|last| *last > due_at),
    })
}

/// What is submitted for a run. The runs of a job that queue share a key unless they have one already,
/// so that each waits for the one before.
pub fn task_of(job: &Id, spec: &JobSpec) -> TaskSubmitted {
    let mut task = spec.task.clone();
    if spec.overlap == Overlap::Queue {
        let terms = task.terms.get_or_insert_default();
        let key = || Id::new(format!("job.{job}")).expect("a job's name is a short id");
        terms.concurrency_key.get_or_insert_with(key);
    }
    task
}

/// The id of the task that a run is: the job's name and when it was due. `nth` is for where somebody
/// else's task is called that already.
pub fn due_task(job: &Id, due_at: Timestamp, nth: u32) -> Id {
    numbered(format!("{job}-{}", stamp(due_at)), nth)
}

/// The id of a task that runs a job by hand; `nth` tells apart those of one second.
pub fn manual_task(job: &Id, now: Timestamp, nth: u32) -> Id {
    numbered(format!("{job}-manual-{}", stamp(now)), nth)
}

fn numbered(first: String, nth: u32) -> Id {
    match nth {
        0 => task_id(&first),
        _ => task_id(&format!("{first}-{}", nth + 1)),
    }
}

fn task_id(text: &str) -> Id {
    Id::new(text).expect("a job's name is a short id, and what follows it are letters and digits")
}

/// `20260131T080000Z`: sorts as it reads, and may stand in an id.
fn stamp(at: Timestamp) -> String {
    at.to_jiff().strftime("%Y%m%dT%H%M%SZ").to_string()
}

/// Stops a job from being submitted when due; nothing if it is paused already.
///
/// # Errors
/// [`Refusal::Unknown`].
pub fn pause(jobs: &Jobs, name: &Id, reason: Option<String>) -> Result<Option<Decided>, Refusal> {
    let job = defined(jobs, name)?;
    let event = JobEvent::Paused(JobPaused { reason });
    let decided = Decided::new(job_subject(name), event);
    Ok((job.state() == JobState::Active).then_some(decided))
}

/// Lets a job be submitted again, from the next time on that it is due; nothing if it was not paused.
///
/// # Errors
/// [`Refusal::Unknown`].
pub fn resume(jobs: &Jobs, name: &Id, now: Times) -> Result<Vec<Decided>, Refusal> {
    let job = defined(jobs, name)?;
    if job.state() != JobState::Paused {
        return Ok(Vec::new());
    }
    let mut decided = Vec::new();
    let timetable = job.spec().map(|spec| Timetable::new(&spec.schedule));
    let mut from = None;
    if let Some(Ok(timetable)) = timetable {
        let now = now.of(&timetable);
        from = Some(timetable.anchor(now));
        if let Some(backlog) = timetable.backlog(job.decided, now, 1) {
            let last = backlog.latest.last().copied();
            let skipped = JobSkipped {
                due_at: backlog.first,
                reason: SkipReason::Paused,
                through: last.filter(|last| *last > backlog.first),
            };
            decided.push(Decided::new(job_subject(name), JobEvent::Skipped(skipped)));
        }
    }
    let resumed = JobEvent::Resumed(JobResumed { from });
    decided.push(Decided::new(job_subject(name), resumed));
    Ok(decided)
}

/// What a job is, for whoever wants to run it now.
///
/// # Errors
/// [`Refusal::Unknown`].
pub fn spec<'j>(jobs: &'j Jobs, name: &Id) -> Result<&'j JobSpec, Refusal> {
    defined(jobs, name)?
        .spec()
        .ok_or_else(|| Refusal::Unknown(name.clone()))
}

/// When a job is due next, or why that can't be said: nothing if it is paused, removed or never due
/// again.
///
/// # Errors
/// [`ScheduleError`] if this host can't read its schedule.
pub fn next_due(job: &Job) -> Result<Option<Timestamp>, ScheduleError> {
    match (job.state(), job.spec()) {
        (JobState::Active, Some(spec)) => Ok(Timetable::new(&spec.schedule)?.after(job.decided)),
        (JobState::Active | JobState::Paused | JobState::Removed, _) => Ok(None),
    }
}

fn defined<'j>(jobs: &'j Jobs, name: &Id) -> Result<&'j Job, Refusal> {
    let job = jobs.get(name).filter(|job| job.definition.is_some());
    job.ok_or_else(|| Refusal::Unknown(name.clone()))
}
