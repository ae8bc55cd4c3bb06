//! Jobs: a run that is said to be due, or is asked for, is submitted, in the same batch and behind; what
//! becomes of it then is a life of its task. A pause ends before the next begins. A job itself is
//! defined once until it is removed; that is no life that would have to end.

use std::collections::HashMap;

use ledger_core::ids::Seq;

use super::facts::{Fact, Step};
use super::finding::{Findings, Life, Problem};
use super::{LifeCycle, Tally};

/// Runs that are due, by their task, and the jobs that are defined and paused.
#[derive(Debug, Default)]
pub(super) struct Jobs {
    defined: HashMap<Box<str>, Seq>,
    due: HashMap<Box<str>, (Box<str>, Seq)>,
    paused: HashMap<Box<str>, Seq>,
    ended: u64,
}

impl Jobs {
    /// What was due and was not submitted by now never will be.
    fn not_submitted(&mut self, seq: Option<Seq>, findings: &mut Findings) {
        let mut due: Vec<_> = self.due.drain().collect();
        due.sort_by_key(|(_, (_, begun))| *begun);
        for (task, (job, begun)) in &due {
            let task = task.to_string();
            let problem = Problem::NotSubmitted { task };
            findings.add(Life::Job { job: &**job }, Some(*begun), seq, problem);
        }
    }
}

impl LifeCycle for Jobs {
    fn take(&mut self, step: &Step, findings: &mut Findings) {
        let job = &step.subject;
        let life = Life::Job { job: &**job };
        match &step.fact {
            Fact::JobDefined => {
                if let Some(begun) = self.defined.insert(job.clone(), step.seq) {
                    findings.add(life, Some(begun), Some(step.seq), Problem::BegunTwice);
                }
            }
            Fact::JobChanged if !self.defined.contains_key(job) => {
                findings.not_open(life, step.seq);
            }
            Fact::JobRemoved if self.defined.remove(job).is_none() => {
                findings.not_open(life, step.seq);
            }
            Fact::JobDue { task } => {
                let due = (job.clone(), step.seq);
                if let Some((_, begun)) = self.due.insert(task.clone(), due) {
                    findings.add(life, Some(begun), Some(step.seq), Problem::BegunTwice);
                }
            }
            Fact::TaskSubmitted => {
                self.ended += u64::from(self.due.remove(&step.subject).is_some());
            }
            Fact::JobPaused => {
                if let Some(begun) = self.paused.insert(job.clone(), step.seq) {
                    findings.add(life, Some(begun), Some(step.seq), Problem::BegunTwice);
                }
            }
            Fact::JobResumed => match self.paused.remove(job) {
                Some(_) => {
                    self.ended += 1;
                    findings.ended(life, step.seq);
                }
                None => findings.not_open(life, step.seq),
            },
            Fact::NodeRecovered { .. } => self.not_submitted(Some(step.seq), findings),
            _ => {}
        }
    }

    fn end(&mut self, findings: &mut Findings) {
        self.not_submitted(None, findings);
    }

    fn tallies(&self) -> Vec<Tally> {
        vec![Tally {
            family: "job",
            ended: self.ended,
            open: (self.due.len() + self.paused.len()) as u64,
        }]
    }

    #[cfg(test)]
    fn held(&self) -> usize {
        self.due.len() + self.paused.len() + self.defined.len()
    }
}
