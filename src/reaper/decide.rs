//! Watch, let go, and what follows from what was seen: pure functions of the folded processes.

use std::time::Duration;

use ledger_core::event::{
    Attempt, EndSeen, LadderStep, ProcessEnded, ProcessEvent, ProcessReaping, ProcessSurvived,
    ProcessTerminated, ProcessUnwatched, ProcessWatched, ReapCause, Survivor, UnwatchReason,
    process_subject,
};
use ledger_core::ids::{Entity, Id};
use ledger_core::time::{Micros, Millis, Timestamp};
use projections::processes::{OfAttempt, Processes, Purpose, Stage, Watched};
use serde::{Deserialize, Serialize};

use super::candidate::{Candidate, Kin};
use super::verdict::Verdict;
use crate::decided::Decided;
use crate::units::{format_duration, format_limit};

/// Most processes of others that are watched at once, wherever there are descriptors for so many.
pub const MAX_WATCHED: usize = 10_000;
/// Longest time that a process may be given to run, or to stand still.
pub const LONGEST: Millis = Millis(366 * 24 * 3_600_000);
/// Shortest time that a process may be given to stand still: CPU time is counted in hundredths of a
/// second, and on a busy host one that works may well wait for some of them.
pub const SHORTEST_STALL: Millis = Millis(1_000);
/// Longest time that SIGTERM may take.
pub const LONGEST_GRACE: Millis = Millis(3_600_000);
/// How long SIGTERM may take if nothing is said.
pub const GRACE: Millis = Millis(5_000);

/// What a process may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    /// How long it may run, counted from its start.
    pub max_runtime: Millis,
    /// How long it may go without using the CPU.
    pub stall_after: Option<Millis>,
    /// How long SIGTERM may take before SIGKILL follows.
    pub grace: Millis,
}

/// Why something about a process is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// There is none.
    #[error("there is no process {0}")]
    NoSuch(i32),
    /// It has ended, and only its number is left.
    #[error("process {0} has ended, and its parent has not asked how")]
    Ended(i32),
    /// It is one that is never signaled.
    #[error("process {pid} is never signaled: {why}")]
    Protected {
        /// Which.
        pid: i32,
        /// Why.
        why: &'static str,
    },
    /// It belongs to an attempt.
    #[error("process {pid} belongs to attempt {attempt} of task {task}, which is watched already")]
    OfAttempt {
        /// Which.
        pid: i32,
        /// The task.
        task: Id,
        /// Which run of it.
        attempt: Attempt,
    },
    /// It is another user's.
    #[error("process {pid} belongs to uid {uid}, and {asker} asks")]
    OfAnother {
        /// Which.
        pid: i32,
        /// Whose it is.
        uid: u32,
        /// Who asks.
        asker: String,
    },
    /// The node has no right to signal it.
    #[error("the node runs as uid {node} and may not signal process {pid} of uid {uid}")]
    Powerless {
        /// Which.
        pid: i32,
        /// Whose it is.
        uid: u32,
        /// The node's user.
        node: u32,
    },
    /// It is watched.
    #[error("process {0} is watched already")]
    Watched(i32),
    /// It would be ended at once.
    #[error("process {pid} has run for {} already, longer than {}",
        format_duration(*.runtime), format_limit(*.limit))]
    Overdue {
        /// Which.
        pid: i32,
        /// How long it has run.
        runtime: Micros,
        /// How long it were to run.
        limit: Millis,
    },
    /// A limit makes no sense.
    #[error("{what} is {} to {}", format_limit(*.least), format_limit(*.most))]
    Limit {
        /// Which.
        what: &'static str,
        /// The shortest.
        least: Millis,
        /// The longest.
        most: Millis,
    },
    /// There is no room for more.
    #[error("{0} processes are watched, which is as many as there may be here")]
    Full(usize),
    /// It is not watched.
    #[error("process {0} is not watched")]
    NotWatched(String),
    /// Signals are under way to it.
    #[error("process {0} is being ended")]
    BeingEnded(i32),
}

/// What makes a candidate watched, at the wish of `asker`.
///
/// # Errors
/// [`Refusal`].
pub fn watch(
    processes: &Processes,
    candidate: &Candidate,
    terms: Terms,
    asker: &Entity,
    now: Timestamp,
) -> Result<Decided, Refusal> {
    check_terms(terms)?;
    let pid = candidate.identity.pid;
    innocent(candidate)?;
    unattended(processes, candidate)?;
    allowed(candidate, asker)?;
    let runtime = micros(candidate.runtime);
    if runtime.0 >= terms.max_runtime.0.saturating_mul(1000) {
        let limit = terms.max_runtime;
        return Err(Refusal::Overdue {
            pid,
            runtime,
            limit,
        });
    }
    let watched = processes.foreign_count();
    if watched >= candidate.room.min(MAX_WATCHED) {
        return Err(Refusal::Full(watched));
    }
    let identity = &candidate.identity;
    let subject = process_subject(&identity.boot_id, pid, identity.start_time)
        .map_err(|_| Refusal::NoSuch(pid))?;
    let watched = ProcessWatched {
        pid,
        start_time: identity.start_time,
        boot_id: identity.boot_id.clone(),
        pgid: candidate.pgid,
        uid: candidate.uid,
        command: candidate.command.clone(),
        started_at: Timestamp(now.0.saturating_sub(runtime.0)),
        max_runtime_ms: terms.max_runtime,
        stall_after_ms: terms.stall_after,
        grace_ms: terms.grace,
    };
    Ok(Decided::new(subject, ProcessEvent::Watched(watched)))
}

