//! The core: a synchronous state machine that decides everything a leading node does.
//!
//! Invariants:
//! - Nothing leaves it that is not durable: replies, orders to start and to cancel wait for the
//!   disk (the sequencer beside this).
//! - Effects are reconciled, not fired: what must be done follows from folded state (an attempt
//!   that is open and was not yet handed to the process port in this life), never from having seen
//!   an event go by. A node that comes up finds the same obligations in the log.
//! - When an append fails the state is ahead of the truth, so it is dropped: the core stops for
//!   good, tells everyone who waits, and a new one is built from the log.
//!
//! Idea: decide, append, apply, act (event sourcing); obligations as in Omicron's background
//! tasks and Kubernetes' reconcilers.

mod clock;
mod jobs;
mod obligations;
mod recovery;
mod requests;
mod watches;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use ledger_core::chain::Head;
use ledger_core::envelope::Origin;
use ledger_core::event::{
    LeaseAcquired, NodeEvent, NodeStarted, NodeStopped, Priority, ReleaseReason,
};
use ledger_core::ids::{Entity, Id, LedgerId, Seq, Term};
use ledger_core::time::Micros;
use projections::tasks::{Task, TaskState};

use super::command::{AttemptId, Input, Now, Output, Rejected, Reply, RequestId, StopReason};
use super::decision::Decision;
use super::ports::Random;
use super::sequencer::{Entry, RecordError, Sequencer};
use crate::decided::Decided;
use crate::jobs::{Agenda, Times};
use crate::scheduler::policy::Policy;
use crate::{lease, scheduler};
use clock::Clock;
use recovery::Recovery;
pub use recovery::Restored;

/// Most tasks that perish in one turn.
const MAX_PERISHED: usize = 1000;

/// What a core is made of.
pub struct CoreConfig {
    /// The ledger.
    pub ledger: LedgerId,
    /// Where it ends.
    pub head: Head,
    /// All of it, folded.
    pub state: Decision,
    /// How that was come by.
    pub restored: Restored,
    /// By what rules it dispatches.
    pub policy: Policy,
    /// This node's tenure.
    pub tenure: LeaseAcquired,
    /// The holder before, if this node has ended it.
    pub ended: Option<lease::decide::Ended>,
    /// What this node says of itself.
    pub started: NodeStarted,
    /// Where it draws ids from.
    pub random: Box<dyn Random>,
}

enum Stage {
    /// Finding out what became of open attempts; nothing is dispatched.
    Recovering(Recovery),
    /// Dispatching.
    Leading,
    /// Asked to stop; waits until everything is on disk.
    Stopping(StopReason),
    /// Done; ignores everything.
    Stopped(StopReason),
}

/// One leading node's brain.
pub struct Core {
    ledger: LedgerId,
    clock: Clock,
    sequencer: Sequencer,
    stage: Stage,
    node: Id,
    actor: Entity,
    policy: Arc<Policy>,
    /// Attempts given to the process port in this life: never given twice.
    handed: BTreeSet<AttemptId>,
    /// Attempts whose end was asked of the process port in this life.
    cancelled: BTreeSet<AttemptId>,
    /// Attempts whose outcome was heard, with what must be durable for it not to be needed again.
    settling: VecDeque<(Seq, AttemptId)>,
    /// Who waits for the end of a task.
    waiting: BTreeMap<Id, Vec<RequestId>>,
    restored: Restored,
    /// When this core began, since the host was booted: nobody sets that.
    begun: Micros,
    replayed: Seq,
    /// Whether what was open in the history that this directory was made from was given up.
    forsaken: bool,
    /// Whether the disk has caught up with something since obligations were last looked at. They
    /// only ever arise then.
    obliged: bool,
    /// What the reaper was told in this life.
    told: watches::Told,
    /// Which job is due next.
    agenda: Agenda,
    /// Since when this node submits what is due: all that fell due before was missed.
    watching: Option<Times>,
    outputs: Vec<Output>,
}

