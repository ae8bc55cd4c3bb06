//! Tasks and their attempts: a task waits, runs, and waits for a decision, until it has ended; each
//! attempt is ordered in its turn and closed once.
//!
//! ```text
//!  submitted, retried ──> Queued ── started ──> Running ── completed, cancelled ──> ended
//!                           ^                      '────── failed, timed out, lost ──> Undecided
//!                           '───────────────────── requeued ──────────────────────────────┤
//!                                                                            dead ──> ended
//! ```
//! A task in the dead-letter queue has ended: taking it out begins another life. How many attempts a
//! new node finds open is counted when its term begins, and held against what it says of them.
//! Attempts that were open when the history was copied into another directory run elsewhere, if they
//! do: a node there looks into none of them, and gives them up when it is told to go on.

use std::collections::HashMap;

use ledger_core::ids::{Seq, Term};

use super::facts::{Fact, Step};
use super::finding::{Count, Findings, Life, Problem};
use super::{LifeCycle, Tally};

/// The tasks that are open.
#[derive(Debug, Default)]
pub(super) struct Tasks {
    open: HashMap<Box<str>, Task>,
    running: u64,
    queued: u64,
    ended: u64,
    attempts_ended: u64,
    /// Where the term began that the last event is of, and the term.
    takeover: (Term, Seq),
    /// How many attempts were open then, and how many of those still are.
    inherited: (u64, u64),
    /// Where the directory was made from a copy, and how many attempts are open from before.
    founded: (Seq, u64),
}

#[derive(Debug)]
struct Task {
    begun: Seq,
    stage: Stage,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Waits; the attempt that comes next.
    Queued(u32),
    Running {
        attempt: u32,
        ordered: Seq,
        process: bool,
    },
    /// This attempt ended badly, and what becomes of the task has not been said yet.
    Undecided(u32),
}

fn attempt_of(task: &str, attempt: u32) -> Life<&str> {
    Life::Attempt { task, attempt }
}

impl Tasks {
    fn span(&mut self, step: &Step) {
        if step.term != self.takeover.0 {
            self.takeover = (step.term, step.seq);
            let found = self.running - self.founded.1;
            self.inherited = (found, found);
        }
    }

    fn founded(&mut self, step: &Step) {
        self.founded = (step.seq, self.running);
        self.inherited = (0, 0);
    }

    /// Leaves a stage.
    fn leave(&mut self, stage: Stage) {
        match stage {
            Stage::Queued(_) => self.queued -= 1,
            Stage::Running { ordered, .. } => {
                self.running -= 1;
                if ordered < self.founded.0 {
                    self.founded.1 -= 1;
                } else if ordered < self.takeover.1 {
                    self.inherited.1 -= 1;
                }
            }
            Stage::Undecided(_) => {}
        }
    }

    /// Puts a task into a stage, whatever it was in.
    fn enter(&mut self, task: &str, seq: Seq, stage: Stage) {
        match stage {
            Stage::Queued(_) => self.queued += 1,
            Stage::Running { .. } => self.running += 1,
            Stage::Undecided(_) => {}
        }
        let before = match self.open.get_mut(task) {
            Some(open) => Some(std::mem::replace(&mut open.stage, stage)),
            None => {
                self.open.insert(task.into(), Task { begun: seq, stage });
                None
            }
        };
        if let Some(before) = before {
            self.leave(before);
        }
    }

    /// Ends a task, if it is open.
    fn remove(&mut self, step: &Step, findings: &mut Findings) {
        if let Some(task) = self.open.remove(&step.subject) {
            self.leave(task.stage);
            self.ended += 1;
            let task = &*step.subject;
            findings.ended(Life::Task { task }, step.seq);
        }
    }

    fn begun(&mut self, step: &Step, next: u32, findings: &mut Findings) {
        let task = &*step.subject;
        if let Some(before) = self.open.get(task) {
            let life = Life::Task { task };
            findings.add(
                life,
                Some(before.begun),
                Some(step.seq),
                Problem::BegunTwice,
            );
            return;
        }
        self.enter(task, step.seq, Stage::Queued(next));
    }

