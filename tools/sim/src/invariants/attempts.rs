//! No attempt begins before its order is durable, none begins twice, and those of one task never overlap.
//!
//! Why: tasks change the world. A second start of the same work is harm that no log undoes.

use std::collections::{BTreeMap, BTreeSet};

use ledger_core::event::Attempt;
use ledger_core::ids::Id;
use opsledger::node::command::AttemptId;
use opsledger::node::decision::Decision;

use super::{Checked, holds};

const NAME: &str = "each task's attempts never overlap, and begin at most once";

/// What runs and what ran.
#[derive(Debug, Default)]
pub(crate) struct Attempts {
    running: BTreeMap<Id, Attempt>,
    begun: BTreeSet<AttemptId>,
}

impl Attempts {
    /// A process begins for an attempt. `durable` is what the disk holds, folded.
    pub(crate) fn begins(&mut self, id: &AttemptId, durable: &Decision) -> Checked {
        let task = durable.tasks.get(&id.task);
        let is_ordered = task.is_some_and(|task| {
            task.run().is_some_and(|run| run.attempt == id.attempt)
                || task.attempts.iter().any(|past| past.attempt == id.attempt)
        });
        holds(NAME, is_ordered, || {
            format!(
                "attempt {} of {} begins before its order is durable",
                id.attempt, id.task
            )
        })?;
        holds(NAME, self.begun.insert(id.clone()), || {
            format!("attempt {} of {} begins twice", id.attempt, id.task)
        })?;
        let other = self.running.insert(id.task.clone(), id.attempt);
        holds(NAME, other.is_none(), || {
            format!(
                "attempt {} of {} begins while {other:?} runs",
                id.attempt, id.task
            )
        })
    }

    /// The whole tree of an attempt is gone.
    pub(crate) fn gone(&mut self, id: &AttemptId) {
        if self.running.get(&id.task) == Some(&id.attempt) {
            self.running.remove(&id.task);
        }
    }
}
