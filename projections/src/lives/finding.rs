//! What a fold of lives finds, as data, and the memory of the lives that ended last.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};

use ledger_core::ids::{Seq, Term};
use serde::Serialize;

use super::Claim;
use super::facts::{Fact, Step};

/// More findings than these are only counted.
const MAX_FINDINGS: usize = 1000;
/// How many lives are remembered after their end, to tell a second end from one without a beginning.
pub(super) const REMEMBERED: usize = 1024;

/// Whose life it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(tag = "family", rename_all = "snake_case")]
pub enum Life<S = String> {
    /// A lease term.
    Term {
        /// Its number.
        term: Term,
    },
    /// A node in a term.
    Node {
        /// Its name.
        node: S,
    },
    /// A task.
    Task {
        /// Its id.
        task: S,
    },
    /// A run of a task.
    Attempt {
        /// The task's id.
        task: S,
        /// Which run.
        attempt: u32,
    },
    /// A process.
    Process {
        /// Boot, pid and start time.
        process: S,
    },
    /// A run of a job, or its pause.
    Job {
        /// Its name.
        job: S,
    },
    /// A checkpoint.
    Checkpoint {
        /// Its name.
        checkpoint: S,
    },
}

impl Life<&str> {
    fn owned(self) -> Life {
        match self {
            Life::Term { term } => Life::Term { term },
            Life::Node { node } => Life::Node { node: node.into() },
            Life::Task { task } => Life::Task { task: task.into() },
            Life::Attempt { task, attempt } => Life::Attempt {
                task: task.into(),
                attempt,
            },
            Life::Process { process } => Life::Process {
                process: process.into(),
            },
            Life::Job { job } => Life::Job { job: job.into() },
            Life::Checkpoint { checkpoint } => Life::Checkpoint {
                checkpoint: checkpoint.into(),
            },
        }
    }
}

impl fmt::Display for Life {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Term { term } => write!(f, "term {term}"),
            Self::Node { node } => write!(f, "node {node}"),
            Self::Task { task } => write!(f, "task {task}"),
            Self::Attempt { task, attempt } => write!(f, "attempt {attempt} of task {task}"),
            Self::Process { process } => write!(f, "process {process}"),
            Self::Job { job } => write!(f, "job {job}"),
            Self::Checkpoint { checkpoint } => write!(f, "checkpoint {checkpoint}"),
        }
    }
}

/// What a node says that it has counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Count {
    /// Attempts that it found open and looked into.
    Found,
    /// Of those, the ones that go on.
    GoOn,
    /// Attempts that run as it stops.
    Running,
    /// Tasks that wait as it stops.
    Queued,
}

/// What is wrong with a life.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "problem", rename_all = "snake_case")]
pub enum Problem {
    /// It is over, by what the event says, and its end was never recorded.
    NeverEnded,
    /// It goes on or ends here, and is not known to have begun.
    NotBegun,
    /// It begins here though it is open.
    BegunTwice,
    /// It ends here and had ended before.
    EndedTwice {
        /// Where it had ended.
        ended: Seq,
    },
    /// Something happens in it behind its end.
    AfterEnd {
        /// Where it ended.
        ended: Seq,
    },
    /// Its first event is not its acquisition.
    NotAcquired,
    /// A later term has taken over and has recovered, and what became of it was not recorded.
    Unaccounted,
    /// Its last attempt ended badly, and what becomes of it was not decided.
    Undecided,
    /// Another attempt is the next.
    OutOfTurn {
        /// The one that is.
        expected: u32,
    },
    /// The attempt that it is for is not open, or has a process already.
    NoAttempt {
        /// The task.
        task: String,
        /// The attempt.
        attempt: u32,
    },
    /// It announces a task that was not submitted.
    NotSubmitted {
        /// The task.
        task: String,
    },
    /// It refers to what comes after it.
    FromLater,
    /// The event that it stands for is another.
    OtherHash {
        /// Which event.
        of: Seq,
        /// The hash that it says.
        said: ledger_core::hash::Hash,
        /// The one in the ledger.
        found: ledger_core::hash::Hash,
    },
    /// It says another number than the events do.
    Miscounted {
        /// Of what.
        count: Count,
        /// What it says.
        said: u64,
        /// What the events say.
        counted: u64,
    },
    /// What is recorded of it can't be read.
    Unreadable {
        /// Why.
        reason: String,
    },
}

