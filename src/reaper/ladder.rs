//! The ladder that ends a watched process and all that belongs to it: SIGTERM (and SIGCONT, which is not
//! recorded: a stopped process would not see the end coming), grace, SIGKILL to what is left, again and
//! again until nothing is. SIGKILL is recorded only if it was sent. A node that comes up in the middle goes
//! on: SIGTERM is sent again, and recorded and its grace counted from when it was ordered first.

use std::time::Duration;

use ledger_core::event::{LadderStep, Survivor};
use nix::sys::signal::Signal;

use super::decide::micros;
use super::tree::{Snapshot, Tree};

/// Between one look and the next; doubled from look to look.
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// What outlives SIGKILL for so long is reported.
const KILL_PATIENCE: Duration = Duration::from_secs(2);
/// What is ended by another life of the node than the one that began has at least so long for the SIGTERM
/// that it is sent again: nobody knows whether the first one was.
const SECOND_GRACE: Duration = Duration::from_secs(1);
/// More survivors than this aren't listed.
const MAX_SURVIVORS: usize = 32;

#[derive(Debug)]
enum Stage {
    /// Nothing was sent yet, by this life of the node; one before may have, then.
    Begun { before: Option<Duration> },
    /// SIGTERM was sent; it may take until then.
    Asked { until: Duration },
    /// SIGKILL was sent first at that time.
    Killing { since: Duration, told: bool },
}

/// A ladder in progress. All times are since boot.
#[derive(Debug)]
pub(super) struct LadderRun {
    tree: Tree,
    /// When the watched process was started: what steps are counted from.
    started: Duration,
    grace: Duration,
    steps: Vec<LadderStep>,
    stage: Stage,
    pause: Duration,
    next: Duration,
}

/// What a step has come to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It goes on.
    GoesOn,
    /// It goes on, and something outlives SIGKILL; said once.
    Survived(Vec<Survivor>),
    /// Nothing is left.
    Gone,
    /// The system refuses to have the process signaled.
    Refused,
}

impl LadderRun {
    pub(super) fn new(tree: Tree, started: Duration, grace: Duration, now: Duration) -> Self {
        Self {
            tree,
            started,
            grace,
            steps: Vec::new(),
            stage: Stage::Begun { before: None },
            pause: FIRST_PAUSE,
            next: now,
        }
    }

    /// A life of the node before this one has begun then: grace counts from there.
    pub(super) fn goes_on_from(&mut self, begun: Duration) {
        self.stage = Stage::Begun {
            before: Some(begun),
        };
    }

    /// When to go on.
    pub(super) fn next(&self) -> Duration {
        self.next
    }

    /// Looks now.
    pub(super) fn hasten(&mut self, now: Duration) {
        self.next = self.next.min(now);
    }

    /// What was sent.
    pub(super) fn into_steps(self) -> Vec<LadderStep> {
        self.steps
    }

    /// What was sent so far.
    pub(super) fn steps(&self) -> &[LadderStep] {
        &self.steps
    }

    /// Goes on with what is due.
    pub(super) fn advance(&mut self, snapshot: &Snapshot, now: Duration) -> Outcome {
        self.tree.refresh(snapshot);
        if self.tree.is_gone() {
            return Outcome::Gone;
        }
        let mut outcome = Outcome::GoesOn;
        match &mut self.stage {
            Stage::Begun { before } => {
                let begun = before.unwrap_or(now).min(now);
                let least = before.map_or(self.grace, |_| self.grace.min(SECOND_GRACE));
                let until = begun.saturating_add(self.grace);
                let until = until.max(now.saturating_add(least));
                self.send(Signal::SIGTERM, snapshot, begun);
                self.stage = Stage::Asked { until };
                if self.tree.is_refused() {
                    return Outcome::Refused;
                }
                // Who is stopped hears of it only now; nobody else minds.
                self.tree.signal(Signal::SIGCONT, snapshot);
            }
            Stage::Asked { until } if now < *until => {}
            Stage::Asked { .. } => {
                self.send(Signal::SIGKILL, snapshot, now);
                self.stage = Stage::Killing {
                    since: now,
                    told: false,
                };
                self.pause = FIRST_PAUSE;
            }
            Stage::Killing { since, told } => {
                let is_late = now.saturating_sub(*since) >= KILL_PATIENCE;
                if is_late && !*told {
                    *told = true;
                    outcome = Outcome::Survived(self.tree.survivors(MAX_SURVIVORS));
                }
                // Also to who was there before: it costs nothing, and who has come since is killed.
                self.send(Signal::SIGKILL, snapshot, now);
            }
        }
        self.next = match self.stage {
            Stage::Asked { until } => until.min(now.saturating_add(self.pause)),
            Stage::Begun { .. } | Stage::Killing { .. } => now.saturating_add(self.pause),
        };
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        outcome
    }

    fn send(&mut self, signal: Signal, snapshot: &Snapshot, now: Duration) {
        let processes = self.tree.signal(signal, snapshot);
        let name = signal.as_str();
        match self.steps.iter_mut().find(|step| step.signal == name) {
            // The same ones again, or fewer, unless more have come.
            Some(step) => step.processes = step.processes.max(processes),
            None if processes > 0 => self.steps.push(LadderStep {
                signal: name.to_owned(),
                after_us: micros(now.saturating_sub(self.started)),
                processes,
            }),
            None => {}
        }
    }
}
