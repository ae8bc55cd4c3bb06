//! A simulated node: its process, what it does in it, and how it begins and ends.

pub(crate) mod boot;
pub(crate) mod checkpoints;
pub(crate) mod leading;
pub(crate) mod port;
pub(crate) mod standby;

use ledger_core::ids::Id;
use opsledger::node::command::AttemptId;
use opsledger::shim::ProcessIdentity;

use self::boot::Booting;
use self::leading::Leading;
use self::port::Effect;
use self::standby::Standby;
use crate::host::Who;
use crate::invariants::Checked;
use crate::plan::{Fault, MS, SECOND};
use crate::world::{Happening, World, id, say};

/// What a life of a node does.
#[derive(Debug)]
pub(crate) enum Do {
    /// Takes the lock, if it is free by now.
    Lock,
    /// Opens the ledger.
    Open,
    /// Takes the lease.
    Lead,
    /// Beats while it comes up.
    Beat,
    /// Turns the core, if that is due at this very moment.
    Turn,
    /// The disk is done with a batch.
    Written,
    /// Looks at the holder of the lease.
    Look,
    /// Follows the leader.
    Follow,
    /// Carries out what the core has ordered.
    Effect(Effect),
    /// Has done what the node does itself.
    Done(AttemptId),
    /// Looks into an attempt of which nothing was heard.
    Silence(AttemptId),
    /// Makes a checkpoint, or goes on with it.
    Checkpoint,
}

/// What a node is.
pub(crate) enum Role {
    Down,
    Standby(Box<Standby>),
    Booting(Box<Booting>),
    Leading(Box<Leading>),
}

/// A node: one name, one process after the other.
pub(crate) struct Node {
    pub(crate) name: Id,
    /// Which of its processes this is; counted on when one ends.
    pub(crate) life: u64,
    pub(crate) identity: Option<ProcessIdentity>,
    pub(crate) role: Role,
    /// Whether its process stands still, or was killed and has not gone yet.
    pub(crate) paused: bool,
    pub(crate) killed: bool,
    /// What it would have done meanwhile.
    deferred: Vec<Do>,
    /// Whether it lets others lead first, when it is started.
    gives_way: bool,
}

impl Node {
    pub(crate) fn new(slot: usize) -> Self {
        Self {
            name: id(&format!("n{slot}")),
            life: 1,
            identity: None,
            role: Role::Down,
            paused: false,
            killed: false,
            deferred: Vec::new(),
            gives_way: false,
        }
    }

    /// A name for this life.
    pub(crate) fn life_name(&self) -> String {
        format!("{}.{}", self.name, self.life)
    }

    pub(crate) fn is_down(&self) -> bool {
        matches!(self.role, Role::Down)
    }

    pub(crate) fn pid(&self) -> Option<i32> {
        self.identity.as_ref().map(|identity| identity.pid)
    }

    pub(crate) fn leading(&mut self) -> Option<&mut Leading> {
        match &mut self.role {
            Role::Leading(leading) => Some(leading),
            Role::Down | Role::Standby(_) | Role::Booting(_) => None,
        }
    }
}

impl World {
    /// Something of a life: not if that has ended, and later if its process stands still.
    pub(crate) fn of_node(&mut self, slot: usize, life: u64, what: Do) -> Checked {
        let node = &mut self.nodes[slot];
        if node.life != life || node.killed {
            return Ok(());
        }
        if node.paused {
            // The disk does what it was told, whoever waits for it.
            if !matches!(what, Do::Written) {
                node.deferred.push(what);
                return Ok(());
            }
        }
        match what {
            Do::Lock => self.take_lock(slot),
            Do::Open => return self.open(slot),
            Do::Lead => return self.lead(slot),
            Do::Beat => self.beat_while_booting(slot),
            Do::Turn => return self.turn(slot),
            Do::Written => return self.written(slot),
            Do::Look => return self.look(slot),
            Do::Follow => return self.follow(slot),
            Do::Effect(effect) => return self.carry_out(slot, effect),
            Do::Done(attempt) => self.builtin_done(slot, attempt),
            Do::Silence(attempt) => return self.silence(slot, &attempt),
            Do::Checkpoint => return self.checkpoint(slot),
        }
        Ok(())
    }

    /// So much later, this life does something.
    pub(crate) fn node_later(&mut self, slot: usize, after: u64, what: Do) {
        let life = self.nodes[slot].life;
        self.later(after, Happening::Node(slot, life, what));
    }

