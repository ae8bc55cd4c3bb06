//! Coming up: lock, open, fold, take the lease. The order is that of `node/boot.rs`.

use std::ops::ControlFlow;

use ledger_core::event::{LeaseAcquired, NodeStarted};
use ledger_core::ids::Seq;
use ledger_core::store::durable::DurableStore;
use ledger_core::store::sim::{offline, open};
use ledger_core::store::{LogReader, Offline, OpenError, ReadError, for_each_event};
use ledger_core::time::Micros;
use opsledger::lease::decide::Ended;
use opsledger::lease::holding::Holding;
use opsledger::lease::record::Record;
use opsledger::node::checkpoints::{Recovered, Report};
use opsledger::node::core::{Core, CoreConfig, Restored};
use opsledger::node::decision::Decision;
use opsledger::node::ports::SeededRandom;
use projections::framework::{Fold, Health, catch_up, unwatched};

use super::leading::{Leading, policy};
use super::{Do, Role};
use crate::invariants::acknowledged::Acknowledged;
use crate::invariants::projections::{same, survives_snapshot, unfolded};
use crate::invariants::{Broken, Checked};
use crate::mutants::Bug;
use crate::plan::{MS, SECOND};
use crate::world::{World, say};

/// A node that has the lock and comes up.
pub(crate) struct Booting {
    warm: Option<Fold<Decision>>,
    ended: Option<Ended>,
    record: Record,
    beat: u64,
    opened: Option<(DurableStore, Recovered)>,
}

impl World {
    /// A node has the lock.
    pub(crate) fn locked(
        &mut self,
        slot: usize,
        warm: Option<Fold<Decision>>,
        ended: Option<Ended>,
    ) {
        let name = self.nodes[slot].life_name();
        let Some(identity) = self.nodes[slot].identity.clone() else {
            return;
        };
        say!(
            self,
            "{name} has the lock, {}",
            if warm.is_some() { "warm" } else { "cold" }
        );
        self.host.lock = Some(identity.pid);
        let holder = self.nodes[slot].name.clone();
        let record = Record::new(holder, identity, name, None, self.plan.timing.ttl());
        let booting = Booting {
            warm,
            ended,
            record,
            beat: 0,
            opened: None,
        };
        self.nodes[slot].role = Role::Booting(Box::new(booting));
        let until_record = self.streams.times.below(20 * MS);
        self.node_later(slot, until_record, Do::Beat);
        let until_open = until_record + self.streams.times.time(MS, 100 * MS);
        self.node_later(slot, until_open, Do::Open);
    }

    /// The first writes the record, the others beat.
    pub(crate) fn beat_while_booting(&mut self, slot: usize) {
        let Role::Booting(booting) = &mut self.nodes[slot].role else {
            return;
        };
        if self.clocks.now >= self.beats_fail_until {
            self.host.record = Some(booting.record.text(booting.beat).into_bytes());
        }
        booting.beat += 1;
        let every = self.plan.timing.heartbeat().0 * MS;
        self.node_later(slot, every, Do::Beat);
    }

    /// Opens the ledger and folds it.
    pub(crate) fn open(&mut self, slot: usize) -> Checked {
        let name = self.nodes[slot].life_name();
        let looked = offline(&self.disk);
        let opened = looked.and_then(|looked| {
            looked.check_structure().map_err(OpenError::from)?;
            open(&self.disk, self.plan.settings)
        });
        let store = match opened {
            Ok(store) => store,
            Err(error) if self.disk_fails => {
                say!(self, "{name} can't open the ledger: {error}");
                self.ends(slot);
                return Ok(());
            }
            Err(error) => return Err(Acknowledged::unopened(&error.to_string())),
        };
        if let Err(error) = self.read_all(&store, &name)? {
            // What opening had to write may have failed: the store says so to whoever reads.
            if !self.disk_fails {
                return Err(Acknowledged::unopened(&error.to_string()));
            }
            say!(self, "{name} can't read the ledger: {error}");
            self.ends(slot);
            return Ok(());
        }
        let Role::Booting(booting) = &mut self.nodes[slot].role else {
            return Ok(());
        };
        let warm = booting.warm.take();
        let recovered = self.fold(&store, warm, &name)?;
        say!(
            self,
            "{name} has opened the ledger at seq {}",
            recovered.fold.position().seq
        );
        if let Role::Booting(booting) = &mut self.nodes[slot].role {
            booting.opened = Some((store, recovered));
        }
        let replay = self.streams.times.time(MS, 6 * SECOND);
        self.node_later(slot, replay, Do::Lead);
        Ok(())
    }

