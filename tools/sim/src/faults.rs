//! What goes wrong, one thing at a time, again and again until the safety phase ends.

use std::io::ErrorKind;

use ledger_core::store::sim::{Disk, Fails, Name};
use opsledger::node::command::Command;

use crate::invariants::Checked;
use crate::node::Role;
use crate::plan::{Fault, MS, SECOND};
use crate::world::{Happening, World, say};

impl World {
    pub(crate) fn fault(&mut self) -> Checked {
        if self.healing.is_some() {
            return Ok(());
        }
        let again = self.streams.faults.between(1, 2 * self.plan.fault_every);
        self.later(again, Happening::Fault);
        let fault = self.plan.faults[self.streams.faults.index(self.plan.faults.len())];
        // Writes are short: what is to hit one waits for it.
        let interrupts = matches!(fault, Fault::Kill | Fault::PowerFailure | Fault::Pause);
        if interrupts && self.streams.faults.one_in(2) {
            self.ambush = Some(fault);
            return Ok(());
        }
        self.strike(fault)
    }

    /// Makes a fault happen, and counts it.
    pub(crate) fn strike(&mut self, fault: Fault) -> Checked {
        if self.healing.is_none() && self.happens(fault)? {
            *self.tally.faults.entry(fault).or_default() += 1;
        }
        Ok(())
    }

    /// Makes a fault happen. Says whether there was something for it to happen to.
    fn happens(&mut self, fault: Fault) -> Result<bool, crate::invariants::Broken> {
        match fault {
            Fault::Kill => {
                let Some(slot) = self.some_node() else {
                    return Ok(false);
                };
                self.kill(slot, "killed")?;
            }
            Fault::Pause => {
                let Some(slot) = self.some_node().filter(|slot| !self.nodes[*slot].paused) else {
                    return Ok(false);
                };
                let time = self.streams.faults.time(100 * MS, 12 * SECOND);
                self.pause(slot, time);
            }
            Fault::PowerFailure => self.power_fails(),
            Fault::DiskFails => self.disk_begins_to_fail(),
            Fault::DiskFull => {
                say!(self, "the disk is full");
                self.disk_fails = true;
                let calls = self.streams.faults.index(6);
                self.disk
                    .fail_after(calls, Fails::Growth, ErrorKind::StorageFull);
                self.mend_disk_later();
            }
            Fault::DiskSlow => {
                self.disk_ms = self.plan.disk_ms + self.streams.faults.between(50, 8_000);
                say!(self, "writes take up to {} ms", self.disk_ms);
                self.mend_disk_later();
            }
            Fault::ClockStep => self.clock_is_set(),
            Fault::ClockDrift => {
                let drift = self.streams.faults.below(100_000) as i64 - 50_000;
                say!(self, "the clock runs {drift} millionths too fast");
                self.clocks.drift(drift);
            }
            Fault::RecordDamaged => self.damage_record(),
            Fault::BeatFails => {
                let time = self.streams.faults.time(100 * MS, 10 * SECOND);
                say!(self, "beats can't be written for {} ms", time / MS);
                self.beats_fail_until = self.clocks.now + time;
            }
            Fault::Stop | Fault::StepDown => return Ok(self.ask_to_stop(fault)),
            Fault::ShimKilled => {
                let running = self.shims.running();
                if running.is_empty() {
                    return Ok(false);
                }
                let index = self.streams.faults.index(running.len());
                self.kill_shim(&running[index]);
            }
            Fault::PidRecycled => {
                let Some(pid) = self.host.recycle() else {
                    return Ok(false);
                };
                say!(self, "an innocent process has the number {pid} now");
            }
            Fault::CheckpointDamaged => {
                let Some(what) = self.shelf.damage(&mut self.streams.faults) else {
                    return Ok(false);
                };
                say!(self, "a checkpoint is damaged: {what}");
            }
            // They happen with what they happen to.
            Fault::LateShim | Fault::Unkillable => return Ok(false),
        }
        Ok(true)
    }

    fn some_node(&mut self) -> Option<usize> {
        let up: Vec<usize> = (0..self.nodes.len())
            .filter(|slot| !self.nodes[*slot].is_down() && !self.nodes[*slot].killed)
            .collect();
        // The one that does something is hit more often.
        let active = up
            .iter()
            .find(|slot| !matches!(self.nodes[**slot].role, Role::Standby(_)));
        match active {
            Some(slot) if !self.streams.faults.one_in(3) => Some(*slot),
            _ if up.is_empty() => None,
            _ => Some(*self.streams.faults.pick(&up)),
        }
    }