fn check_terms(terms: Terms) -> Result<(), Refusal> {
    let within = |what, limit: Millis, least: Millis, most: Millis| {
        if limit < least || limit > most {
            return Err(Refusal::Limit { what, least, most });
        }
        Ok(())
    };
    let shortest = Millis(1);
    within(
        "the time that it may run",
        terms.max_runtime,
        shortest,
        LONGEST,
    )?;
    if let Some(stall_after) = terms.stall_after {
        within(
            "the time that it may stand still",
            stall_after,
            SHORTEST_STALL,
            LONGEST,
        )?;
    }
    within(
        "the time that SIGTERM may take",
        terms.grace,
        shortest,
        LONGEST_GRACE,
    )
}

/// Whether it may be signaled at all.
fn innocent(candidate: &Candidate) -> Result<(), Refusal> {
    let pid = candidate.identity.pid;
    let protected = |why| Err(Refusal::Protected { pid, why });
    match candidate.kin {
        _ if pid <= 1 => protected("everything else runs below it"),
        _ if candidate.is_kernel_thread => protected("it is a thread of the kernel"),
        Kin::Node => protected("it is this node"),
        Kin::Ancestor => protected("this node runs below it"),
        Kin::Stranger | Kin::Descendant if candidate.has_ended => Err(Refusal::Ended(pid)),
        Kin::Stranger | Kin::Descendant => Ok(()),
    }
}

/// Whether nobody looks after it yet.
fn unattended(processes: &Processes, candidate: &Candidate) -> Result<(), Refusal> {
    let identity = &candidate.identity;
    let pid = identity.pid;
    let id = id_of(&identity.boot_id, pid, identity.start_time);
    let known = processes.get(&id);
    if known.is_some_and(|known| known.foreign().is_some()) {
        return Err(Refusal::Watched(pid));
    }
    let own = std::iter::once((pid, identity.start_time));
    let chain: Vec<_> = own.chain(candidate.ancestors.iter().copied()).collect();
    let attempts = processes
        .iter()
        .filter_map(|(_, process)| match &process.purpose {
            Purpose::Attempt(of) if process.boot_id == identity.boot_id => Some((process, of)),
            Purpose::Attempt(_) | Purpose::Foreign(_) => None,
        });
    for (process, of) in attempts {
        let OfAttempt { task, attempt, .. } = of;
        let shim = (of.shim_pid, of.shim_start_time);
        if chain.contains(&shim) || chain.contains(&(process.pid, process.start_time)) {
            let (task, attempt) = (task.clone(), *attempt);
            return Err(Refusal::OfAttempt { pid, task, attempt });
        }
    }
    match candidate.kin {
        Kin::Descendant => Err(Refusal::Protected {
            pid,
            why: "this node has started it",
        }),
        Kin::Stranger | Kin::Node | Kin::Ancestor => Ok(()),
    }
}

/// Whether who asks may have it ended, and the node can end it.
fn allowed(candidate: &Candidate, asker: &Entity) -> Result<(), Refusal> {
    let Candidate {
        uid,
        effective_uid,
        node_uid,
        ..
    } = *candidate;
    let pid = candidate.identity.pid;
    let is_root = asker.kind() == "uid" && asker.id() == "0";
    let is_owner = asker.kind() == "uid" && *asker.id() == uid.to_string() && uid == effective_uid;
    if !is_root && !is_owner {
        let asker = asker.to_string();
        return Err(Refusal::OfAnother { pid, uid, asker });
    }
    if node_uid != 0 && node_uid != uid {
        return Err(Refusal::Powerless {
            pid,
            uid,
            node: node_uid,
        });
    }
    Ok(())
}

/// Lets go of a process: `target` is its pid, or `BOOT.PID.START`.
///
/// # Errors
/// [`Refusal`].
pub fn unwatch(processes: &Processes, target: &str) -> Result<Decided, Refusal> {
    let by_pid = || {
        let pid: i32 = target.parse().ok()?;
        // Of several with one number, all but the latest have ended and are about to leave.
        let named = processes.iter().filter(|(_, process)| process.pid == pid);
        named.max_by_key(|(_, process)| process.told)
    };
    let named = processes.get(target).map(|process| (target, process));
    let Some((id, process)) = named.or_else(by_pid) else {
        return Err(Refusal::NotWatched(target.to_owned()));
    };
    let pid = process.pid;
    match &process.purpose {
        Purpose::Attempt(of) => Err(Refusal::OfAttempt {
            pid,
            task: of.task.clone(),
            attempt: of.attempt,
        }),
        Purpose::Foreign(foreign) => match foreign.stage {
            Stage::Reaping { .. } => Err(Refusal::BeingEnded(pid)),
            Stage::Watched => let_go(id, UnwatchReason::Asked)
                .ok_or_else(|| Refusal::NotWatched(target.to_owned())),
        },
    }
}