/// A life that is not accounted for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Whose.
    #[serde(flatten)]
    pub life: Life,
    /// The event that began it, where that is known.
    pub begun: Option<Seq>,
    /// The event that shows it; the end of the history if there is none.
    pub seq: Option<Seq>,
    /// What is wrong with it.
    #[serde(flatten)]
    pub problem: Problem,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.seq {
            Some(seq) => write!(f, "seq {seq}: ")?,
            None => f.write_str("at the end: ")?,
        }
        write!(f, "{}", self.life)?;
        if let Some(begun) = self.begun {
            write!(f, ", begun at seq {begun},")?;
        }
        match &self.problem {
            Problem::NeverEnded => f.write_str(" is over, and its end was never recorded"),
            Problem::NotBegun => f.write_str(" goes on or ends, and is not known to have begun"),
            Problem::BegunTwice => f.write_str(" begins again while it is open"),
            Problem::EndedTwice { ended } => write!(f, " ends again; it had ended at seq {ended}"),
            Problem::AfterEnd { ended } => write!(f, " goes on though it ended at seq {ended}"),
            Problem::NotAcquired => f.write_str(" does not begin with its acquisition"),
            Problem::Unaccounted => {
                f.write_str(" was open at a takeover, and what became of it was never recorded")
            }
            Problem::Undecided => {
                f.write_str(" had an attempt that ended badly, and nothing was decided on it")
            }
            Problem::OutOfTurn { expected } => {
                write!(f, " is out of turn: attempt {expected} comes next")
            }
            Problem::NoAttempt { task, attempt } => write!(
                f,
                " is for attempt {attempt} of task {task}, which is not open or has one already"
            ),
            Problem::NotSubmitted { task } => {
                write!(f, " announces task {task}, which was not submitted")
            }
            Problem::FromLater => f.write_str(" refers to what comes after it"),
            Problem::OtherHash { of, said, found } => write!(
                f,
                " says that seq {of} has hash {said}; in the ledger it is {found}"
            ),
            Problem::Miscounted {
                count,
                said,
                counted,
            } => {
                let what = match count {
                    Count::Found => "attempts that it found open",
                    Count::GoOn => "attempts that it found open and that go on",
                    Count::Running => "running attempts",
                    Count::Queued => "waiting tasks",
                };
                write!(
                    f,
                    " counts {said} {what}; by the events there are {counted}"
                )
            }
            Problem::Unreadable { reason } => write!(f, " can't be followed: {reason}"),
        }
    }
}

/// Collects findings, and remembers who ended last.
#[derive(Debug, Default)]
pub(super) struct Findings {
    all: Vec<Finding>,
    found: u64,
    ended: HashMap<u64, Seq>,
    /// The same, in the order of their ends.
    order: VecDeque<(u64, Seq)>,
}

impl Findings {
    /// Something is wrong with a life, as the event at `seq` shows.
    pub(super) fn add(
        &mut self,
        life: Life<&str>,
        begun: Option<Seq>,
        seq: Option<Seq>,
        problem: Problem,
    ) {
        self.found += 1;
        if self.all.len() < MAX_FINDINGS {
            self.all.push(Finding {
                life: life.owned(),
                begun,
                seq,
                problem,
            });
        }
    }

    /// What a life claims of another event is not so.
    pub(super) fn refuted(&mut self, claim: Claim, found: ledger_core::hash::Hash) {
        let Claim {
            life,
            begun,
            of,
            hash: said,
        } = claim;
        self.found += 1;
        if self.all.len() < MAX_FINDINGS {
            self.all.push(Finding {
                life,
                begun: Some(begun),
                seq: None,
                problem: Problem::OtherHash { of, said, found },
            });
        }
    }

    /// A life has ended, as it should.
    pub(super) fn ended(&mut self, life: Life<&str>, at: Seq) {
        let key = key(life);
        self.ended.insert(key, at);
        self.order.push_back((key, at));
        if self.order.len() > REMEMBERED
            && let Some((key, at)) = self.order.pop_front()
            && self.ended.get(&key) == Some(&at)
        {
            self.ended.remove(&key);
        }
    }

    /// Something happens in a life that is not open.
    pub(super) fn not_open(&mut self, life: Life<&str>, at: Seq) {
        let problem = match self.ended.get(&key(life)) {
            Some(&ended) => Problem::EndedTwice { ended },
            None => Problem::NotBegun,
        };
        self.add(life, None, Some(at), problem);
    }

    /// A step whose payload could not be read is nobody's.
    pub(super) fn unreadable(&mut self, step: &Step) {
        let Fact::Unreadable { kind, reason } = &step.fact else {
            return;
        };
        let id = &*step.subject;
        let life = match kind.split('.').next() {
            Some("lease") => Life::Term { term: step.term },
            Some("node") => Life::Node { node: id },
            Some("process") => Life::Process { process: id },
            Some("job") => Life::Job { job: id },
            Some("checkpoint") => Life::Checkpoint { checkpoint: id },
            _ => Life::Task { task: id },
        };
        let reason = reason.to_string();
        self.add(life, None, Some(step.seq), Problem::Unreadable { reason });
    }

    /// How many ended lives are remembered, each way.
    #[cfg(test)]
    pub(super) fn remembered(&self) -> (usize, usize) {
        (self.ended.len(), self.order.len())
    }

    pub(super) fn into_all(self) -> (Vec<Finding>, u64) {
        (self.all, self.found)
    }
}

/// What a life is remembered by. Two that share it would only have their findings worded wrong.
fn key(life: Life<&str>) -> u64 {
    let mut hasher = DefaultHasher::new();
    life.hash(&mut hasher);
    hasher.finish()
}
