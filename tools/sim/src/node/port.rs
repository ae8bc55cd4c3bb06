//! The process port of a node: carries out what is ordered, by what it finds of the attempt, as
//! `node/processes.rs` does. Shims themselves are in `shims.rs`.

use opsledger::node::command::{AttemptId, BootOfOrder, Input, StartOrder};

use super::Do;
use crate::invariants::{Broken, Checked};
use crate::mutants::Bug;
use crate::plan::{Fault, MS, SECOND};
use crate::shims::{Claim, Real, ShimDo, outcome};
use crate::world::{Happening, World, say};

/// After how long an attempt is looked into of which nothing was heard.
const SILENCE: u64 = 10 * SECOND;

/// What a core has ordered.
#[derive(Debug)]
pub(crate) enum Effect {
    Start(StartOrder),
    Recover(StartOrder, BootOfOrder),
    Cancel(AttemptId),
}

impl World {
    /// An order is on its way to the port.
    pub(crate) fn effect(&mut self, slot: usize, effect: Effect) {
        if self.plan.is_planted(Bug::DroppedOrder)
            && matches!(effect, Effect::Start(_))
            && self.streams.shims.one_in(10)
        {
            return;
        }
        let after = self.streams.shims.time(10, 5 * MS);
        self.node_later(slot, after, Do::Effect(effect));
    }

    /// The port takes an order, unless its node leads no more.
    pub(crate) fn carry_out(&mut self, slot: usize, effect: Effect) -> Checked {
        let uptime = self.clocks.uptime();
        let Some(leading) = self.nodes[slot].leading() else {
            return Ok(());
        };
        if !leading.holding.authority().holds(uptime) {
            say!(
                self,
                "an order of {} came too late",
                self.nodes[slot].life_name()
            );
            return Ok(());
        }
        match effect {
            Effect::Start(order) => {
                leading.tracked.insert(order.attempt.clone());
                self.request(slot, &order);
                self.node_later(slot, SILENCE, Do::Silence(order.attempt));
                Ok(())
            }
            Effect::Recover(order, boot) => {
                leading.tracked.insert(order.attempt.clone());
                self.tally.recovered += 1;
                self.recover(slot, &order, boot)?;
                self.node_later(slot, SILENCE, Do::Silence(order.attempt));
                Ok(())
            }
            Effect::Cancel(attempt) => {
                self.cancel_shim(&attempt);
                Ok(())
            }
        }
    }

    /// Asks the spawner for a shim.
    fn request(&mut self, slot: usize, order: &StartOrder) {
        self.shims.know_limits(order);
        let late = self.plan.has(Fault::LateShim)
            && self.healing.is_none()
            && self.streams.shims.one_in(6);
        let after = match late {
            true => {
                *self.tally.faults.entry(Fault::LateShim).or_default() += 1;
                self.streams.shims.time(100 * MS, 20 * SECOND)
            }
            false => self.streams.shims.time(MS, 50 * MS),
        };
        let by = (slot, self.nodes[slot].life);
        let what = ShimDo::Begin { by };
        self.later(after, Happening::Shim(order.attempt.clone(), what));
    }

    fn recover(&mut self, slot: usize, order: &StartOrder, boot: BootOfOrder) -> Checked {
        let id = &order.attempt;
        self.shims.know_limits(order);
        let is_earlier = self.shims.is_of_earlier_boot(id, &self.host.boot_id());
        if is_earlier != (boot == BootOfOrder::Earlier) {
            return Err(Broken {
                invariant: "a boot of the host is known for what it is",
                what: format!("{id:?} is taken for one of the {boot:?} boot"),
            });
        }
        match boot {
            BootOfOrder::Current => self.look_into(slot, id),
            BootOfOrder::Earlier => {
                let input = match self.shims.get(id).real {
                    Real::Ended { .. } => self.ended(id),
                    Real::Waiting | Real::Running { .. } | Real::Dying | Real::Gone => {
                        lost(id, "the host was rebooted while it ran")
                    }
                };
                self.report(slot, id, input);
            }
        }
        Ok(())
    }

    /// Finds out how an attempt stands, and acts on it.
    fn look_into(&mut self, slot: usize, id: &AttemptId) {
        let attempt = self.shims.get(id);
        let process = attempt.process.clone();
        match (attempt.real, attempt.claim) {
            (Real::Ended { .. }, _) => {
                let input = self.ended(id);
                self.report(slot, id, input);
            }
            (Real::Waiting, None) => {
                self.tell(slot, Input::Unstarted(id.clone()));
                if let Some(order) = self.shims.order(id) {
                    self.request(slot, &order);
                }
            }
            (Real::Gone, _) => self.report(slot, id, lost(id, "its tree is gone")),
            // What dies is reported when all of it is gone.
            (Real::Running { .. } | Real::Dying | Real::Waiting, Some(Claim::Shim) | None) => {
                let input = match process {
                    Some(process) => Input::Started {
                        attempt: id.clone(),
                        process,
                    },
                    None => Input::Attached(id.clone()),
                };
                self.tell(slot, input);
            }
        }
    }

    /// Nothing was heard of an attempt: a request dies with a spawner that is killed.
    pub(crate) fn silence(&mut self, slot: usize, id: &AttemptId) -> Checked {
        let is_tracked = self.nodes[slot]
            .leading()
            .is_some_and(|l| l.tracked.contains(id));
        let attempt = self.shims.get(id);
        if is_tracked && attempt.real == Real::Waiting && attempt.claim.is_none() {
            self.look_into(slot, id);
            self.node_later(slot, SILENCE, Do::Silence(id.clone()));
        }
        Ok(())
    }

    /// Whoever looks after an attempt hears how it ended.
    pub(crate) fn report_to_whom_it_concerns(&mut self, id: &AttemptId, input: Input) {
        let slot = (0..self.nodes.len()).find(|slot| {
            self.nodes[*slot]
                .leading()
                .is_some_and(|l| l.tracked.contains(id))
        });
        if let Some(slot) = slot {
            self.report(slot, id, input);
        }
    }

    /// The port's last word about an attempt.
    fn report(&mut self, slot: usize, id: &AttemptId, input: Input) {
        if let Some(leading) = self.nodes[slot].leading()
            && leading.tracked.remove(id)
        {
            if self.plan.is_planted(Bug::LostReport) && matches!(input, Input::Lost { .. }) {
                return;
            }
            self.tell(slot, input);
        }
    }

    /// What a shim wrote down of its attempt.
    pub(crate) fn ended(&mut self, id: &AttemptId) -> Input {
        let attempt = self.shims.get(id);
        let (code, cause) = match attempt.real {
            Real::Ended { code, cause } => (code, cause),
            Real::Waiting | Real::Running { .. } | Real::Dying | Real::Gone => (0, None),
        };
        Input::Ended {
            attempt: id.clone(),
            outcome: Box::new(outcome(attempt.process.clone(), code, cause)),
        }
    }

    /// The node itself has done what it was to do.
    pub(crate) fn builtin_done(&mut self, slot: usize, id: AttemptId) {
        self.must.attempts.gone(&id);
        self.shims.disown(&id);
        let code = i32::from(self.streams.shims.one_in(8));
        let outcome = Box::new(outcome(None, code, None));
        let attempt = id;
        self.tell(slot, Input::Ended { attempt, outcome });
    }
}

pub(crate) fn lost(id: &AttemptId, reason: &str) -> Input {
    Input::Lost {
        attempt: id.clone(),
        reason: reason.to_owned(),
        orphans_ended: 0,
    }
}