    /// Leaders are stopped in good order, standbys at once.
    fn ask_to_stop(&mut self, fault: Fault) -> bool {
        let Some(slot) = self.some_node() else {
            return false;
        };
        say!(
            self,
            "{} is asked to stop ({fault:?})",
            self.nodes[slot].life_name()
        );
        match (&self.nodes[slot].role, fault) {
            (Role::Leading(_), Fault::StepDown) => self.ask(slot, Command::StepDown),
            (Role::Leading(_), _) => {
                self.tell(slot, opsledger::node::command::Input::Shutdown);
            }
            (Role::Standby(_), Fault::Stop) if !self.nodes[slot].paused => self.ends(slot),
            _ => return false,
        }
        true
    }

    fn power_fails(&mut self) {
        say!(self, "the host loses power");
        let mut at = self.disk.ops();
        for slot in 0..self.nodes.len() {
            at = at.min(self.interrupted(slot));
        }
        // All of what was not synced, nothing of it, or any part.
        let mut draws = self.streams.disk.clone();
        let how = draws.below(4);
        let mut keep = || match how {
            0 => false,
            1 => true,
            _ => draws.one_in(2),
        };
        let image = self.disk.power_failed_at(at, &mut keep);
        self.streams.disk = draws;
        self.disk = Disk::holding(&image);
        if self.plan.is_planted(crate::mutants::Bug::SkipSync) {
            self.disk.lie();
        }
        self.refit_disk();
        self.shelf.power_fails(&mut self.streams.checkpoints);
        let record = match self.streams.faults.below(3) {
            0 => None,
            1 => self.host.record.take(),
            _ => Some(Vec::new()),
        };
        self.shims_lose_power();
        for slot in 0..self.nodes.len() {
            if !self.nodes[slot].is_down() {
                self.tally.crashes += 1;
                self.ends(slot);
            }
        }
        self.host.reboot(record);
        self.clocks.boot();
    }

    fn disk_begins_to_fail(&mut self) {
        let draws = &mut self.streams.faults;
        let fails = match draws.below(5) {
            0 => Fails::Once,
            1 => Fails::ForGood,
            2 => Fails::Syncs,
            3 => Fails::SyncsOf(Name::Store),
            _ => Fails::SyncsOf(Name::Head),
        };
        let calls = draws.index(12);
        say!(self, "the disk fails after {calls} calls: {fails:?}");
        self.disk_fails = true;
        self.disk.fail_after(calls, fails, ErrorKind::Other);
        self.mend_disk_later();
    }

    fn mend_disk_later(&mut self) {
        let after = self.streams.faults.time(100 * MS, 8 * SECOND);
        self.later(after, Happening::DiskMended);
    }

    /// The disk works again.
    pub(crate) fn mend_disk(&mut self) {
        self.disk.heal();
        self.disk_fails = false;
        self.disk_ms = self.plan.disk_ms;
    }

    /// Another disk stands for the same one: what failed on it fails no more.
    pub(crate) fn refit_disk(&mut self) {
        self.disk_fails = false;
    }

    fn clock_is_set(&mut self) {
        let draws = &mut self.streams.faults;
        let most = *draws.pick(&[50 * MS, 2 * SECOND, 30 * SECOND, 3_600 * SECOND]);
        let by = draws.below(2 * most) as i64 - most as i64;
        say!(self, "the clock is set by {} ms", by / 1000);
        self.clocks.step(by);
    }

    fn damage_record(&mut self) {
        let draws = &mut self.streams.faults;
        let kind = draws.below(8);
        let garbage = draws.any();
        let Some(record) = &mut self.host.record else {
            return;
        };
        say!(self, "the lease's record is damaged ({kind})");
        let text = String::from_utf8_lossy(record).into_owned();
        match kind {
            0 => self.host.record = None,
            1 => record.clear(),
            2 => record.truncate((garbage % (record.len() as u64 + 1)) as usize),
            3 => *record = garbage.to_le_bytes().to_vec(),
            4 => *record = text.replace("boot-", "moot-").into_bytes(),
            5 => *record = text.replace("\"version\":1", "\"version\":2").into_bytes(),
            // One of an earlier holder, whose number may be another's by now.
            _ => self.host.bring_back_record(),
        }
    }
}
