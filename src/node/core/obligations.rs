//! What the process port and the node's own work are owed: what is open and durable, less what they
//! were given in this life.

use ledger_core::event::Payload;
use projections::tasks::{Task, TaskState};

use super::{AttemptId, Core, attempt_of, is_inherited};
use crate::node::command::{BootOfOrder, BuiltinOrder, Now, Output, StartOrder};

impl Core {
    /// Compares what is open and durable with what the process port was given, and hands over
    /// the difference.
    pub(super) fn reconcile(&mut self, now: Now) {
        let durable = self.sequencer.durable();
        let mut outputs = Vec::new();
        let (mut handed, mut cancelled) = (Vec::new(), Vec::new());
        for task in self.sequencer.state.tasks.open() {
            let Some(id) = attempt_of(task) else { continue };
            if task.run().is_none_or(|run| run.ordered > durable)
                || is_inherited(task, self.sequencer.state.standing.inherited())
            {
                continue;
            }
            if !self.handed.contains(&id) {
                outputs.push(self.order(now, task, &id));
                handed.push(id.clone());
            }
            if let TaskState::Cancelling { asked, .. } = task.state
                && asked <= durable
                && !self.cancelled.contains(&id)
            {
                outputs.push(Output::Cancel(id.clone()));
                cancelled.push(id);
            }
        }
        self.handed.extend(handed);
        self.cancelled.extend(cancelled);
        self.outputs.extend(outputs);
    }

    /// Says of which outcomes the disk has all that followed: before new orders go out, so that those
    /// who are done can be given something to do.
    pub(super) fn settle_attempts(&mut self) {
        let durable = self.sequencer.durable();
        while let Some((_, attempt)) = self.settling.pop_front_if(|(after, _)| *after <= durable) {
            self.outputs.push(Output::Settled(attempt));
        }
    }

    fn order(&self, now: Now, task: &Task, id: &AttemptId) -> Output {
        let exec = match task.payload() {
            Payload::Exec(exec) => exec,
            // Those of earlier lives are lost by now.
            Payload::Builtin(builtin) => {
                return Output::Do(BuiltinOrder {
                    attempt: id.clone(),
                    job: builtin.job,
                    at: self.clock.wall(now),
                    max_runtime: task.max_runtime_ms,
                });
            }
        };
        let order = StartOrder {
            attempt: id.clone(),
            exec,
            max_runtime: task.max_runtime_ms,
            grace: task.grace_ms,
            stall_after: task.stall_after(),
        };
        match self.inherited(task) {
            Some(boot) => Output::Recover(order, boot),
            None => Output::Start(order),
        }
    }

    /// An attempt that an earlier life of the node ordered may have begun long ago; whether the
    /// host has been up since then decides what its files are worth.
    fn inherited(&self, task: &Task) -> Option<BootOfOrder> {
        let run = task.run().filter(|run| run.ordered <= self.replayed)?;
        let leases = &self.sequencer.state.leases;
        let boot = |term| leases.tenure(term).map(|tenure| &tenure.boot_id);
        let same = boot(run.term) == boot(self.term());
        Some(if same {
            BootOfOrder::Current
        } else {
            BootOfOrder::Earlier
        })
    }
}
