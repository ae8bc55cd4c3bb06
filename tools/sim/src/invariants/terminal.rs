//! Every accepted task reaches a terminal state once everything is healed.
//!
//! Why: this is what a queue is for. A task that was taken and is neither done nor given up is lost,
//! whatever the log says.

use std::collections::BTreeMap;

use ledger_core::ids::{Id, Seq};
use opsledger::node::decision::Decision;

use super::{Checked, holds};

const NAME: &str = "every accepted task reaches a terminal state";

/// The tasks whose submission was acknowledged.
#[derive(Debug, Default)]
pub(crate) struct Accepted(BTreeMap<Id, Seq>);

impl Accepted {
    pub(crate) fn accept(&mut self, task: Id, seq: Seq) {
        self.0.insert(task, seq);
    }

    /// The end of a run.
    pub(crate) fn check(&self, durable: &Decision) -> Checked {
        for (id, seq) in &self.0 {
            let task = durable.tasks.get(id);
            holds(
                NAME,
                task.is_some_and(|task| task.submitted == *seq),
                || format!("{id}, acknowledged at seq {seq}, is not there"),
            )?;
            holds(NAME, task.is_some_and(|task| task.is_ended()), || {
                format!("{id} has not ended: {:?}", task.map(|task| &task.state))
            })?;
        }
        Ok(())
    }
}
