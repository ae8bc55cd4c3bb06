//! Checkpoints: each is of what was before it, has a name of its own while it is kept, and is pruned
//! once. One that is kept says the chain's hash where it stands; the fold has no history to look that
//! up in, so it hands the claim on.

use std::collections::HashMap;

use ledger_core::hash::Hash;
use ledger_core::ids::Seq;

use super::facts::{Fact, Step};
use super::finding::{Findings, Life, Problem};
use super::{Claim, LifeCycle, Tally};

/// The checkpoints that are kept.
#[derive(Debug, Default)]
pub(super) struct Checkpoints {
    kept: HashMap<Box<str>, Kept>,
    ended: u64,
}

#[derive(Debug)]
struct Kept {
    begun: Seq,
    of: Seq,
    hash: Hash,
}

impl LifeCycle for Checkpoints {
    fn take(&mut self, step: &Step, findings: &mut Findings) {
        let life = Life::Checkpoint {
            checkpoint: &*step.subject,
        };
        match step.fact {
            Fact::CheckpointCreated { of, hash } => {
                if of >= step.seq {
                    findings.add(life, None, Some(step.seq), Problem::FromLater);
                }
                let kept = Kept {
                    begun: step.seq,
                    of,
                    hash,
                };
                if let Some(before) = self.kept.insert(step.subject.clone(), kept) {
                    let begun = Some(before.begun);
                    findings.add(life, begun, Some(step.seq), Problem::BegunTwice);
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

    fn claims(&self) -> Vec<Claim> {
        let mut claims = Vec::new();
        for (name, kept) in &self.kept {
            claims.push(Claim {
                life: Life::Checkpoint {
                    checkpoint: name.to_string(),
                },
                begun: kept.begun,
                of: kept.of,
                hash: kept.hash,
            });
        }
        claims
    }

    #[cfg(test)]
    fn held(&self) -> usize {
        self.kept.len()
    }
}
