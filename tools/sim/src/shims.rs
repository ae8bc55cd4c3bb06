//! Shims and the processes they look after. They live on when nodes die, and die with the host.
//!
//! | must hold | why |
//! |---|---|
//! | a claim is taken once, before the process begins | it is what keeps late shims from a second start |
//! | an outcome is there for good once its tree is gone | whoever leads then finds it |
//! | a shim that is killed takes its tree with it | its loss is reported when all of it is gone |

use std::collections::BTreeMap;

use ledger_core::envelope::Header;
use ledger_core::event::{
    Attempt as Number, Event, LadderCause, LeaseEvent, Outputs, ProcessEnd, StreamDigest,
    TaskEvent, Usage,
};
use ledger_core::hash::Hash;
use ledger_core::ids::Id;
use ledger_core::time::Micros;
use opsledger::node::command::{AttemptId, Input, StartOrder};
use opsledger::scheduler::decide::{EndResult, Ended};
use projections::tasks::ProcessRef;

use crate::host::Who;
use crate::invariants::Checked;
use crate::mutants::Bug;
use crate::node::port::lost;
use crate::plan::{MS, SECOND};
use crate::world::{Happening, World, say};

/// How an attempt really stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Real {
    /// Nothing of it has begun.
    Waiting,
    Running {
        /// Which run of its shim, so that what was to end it before does not.
        ends_at: u64,
    },
    /// It has ended, and its outcome is written.
    Ended {
        code: i32,
        cause: Option<LadderCause>,
    },
    /// Its shim is gone; its tree is going.
    Dying,
    /// All of it is gone, without an outcome.
    Gone,
}

/// Who has an attempt's claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Claim {
    Shim,
}

/// An attempt.
#[derive(Debug, Clone)]
pub(crate) struct Attempt {
    pub(crate) claim: Option<Claim>,
    pub(crate) real: Real,
    pub(crate) process: Option<ProcessRef>,
    is_cancelled: bool,
    order: Option<StartOrder>,
}

/// Something of a shim.
#[derive(Debug)]
pub(crate) enum ShimDo {
    /// It begins its attempt, for this life of a node, unless somebody has the claim.
    Begin { by: (usize, u64) },
    /// Its process ends, if it is the run that was to end now.
    End {
        ends_at: u64,
        code: i32,
        cause: Option<LadderCause>,
    },
    /// The last of its tree is gone.
    Gone,
}

/// All attempts.
#[derive(Debug, Default)]
pub(crate) struct Shims {
    attempts: BTreeMap<AttemptId, Attempt>,
    /// Which boot the last term, and each attempt's order, is of.
    boot: String,
    ordered: BTreeMap<AttemptId, String>,
    /// What lives of nodes do themselves.
    own: BTreeMap<AttemptId, (usize, u64)>,
}

impl Shims {
    pub(crate) fn get(&mut self, id: &AttemptId) -> &mut Attempt {
        self.attempts.entry(id.clone()).or_insert(Attempt {
            claim: None,
            real: Real::Waiting,
            process: None,
            is_cancelled: false,
            order: None,
        })
    }

    /// An event tells under which boot an attempt was ordered.
    pub(crate) fn know_order(&mut self, header: &Header<'_>, event: &Event) {
        match event {
            Event::Lease(LeaseEvent::Acquired(acquired)) => {
                self.boot.clone_from(&acquired.boot_id);
            }
            Event::Task(TaskEvent::Started(started)) => {
                let task = header.subject.split_once('/').map_or("", |(_, id)| id);
                if let Ok(task) = Id::new(task) {
                    let attempt: Number = started.attempt;
                    self.ordered
                        .insert(AttemptId { task, attempt }, self.boot.clone());
                }
            }
            _ => {}
        }
    }

    pub(crate) fn is_of_earlier_boot(&self, id: &AttemptId, boot: &str) -> bool {
        self.ordered.get(id).is_some_and(|of| of != boot)
    }

    pub(crate) fn know_limits(&mut self, order: &StartOrder) {
        self.get(&order.attempt).order = Some(order.clone());
    }

    pub(crate) fn order(&self, id: &AttemptId) -> Option<StartOrder> {
        self.attempts.get(id)?.order.clone()
    }

    /// A life of a node does this itself.
    pub(crate) fn own(&mut self, id: &AttemptId, slot: usize, life: u64) {
        self.own.insert(id.clone(), (slot, life));
    }

    pub(crate) fn disown(&mut self, id: &AttemptId) {
        self.own.remove(id);
    }

    /// Those whose process runs.
    pub(crate) fn running(&self) -> Vec<AttemptId> {
        let running = self.attempts.iter();
        let running = running.filter(|(_, a)| matches!(a.real, Real::Running { .. }));
        running.map(|(id, _)| id.clone()).collect()
    }
}

impl World {
    pub(crate) fn of_shim(&mut self, id: &AttemptId, what: ShimDo) -> Checked {
        match what {
            ShimDo::Begin { by } => return self.shim_begins(id, by),
            ShimDo::End {
                ends_at,
                code,
                cause,
            } => {
                if self.shims.get(id).real != (Real::Running { ends_at }) {
                    return Ok(());
                }
                self.shims.get(id).real = Real::Ended { code, cause };
                self.tree_is_gone(id);
                let input = self.ended(id);
                self.report_to_whom_it_concerns(id, input);
            }
            ShimDo::Gone => {
                if self.shims.get(id).real == Real::Dying {
                    self.shims.get(id).real = Real::Gone;
                    self.tree_is_gone(id);
                    self.report_to_whom_it_concerns(id, lost(id, "its shim was killed"));
                }
            }
        }
        Ok(())
    }

