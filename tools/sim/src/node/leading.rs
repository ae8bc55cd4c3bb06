//! Leading: the loop around the core, as `threads.rs` and `pulse.rs` of the node have it. A turn takes
//! what has arrived, renews the lease if that is due, and hands out what the core wants; a small batch
//! is written by the core's own thread, which does nothing else meanwhile, a large one beside it.

use std::collections::{BTreeMap, BTreeSet};

use ledger_core::chain::Batch;
use ledger_core::ids::{Id, Seq};
use ledger_core::store::durable::{DurableStore, Settings};
use ledger_core::store::sim::open;
use ledger_core::store::{AppendError, LogWriter};
use ledger_core::time::Micros;
use opsledger::lease::holding::{Duty, Holding, Progress};
use opsledger::lease::record::Record;
use opsledger::lease::uptime::Uptime;
use opsledger::node::command::{
    AppendFailure, AttemptId, Input, Now, Output, RequestId, StopReason,
};
use opsledger::node::core::Core;
use opsledger::node::farewell;
use opsledger::node::ports::SeededRandom;
use opsledger::scheduler::policy::{Policy, Rate};

use super::Do;
use super::checkpoints::Making;
use super::port::Effect;
use crate::invariants::replies::Asked;
use crate::invariants::{Broken, Checked};
use crate::mutants::Bug;
use crate::plan::{MS, SECOND};
use crate::world::{Happening, World, id, say};

/// After how long a beat is tried again that could not be written.
const AGAIN: u64 = 50 * MS;
/// The longest and the shortest wait for what is due by the clock.
const WAITS: (u64, u64) = (500, 60 * SECOND);

/// A node that leads, or has just stopped to.
pub(crate) struct Leading {
    pub(crate) core: Core,
    /// Nothing once it is closed.
    pub(crate) store: Option<DurableStore>,
    pub(crate) holding: Holding,
    record: Record,
    beat: u64,
    pub(crate) inbox: Vec<Input>,
    pub(crate) asked: Asked,
    next_request: u64,
    /// The batch that is with the disk.
    pub(crate) flight: Option<Batch>,
    /// Whether the core's thread itself waits for it.
    is_blocked: bool,
    /// Since when a batch is with the disk's thread.
    waiting: Option<Uptime>,
    /// When the next turn is.
    pub(crate) turn_at: Option<u64>,
    pub(crate) stopped: Option<StopReason>,
    /// What the port looks after.
    pub(crate) tracked: BTreeSet<AttemptId>,
    /// What followers get to see.
    pub(crate) durable: Seq,
    /// Where the ledger ended before this term.
    base: Seq,
    /// The checkpoint that is being made.
    pub(crate) making: Option<Making>,
}

impl Leading {
    pub(crate) fn new(
        core: Core,
        store: DurableStore,
        holding: Holding,
        record: Record,
        beat: u64,
    ) -> Self {
        let base = store.head().seq;
        Self {
            core,
            store: Some(store),
            holding,
            record,
            beat,
            inbox: Vec::new(),
            asked: Asked::default(),
            next_request: 0,
            flight: None,
            is_blocked: false,
            waiting: None,
            turn_at: None,
            stopped: None,
            tracked: BTreeSet::new(),
            durable: base,
            base,
            making: None,
        }
    }

    /// An id for a request.
    pub(crate) fn request(&mut self) -> RequestId {
        self.next_request += 1;
        RequestId(self.next_request)
    }
}

/// By what rules nodes dispatch here.
pub(crate) fn policy(max_running: u32) -> Policy {
    let rate = Rate {
        interval: Micros(300 * MS),
        burst: 2,
    };
    Policy {
        max_running: max_running as usize,
        rates: BTreeMap::from([(id("r"), rate)]),
        ..Policy::default()
    }
}

impl World {
    /// Turns the core soon.
    pub(crate) fn turn_soon(&mut self, slot: usize) {
        let after = self.streams.times.below(200);
        self.turn_after(slot, after);
    }

    fn turn_after(&mut self, slot: usize, after: u64) {
        let at = self.clocks.now + after;
        if let Some(leading) = self.nodes[slot].leading()
            && leading.turn_at.is_none_or(|before| at < before)
        {
            leading.turn_at = Some(at);
            self.node_later(slot, after, Do::Turn);
        }
    }

    /// Tells the core something.
    pub(crate) fn tell(&mut self, slot: usize, input: Input) {
        if let Some(leading) = self.nodes[slot].leading() {
            leading.inbox.push(input);
            self.turn_soon(slot);
        }
    }