impl Core {
    /// A node that takes the lease: the first turn's outputs contain the batch that says so.
    pub fn start(now: Now, mut config: CoreConfig) -> (Self, Vec<Output>) {
        let term = config.state.leases.next_term().max(config.head.term.next());
        let node = config.tenure.holder.clone();
        let actor = node_subject(&node);
        let inherited = config.state.standing.inherited();
        let open = config.state.tasks.open();
        let open = open.filter(|task| !is_inherited(task, inherited));
        let open: BTreeSet<AttemptId> = open.filter_map(attempt_of).collect();
        let clock = Clock::new(
            now,
            config.tenure.boot_id.clone(),
            config.state.standing.clock(),
            config.head.recorded_at,
        );
        config.started.clock = Some(clock.host_clock());
        let mut core = Self {
            ledger: config.ledger,
            clock,
            forsaken: false,
            replayed: config.head.seq,
            sequencer: Sequencer::new(
                config.ledger,
                config.head,
                term,
                config.state,
                config.random,
            ),
            stage: Stage::Recovering(Recovery {
                waiting: open,
                ..Recovery::default()
            }),
            node,
            actor,
            policy: Arc::new(config.policy),
            handed: BTreeSet::new(),
            cancelled: BTreeSet::new(),
            settling: VecDeque::new(),
            waiting: BTreeMap::new(),
            restored: config.restored,
            begun: now.boot,
            obliged: false,
            told: watches::Told::default(),
            agenda: Agenda::default(),
            watching: None,
            outputs: Vec::new(),
        };
        let leases = &core.sequencer.state.leases;
        let mut decided = lease::decide::acquire(leases, config.tenure, config.ended.as_ref());
        decided.push(Decided::new(
            core.actor.clone(),
            NodeEvent::Started(config.started),
        ));
        let origin = core.own_origin();
        core.record_own(now, &origin, decided);
        core.look_at_clock(now);
        core.lose_builtins(now);
        core.agenda.refresh(&core.sequencer.state.jobs);
        core.settle(now);
        let outputs = std::mem::take(&mut core.outputs);
        (core, outputs)
    }

    /// One turn: everything that has arrived, then what follows from it.
    pub fn step(&mut self, now: Now, inputs: impl IntoIterator<Item = Input>) -> Vec<Output> {
        self.look_at_clock(now);
        for input in inputs {
            if let Stage::Stopped(reason) = &self.stage {
                // Late requests are answered, late reports are not needed: the next life of this
                // node finds them in the world.
                if let Input::Request { id, .. } = input {
                    let result = Err(Rejected::NotLeading(reason.to_string()));
                    self.outputs.push(Output::Reply { id, result });
                }
                continue;
            }
            self.take(now, input);
        }
        self.settle(now);
        std::mem::take(&mut self.outputs)
    }

    /// The term this core writes in.
    pub fn term(&self) -> Term {
        self.sequencer.head().term
    }

    /// The decision state, ahead of the disk by what is in flight.
    pub fn state(&self) -> &Decision {
        &self.sequencer.state
    }

    fn take(&mut self, now: Now, input: Input) {
        // A term's release is its last event. What is reported after it, the next life of this node
        // finds in the world.
        if matches!(self.stage, Stage::Stopping(_)) && input.is_report() {
            return;
        }
        match input {
            Input::Request {
                id,
                origin,
                command,
            } => self.request(now, id, origin, command),
            Input::Durable(head) => {
                self.sequencer.durable_at(head);
                self.obliged = true;
            }
            Input::AppendFailed(failure) => self.stop(failure.into()),
            Input::Diverged(what) => self.stop(StopReason::Diverged(what)),
            Input::Started { attempt, process } => {
                self.attempt_event(now, &attempt, |task, run| {
                    scheduler::decide::started(task, run, &process)
                        .into_iter()
                        .collect()
                });
                self.recovered(&attempt, |r| &mut r.reattached);
            }
            Input::Attached(attempt) => self.recovered(&attempt, |r| &mut r.reattached),
            Input::Unstarted(attempt) => self.recovered(&attempt, |r| &mut r.unstarted),
            Input::Ended { attempt, outcome } => {
                let (policy, at) = (Arc::clone(&self.policy), self.decided_at(now));
                let draw = self.sequencer.draw();
                self.attempt_event(now, &attempt, |task, run| {
                    scheduler::decide::ended(task, run, &outcome, &policy, at, draw)
                });
                self.recovered(&attempt, |r| &mut r.closed);
                self.settling
                    .push_back((self.sequencer.head().seq, attempt));
            }
            Input::Lost {
                attempt,
                reason,
                orphans_ended,
            } => {
                self.attempt_event(now, &attempt, |task, run| {
                    scheduler::decide::lost(task, run, &reason, orphans_ended)
                });
                self.recovered_lost(&attempt);
            }
            // The attempt is looked after as before: for recovery, that is all there is to know.
            Input::Unkillable { attempt, found } => {
                self.attempt_event(now, &attempt, |task, run| {
                    scheduler::decide::unkillable(task, run, *found)
                });
                self.recovered(&attempt, |r| &mut r.reattached);
            }
            Input::Seen { id, report } => self.seen(now, &id, &report),
            Input::Hold => self.sequencer.hold(),
            Input::LeaseExpired { since } => self.stop(StopReason::LeaseExpired { since }),
            Input::Shutdown => {
                self.shut_down(now, ReleaseReason::Shutdown, StopReason::Shutdown);
            }
        }
    }