    /// The attempt in the way of something that follows only on its end.
    fn in_the_way(&self, step: &Step, findings: &mut Findings) {
        let task = &*step.subject;
        match self.open.get(task).map(|task| task.stage) {
            Some(Stage::Running {
                attempt, ordered, ..
            }) => findings.add(
                attempt_of(task, attempt),
                Some(ordered),
                Some(step.seq),
                Problem::NeverEnded,
            ),
            Some(Stage::Undecided(_)) => {
                let begun = self.open.get(task).map(|task| task.begun);
                findings.add(
                    Life::Task { task },
                    begun,
                    Some(step.seq),
                    Problem::Undecided,
                );
            }
            Some(Stage::Queued(_)) => {}
            None => findings.not_open(Life::Task { task }, step.seq),
        }
    }

    fn started(&mut self, step: &Step, attempt: u32, findings: &mut Findings) {
        let task = &*step.subject;
        match self.open.get(task).map(|task| task.stage) {
            Some(Stage::Queued(next)) if next == attempt => {}
            Some(Stage::Queued(expected)) => findings.add(
                attempt_of(task, attempt),
                None,
                Some(step.seq),
                Problem::OutOfTurn { expected },
            ),
            _ => self.in_the_way(step, findings),
        }
        let running = Stage::Running {
            attempt,
            ordered: step.seq,
            process: false,
        };
        self.enter(task, step.seq, running);
    }

    /// An attempt ends. Returns whether it was open.
    fn closed(&mut self, step: &Step, attempt: u32, findings: &mut Findings) -> bool {
        let task = &*step.subject;
        let open = self.open.get(task).is_some_and(
            |open| matches!(open.stage, Stage::Running { attempt: open, .. } if open == attempt),
        );
        if open {
            self.attempts_ended += 1;
            findings.ended(attempt_of(task, attempt), step.seq);
        } else {
            findings.not_open(attempt_of(task, attempt), step.seq);
        }
        open
    }

    fn requeued(&mut self, step: &Step, attempt: u32, findings: &mut Findings) {
        let task = &*step.subject;
        match self.open.get(task).map(|task| task.stage) {
            Some(Stage::Undecided(last)) => {
                let expected = last.saturating_add(1);
                if attempt != expected {
                    let life = attempt_of(task, attempt);
                    let problem = Problem::OutOfTurn { expected };
                    findings.add(life, None, Some(step.seq), problem);
                }
            }
            Some(Stage::Queued(expected)) => findings.add(
                attempt_of(task, attempt),
                None,
                Some(step.seq),
                Problem::OutOfTurn { expected },
            ),
            Some(Stage::Running { .. }) | None => self.in_the_way(step, findings),
        }
        self.enter(task, step.seq, Stage::Queued(attempt));
    }

    fn broken(&mut self, step: &Step, attempt: u32, findings: &mut Findings) {
        if self.closed(step, attempt, findings) {
            self.enter(&step.subject, step.seq, Stage::Undecided(attempt));
        }
    }

    /// The task ends, with this attempt if it has one.
    fn finished(&mut self, step: &Step, attempt: Option<u32>, findings: &mut Findings) {
        match attempt {
            Some(attempt) if !self.closed(step, attempt, findings) => return,
            Some(_) => {}
            None => self.in_the_way(step, findings),
        }
        self.remove(step, findings);
    }

    fn dead(&mut self, step: &Step, waited: bool, findings: &mut Findings) {
        let stage = self.open.get(&step.subject).map(|task| task.stage);
        match stage {
            Some(Stage::Undecided(_)) if !waited => {}
            Some(Stage::Queued(_)) if waited => {}
            Some(Stage::Undecided(_)) => self.in_the_way(step, findings),
            Some(Stage::Queued(next)) => findings.add(
                attempt_of(&step.subject, next),
                None,
                Some(step.seq),
                Problem::NotBegun,
            ),
            Some(Stage::Running { .. }) | None => self.in_the_way(step, findings),
        }
        self.remove(step, findings);
    }

