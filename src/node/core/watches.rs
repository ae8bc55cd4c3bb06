//! Processes of others: what clients ask for, what the reaper has seen, and what it is owed.

use std::collections::BTreeSet;

use ledger_core::envelope::Origin;
use ledger_core::event::{Event, ProcessEvent, UnwatchReason};
use projections::processes::{Purpose, Stage, Watched};

use super::Core;
use crate::decided::Decided;
use crate::node::command::{Now, Output, Rejected, Reply};
use crate::reaper::candidate::Candidate;
use crate::reaper::decide::{self, Report, Terms};
use crate::reaper::run::{ReapOrder, WatchOrder};
use crate::shim::ProcessIdentity;

/// What the reaper was told in this life of the node.
#[derive(Debug, Default)]
pub(super) struct Told {
    /// What it watches.
    watched: BTreeSet<Box<str>>,
    /// What it ends.
    reaping: BTreeSet<Box<str>>,
    /// The state that this was compared with, when all of it was durable.
    upto: Option<u64>,
}

impl Core {
    pub(super) fn watch(
        &mut self,
        now: Now,
        origin: &Origin,
        candidate: &Candidate,
        terms: Terms,
    ) -> Result<Reply, Rejected> {
        let at = self.decided_at(now);
        let processes = &self.state().processes;
        let decided = decide::watch(processes, candidate, terms, &origin.actor, at)?;
        self.record(now, origin, None, vec![decided.into()])
    }

    pub(super) fn unwatch(
        &mut self,
        now: Now,
        origin: &Origin,
        target: &str,
    ) -> Result<Reply, Rejected> {
        let decided = decide::unwatch(&self.state().processes, target)?;
        self.record(now, origin, None, vec![decided.into()])
    }

    /// Records what follows from what the reaper has seen.
    pub(super) fn seen(&mut self, now: Now, id: &str, report: &Report) {
        let processes = &self.state().processes;
        let Some(watched) = processes.get(id) else {
            return;
        };
        let cause = match watched.foreign().map(|foreign| &foreign.stage) {
            Some(Stage::Reaping { ordered, .. }) => *ordered,
            Some(Stage::Watched) | None => watched.told,
        };
        let decided = decide::reported(processes, id, report);
        let origin = Origin {
            cause: Some(cause),
            ..self.own_origin()
        };
        self.record_own(now, &origin, decided.into_iter().collect());
    }

    /// Lets go of what was watched in the history that this directory was made from.
    pub(super) fn forsake_watches(&mut self, now: Now) {
        let inherited = self.state().standing.inherited();
        let is_inherited = |process: &Watched| process.told <= inherited;
        let decided = decide::forsake(&self.state().processes, is_inherited);
        let origin = self.own_origin();
        for one in decided {
            self.record_own(now, &origin, vec![one]);
        }
    }

    /// A process that somebody has asked for turns out to be the one of an attempt: its shim was
    /// left by an earlier life of the node, which had not heard of it yet.
    pub(super) fn yield_watches(&self, decided: &mut Vec<Decided>) {
        let registered = decided.iter().position(|decided| {
            matches!(decided.event, Event::Process(ProcessEvent::Registered(_)))
        });
        if let Some(at) = registered
            && let id = decided[at].subject.id()
            && let Some(process) = self.state().processes.get(id)
            && process.foreign().is_some()
            && let Some(yielded) = decide::let_go(id, UnwatchReason::OfAttempt)
        {
            decided.insert(at, yielded);
        }
    }

    /// Compares what is watched and durable with what the reaper was told, and tells it the
    /// difference.
    pub(super) fn reconcile_watches(&mut self) {
        let processes = &self.sequencer.state.processes;
        let changes = processes.foreign_changes();
        if self.told.upto == Some(changes) {
            return;
        }
        let durable = self.sequencer.durable();
        let inherited = self.sequencer.state.standing.inherited();
        let told = &mut self.told;
        let mut is_settled = true;
        let mut outputs = Vec::new();
        let mut present = BTreeSet::new();
        for (id, process) in processes.foreign() {
            let Some(foreign) = process.foreign() else {
                continue;
            };
            if process.told <= inherited {
                continue;
            }
            present.insert(id);
            if process.told > durable {
                is_settled = false;
                continue;
            }
            let is_new = told.watched.insert(id.into());
            if is_new {
                outputs.push(Output::Watch(WatchOrder {
                    id: id.into(),
                    identity: identity(process),
                    max_runtime: foreign.max_runtime_ms,
                    stall_after: foreign.stall_after_ms,
                    grace: foreign.grace_ms,
                }));
            }
            match foreign.stage {
                Stage::Reaping { ordered, .. } if ordered > durable => is_settled = false,
                Stage::Reaping {
                    cause, runtime_us, ..
                } => {
                    if told.reaping.insert(id.into()) {
                        outputs.push(Output::Reap(ReapOrder {
                            id: id.into(),
                            cause,
                            begun: is_new.then_some(runtime_us),
                            attended: attended(processes),
                        }));
                    }
                }
                Stage::Watched => {}
            }
        }
        told.reaping.retain(|id| present.contains(&**id));
        told.watched.retain(|id| {
            let stays = present.contains(&**id);
            if !stays {
                outputs.push(Output::Unwatch(id.clone()));
            }
            stays
        });
        told.upto = is_settled.then_some(changes);
        self.outputs.extend(outputs);
    }
}

fn identity(process: &Watched) -> ProcessIdentity {
    ProcessIdentity {
        pid: process.pid,
        start_time: process.start_time,
        boot_id: process.boot_id.clone(),
    }
}

/// Shims and what they look after.
fn attended(processes: &projections::processes::Processes) -> BTreeSet<(i32, u64)> {
    let attempts = processes
        .iter()
        .filter_map(|(_, process)| match &process.purpose {
            Purpose::Attempt(of) => Some([
                (process.pid, process.start_time),
                (of.shim_pid, of.shim_start_time),
            ]),
            Purpose::Foreign(_) => None,
        });
    attempts.flatten().collect()
}
