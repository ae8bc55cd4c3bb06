//! Submit, close, cancel, retry: pure functions of the folded tasks.
//!
//! An attempt that failed or ran past its limit is tried again after a pause, as often as its task
//! allows; then the task is in the dead-letter queue, from which it is taken by hand. A lost one is
//! requeued, at most [`MAX_LOST`] times. Taken out by hand, a task has all of that again.

use ledger_core::event::{
    Attempt, Backoff, DeadReason, Failure, LadderCause, LadderStep, MAX_SURVIVORS, Outputs,
    Priority, ProcessEnd, ProcessEvent, ProcessExited, ProcessLost, ProcessReaped,
    ProcessRegistered, ProcessUnkillable, Survivor, TaskCancelRequested, TaskCancelled,
    TaskCompleted, TaskDead, TaskEvent, TaskFailed, TaskLost, TaskRequeued, TaskRetried,
    TaskSubmitted, TaskTimedOut, Usage, process_subject,
};
use ledger_core::ids::{Entity, Id, task_subject};
use ledger_core::time::{Micros, Millis, Timestamp};
use projections::tasks::{ProcessRef, Run, Task, TaskState, Tasks};

use super::check::check;
use super::policy::{BackoffPolicy, Policy};
use super::terms::{self, Dependency};
use crate::decided::Decided;

/// How often a task may be lost before it is dead, counted from its submission or from when it was
/// last retried by hand.
pub const MAX_LOST: u32 = 3;
/// Longest `max_runtime`: 30 days. A limit that never comes would be none.
pub const MAX_RUNTIME: Millis = Millis(30 * 24 * 3600 * 1000);
/// Longest grace period: 1 hour.
pub const MAX_GRACE: Millis = Millis(3600 * 1000);
/// Most arguments of a command, and most variables of its environment.
pub const MAX_ARGS: usize = 4096;

/// Why a command about a task is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// A task of this id is known.
    #[error("task {0} exists already")]
    Exists(Id),
    /// No task of this id is known.
    #[error("there is no task {0}")]
    Unknown(Id),
    /// What it is to depend on won't do.
    #[error("task {task} can't be taken: {fault}")]
    Dependency {
        /// The task.
        task: Id,
        /// What is wrong with it.
        fault: Dependency,
    },
    /// The request makes no sense; the text says why.
    #[error("{0}")]
    Invalid(String),
    /// The task is not in a state for this.
    #[error("task {task} is {state} already; {why}")]
    State {
        /// The task.
        task: Id,
        /// Where it stands.
        state: &'static str,
        /// What would be needed.
        why: &'static str,
    },
}

/// Checks a submission. The caller has made the id if the client gave none.
///
/// # Errors
/// [`Refusal`] if the id is taken or the payload can't be run by anyone.
pub fn submit(
    tasks: &Tasks,
    id: &Id,
    task: TaskSubmitted,
    now: Timestamp,
) -> Result<Decided, Refusal> {
    if tasks.get(id).is_some() {
        return Err(Refusal::Exists(id.clone()));
    }
    check(&task).map_err(|unfit| Refusal::Invalid(unfit.to_string()))?;
    let task = TaskSubmitted {
        terms: terms::check(tasks, id, task.terms, now)?,
        ..task
    };
    Ok(Decided::new(task_subject(id), TaskEvent::Submitted(task)))
}

/// A process runs for an open attempt. Nothing follows if it is known already.
pub fn started(task: &Task, run: &Run, process: &ProcessRef) -> Option<Decided> {
    if run.process.is_some() {
        return None;
    }
    let registered = ProcessRegistered {
        pid: process.pid,
        start_time: process.start_time,
        boot_id: process.boot_id.clone(),
        pgid: process.pid,
        shim_pid: process.shim_pid,
        shim_start_time: process.shim_start_time,
        task: task.id.clone(),
        attempt: run.attempt,
        max_runtime_ms: task.max_runtime_ms,
    };
    Some(Decided::new(
        subject_of(process),
        ProcessEvent::Registered(registered),
    ))
}