    fn registered(&mut self, step: &Step, task: &str, attempt: u32, findings: &mut Findings) {
        if let Some(open) = self.open.get_mut(task)
            && let Stage::Running {
                attempt: running,
                process,
                ..
            } = &mut open.stage
            && *running == attempt
            && !*process
        {
            *process = true;
            return;
        }
        let life = Life::Process {
            process: &*step.subject,
        };
        let task = task.to_owned();
        findings.add(
            life,
            None,
            Some(step.seq),
            Problem::NoAttempt { task, attempt },
        );
    }

    /// What was not decided by now never will be.
    fn undecided(&mut self, seq: Option<Seq>, findings: &mut Findings) {
        let undecided = |task: &Task| matches!(task.stage, Stage::Undecided(_));
        let left = self.open.extract_if(|_, task| undecided(task));
        let mut left: Vec<_> = left.map(|(id, task)| (task.begun, id)).collect();
        left.sort();
        for (begun, id) in left {
            findings.add(
                Life::Task { task: &*id },
                Some(begun),
                seq,
                Problem::Undecided,
            );
        }
    }

    /// A node has looked into what it found.
    fn recovered(&mut self, step: &Step, go_on: u64, ended: u64, findings: &mut Findings) {
        self.undecided(Some(step.seq), findings);
        let (found, still_open) = self.inherited;
        let node = Life::Node {
            node: &*step.subject,
        };
        let mut add = |count, said, counted| {
            let problem = Problem::Miscounted {
                count,
                said,
                counted,
            };
            findings.add(node, None, Some(step.seq), problem);
        };
        if go_on + ended > found {
            add(Count::Found, go_on + ended, found);
        }
        // Fewer may still be open, since what was taken up can have ended; more can't.
        if still_open > go_on {
            add(Count::GoOn, go_on, still_open);
        }
    }

    fn stopped(&self, step: &Step, said: (u64, u64), findings: &mut Findings) {
        for (count, said, counted) in [
            (Count::Running, said.0, self.running),
            (Count::Queued, said.1, self.queued),
        ] {
            if said != counted {
                let node = &*step.subject;
                let problem = Problem::Miscounted {
                    count,
                    said,
                    counted,
                };
                findings.add(Life::Node { node }, None, Some(step.seq), problem);
            }
        }
    }
}

impl LifeCycle for Tasks {
    fn take(&mut self, step: &Step, findings: &mut Findings) {
        match &step.fact {
            Fact::Span { .. } => self.span(step),
            Fact::Founded => self.founded(step),
            Fact::TaskSubmitted => self.begun(step, 1, findings),
            Fact::TaskRetried { attempt } => self.begun(step, *attempt, findings),
            Fact::TaskStarted { attempt } => self.started(step, *attempt, findings),
            Fact::TaskCompleted { attempt } => self.finished(step, Some(*attempt), findings),
            Fact::TaskBroken { attempt } => self.broken(step, *attempt, findings),
            Fact::TaskRequeued { attempt } => self.requeued(step, *attempt, findings),
            Fact::TaskCancelRequested { attempt } => {
                let task = &*step.subject;
                let stage = self.open.get(task).map(|task| task.stage);
                let running =
                    matches!(stage, Some(Stage::Running { attempt: open, .. }) if open == *attempt);
                if !running {
                    findings.not_open(attempt_of(task, *attempt), step.seq);
                }
            }
            Fact::TaskCancelled { attempt } => self.finished(step, *attempt, findings),
            Fact::TaskDead { waited } => self.dead(step, *waited, findings),
            Fact::ProcessRegistered { task, attempt } => {
                self.registered(step, task, *attempt, findings);
            }
            Fact::NodeRecovered { go_on, ended } => {
                self.recovered(step, *go_on, *ended, findings);
            }
            Fact::NodeStopped { running, queued } => {
                self.stopped(step, (*running, *queued), findings);
            }
            _ => {}
        }
    }

    fn end(&mut self, findings: &mut Findings) {
        self.undecided(None, findings);
    }

    fn tallies(&self) -> Vec<Tally> {
        vec![
            Tally {
                family: "task",
                ended: self.ended,
                open: self.open.len() as u64,
            },
            Tally {
                family: "attempt",
                ended: self.attempts_ended,
                open: self.running,
            },
        ]
    }

    #[cfg(test)]
    fn held(&self) -> usize {
        self.open.len()
    }
}