    /// Starts a node's process.
    pub(crate) fn start(&mut self, slot: usize) {
        if !self.nodes[slot].is_down() || self.healing.as_ref().is_some_and(|h| h.is_ending()) {
            return;
        }
        let identity = self.host.spawn(Who::Node(slot));
        say!(
            self,
            "{} starts as process {}",
            self.nodes[slot].life_name(),
            identity.pid
        );
        let node = &mut self.nodes[slot];
        node.identity = Some(identity.clone());
        let gives_way = std::mem::take(&mut node.gives_way);
        if self.host.lock.is_none() && !gives_way {
            self.locked(slot, None, None);
        } else {
            self.stand_by(slot, identity, gives_way);
        }
    }

    /// A node's process stands still.
    pub(crate) fn pause(&mut self, slot: usize, time: u64) {
        say!(
            self,
            "{} stands still for {} ms",
            self.nodes[slot].life_name(),
            time / MS
        );
        self.nodes[slot].paused = true;
        let life = self.nodes[slot].life;
        self.later(time, Happening::Resume(slot, life));
    }

    /// It goes on, with all that is late by now.
    pub(crate) fn resume(&mut self, slot: usize, life: u64) {
        let node = &mut self.nodes[slot];
        if node.life != life || node.killed || !std::mem::take(&mut node.paused) {
            return;
        }
        let late = std::mem::take(&mut node.deferred);
        say!(self, "{} goes on", self.nodes[slot].life_name());
        for what in late {
            self.node_later(slot, 0, what);
        }
        if let Some(leading) = self.nodes[slot].leading() {
            leading.turn_at = None;
            self.turn_soon(slot);
        }
    }

    /// A node's process is killed. Mostly it goes at once.
    pub(crate) fn kill(&mut self, slot: usize, why: &str) -> Checked {
        let stays = self.plan.has(Fault::Unkillable)
            && self.healing.is_none()
            && self.streams.faults.one_in(5);
        if !stays {
            return self.dies(slot, why);
        }
        *self.tally.faults.entry(Fault::Unkillable).or_default() += 1;
        say!(
            self,
            "{} is killed ({why}) and does not go",
            self.nodes[slot].life_name()
        );
        self.nodes[slot].killed = true;
        let life = self.nodes[slot].life;
        let after = self.streams.faults.time(10 * MS, 20 * SECOND);
        self.later(after, Happening::Gone(slot, life));
        Ok(())
    }

    /// A node's process dies in the middle of whatever it does.
    pub(crate) fn dies(&mut self, slot: usize, why: &str) -> Checked {
        if self.nodes[slot].is_down() {
            return Ok(());
        }
        say!(self, "{} dies: {why}", self.nodes[slot].life_name());
        self.tally.crashes += 1;
        let at = self.interrupted(slot);
        if matches!(self.nodes[slot].role, Role::Leading(_) | Role::Booting(_)) {
            // What the process would still write when its store is dropped goes nowhere.
            self.disk = self.disk.killed_at(at);
            self.refit_disk();
        }
        self.ends(slot);
        Ok(())
    }

    /// At which operation of the disk this life is interrupted: a batch in flight is on disk in part.
    pub(crate) fn interrupted(&mut self, slot: usize) -> usize {
        let before = self.disk.ops();
        let Some(leading) = self.nodes[slot].leading() else {
            return before;
        };
        if let Some(flight) = leading.flight.take() {
            self.tally.torn += 1;
            // Whether it succeeds is known to nobody.
            if let Some(store) = &mut leading.store {
                use ledger_core::store::LogWriter;
                let _ = store.append(&flight);
            }
            let done = self.disk.ops();
            return before + self.streams.disk.index(done - before + 1);
        }
        before
    }

    /// A node's process is gone, and with it all that it had; somebody starts it again.
    pub(crate) fn ends(&mut self, slot: usize) {
        self.own_work_ends(slot, self.nodes[slot].life);
        let node = &mut self.nodes[slot];
        node.role = Role::Down;
        node.life += 1;
        node.paused = false;
        node.killed = false;
        node.deferred.clear();
        let Some(identity) = node.identity.take() else {
            return;
        };
        let had_lock = self.host.lock == Some(identity.pid);
        self.host.end(identity.pid);
        let again = self.streams.times.time(50 * MS, 5 * SECOND);
        self.later(again, Happening::Start(slot));
        if had_lock {
            self.lock_is_free();
        }
    }

    /// Whoever waits for the lock wakes up, one a little earlier than the other.
    pub(crate) fn lock_is_free(&mut self) {
        for slot in 0..self.nodes.len() {
            if matches!(self.nodes[slot].role, Role::Standby(_)) {
                let after = self.streams.times.below(5 * MS);
                self.node_later(slot, after, Do::Lock);
            }
        }
    }

    /// The next start of this node lets others lead first.
    pub(crate) fn gives_way(&mut self, slot: usize) {
        self.nodes[slot].gives_way = true;
    }
}