    fn tree_is_gone(&mut self, id: &AttemptId) {
        self.must.attempts.gone(id);
        if let Some(process) = &self.shims.get(id).process {
            let pid = process.pid;
            self.host.end(pid);
        }
    }

    fn shim_begins(&mut self, id: &AttemptId, (slot, life): (usize, u64)) -> Checked {
        // A spawner whose node has died may have been killed with it, or not.
        let is_orphan = self.nodes[slot].life != life;
        let is_other_boot = self.shims.is_of_earlier_boot(id, &self.host.boot_id());
        if is_other_boot || is_orphan && self.streams.shims.one_in(2) {
            return Ok(());
        }
        let claims = !self.plan.is_planted(Bug::NoClaim);
        if claims && self.shims.get(id).claim.is_some() {
            say!(self, "a shim of {} {} comes too late", id.task, id.attempt);
            return Ok(());
        }
        self.must.attempts.begins(id, &self.mirror)?;
        self.tally.attempts += 1;
        say!(self, "{} {} begins", id.task, id.attempt);
        let child = self.host.spawn(Who::Task);
        let process = ProcessRef {
            pid: child.pid,
            start_time: child.start_time,
            boot_id: child.boot_id,
            shim_pid: 1,
            shim_start_time: 1,
        };
        let draws = &mut self.streams.shims;
        let mut runtime = draws.time(MS, 10 * SECOND);
        let code = [0, 0, 0, 3][draws.index(4)];
        let hangs = draws.one_in(12);
        let attempt = self.shims.get(id);
        attempt.claim = Some(Claim::Shim);
        attempt.process = Some(process.clone());
        let limit = attempt
            .order
            .as_ref()
            .map_or(SECOND, |o| o.max_runtime.0 * MS);
        let mut cause = None;
        if attempt.is_cancelled {
            (runtime, cause) = (MS, Some(LadderCause::Cancel));
        } else if hangs || runtime > limit {
            (runtime, cause) = (limit, Some(LadderCause::MaxRuntime));
        }
        let ends_at = self.clocks.now + runtime;
        attempt.real = Real::Running { ends_at };
        let end = ShimDo::End {
            ends_at,
            code,
            cause,
        };
        self.later(runtime, Happening::Shim(id.clone(), end));
        let slot = (0..self.nodes.len()).find(|slot| {
            self.nodes[*slot]
                .leading()
                .is_some_and(|l| l.tracked.contains(id))
        });
        if let Some(slot) = slot {
            let attempt = id.clone();
            self.tell(slot, Input::Started { attempt, process });
        }
        Ok(())
    }

    /// Somebody wants an attempt to end.
    pub(crate) fn cancel_shim(&mut self, id: &AttemptId) {
        let after = self.streams.shims.time(MS, 2 * SECOND);
        let ends_at = self.clocks.now + after;
        let attempt = self.shims.get(id);
        attempt.is_cancelled = true;
        if let Real::Running { ends_at: before } = attempt.real
            && ends_at < before
        {
            attempt.real = Real::Running { ends_at };
            let cause = Some(LadderCause::Cancel);
            let end = ShimDo::End {
                ends_at,
                code: 0,
                cause,
            };
            self.later(after, Happening::Shim(id.clone(), end));
        }
    }

    /// A shim is killed.
    pub(crate) fn kill_shim(&mut self, id: &AttemptId) {
        say!(self, "the shim of {} {} is killed", id.task, id.attempt);
        self.shims.get(id).real = Real::Dying;
        let after = self.streams.shims.time(10, 200 * MS);
        self.later(after, Happening::Shim(id.clone(), ShimDo::Gone));
    }

    /// What a life of a node did itself ends with it.
    pub(crate) fn own_work_ends(&mut self, slot: usize, life: u64) {
        let gone = self.shims.own.iter().filter(|(_, of)| **of == (slot, life));
        let gone: Vec<AttemptId> = gone.map(|(id, _)| id.clone()).collect();
        for id in gone {
            self.shims.own.remove(&id);
            self.must.attempts.gone(&id);
        }
    }

    /// The host is without power: nothing runs any more.
    pub(crate) fn shims_lose_power(&mut self) {
        let ids: Vec<AttemptId> = self.shims.attempts.keys().cloned().collect();
        for id in ids {
            let attempt = self.shims.get(&id);
            if matches!(attempt.real, Real::Running { .. } | Real::Dying) {
                attempt.real = Real::Gone;
                self.must.attempts.gone(&id);
            }
        }
    }
}

/// What is recorded of an attempt that has ended.
pub(crate) fn outcome(process: Option<ProcessRef>, code: i32, cause: Option<LadderCause>) -> Ended {
    let stream = StreamDigest {
        bytes: 0,
        blake3: Hash::of(b""),
        tail: String::new(),
        dropped_bytes: 0,
        error: None,
    };
    Ended {
        process,
        result: EndResult::Ran(ProcessEnd::Exited { code }),
        ladder: cause.map(|cause| (cause, Vec::new())),
        runtime_us: Micros(5),
        usage: Usage::default(),
        outputs: Outputs {
            stdout: stream.clone(),
            stderr: stream,
        },
    }
}
