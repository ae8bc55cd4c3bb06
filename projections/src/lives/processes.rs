//! Processes: each that was registered for an attempt ends before the attempt does. One that somebody
//! else started is watched until it has ended or is let go of, however long that takes.

use std::collections::HashMap;

use ledger_core::ids::Seq;

use super::facts::{Fact, Step};
use super::finding::{Findings, Life, Problem};
use super::{LifeCycle, Tally};

/// The processes that are open.
#[derive(Debug, Default)]
pub(super) struct Processes {
    open: HashMap<Box<str>, Process>,
    /// The same, by the task that they run for: at most one for each.
    by_task: HashMap<Box<str>, Box<str>>,
    /// Those that somebody else started.
    foreign: HashMap<Box<str>, Seq>,
    ended: u64,
}

#[derive(Debug)]
struct Process {
    begun: Seq,
    task: Box<str>,
    attempt: u32,
}

impl Processes {
    fn registered(&mut self, step: &Step, task: &str, attempt: u32, findings: &mut Findings) {
        let process = Process {
            begun: step.seq,
            task: task.into(),
            attempt,
        };
        if let Some(before) = self.open.insert(step.subject.clone(), process) {
            let life = Life::Process {
                process: &*step.subject,
            };
            findings.add(
                life,
                Some(before.begun),
                Some(step.seq),
                Problem::BegunTwice,
            );
            self.forget(&before.task, &step.subject);
        }
        self.by_task.insert(task.into(), step.subject.clone());
    }

    fn ended(&mut self, step: &Step, findings: &mut Findings) {
        let life = Life::Process {
            process: &*step.subject,
        };
        match self.open.remove(&step.subject) {
            Some(process) => {
                self.forget(&process.task, &step.subject);
                self.ended += 1;
                findings.ended(life, step.seq);
            }
            None => findings.not_open(life, step.seq),
        }
    }

    /// Something is said of a process that must be open: an attempt's, or one that others started.
    fn goes_on(is_open: bool, step: &Step, findings: &mut Findings) {
        if !is_open {
            let life = Life::Process {
                process: &*step.subject,
            };
            findings.not_open(life, step.seq);
        }
    }

    fn watched(&mut self, step: &Step, findings: &mut Findings) {
        if let Some(begun) = self.foreign.insert(step.subject.clone(), step.seq) {
            let life = Life::Process {
                process: &*step.subject,
            };
            findings.add(life, Some(begun), Some(step.seq), Problem::BegunTwice);
        }
    }

    fn let_go(&mut self, step: &Step, findings: &mut Findings) {
        let life = Life::Process {
            process: &*step.subject,
        };
        match self.foreign.remove(&step.subject) {
            Some(_) => {
                self.ended += 1;
                findings.ended(life, step.seq);
            }
            None => findings.not_open(life, step.seq),
        }
    }

    fn forget(&mut self, task: &str, process: &str) {
        if self.by_task.get(task).is_some_and(|of| **of == *process) {
            self.by_task.remove(task);
        }
    }

    /// An attempt has ended, so its process has.
    fn closed(&mut self, step: &Step, attempt: u32, findings: &mut Findings) {
        let Some(subject) = self.by_task.get(&step.subject) else {
            return;
        };
        let open = self.open.get(subject);
        let Some(process) = open.filter(|process| process.attempt == attempt) else {
            return;
        };
        findings.add(
            Life::Process {
                process: &**subject,
            },
            Some(process.begun),
            Some(step.seq),
            Problem::NeverEnded,
        );
        self.open.remove(subject);
        self.by_task.remove(&step.subject);
    }
}

impl LifeCycle for Processes {
    fn take(&mut self, step: &Step, findings: &mut Findings) {
        match &step.fact {
            Fact::ProcessRegistered { task, attempt } => {
                self.registered(step, task, *attempt, findings);
            }
            Fact::ProcessEnded => self.ended(step, findings),
            Fact::ProcessUnkillable => {
                Self::goes_on(self.open.contains_key(&step.subject), step, findings);
            }
            Fact::ProcessWatched => self.watched(step, findings),
            Fact::ProcessGoesOn => {
                Self::goes_on(self.foreign.contains_key(&step.subject), step, findings);
            }
            Fact::ProcessLetGo => self.let_go(step, findings),
            Fact::TaskCompleted { attempt }
            | Fact::TaskBroken { attempt }
            | Fact::TaskCancelled {
                attempt: Some(attempt),
            } => self.closed(step, *attempt, findings),
            _ => {}
        }
    }

    fn end(&mut self, _: &mut Findings) {}

    fn tallies(&self) -> Vec<Tally> {
        vec![Tally {
            family: "process",
            ended: self.ended,
            open: (self.open.len() + self.foreign.len()) as u64,
        }]
    }

    #[cfg(test)]
    fn held(&self) -> usize {
        self.open.len() + self.by_task.len() + self.foreign.len()
    }
}