/// A watched process is let go of.
pub fn let_go(id: &str, reason: UnwatchReason) -> Option<Decided> {
    let unwatched = ProcessEvent::Unwatched(ProcessUnwatched { reason });
    let subject = Entity::of("process", id).ok()?;
    Some(Decided::new(subject, unwatched))
}

/// What was seen of a watched process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Report {
    /// It is past its limit.
    Due {
        /// Which limit.
        cause: ReapCause,
        /// How long it has run.
        runtime: Micros,
        /// How long it has not used the CPU, if that is why.
        idle: Option<Micros>,
    },
    /// It has ended without a signal of ours.
    Ended {
        /// How that is known.
        seen: EndSeen,
        /// How long it had run, if its end was seen.
        runtime: Option<Micros>,
    },
    /// It is gone, with all that belonged to it, after signals of ours.
    Terminated {
        /// What was sent.
        steps: Vec<LadderStep>,
        /// How long it had run.
        runtime: Micros,
    },
    /// Something of it outlives SIGKILL.
    Survived {
        /// What was sent.
        steps: Vec<LadderStep>,
        /// What is still there.
        survivors: Vec<Survivor>,
    },
    /// It can't be watched any more, or must not be signaled.
    LetGo(UnwatchReason),
}

/// What follows from a report. Nothing if it is late news about what is decided already.
pub fn reported(processes: &Processes, id: &str, report: &Report) -> Option<Decided> {
    let stage = &processes.get(id)?.foreign()?.stage;
    let event = match (report, stage) {
        (
            Report::Due {
                cause,
                runtime,
                idle,
            },
            Stage::Watched,
        ) => ProcessEvent::Reaping(ProcessReaping {
            cause: *cause,
            runtime_us: *runtime,
            idle_us: *idle,
        }),
        (Report::Ended { seen, runtime }, Stage::Watched | Stage::Reaping { .. }) => {
            ProcessEvent::Ended(ProcessEnded {
                seen: *seen,
                runtime_us: *runtime,
            })
        }
        (Report::Terminated { steps, runtime }, Stage::Reaping { cause, .. }) => {
            ProcessEvent::Terminated(ProcessTerminated {
                cause: *cause,
                steps: steps.clone(),
                runtime_us: *runtime,
            })
        }
        (Report::Survived { steps, survivors }, Stage::Reaping { .. }) => {
            ProcessEvent::Survived(ProcessSurvived {
                steps: steps.clone(),
                survivors: survivors.clone(),
            })
        }
        (Report::LetGo(reason), Stage::Watched | Stage::Reaping { .. }) => {
            return let_go(id, *reason);
        }
        (Report::Due { .. }, Stage::Reaping { .. })
        | (Report::Terminated { .. } | Report::Survived { .. }, Stage::Watched) => return None,
    };
    Some(Decided::new(Entity::of("process", id).ok()?, event))
}

/// What a sweep does about a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "act", content = "why", rename_all = "snake_case")]
pub enum Act {
    /// Nothing.
    Nothing,
    /// It has it ended.
    Reap(ReapCause),
    /// It goes on ending it.
    GoOn,
    /// It records that it has ended.
    RecordEnd,
    /// It lets go of it.
    LetGo(UnwatchReason),
    /// It leaves it to the shim that looks after it.
    Attended,
}

/// What a sweep does about a process that stands like this; `reaping` if it is being ended.
pub const fn act(verdict: Verdict, reaping: Option<ReapCause>) -> Act {
    match (verdict, reaping) {
        (Verdict::Running | Verdict::Unknown, None) => Act::Nothing,
        (Verdict::Overdue, None) => Act::Reap(ReapCause::MaxRuntime),
        (Verdict::Stuck, None) => Act::Reap(ReapCause::Stalled),
        (Verdict::Recycled, _) => Act::LetGo(UnwatchReason::Recycled),
        (Verdict::Exited | Verdict::Defunct, None) => Act::RecordEnd,
        // What it has left behind is still to be ended.
        (_, Some(_)) => Act::GoOn,
        (Verdict::Unkillable, None) => Act::Nothing,
    }
}

/// Everything watched of an earlier history, to be let go of.
pub fn forsake(processes: &Processes, is_inherited: impl Fn(&Watched) -> bool) -> Vec<Decided> {
    let inherited = processes
        .foreign()
        .filter(|(_, process)| is_inherited(process));
    inherited
        .filter_map(|(id, _)| let_go(id, UnwatchReason::Forsaken))
        .collect()
}

/// The id of a process, as its events' subject has it.
pub fn id_of(boot_id: &str, pid: i32, start_time: u64) -> String {
    format!("{boot_id}.{pid}.{start_time}")
}

/// A time as events have it.
pub fn micros(time: Duration) -> Micros {
    Micros(u64::try_from(time.as_micros()).unwrap_or(u64::MAX))
}
