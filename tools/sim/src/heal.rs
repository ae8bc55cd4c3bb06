//! Liveness: everything is healed, and then everything must come to its end within a time. A node
//! leads, what is due is submitted, and what was accepted ends.

use std::collections::BTreeMap;

use ledger_core::event::{JobSpec, Priority};
use ledger_core::ids::Id;
use opsledger::node::command::{Command, Input};
use opsledger::node::decision::Decision;

use crate::clients::jobs_of;
use crate::invariants::projections::same;
use crate::invariants::{Broken, Checked, whole};
use crate::node::Role;
use crate::plan::{MS, SECOND};
use crate::world::{Happening, World, say};

const NAME: &str = "when everything is healed, everything comes to its end";
/// How often it is looked.
const EVERY: u64 = 100 * MS;
/// How long it may take.
const PATIENCE: u64 = 400 * SECOND;

/// How far it has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// A node is to lead.
    Leader,
    /// A job is to be submitted when it is due: so many were before.
    Due(u64),
    /// All tasks are to end.
    Tasks,
    /// All nodes are to stop.
    Stop,
}

/// What is to be submitted: each second.
fn jobs_due() -> BTreeMap<Id, JobSpec> {
    jobs_of(1, 1)
}

/// The liveness phase.
#[derive(Debug)]
pub(crate) struct Healing {
    stage: Stage,
    since: u64,
}

impl Healing {
    /// Whether nodes stop for good.
    pub(crate) fn is_ending(&self) -> bool {
        self.stage == Stage::Stop
    }
}

impl World {
    /// Nothing goes wrong any more.
    pub(crate) fn calm(&mut self) {
        say!(self, "everything is healed");
        self.healing = Some(Healing {
            stage: Stage::Leader,
            since: self.clocks.now,
        });
        self.mend_disk();
        self.beats_fail_until = 0;
        self.clocks.heal();
        for slot in 0..self.nodes.len() {
            let life = self.nodes[slot].life;
            self.resume(slot, life);
        }
        self.later(EVERY, Happening::Look);
    }

    pub(crate) fn look_for_the_end(&mut self) -> Checked {
        let Some(healing) = &self.healing else {
            return Ok(());
        };
        let (stage, since) = (healing.stage, healing.since);
        if self.clocks.now > since + PATIENCE {
            return Err(Broken {
                invariant: NAME,
                what: self.what_is_left(stage),
            });
        }
        let next = match stage {
            Stage::Leader => self.look_for_a_leader(),
            Stage::Due(before) => self.look_for_due(before),
            Stage::Tasks => self.look_for_open_tasks()?,
            Stage::Stop => return self.look_for_nodes(),
        };
        if let (Some(next), Some(healing)) = (next, &mut self.healing) {
            healing.stage = next;
            say!(self, "healing: {next:?}");
            if next == Stage::Stop {
                self.stop_all();
            }
        }
        self.later(EVERY, Happening::Look);
        Ok(())
    }

    fn what_is_left(&mut self, stage: Stage) -> String {
        let open = self.mirror.tasks.iter().filter(|task| !task.is_ended());
        let open: Vec<_> = open.map(|task| (&task.id, &task.state)).collect();
        format!("{stage:?}, tasks left: {open:?}")
    }

    fn working_leader(&mut self) -> Option<usize> {
        self.leader().filter(|slot| {
            self.nodes[*slot]
                .leading()
                .is_some_and(|l| l.stopped.is_none())
        })
    }

    fn look_for_a_leader(&mut self) -> Option<Stage> {
        let slot = self.working_leader()?;
        self.make_due(slot);
        Some(Stage::Due(self.must.jobs.due))
    }

    /// One job that falls due each second, which nothing holds back.
    fn make_due(&mut self, slot: usize) {
        let jobs = jobs_due();
        self.ask(slot, Command::DefineJobs { jobs: jobs.clone() });
        for job in jobs.into_keys() {
            self.ask(slot, Command::ResumeJob { job });
        }
        // Its run before may wait in a queue that is held.
        self.serve_queues(slot);
    }

    fn look_for_due(&mut self, before: u64) -> Option<Stage> {
        let slot = self.working_leader()?;
        if self.must.jobs.due == before {
            // The one that was asked may have stopped before it wrote some of it.
            if !self.can_be_due() {
                self.make_due(slot);
            }
            return None;
        }
        self.quiet(slot);
        Some(Stage::Tasks)
    }

    fn can_be_due(&self) -> bool {
        let is_due = |(name, spec): (&Id, &JobSpec)| {
            let job = self.mirror.jobs.get(name.as_str());
            job.is_some_and(|job| job.spec() == Some(spec) && job.paused.is_none())
        };
        jobs_due().iter().all(is_due) && !self.holds_queues()
    }

    fn holds_queues(&self) -> bool {
        let held = |queue: &Priority| self.mirror.tasks.pause(*queue).is_some();
        Priority::ALL.iter().any(held)
    }

    /// No jobs any more, and all queues are served.
    fn quiet(&mut self, slot: usize) {
        let jobs = BTreeMap::new();
        self.ask(slot, Command::DefineJobs { jobs });
        self.serve_queues(slot);
    }

    fn serve_queues(&mut self, slot: usize) {
        for queue in Priority::ALL {
            let reason = None;
            self.ask(slot, Command::ResumeQueue { queue, reason });
        }
    }

    fn look_for_open_tasks(&mut self) -> Result<Option<Stage>, Broken> {
        let Some(slot) = self.working_leader() else {
            return Ok(None);
        };
        let is_quiet = |state: &Decision| {
            state.tasks.iter().all(|task| task.is_ended())
                && state.jobs.iter().all(|job| job.definition.is_none())
        };
        let jobs = self.mirror.jobs.iter().any(|job| job.definition.is_some());
        if jobs || self.holds_queues() {
            self.quiet(slot);
            return Ok(None);
        }
        let durable = is_quiet(&self.mirror);
        let Some(leading) = self.nodes[slot].leading() else {
            return Ok(None);
        };
        let idle = leading.flight.is_none() && leading.inbox.is_empty();
        if !idle || !durable || !is_quiet(leading.core.state()) {
            return Ok(None);
        }
        same(&self.mirror, leading.core.state(), "the leader at the end")?;
        self.must.accepted.check(&self.mirror)?;
        self.must.versions.check()?;
        Ok(Some(Stage::Stop))
    }

    fn stop_all(&mut self) {
        for slot in 0..self.nodes.len() {
            match self.nodes[slot].role {
                Role::Leading(_) => self.tell(slot, Input::Shutdown),
                Role::Standby(_) => self.ends(slot),
                Role::Down | Role::Booting(_) => {}
            }
        }
    }

    fn look_for_nodes(&mut self) -> Checked {
        if !self.nodes.iter().all(|node| node.is_down()) {
            self.stop_all();
            self.later(EVERY, Happening::Look);
            return Ok(());
        }
        self.over = true;
        self.must.checkpoints.kept(&self.shelf)?;
        whole::check(&self.disk)
    }
}