/// Boot ids come from the kernel and are UUIDs, which are ids; anything else would have been
/// refused where it was read.
fn subject_of(process: &ProcessRef) -> Entity {
    process_subject(&process.boot_id, process.pid, process.start_time)
        .expect("a boot id is a UUID, whose characters an id may have")
}

/// What is known of a tree of which something outlives SIGKILL.
#[derive(Debug, Clone, PartialEq)]
pub struct Unkillable {
    /// The process, if the log may not know of it yet.
    pub process: Option<ProcessRef>,
    /// What was sent.
    pub steps: Vec<LadderStep>,
    /// Who outlives it; the first of them.
    pub survivors: Vec<Survivor>,
    /// How many do.
    pub processes: u32,
}

/// What follows from that: it is said once, and the attempt stays open. Nothing can be said of an
/// attempt without a process.
pub fn unkillable(task: &Task, run: &Run, found: Unkillable) -> Vec<Decided> {
    if run.unkillable.is_some() {
        return Vec::new();
    }
    let Some(process) = run.process.as_ref().or(found.process.as_ref()) else {
        return Vec::new();
    };
    let mut survivors = found.survivors;
    survivors.truncate(MAX_SURVIVORS);
    let event = ProcessUnkillable {
        task: task.id.clone(),
        attempt: run.attempt,
        steps: found.steps,
        survivors,
        processes: found.processes,
    };
    let said = Decided::new(subject_of(process), ProcessEvent::Unkillable(event));
    started(task, run, process)
        .into_iter()
        .chain([said])
        .collect()
}

/// How an attempt's process tree ended, as its shim recorded it.
#[derive(Debug, Clone, PartialEq)]
pub struct Ended {
    /// The process, if one could be started.
    pub process: Option<ProcessRef>,
    /// How it ended, or why it could not be started.
    pub result: EndResult,
    /// Why and how we ended the tree, if we did.
    pub ladder: Option<(LadderCause, Vec<LadderStep>)>,
    /// How long it ran.
    pub runtime_us: Micros,
    /// What it used.
    pub usage: Usage,
    /// What it wrote.
    pub outputs: Outputs,
}

/// The end of the command itself.
#[derive(Debug, Clone, PartialEq)]
pub enum EndResult {
    /// It ran and ended.
    Ran(ProcessEnd),
    /// It could not be started.
    NotStarted(Failure),
}

/// What follows from an attempt's outcome: the end of its process, the closing of the attempt,
/// and what becomes of the task; one batch. `draw` is chance, which the pause before another attempt
/// is made of.
pub fn ended(
    task: &Task,
    run: &Run,
    outcome: &Ended,
    policy: &Policy,
    now: Timestamp,
    draw: u64,
) -> Vec<Decided> {
    let mut decided = Vec::with_capacity(4);
    if let Some(process) = &outcome.process {
        decided.extend(started(task, run, process));
        if let EndResult::Ran(end) = outcome.result {
            decided.push(Decided::new(subject_of(process), process_end(end, outcome)));
        }
    }
    let closing = closing(task, run, outcome, policy);
    let failed = match &closing {
        TaskEvent::TimedOut(_) => Some(DeadReason::TimedOut),
        TaskEvent::Failed(_) => Some(DeadReason::Failed),
        _ => None,
    };
    let subject = task_subject(&task.id);
    decided.push(Decided::new(subject.clone(), closing));
    decided.extend(failed.map(|reason| {
        let follows = after_failure(task, run.attempt, reason, &policy.backoff, now, draw);
        Decided::new(subject, follows)
    }));
    decided
}

