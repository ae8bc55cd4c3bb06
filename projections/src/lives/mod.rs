//! Lives: has everything that the ledger says began also ended, or is it accounted for?
//!
//! A ledger can be intact and still have a hole: an attempt that was ordered and of which nothing was
//! ever said again, a term that nobody acquired. Each family of lives folds the events that begin and
//! end its lives and says what can't be; [`Lives`] folds all of them while the ledger is verified.
//!
//! | a life | begins with | ends with |
//! |---|---|---|
//! | term | `lease.acquired`, its first event | `lease.released`, its last; or the `lease.lost` or `lease.fenced` of a later one |
//! | node in a term | `node.started` | `node.stopped`, or the end of the term |
//! | task | `task.submitted`, `task.retried` | `task.completed`, `task.cancelled`, `task.dead` |
//! | attempt | `task.started` | `task.completed`, `failed`, `timed_out`, `lost`, `cancelled` |
//! | process | `process.registered` | `process.exited`, `reaped`, `lost` |
//! | process of others | `process.watched` | `process.terminated`, `ended`, `unwatched` |
//! | run of a job | `job.due`, `job.triggered` | the `task.submitted` that it announces |
//! | pause of a job | `job.paused` | `job.resumed` |
//! | checkpoint | `checkpoint.created` | `checkpoint.pruned` |
//!
//! Invariants:
//! - A life that is open at the end is no finding: it may still end. That holds for a ledger whose
//!   node runs, was killed, or stopped in good order (running tasks go on without it). What makes it
//!   one is an event that says the life is over, or that it has been looked into:
//!   `recovery.completed` says how many of the attempts that its node found open were taken up, closed
//!   and lost, and a term that was superseded must by then be recorded as lost.
//! - Nothing that an event decides together with others (a failed attempt and what becomes of its
//!   task) may be left half done: batches are atomic, so an end in between can't come from a crash.
//! - Memory holds what is open and a fixed number of those that ended last, never the history. So
//!   what happens to a life that ended long ago looks like that of one that never began.
//! - One fault is one finding: after it a family goes on as if the event had been in order.
//!
//! A new family is a file here and a line in `families`; a new kind of event stops a test in
//! `facts` until somebody decides whose life it touches.

mod checkpoints;
mod facts;
mod finding;
mod jobs;
mod nodes;
mod processes;
mod tasks;
mod terms;
#[cfg(test)]
mod tests;

pub use facts::{LivesExaminer, LivesNotes};
pub use finding::{Count, Finding, Life, Problem};

use std::fmt::Debug;

use ledger_core::hash::Hash;
use ledger_core::ids::Seq;
use serde::Serialize;

use self::facts::Step;
use self::finding::Findings;

/// Lives of one family, by how far they have come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Tally {
    /// What they are lives of.
    pub family: &'static str,
    /// How many have ended, well or badly.
    pub ended: u64,
    /// How many are open at the end.
    pub open: u64,
}

/// What the fold has come to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Outcome {
    /// Every family's lives.
    pub lives: Vec<Tally>,
    /// What is not accounted for, in the order in which it shows; the first thousand.
    pub findings: Vec<Finding>,
    /// How many findings there are in all.
    pub found: u64,
}

impl Outcome {
    /// Whether every life is accounted for.
    pub fn is_complete(&self) -> bool {
        self.found == 0
    }
}

/// What an open life says of an event before it, which the fold can't look up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// Whose word it is.
    pub life: Life,
    /// The event that says it.
    pub begun: Seq,
    /// Of which event.
    pub of: Seq,
    /// The hash that the event is said to have in the chain.
    pub hash: Hash,
}

/// One family of lives.
trait LifeCycle: Debug {
    /// Takes the next step of the history, which may be one of another family.
    fn take(&mut self, step: &Step, findings: &mut Findings);

    /// The history ends here.
    fn end(&mut self, findings: &mut Findings);

    /// How its lives have come along.
    fn tallies(&self) -> Vec<Tally>;

    /// What its open lives claim.
    fn claims(&self) -> Vec<Claim> {
        Vec::new()
    }

    /// How many lives it holds in memory.
    #[cfg(test)]
    fn held(&self) -> usize;
}

/// Every family.
fn families() -> Vec<Box<dyn LifeCycle>> {
    vec![
        Box::<terms::Terms>::default(),
        Box::<nodes::Nodes>::default(),
        Box::<tasks::Tasks>::default(),
        Box::<processes::Processes>::default(),
        Box::<jobs::Jobs>::default(),
        Box::<checkpoints::Checkpoints>::default(),
    ]
}

/// The fold over all families.
#[derive(Debug)]
pub struct Lives {
    families: Vec<Box<dyn LifeCycle>>,
    findings: Findings,
}

impl Lives {
    /// Begins before the first event of a ledger that ends at `head`: what examines its blocks,
    /// and what folds the notes. What was appended since is left out: a reader may see only some
    /// events of the batch that came after its head.
    pub fn begin(head: Seq) -> (LivesExaminer, Self) {
        let lives = Self {
            families: families(),
            findings: Findings::default(),
        };
        (LivesExaminer::new(head), lives)
    }

    /// Takes the notes of the next block.
    pub fn fold(&mut self, notes: LivesNotes) {
        for step in notes.into_steps() {
            for family in &mut self.families {
                family.take(&step, &mut self.findings);
            }
            self.findings.unreadable(&step);
        }
    }

    /// What the open lives claim of events before them, to be held against the ledger.
    pub fn claims(&self) -> Vec<Claim> {
        let claims = self.families.iter().flat_map(|family| family.claims());
        let mut claims: Vec<_> = claims.collect();
        claims.sort_by_key(|claim| claim.begun);
        claims
    }

    /// The event that a claim is about has this hash; it is a finding if that is another.
    pub fn look_up(&mut self, claim: Claim, found: Hash) {
        if found != claim.hash {
            self.findings.refuted(claim, found);
        }
    }

    /// Ends the fold.
    pub fn end(mut self) -> Outcome {
        for family in &mut self.families {
            family.end(&mut self.findings);
        }
        let lives = self.families.iter().flat_map(|family| family.tallies());
        let lives = lives.collect();
        let (findings, found) = self.findings.into_all();
        Outcome {
            lives,
            findings,
            found,
        }
    }

    #[cfg(test)]
    fn held(&self) -> usize {
        self.families.iter().map(|family| family.held()).sum()
    }
}