    fn record(
        &mut self,
        now: Now,
        origin: &Origin,
        key: Option<&Id>,
        entries: Vec<Entry>,
    ) -> Result<Reply, Rejected> {
        let at = self.decided_at(now);
        match self.sequencer.record(at, origin, key, entries) {
            Ok(head) => Ok(Reply::Recorded(head)),
            Err(RecordError::Encode(e)) => Err(Rejected::TooLarge(e.to_string())),
            Err(RecordError::Fold(reason)) => {
                self.stop(StopReason::Corrupt(reason.clone()));
                Err(Rejected::NotLeading(reason))
            }
        }
    }

    /// Records what the node itself decided; nothing of it can be too large.
    fn record_own(&mut self, now: Now, origin: &Origin, decided: Vec<Decided>) {
        if decided.is_empty() {
            return;
        }
        let entries = decided.into_iter().map(Entry::from).collect();
        if let Err(Rejected::TooLarge(e)) = self.record(now, origin, None, entries) {
            self.stop(StopReason::Corrupt(e));
        }
    }

    /// Tells whoever waits for the end of a task, if it has ended.
    fn tell_waiting(&mut self, task: &Id) {
        let Some(view) = self
            .tasks()
            .get(task)
            .filter(|t| t.is_ended())
            .map(Task::view)
        else {
            return;
        };
        for id in self.waiting.remove(task).unwrap_or_default() {
            let reply = Reply::TaskEnded(Box::new(view.clone()));
            self.sequencer
                .reply(self.sequencer.head().seq, id, Ok(reply));
        }
    }

    /// Records what follows from a report about an attempt. A report about one that is not open
    /// is late news about something already decided, and nothing follows from it.
    fn attempt_event(
        &mut self,
        now: Now,
        id: &AttemptId,
        decide: impl FnOnce(&Task, &projections::tasks::Run) -> Vec<Decided>,
    ) {
        let task = self.tasks().get(&id.task);
        let Some((task, run)) = task
            .and_then(|task| task.run().map(|run| (task, run)))
            .filter(|(_, run)| run.attempt == id.attempt)
        else {
            return;
        };
        let mut decided = decide(task, run);
        self.yield_watches(&mut decided);
        let origin = Origin {
            cause: Some(run.ordered),
            correlation: task.correlation.clone(),
            ..self.own_origin()
        };
        self.record_own(now, &origin, decided);
        if self.tasks().get(&id.task).and_then(Task::run).is_none() {
            self.handed.remove(id);
            self.cancelled.remove(id);
        }
        self.tell_waiting(&id.task);
    }

    /// What follows from all inputs of a turn: recovery's end, dispatch, obligations, the disk.
    fn settle(&mut self, now: Now) {
        if matches!(self.stage, Stage::Recovering(_)) {
            self.finish_recovery(now);
        }
        if matches!(self.stage, Stage::Leading) && self.state().standing.paused().is_none() {
            self.forsake(now);
            self.perish(now);
            self.submit_due(now);
            self.dispatch(now);
        }
        if matches!(self.stage, Stage::Recovering(_) | Stage::Leading) && self.obliged {
            self.obliged = false;
            self.settle_attempts();
            self.reconcile(now);
            self.reconcile_watches();
        }
        if !matches!(self.stage, Stage::Stopped(_)) {
            self.sequencer.flush(&mut self.outputs);
        }
        if let Stage::Stopping(reason) = &self.stage
            && self.sequencer.is_settled()
        {
            self.stop(reason.clone());
        }
    }

    /// Gives up the attempts that were open in the history that this directory was made from: they
    /// were ordered elsewhere, and nothing of them is here. New ones never come up.
    fn forsake(&mut self, now: Now) {
        if self.forsaken {
            return;
        }
        self.forsaken = true;
        self.forsake_watches(now);
        let inherited = self.state().standing.inherited();
        let open = self.tasks().open();
        let open = open.filter(|task| is_inherited(task, inherited));
        let open: Vec<AttemptId> = open.filter_map(attempt_of).collect();
        for attempt in open {
            self.attempt_event(now, &attempt, |task, run| {
                scheduler::decide::lost(task, run, FORSAKEN, 0)
            });
        }
    }

    /// Ends tasks that wait for what will never be. Many may do so at once; what is left over is due
    /// at once, and others get their turn between.
    fn perish(&mut self, now: Now) {
        let at = self.clock.wall(now);
        for _ in 0..MAX_PERISHED {
            let Some(decided) = scheduler::dispatch::perish(self.tasks(), at) else {
                return;
            };
            let origin = self.queued_origin(decided.subject.id());
            let id = Id::new(decided.subject.id());
            self.record_own(now, &origin, vec![decided]);
            if matches!(self.stage, Stage::Stopped(_)) {
                return;
            }
            if let Ok(id) = id {
                self.tell_waiting(&id);
            }
        }
    }