/// How the attempt ended.
fn closing(task: &Task, run: &Run, outcome: &Ended, policy: &Policy) -> TaskEvent {
    let (attempt, runtime_us, outputs) = (run.attempt, outcome.runtime_us, outcome.outputs.clone());
    let cause = outcome.ladder.as_ref().map(|(cause, _)| *cause);
    let demoted_to = demoted(task.priority, policy, runtime_us);
    match (cause, &outcome.result) {
        (Some(cause @ (LadderCause::MaxRuntime | LadderCause::Stalled)), _) => {
            let stalled = cause == LadderCause::Stalled;
            TaskEvent::TimedOut(TaskTimedOut {
                attempt,
                max_runtime_ms: task.max_runtime_ms,
                stalled_ms: stalled.then(|| task.stall_after().unwrap_or_default()),
                runtime_us,
                outputs,
                demoted_to,
            })
        }
        (Some(LadderCause::Cancel), _) => TaskEvent::Cancelled(TaskCancelled {
            attempt: Some(attempt),
            reason: cancel_reason(task),
            runtime_us: Some(runtime_us),
            outputs: Some(outputs),
        }),
        (_, EndResult::Ran(ProcessEnd::Exited { code: 0 })) => {
            TaskEvent::Completed(TaskCompleted {
                attempt,
                runtime_us,
                outputs,
            })
        }
        (_, result) => {
            let failure = match result {
                EndResult::Ran(ProcessEnd::Exited { code }) => Failure::Exit { code: *code },
                EndResult::Ran(ProcessEnd::Signaled { signal }) => {
                    Failure::Signal { signal: *signal }
                }
                EndResult::NotStarted(failure) => failure.clone(),
            };
            TaskEvent::Failed(TaskFailed {
                attempt,
                failure,
                runtime_us,
                outputs,
                demoted_to,
            })
        }
    }
}

/// The queue of the next attempt, if this one ran past the quantum of its own.
fn demoted(queue: Priority, policy: &Policy, runtime: Micros) -> Option<Priority> {
    let quantum = policy.queue(queue).quantum?;
    let past = runtime.0 > quantum.0.saturating_mul(1000);
    let below = Priority::ALL.get(usize::from(queue.level()) + 1).copied();
    below.filter(|_| past)
}

/// What becomes of a task whose attempt failed or ran past its limit: another attempt after a pause,
/// or the dead-letter queue. Nobody wants one again that was to be cancelled.
fn after_failure(
    task: &Task,
    attempt: Attempt,
    reason: DeadReason,
    backoff: &BackoffPolicy,
    now: Timestamp,
    draw: u64,
) -> TaskEvent {
    let wanted = matches!(task.state, TaskState::Running(_));
    if !wanted || task.failed + 1 >= task.max_attempts() {
        return TaskEvent::Dead(TaskDead {
            reason,
            attempts: attempt.0,
            dependency: None,
        });
    }
    let delay_ms = pause(backoff, task.failed, draw);
    TaskEvent::Requeued(TaskRequeued {
        attempt: attempt.next(),
        lost: task.lost,
        backoff: Some(Backoff {
            delay_ms,
            until: now.plus(delay_ms),
        }),
    })
}

/// Exponential backoff with full jitter: anything from nothing to the longest pause, which doubles
/// with each failure, so that tasks that failed together don't come back together.
fn pause(backoff: &BackoffPolicy, failed_before: u32, draw: u64) -> Millis {
    let factor = 1_u64.checked_shl(failed_before).unwrap_or(u64::MAX);
    let longest = backoff.base.0.saturating_mul(factor).min(backoff.cap.0);
    Millis(draw % longest.saturating_add(1).max(1))
}

fn process_end(end: ProcessEnd, outcome: &Ended) -> ProcessEvent {
    match &outcome.ladder {
        None => ProcessEvent::Exited(ProcessExited {
            end,
            usage: outcome.usage,
        }),
        Some((cause, steps)) => ProcessEvent::Reaped(ProcessReaped {
            cause: *cause,
            steps: steps.clone(),
            end,
            usage: outcome.usage,
        }),
    }
}

fn cancel_reason(task: &Task) -> Option<String> {
    match &task.state {
        TaskState::Cancelling { reason, .. } => reason.as_deref().map(str::to_owned),
        _ => None,
    }
}