    /// One turn, if it is time.
    pub(crate) fn turn(&mut self, slot: usize) -> Checked {
        let (now, uptime) = (self.clocks.now, self.clocks.uptime());
        let hold = self.streams.times.one_in(20);
        let read = self.clocks.read();
        let Some(leading) = self.nodes[slot].leading() else {
            return Ok(());
        };
        if leading.turn_at.is_none_or(|at| at > now) {
            return Ok(());
        }
        leading.turn_at = None;
        // Whoever ends the wait for the disk turns on.
        if leading.is_blocked || leading.stopped.is_some() {
            return Ok(());
        }
        let progress = leading.waiting.map_or(Progress::Making, Progress::Waiting);
        match leading.holding.duty(uptime, progress) {
            Duty::Rest(_) => {}
            Duty::Renew => self.beat(slot),
            Duty::Yield { since } => {
                self.tally.expired += 1;
                return self.step(slot, read, vec![Input::LeaseExpired { since }]);
            }
        }
        let Some(leading) = self.nodes[slot].leading() else {
            return Ok(());
        };
        let mut inputs = std::mem::take(&mut leading.inbox);
        if hold && !inputs.is_empty() {
            inputs.push(Input::Hold);
        }
        self.step(slot, read, inputs)?;
        if hold {
            self.turn_soon(slot);
        }
        self.rest(slot);
        Ok(())
    }

    fn step(&mut self, slot: usize, now: Now, inputs: Vec<Input>) -> Checked {
        let Some(leading) = self.nodes[slot].leading() else {
            return Ok(());
        };
        let outputs = leading.core.step(now, inputs);
        self.post(slot, outputs)
    }

    /// Until when there is nothing to do but to renew or what is due by the clock.
    fn rest(&mut self, slot: usize) {
        let (uptime, read) = (self.clocks.uptime(), self.clocks.read());
        let Some(leading) = self.nodes[slot].leading() else {
            return;
        };
        let progress = leading.waiting.map_or(Progress::Making, Progress::Waiting);
        let rest = match leading.holding.duty(uptime, progress) {
            Duty::Rest(time) => time.0,
            Duty::Yield { .. } => 0,
            Duty::Renew => AGAIN,
        };
        let due = leading.core.next_due(read);
        let due = due.map(|due| due.0.clamp(WAITS.0, WAITS.1));
        self.turn_after(slot, due.map_or(rest, |due| due.min(rest)));
    }

    /// Writes a beat, if that works.
    pub(crate) fn beat(&mut self, slot: usize) {
        let (now, uptime) = (self.clocks.now, self.clocks.uptime());
        let works = now >= self.beats_fail_until;
        let Some(leading) = self.nodes[slot].leading() else {
            return;
        };
        leading.beat += 1;
        if works {
            let text = leading.record.text(leading.beat);
            leading.holding.renewed(uptime);
            self.host.record = Some(text.into_bytes());
        }
    }

    /// Sends outputs where they belong.
    pub(crate) fn post(&mut self, slot: usize, outputs: Vec<Output>) -> Checked {
        // What was asked in the turn in which a core stops is answered behind its last word.
        let mut end = None;
        for output in outputs {
            match output {
                Output::Append(batch) => self.append(slot, batch)?,
                Output::Reply { id, result } => {
                    let Some(leading) = self.nodes[slot].leading() else {
                        continue;
                    };
                    let durable = self.must.acknowledged.last();
                    let command = leading.asked.answered(id, &result, durable)?;
                    self.answered(&command, &result);
                }
                Output::Start(order) => self.effect(slot, Effect::Start(order)),
                Output::Recover(order, boot) => self.effect(slot, Effect::Recover(order, boot)),
                Output::Cancel(attempt) => self.effect(slot, Effect::Cancel(attempt)),
                Output::Do(order) => {
                    let after = self.streams.shims.time(MS, 500 * MS);
                    let durable = &self.mirror;
                    self.must.attempts.begins(&order.attempt, durable)?;
                    self.shims.own(&order.attempt, slot, self.nodes[slot].life);
                    self.tally.attempts += 1;
                    self.node_later(slot, after, Do::Done(order.attempt));
                }
                // Shims of this world keep no outcome back.
                Output::Settled(_) => {}
                // Nobody asks for a process of others in this world.
                Output::Watch(_) | Output::Unwatch(_) | Output::Reap(_) => {}
                Output::Stopped(reason) => end = Some(reason),
            }
        }
        end.map_or(Ok(()), |reason| self.stopped(slot, reason))
    }

