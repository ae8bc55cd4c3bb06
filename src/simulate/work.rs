//! What a simulation is given: tasks as they were handed over, and how each of their attempts goes
//! if nobody ends it.

use ledger_core::event::{Exec, Payload, Priority, TaskSubmitted, Terms};
use ledger_core::ids::Id;
use ledger_core::time::{Micros, Millis, Timestamp};

use crate::scheduler::policy::Policy;

/// Shortest attempt: time passes while anything runs.
pub const SHORTEST: Micros = Micros(1);

/// How an attempt goes by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Course {
    /// It ends after so long.
    Ends(Micros, Manner),
    /// It never ends: it holds its slot until it is reaped, or until the horizon. It ends at once
    /// when it is told to.
    Hangs,
    /// After so long it has stood still for as long as it may, and is ended for that; if nothing ends
    /// it, it goes on standing still.
    Stalls(Micros),
}

/// How an attempt ends by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    /// With exit code 0.
    Well,
    /// With another, or by a signal of its own.
    Badly,
    /// Without an outcome.
    Lost,
    /// At somebody's wish.
    Cancelled,
}

/// A task to be simulated.
#[derive(Debug, Clone, PartialEq)]
pub struct Work {
    /// Its id; no other has it.
    pub id: Id,
    /// When it is handed over.
    pub arrival: Timestamp,
    /// The queue it is for, whatever the policy makes of that.
    pub queue: Priority,
    /// How long an attempt may run.
    pub max_runtime: Millis,
    /// What it waits for and how often it is tried.
    pub terms: Option<Box<Terms>>,
    /// How its first, second … attempt goes; the last stands for all that follow. If empty, it ends
    /// well at once.
    pub courses: Vec<Course>,
    /// When somebody cancels it, whether it waits then or runs.
    pub withdrawn: Option<Timestamp>,
}

impl Work {
    /// How the attempt of this number (from 1) goes.
    pub fn course(&self, attempt: u32) -> Course {
        let index = usize::try_from(attempt.saturating_sub(1)).unwrap_or(usize::MAX);
        let found = self.courses.get(index).or(self.courses.last()).copied();
        match found.unwrap_or(Course::Ends(SHORTEST, Manner::Well)) {
            Course::Ends(after, manner) => Course::Ends(after.max(SHORTEST), manner),
            Course::Stalls(after) => Course::Stalls(after.max(SHORTEST)),
            Course::Hangs => Course::Hangs,
        }
    }

    /// The submission, to a queue.
    pub(super) fn submission(&self, priority: Priority) -> TaskSubmitted {
        TaskSubmitted {
            priority,
            payload: Payload::Exec(Exec {
                argv: vec!["simulated".to_owned()],
                env: std::collections::BTreeMap::new(),
                cwd: None,
                stdin: None,
            }),
            max_runtime_ms: self.max_runtime,
            grace_ms: Millis(0),
            terms: self.terms.clone(),
        }
    }
}

/// How tasks are put in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Discipline {
    /// First in first out: every task is handed over to queue 0. Nothing is kept from that queue,
    /// nothing in it rises, and a node runs exactly this if it is given the same submissions.
    Fifo,
    /// The multi-level feedback queues that a node has: each task in its own queue.
    Mlfq,
}

impl Discipline {
    /// The queue to which a task is handed over that is for `queue`.
    pub fn queue(self, queue: Priority) -> Priority {
        match self {
            Self::Fifo => Priority::Interactive,
            Self::Mlfq => queue,
        }
    }

    /// The settings under which it is what it is called: with one queue there is none to fall to.
    #[must_use]
    pub fn policy(self, mut policy: Policy) -> Policy {
        if self == Self::Fifo {
            policy.queues[0].quantum = None;
            policy.queues[0].max_running = None;
        }
        policy
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Fifo => "fifo",
            Self::Mlfq => "mlfq",
        }
    }
}

/// Whether attempts are ended that run past their limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Reaper {
    /// They are, exactly at their limit; so are those that stand still.
    On,
    /// Nothing ends them.
    Off,
}

/// By which rules a workload is run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The order of tasks.
    pub discipline: Discipline,
    /// The rules of dispatch; slots are its `max_running`.
    pub policy: Policy,
    /// The end of what runs too long.
    pub reaper: Reaper,
    /// When the simulation ends; if nothing is said, when nothing more can happen.
    pub horizon: Option<Timestamp>,
    /// What chance is made of: pauses between attempts.
    pub seed: u64,
}
