//! Checkpoints: each is of what was before it, has a name of its own while it is kept, and is pruned
//! once.

use std::collections::HashMap;

use ledger_core::ids::Seq;

use super::facts::{Fact, Step};
use super::finding::{Findings, Life, Problem};
use super::{LifeCycle, Tally};

/// The checkpoints that are kept.
#[derive(Debug, Default)]
pub(super) struct Checkpoints {
    kept: HashMap<Box<str>, Seq>,
    ended: u64,
}

impl LifeCycle for Checkpoints {
    fn take(&mut self, step: &Step, findings: &mut Findings) {
        let life = Life::Checkpoint {
            checkpoint: &*step.subject,
        };
        match step.fact {
            Fact::CheckpointCreated { of } => {
                if of >= step.seq {
                    findings.add(life, None, Some(step.seq), Problem::FromLater);
                }
                if let Some(begun) = self.kept.insert(step.subject.clone(), step.seq) {
                    findings.add(life, Some(begun), Some(step.seq), Problem::BegunTwice);
                }
            }
            Fact::CheckpointPruned => match self.kept.remove(&step.subject) {
                Some(_) => {
                    self.ended += 1;
                    findings.ended(life, step.seq);
                }
                None => findings.not_open(life, step.seq),
            },
            _ => {}
        }
    }

    fn end(&mut self, _: &mut Findings) {}

    fn tallies(&self) -> Vec<Tally> {
        vec![Tally {
            family: "checkpoint",
            ended: self.ended,
            open: self.kept.len() as u64,
        }]
    }

    #[cfg(test)]
    fn held(&self) -> usize {
        self.kept.len()
    }
}