/// What follows when an attempt's whole tree is gone without an outcome.
pub fn lost(task: &Task, run: &Run, reason: &str, orphans_ended: u32) -> Vec<Decided> {
    let subject = task_subject(&task.id);
    let mut decided = Vec::with_capacity(3);
    if let Some(process) = &run.process {
        let lost = ProcessLost {
            reason: reason.to_owned(),
            orphans_ended,
        };
        decided.push(Decided::new(subject_of(process), ProcessEvent::Lost(lost)));
    }
    if let TaskState::Cancelling { reason, .. } = &task.state {
        // It was to end and has ended: nobody wants it run again.
        let cancelled = TaskCancelled {
            attempt: Some(run.attempt),
            reason: reason.as_deref().map(str::to_owned),
            runtime_us: None,
            outputs: None,
        };
        decided.push(Decided::new(subject, TaskEvent::Cancelled(cancelled)));
        return decided;
    }
    let lost = TaskLost {
        attempt: run.attempt,
        reason: reason.to_owned(),
    };
    decided.push(Decided::new(subject.clone(), TaskEvent::Lost(lost)));
    let times = task.lost + 1;
    let follows = if times > MAX_LOST {
        TaskEvent::Dead(TaskDead {
            reason: DeadReason::Lost,
            attempts: run.attempt.0,
            dependency: None,
        })
    } else {
        TaskEvent::Requeued(TaskRequeued {
            attempt: run.attempt.next(),
            lost: times,
            backoff: None,
        })
    };
    decided.push(Decided::new(subject, follows));
    decided
}

/// Ends a task: at once if it waits, by way of `cancelling` if it runs.
///
/// # Errors
/// [`Refusal`] if there is no such task or it has ended.
pub fn cancel(tasks: &Tasks, id: &Id, reason: Option<String>) -> Result<Option<Decided>, Refusal> {
    let task = tasks.get(id).ok_or_else(|| Refusal::Unknown(id.clone()))?;
    let event = match &task.state {
        TaskState::Queued { .. } => TaskEvent::Cancelled(TaskCancelled {
            attempt: None,
            reason,
            runtime_us: None,
            outputs: None,
        }),
        TaskState::Running(run) => TaskEvent::CancelRequested(TaskCancelRequested {
            attempt: run.attempt,
            reason,
        }),
        TaskState::Cancelling { .. } => return Ok(None),
        TaskState::Undecided
        | TaskState::Completed { .. }
        | TaskState::Cancelled { .. }
        | TaskState::Dead { .. } => {
            return Err(Refusal::State {
                task: id.clone(),
                state: task.view().state.as_str(),
                why: "only a task that waits or runs can be cancelled",
            });
        }
    };
    Ok(Some(Decided::new(task_subject(id), event)))
}

/// Takes a task out of the dead-letter queue.
///
/// # Errors
/// [`Refusal`] if there is no such task, it is not dead, or it would be dead again at once.
pub fn retry(tasks: &Tasks, id: &Id, now: Timestamp) -> Result<Decided, Refusal> {
    let task = tasks.get(id).ok_or_else(|| Refusal::Unknown(id.clone()))?;
    if !matches!(task.state, TaskState::Dead { .. }) {
        return Err(Refusal::State {
            task: id.clone(),
            state: task.view().state.as_str(),
            why: "only a dead task can be retried",
        });
    }
    if task.expires_at().is_some_and(|at| at <= now) {
        return Err(Refusal::State {
            task: id.clone(),
            state: "expired",
            why: "submit it anew",
        });
    }
    for on in task.depends_on() {
        terms::check_dependency(tasks, id, on).map_err(|fault| Refusal::Dependency {
            task: id.clone(),
            fault,
        })?;
    }
    let attempt = task
        .attempts
        .last()
        .map_or(Attempt::FIRST, |record| record.attempt.next());
    Ok(Decided::new(
        task_subject(id),
        TaskEvent::Retried(TaskRetried { attempt }),
    ))
}
