//! Standing by: following the leader, looking at its beats, ending it when it is silent, taking the lock
//! when it is free. As `node/standby.rs` and `lease/fence.rs` have it.

use ledger_core::chain::ChainKey;
use ledger_core::event::FenceCause;
use ledger_core::ids::Seq;
use ledger_core::store::LogReader;
use ledger_core::time::Millis;
use opsledger::lease::decide::Ended;
use opsledger::lease::observing::{Observer, Verdict};
use opsledger::lease::record::Record;
use opsledger::lease::uptime::Uptime;
use opsledger::node::decision::Decision;
use opsledger::shim::ProcessIdentity;
use projections::framework::{DecodedBlock, Fold, Projection};

use super::{Do, Role};
use crate::invariants::Checked;
use crate::invariants::innocents;
use crate::invariants::projections::unfolded;
use crate::mutants::Bug;
use crate::plan::{MS, SECOND};
use crate::world::{World, say};

/// How often the record is looked at.
const LOOK: u64 = 100 * MS;
/// How long a killed process may take to go.
const EXIT_PATIENCE: u64 = 5 * SECOND;

/// A node that waits.
pub(crate) struct Standby {
    observer: Observer,
    fold: Fold<Decision>,
    ended: Option<Ended>,
    /// When a holder that could not be ended was last tried.
    tried: Option<Uptime>,
    /// Until when others come first.
    gives_way_until: u64,
}

impl World {
    pub(crate) fn stand_by(&mut self, slot: usize, me: ProcessIdentity, gives_way: bool) {
        say!(self, "{} stands by", self.nodes[slot].life_name());
        let way = if gives_way {
            self.plan.timing.ttl().0 * MS
        } else {
            0
        };
        let standby = Standby {
            observer: Observer::new(me.boot_id, self.clocks.uptime()),
            fold: Fold::default(),
            ended: None,
            tried: None,
            gives_way_until: self.clocks.now + way,
        };
        self.nodes[slot].role = Role::Standby(Box::new(standby));
        self.node_later(slot, 0, Do::Look);
        let follows = self.streams.times.time(MS, SECOND);
        self.node_later(slot, follows, Do::Follow);
        self.node_later(slot, way, Do::Lock);
    }

    /// Takes the lock if it is free.
    pub(crate) fn take_lock(&mut self, slot: usize) {
        let is_held = self.host.lock.is_some();
        let now = self.clocks.now;
        let Role::Standby(standby) = &mut self.nodes[slot].role else {
            return;
        };
        if is_held {
            return;
        }
        if now < standby.gives_way_until {
            let after = standby.gives_way_until - now;
            return self.node_later(slot, after, Do::Lock);
        }
        let fold = std::mem::take(&mut standby.fold);
        let ended = standby.ended.take();
        let warm = (fold.position().seq > Seq::ZERO).then_some(fold);
        self.locked(slot, warm, ended);
    }

    /// Looks at whoever has the lock.
    pub(crate) fn look(&mut self, slot: usize) -> Checked {
        let (uptime, sight) = (self.clocks.uptime(), self.host.sight());
        let Role::Standby(standby) = &mut self.nodes[slot].role else {
            return Ok(());
        };
        let mut after = self.streams.times.below(MS);
        if let Verdict::Expired { record, silent } = standby.observer.look(uptime, sight) {
            let is_time = standby
                .tried
                .is_none_or(|tried| uptime.since(tried).0 >= SECOND);
            if is_time {
                standby.tried = Some(uptime);
                let silent_ms = Millis(silent.0 / 1000);
                after += self.fence(slot, &record, FenceCause::Silent { silent_ms })?;
            }
        }
        self.node_later(slot, LOOK + after, Do::Look);
        Ok(())
    }