    /// Everything that an open store shows is shown. The inner error is one of reading.
    fn read_all(
        &mut self,
        store: &DurableStore,
        name: &str,
    ) -> Result<Result<(), ReadError>, Broken> {
        let reader = store.reader();
        let mut checked = Ok(());
        let walked = for_each_event(&reader, Seq::FIRST, |chained| {
            checked = self.shown_event(&chained.event, chained.hash);
            match checked {
                Ok(()) => ControlFlow::Continue(()),
                Err(_) => ControlFlow::Break(()),
            }
        });
        checked?;
        match walked.and_then(|_| reader.head()) {
            Ok(head) => self.must.acknowledged.ends(head.seq, name).map(Ok),
            Err(error) => Ok(Err(error)),
        }
    }

    /// As a booting node does: from where a standby stands, if that is in this history; else from the
    /// newest checkpoint that holds.
    fn fold(
        &mut self,
        store: &DurableStore,
        warm: Option<Fold<Decision>>,
        name: &str,
    ) -> Result<Recovered, Broken> {
        let is_warm = warm.is_some();
        let short = self.plan.is_planted(Bug::OffByOneReplay);
        let recovered = match warm {
            Some(mut warm) => {
                let reader = store.reader();
                let at = warm.position();
                self.must.acknowledged.stands(at.seq, at.hash, name)?;
                self.tally.warm += 1;
                catch_up(&mut warm, &reader, None, &mut unwatched).map_err(|e| unfolded(&e))?;
                let replayed = warm.position().seq.0.saturating_sub(at.seq.0);
                let report = Report {
                    replayed,
                    ..Report::default()
                };
                Recovered { fold: warm, report }
            }
            None => self.restored(store, name)?,
        };
        let fold = &recovered.fold;
        if let Health::Poisoned { seq, reason } = fold.health() {
            return Err(unfolded(&format!("at seq {seq}: {reason}")));
        }
        // Writing all rows down costs more than all the rest: always where the fold came about in
        // another way, sometimes where it did not.
        let is_other = is_warm || short || recovered.report.checkpoint.is_some();
        if is_other || self.streams.times.one_in(4) {
            same(&self.mirror, fold.state(), name)?;
        }
        if self.streams.times.one_in(8) {
            survives_snapshot(fold.state())?;
        }
        Ok(recovered)
    }

    /// Takes the lease.
    pub(crate) fn lead(&mut self, slot: usize) -> Checked {
        let (boot_id, seed) = (self.host.boot_id(), self.streams.ids.seed());
        let (now, read) = (self.clocks.uptime(), self.clocks.read());
        let life = self.nodes[slot].life_name();
        let Role::Booting(booting) = std::mem::replace(&mut self.nodes[slot].role, Role::Down)
        else {
            return Ok(());
        };
        let Booting {
            ended,
            mut record,
            beat,
            opened,
            ..
        } = *booting;
        let Some((store, Recovered { fold, report })) = opened else {
            return Ok(());
        };
        let reader = store.reader();
        let mut head = reader.head().map_err(|e| unfolded(&e))?;
        let mut state = fold.into_state();
        if self.plan.is_planted(Bug::TermReused) && head.term.0 > 1 {
            head.term.0 -= 1;
            state.leases = projections::leases::Leases::default();
        }
        let config = CoreConfig {
            ledger: reader.ledger_id(),
            head,
            state,
            restored: Restored {
                checkpoint: report.checkpoint,
                rejected: u32::try_from(report.passed_over.len()).unwrap_or(u32::MAX),
                replayed: report.replayed,
                // What the real clock has measured is no part of a run.
                replay: Micros(1),
                ..Restored::default()
            },
            policy: policy(self.plan.max_running),
            tenure: LeaseAcquired {
                holder: record.holder.clone(),
                pid: record.process.pid,
                start_time: Some(record.process.start_time),
                boot_id,
                incarnation: life,
            },
            ended,
            started: NodeStarted {
                software: "sim".into(),
                host: "h".into(),
                max_running: self.plan.max_running,
                clock: None,
            },
            random: Box::new(SeededRandom::new(seed)),
        };
        let (core, first) = Core::start(read, config);
        record.term = Some(core.term());
        say!(
            self,
            "{} takes term {}",
            self.nodes[slot].life_name(),
            core.term()
        );
        let holding = Holding::new(self.plan.timing, now);
        let leading = Leading::new(core, store, holding, record, beat);
        self.nodes[slot].role = Role::Leading(Box::new(leading));
        self.beat(slot);
        self.post(slot, first)?;
        self.begin_checkpoints(slot, report.passed_over);
        self.turn_soon(slot);
        Ok(())
    }
}