    fn append(&mut self, slot: usize, batch: Batch) -> Checked {
        let is_small = batch.len() <= self.plan.small;
        let most = self.disk_ms * MS;
        let after = match self.disk_ms > self.plan.disk_ms {
            true => self.streams.disk.between(100, most),
            false => self.streams.disk.time(100, most),
        };
        let (uptime, early) = (self.clocks.uptime(), self.plan.is_planted(Bug::EarlyReply));
        let ahead = self.plan.is_planted(Bug::ReadAhead);
        let Some(leading) = self.nodes[slot].leading() else {
            return Ok(());
        };
        if leading.flight.is_some() {
            return Err(Broken {
                invariant: "one batch is with the disk at a time",
                what: format!("{} hands out another", self.nodes[slot].life_name()),
            });
        }
        if early {
            leading.inbox.push(Input::Durable(batch.head()));
        }
        if ahead {
            leading.durable = batch.head().seq;
        }
        leading.is_blocked = is_small && !early;
        leading.waiting = (!is_small).then_some(uptime);
        leading.flight = Some(batch);
        self.node_later(slot, after, Do::Written);
        if let Some(fault) = self.ambush.take() {
            let when = self.streams.faults.below(after.max(1));
            self.later(when, Happening::Strike(fault));
        }
        if early {
            self.turn_soon(slot);
        }
        if ahead {
            for other in 0..self.nodes.len() {
                self.follow_once(other)?;
            }
        }
        Ok(())
    }

    /// The disk is done with the batch in flight.
    pub(crate) fn written(&mut self, slot: usize) -> Checked {
        let life = self.nodes[slot].life_name();
        let early = self.plan.is_planted(Bug::EarlyReply);
        let Some(leading) = self.nodes[slot].leading() else {
            return Ok(());
        };
        let (Some(batch), Some(store)) = (leading.flight.take(), leading.store.as_mut()) else {
            return Ok(());
        };
        let input = match store.append(&batch) {
            Ok(head) => {
                leading.durable = head.seq;
                Input::Durable(head)
            }
            Err(AppendError::Full(e)) => Input::AppendFailed(AppendFailure::Full(e.to_string())),
            Err(error @ AppendError::Fenced { .. }) => {
                Input::AppendFailed(AppendFailure::Fenced(error.to_string()))
            }
            Err(error) => Input::AppendFailed(AppendFailure::Io(error.to_string())),
        };
        leading.is_blocked = false;
        leading.waiting = None;
        let is_late = leading.stopped.is_some();
        if let Input::Durable(head) = &input {
            say!(self, "{life} has written up to seq {}", head.seq);
            self.must.writers.wrote(head.term, &life)?;
            for (bytes, hash) in batch.events() {
                self.shown(bytes, hash)?;
            }
            self.tally.late_writes += u64::from(is_late);
        } else {
            say!(self, "{life} could not write: {input:?}");
            self.tally.failed_appends += 1;
        }
        if is_late {
            return self.exit(slot);
        }
        if !early || !matches!(input, Input::Durable(_)) {
            if let Some(leading) = self.nodes[slot].leading() {
                leading.inbox.insert(0, input);
            }
            self.turn_soon(slot);
        }
        Ok(())
    }

    fn stopped(&mut self, slot: usize, reason: StopReason) -> Checked {
        say!(self, "{} stops: {reason}", self.nodes[slot].life_name());
        let Some(leading) = self.nodes[slot].leading() else {
            return Ok(());
        };
        leading.stopped = Some(reason.clone());
        leading.asked.stopped(leading.inbox.len())?;
        if let StopReason::Corrupt(what) = &reason {
            return Err(crate::invariants::projections::unfolded(what));
        }
        if matches!(reason, StopReason::SteppedDown) {
            self.gives_way(slot);
        }
        // A batch that is with the disk is waited for; whoever holds the store closes it.
        match self.nodes[slot]
            .leading()
            .is_some_and(|l| l.flight.is_some())
        {
            true => Ok(()),
            false => self.exit(slot),
        }
    }

    /// A node that has stopped closes its store, says why it stopped if the disk had no room, and
    /// ends in good order.
    fn exit(&mut self, slot: usize) -> Checked {
        let node = self.nodes[slot].name.clone();
        let Some(leading) = self.nodes[slot].leading() else {
            return Ok(());
        };
        // It may fail as any write may; every append is durable nonetheless.
        drop(leading.store.take());
        let full = matches!(
            leading.stopped,
            Some(StopReason::AppendFailed(AppendFailure::Full(_)))
        );
        if full && leading.durable > leading.base {
            self.say_farewell(&node, slot)?;
        }
        say!(self, "{} has ended", self.nodes[slot].life_name());
        self.ends(slot);
        Ok(())
    }

    /// Gives up the reserve, and records that the disk is full.
    fn say_farewell(&mut self, node: &Id, slot: usize) -> Checked {
        self.mend_disk();
        let settings = Settings {
            seal_bytes: usize::MAX,
            lag_bytes: usize::MAX,
            ..self.plan.settings
        };
        let life = self.nodes[slot].life_name();
        let mut random = SeededRandom::new(self.streams.ids.seed());
        let Ok(mut store) = open(&self.disk, settings) else {
            return Ok(());
        };
        let said = farewell::last_words(&mut store, node, self.clocks.wall(), &mut random);
        say!(self, "{life} says farewell: {said:?}");
        if let Ok(head) = said {
            self.tally.last_words += 1;
            self.must.writers.wrote(head.term, &life)?;
        }
        Ok(())
    }
}