    /// Ends the holder that a record names, if it is the very process that has the lock. Returns how
    /// long that held up whoever did it.
    fn fence(
        &mut self,
        slot: usize,
        record: &Record,
        cause: FenceCause,
    ) -> Result<u64, crate::invariants::Broken> {
        let pid = record.process.pid;
        let who = self.nodes[slot].life_name();
        if self.plan.is_planted(Bug::NoFencing) {
            self.steal_lock(slot);
            return Ok(0);
        }
        let by_number = self.plan.is_planted(Bug::FenceByNumber);
        let is_there = match by_number {
            true => self.host.process(pid).is_some(),
            false => self.host.is_there(&record.process),
        };
        if !is_there {
            say!(self, "{who} finds process {pid} gone");
            return Ok(0);
        }
        if !by_number && self.host.lock != Some(pid) {
            say!(
                self,
                "{who} finds that process {pid} does not hold the lock"
            );
            return Ok(0);
        }
        innocents::killed(&self.host, pid)?;
        let holder = (0..self.nodes.len()).find(|slot| self.nodes[*slot].pid() == Some(pid));
        let Some(holder) = holder else { return Ok(0) };
        self.tally.fenced += 1;
        say!(self, "{who} ends process {pid}, which was silent");
        self.kill(holder, "fenced")?;
        let ended = Ended {
            incarnation: record.incarnation.clone(),
            pid,
            start_time: record.process.start_time,
            cause,
        };
        let has_gone = self.nodes[holder].pid() != Some(pid);
        let uptime = self.clocks.uptime();
        if let Role::Standby(standby) = &mut self.nodes[slot].role {
            // One that does not go at once goes when the kernel lets it.
            standby.ended = Some(ended);
            if has_gone {
                standby.observer.forget(uptime);
            }
        }
        Ok(if has_gone { 0 } else { EXIT_PATIENCE })
    }

    /// What must never be: the lock is given to a second process.
    fn steal_lock(&mut self, slot: usize) {
        self.host.lock = None;
        self.take_lock(slot);
    }

    /// Takes what the leader's followers get to see, checks and folds it.
    pub(crate) fn follow(&mut self, slot: usize) -> Checked {
        let again = self.streams.times.time(5 * MS, 2 * SECOND);
        self.node_later(slot, again, Do::Follow);
        self.follow_once(slot)
    }

    pub(crate) fn follow_once(&mut self, slot: usize) -> Checked {
        let ahead = self.plan.is_planted(Bug::ReadAhead);
        let leader = (0..self.nodes.len()).find(|other| {
            !self.nodes[*other].paused
                && !self.nodes[*other].killed
                && self.nodes[*other]
                    .leading()
                    .is_some_and(|l| l.store.is_some())
        });
        let Role::Standby(standby) = &self.nodes[slot].role else {
            return Ok(());
        };
        let from = standby.fold.position().seq;
        let Some(leader) = leader else { return Ok(()) };
        let Some(leading) = self.nodes[leader].leading() else {
            return Ok(());
        };
        let (upto, ledger) = (leading.durable, self.ledger);
        let Some(store) = &leading.store else {
            return Ok(());
        };
        let reader = store.reader();
        let key = ChainKey::new(ledger);
        let mut decoded = Vec::new();
        let blocks = reader.blocks(from.max(Seq::FIRST));
        for block in blocks.map_err(|e| unfolded(&e))? {
            let block = block.map_err(|e| unfolded(&e))?;
            let block = DecodedBlock::new(block, key, from.next()..=upto, &Decision::wants);
            decoded.push(block.map_err(|e| unfolded(&e))?);
        }
        let flight = leading.flight.as_ref().filter(|_| ahead);
        let flight = flight.map(|batch| (batch.prev(), batch.clone()));
        if let Role::Standby(standby) = &mut self.nodes[slot].role {
            for block in &decoded {
                standby.fold.apply_block(block).map_err(|e| unfolded(&e))?;
            }
            if let Some((prev, batch)) = flight
                && standby.fold.position().seq == prev.seq
            {
                let blocks = DecodedBlock::of_batch(&batch, &Decision::wants);
                for block in blocks.map_err(|e| unfolded(&e))? {
                    standby.fold.apply_block(&block).map_err(|e| unfolded(&e))?;
                }
            }
        }
        Ok(())
    }
}