    /// How long until this core has something to decide even if nothing arrives before.
    pub fn next_due(&self, now: Now) -> Option<Micros> {
        let leads = matches!(self.stage, Stage::Leading);
        let looks_again = self.clock.looks_again(now);
        if !leads || self.state().standing.paused().is_some() {
            return looks_again;
        }
        let times = self.times(now);
        let start = scheduler::dispatch::next_start(self.tasks(), &self.policy, times.log);
        let start = start.map(|due| due.since(times.log));
        let expiry = self.tasks().next_expiry();
        let expiry = expiry.map(|due| due.since(times.wall));
        let of_jobs = self.agenda.next(times);
        [start, expiry, of_jobs, looks_again]
            .into_iter()
            .flatten()
            .min()
    }

    fn dispatch(&mut self, now: Now) {
        let at = self.decided_at(now);
        while let Some(decided) =
            scheduler::dispatch::dispatch(self.tasks(), &self.policy, &self.node, at)
        {
            let origin = self.queued_origin(decided.subject.id());
            self.record_own(now, &origin, vec![decided]);
            if matches!(self.stage, Stage::Stopped(_)) {
                return;
            }
        }
    }

    /// The start of an attempt is caused by what queued it.
    fn queued_origin(&self, task: &str) -> Origin {
        let task = self.tasks().get(task);
        let cause = task.and_then(|task| match &task.state {
            TaskState::Queued { since, .. } => Some(*since),
            _ => None,
        });
        let correlation = task.and_then(|task| task.correlation.clone());
        Origin {
            cause,
            correlation,
            ..self.own_origin()
        }
    }

    /// Gives the lease back, if this node leads.
    fn shut_down(&mut self, now: Now, release: ReleaseReason, reason: StopReason) {
        if !matches!(self.stage, Stage::Recovering(_) | Stage::Leading) {
            return;
        }
        let queued = Priority::ALL
            .map(|q| self.tasks().queued_count(q))
            .iter()
            .sum::<usize>();
        let stopped = NodeStopped {
            running: u32::try_from(self.tasks().open_count()).unwrap_or(u32::MAX),
            queued: u32::try_from(queued).unwrap_or(u32::MAX),
            reason: None,
        };
        let decided = vec![
            Decided::new(self.actor.clone(), NodeEvent::Stopped(stopped)),
            lease::decide::release(&self.node, release),
        ];
        let origin = self.own_origin();
        self.record_own(now, &origin, decided);
        if !matches!(self.stage, Stage::Stopped(_)) {
            self.stage = Stage::Stopping(reason);
        }
    }

    /// Stops for good: whoever waits is told that their request may or may not be on disk.
    fn stop(&mut self, reason: StopReason) {
        if matches!(self.stage, Stage::Stopped(_)) {
            return;
        }
        let waiting = std::mem::take(&mut self.waiting).into_values().flatten();
        let pending = self.sequencer.abandon();
        self.outputs
            .extend(waiting.chain(pending).map(|id| Output::Reply {
                id,
                result: Err(Rejected::NotLeading(reason.to_string())),
            }));
        self.outputs.push(Output::Stopped(reason.clone()));
        self.stage = Stage::Stopped(reason);
    }

    fn tasks(&self) -> &projections::tasks::Tasks {
        &self.sequencer.state.tasks
    }

    fn own_origin(&self) -> Origin {
        Origin::of(self.actor.clone())
    }

    /// A request about a task is tied to what the task is tied to.
    fn for_task(&self, task: &Id, origin: Origin) -> Origin {
        let task = self.tasks().get(task);
        let correlation = origin
            .correlation
            .or(task.and_then(|t| t.correlation.clone()));
        Origin {
            correlation,
            cause: origin.cause.or(task.map(|t| t.submitted)),
            ..origin
        }
    }
}

fn attempt_of(task: &Task) -> Option<AttemptId> {
    task.run().map(|run| AttemptId {
        task: task.id.clone(),
        attempt: run.attempt,
    })
}

/// Why attempts of the history that a directory was made from are lost.
const FORSAKEN: &str = "it was open when this ledger was restored, imported or salvaged: what became of it is not known here";

/// Whether a task's attempt was ordered in the history that this directory was made from.
fn is_inherited(task: &Task, inherited: Seq) -> bool {
    task.run().is_some_and(|run| run.ordered <= inherited)
}

/// The subject of events about a ledger as a whole.
pub fn ledger_subject(ledger: LedgerId) -> Entity {
    Entity::of("ledger", &ledger.to_string()).expect("a UUID is an id")
}

/// The subject of a checkpoint's events.
pub fn checkpoint_subject(name: &Id) -> Entity {
    Entity::of("checkpoint", name).expect("a checkpoint's name is an id")
}

/// The subject of a node's events, and its actor.
pub fn node_subject(node: &Id) -> Entity {
    Entity::of("node", node).expect("a node's name is an id")
}
