//! How events change the figures. Every family is matched exhaustively: a new event stops the
//! build until someone decides what it means here.
//!
//! Each function checks first and changes after, so an event that is refused changes nothing.

use ledger_core::envelope::Header;
use ledger_core::event::{
    CheckpointEvent, DeadReason, Event, JobEvent, LadderCause, LeaseEvent, LeaseFenced, LeaseLost,
    LedgerEvent, NodeEvent, Priority, ProcessEvent, QueueEvent, RecoveryEvent, TaskEvent,
    TaskFailed, TaskTimedOut,
};
use ledger_core::ids::{Id, Seq, Term};
use ledger_core::time::Micros;

use super::snapshots;
use super::state::{
    LedgerFacts, LiveProcess, LiveTask, NodeFacts, PausedFacts, PausedQueue, Phase, RecoveryFacts,
    Status, TermFacts, TermState, UnkillableFacts, level,
};
use crate::framework::ApplyError;

type Applied = Result<(), String>;

impl Status {
    pub(super) fn fold(&mut self, header: &Header<'_>, event: &Event) -> Result<(), ApplyError> {
        let folded = match event {
            Event::Ledger(event) => self.ledger(header, event),
            Event::Task(event) => self.task(header, event),
            Event::Process(event) => self.process(header, event),
            Event::Lease(event) => self.lease(header, event),
            Event::Node(event) => self.node(header, event),
            Event::Job(event) => self.job(header, event),
            Event::Checkpoint(event) => self.checkpoint(header, event),
            Event::Recovery(event) => self.recovery(header, event),
            Event::Queue(event) => self.queue(header, event),
            Event::Snapshot(event) => snapshots::fold(&mut self.snapshots, header, event),
            Event::App | Event::Unknown => Ok(()),
        };
        folded.map_err(|reason| ApplyError::at(header, reason))?;
        let counts = &mut self.events;
        let family = match event {
            Event::Ledger(_) => &mut counts.ledger,
            Event::Task(_) => &mut counts.task,
            Event::Process(_) => &mut counts.process,
            Event::Lease(_) => &mut counts.lease,
            Event::Node(_) => &mut counts.node,
            Event::Job(_) => &mut counts.job,
            Event::Checkpoint(_) => &mut counts.checkpoint,
            Event::Recovery(_) => &mut counts.recovery,
            Event::Queue(_) => &mut counts.queue,
            Event::Snapshot(_) => &mut counts.snapshot,
            Event::App => &mut counts.app,
            Event::Unknown => &mut counts.unknown,
        };
        *family += 1;
        counts.last = header.seq;
        counts.last_at = header.recorded_at;
        Ok(())
    }

    fn ledger(&mut self, header: &Header<'_>, event: &LedgerEvent) -> Applied {
        match event {
            LedgerEvent::Created(_) if self.ledger.is_some() => {
                Err("the ledger was created already".to_owned())
            }
            LedgerEvent::Restored(_) | LedgerEvent::Forked(_) => {
                self.paused = Some(PausedFacts::by(header, "restore"));
                Ok(())
            }
            LedgerEvent::Imported(_) => {
                self.paused = Some(PausedFacts::by(header, "import"));
                Ok(())
            }
            LedgerEvent::Salvaged(_) => {
                self.paused = Some(PausedFacts::by(header, "salvage"));
                Ok(())
            }
            LedgerEvent::Resumed(_) => {
                self.paused = None;
                Ok(())
            }
            LedgerEvent::BackedUp(_)
            | LedgerEvent::BackupFailed(_)
            | LedgerEvent::BackupsPruned(_)
            | LedgerEvent::Exported(_) => {
                self.backups.fold(header, event);
                Ok(())
            }
            LedgerEvent::Created(e) => {
                self.ledger = Some(LedgerFacts {
                    ledger_id: e.ledger_id,
                    name: e.name.clone(),
                    created_at: header.recorded_at,
                });
                Ok(())
            }
        }
    }

    fn lease(&mut self, header: &Header<'_>, event: &LeaseEvent) -> Applied {
        let at = header.recorded_at;
        match event {
            LeaseEvent::Acquired(e) => {
                if self.term.as_ref().is_some_and(|t| t.term >= header.term) {
                    return Err(format!("term {} was acquired before", header.term));
                }
                self.terms_open.insert(header.term);
                self.term_before = self.term.take();
                self.term = Some(TermFacts {
                    term: header.term,
                    holder: e.holder.clone(),
                    pid: e.pid,
                    incarnation: e.incarnation.clone(),
                    acquired: header.seq,
                    acquired_at: at,
                    state: TermState::Open,
                });
            }
            LeaseEvent::Released(_) => {
                return self.term_ended(header.term, TermState::Released { at });
            }
            // Recorded by a later holder, in its own term.
            LeaseEvent::Lost(e) if e.term < header.term => {
                return self.term_ended(e.term, TermState::Lost { at });
            }
            LeaseEvent::Fenced(e) if e.term < header.term => {
                return self.term_ended(e.term, TermState::Fenced { at });
            }
            LeaseEvent::Lost(LeaseLost { term, .. })
            | LeaseEvent::Fenced(LeaseFenced { term, .. }) => {
                return Err(format!("term {term} is not over"));
            }
        }
        Ok(())
    }

    fn term_ended(&mut self, ended: Term, state: TermState) -> Applied {
        if !self.terms_open.remove(&ended) {
            return Err(format!("term {ended} ended and was not held"));
        }
        for term in [&mut self.term, &mut self.term_before] {
            if let Some(term) = term.as_mut().filter(|t| t.term == ended) {
                term.state = state;
            }
        }
        Ok(())
    }

    fn node(&mut self, header: &Header<'_>, event: &NodeEvent) -> Applied {
        let (name, at) = (subject(header)?, header.recorded_at);
        if let NodeEvent::Started(e) = event {
            self.node = Some(NodeFacts {
                name,
                software: e.software.clone(),
                host: e.host.clone(),
                max_running: e.max_running,
                started_at: at,
                recovery: None,
                stopped_at: None,
                stop_reason: None,
            });
            return Ok(());
        }
        let node = self.node.as_mut().filter(|n| n.name == name);
        let node = node.ok_or_else(|| format!("node {name} is not the one that started"))?;
        match event {
            NodeEvent::Started(_) => {}
            NodeEvent::Recovered(e) => {
                node.recovery = Some(RecoveryFacts {
                    at,
                    replayed: e.replayed,
                    replay_us: e.replay_us,
                    reattached: e.reattached,
                    closed: e.closed,
                    lost: e.lost,
                    unstarted: e.unstarted,
                    checkpoint: None,
                    requeued: None,
                });
            }
            NodeEvent::Stopped(e) => {
                node.stopped_at = Some(at);
                node.stop_reason = e.reason;
            }
            // They are in the log for whoever asks about a time.
            NodeEvent::ClockStepped(_) | NodeEvent::ClockSettled(_) => {}
        }
        Ok(())
    }

    fn recovery(&mut self, header: &Header<'_>, event: &RecoveryEvent) -> Applied {
        let name = subject(header)?;
        let node = self.node.as_mut().filter(|n| n.name == name);
        let node = node.ok_or_else(|| format!("node {name} is not the one that started"))?;
        let RecoveryEvent::Completed(e) = event else {
            return Ok(());
        };
        node.recovery = Some(RecoveryFacts {
            at: header.recorded_at,
            replayed: Seq(e.replayed),
            replay_us: Micros(e.restore_us.0.saturating_add(e.replay_us.0)),
            reattached: e.reattached,
            closed: e.closed,
            lost: e.lost,
            unstarted: e.unstarted,
            checkpoint: e.checkpoint.clone(),
            requeued: Some(e.requeued),
        });
        Ok(())
    }

    fn task(&mut self, header: &Header<'_>, event: &TaskEvent) -> Applied {
        let id = header.subject_id();
        if let TaskEvent::Submitted(e) = event {
            if self.tasks.contains_key(id) {
                return Err(format!("task {id} exists already"));
            }
            let task = LiveTask {
                queue: e.priority,
                phase: queued_by(header),
            };
            self.insert(subject(header)?, task);
            self.totals.submitted += 1;
            return Ok(());
        }
        let Some(&LiveTask { queue, phase }) = self.tasks.get(id) else {
            return Err(format!("task {id} is over, or was never submitted"));
        };
        let step = step(header, event, phase)
            .ok_or_else(|| format!("{} cannot follow: task {id} is {phase:?}", header.kind))?;
        self.count(event, queue);
        match step {
            Step::To(phase) => self.shift(id, Some(LiveTask { queue, phase })),
            Step::ToQueue(queue, phase) => self.shift(id, Some(LiveTask { queue, phase })),
            Step::Stay => {}
            Step::Over => self.shift(id, None),
        }
        Ok(())
    }

    fn queue(&mut self, header: &Header<'_>, event: &QueueEvent) -> Applied {
        let name = header.subject_id();
        let queue = Priority::ALL.into_iter().find(|queue| queue.name() == name);
        let queue = queue.ok_or_else(|| format!("there is no queue {name}"))?;
        self.queues_paused[level(queue)] = match event {
            QueueEvent::Paused(e) => Some(PausedQueue {
                since: header.seq,
                at: header.recorded_at,
                reason: e.reason.clone(),
            }),
            QueueEvent::Resumed(_) => None,
        };
        Ok(())
    }

    /// Counts what a live task of this queue went through.
    fn count(&mut self, event: &TaskEvent, queue: Priority) {
        let totals = &mut self.totals;
        match event {
            // Counted where the task is put in its queue.
            TaskEvent::Submitted(_) => {}
            TaskEvent::Started(e) => {
                totals.started += 1;
                totals.boosted += u64::from(e.boost > 0);
                self.queues[level(e.queue)].wait.record(e.waited_us);
            }
            TaskEvent::Completed(e) => {
                totals.completed += 1;
                self.queues[level(queue)].completed += 1;
                self.run_ended(queue, e.runtime_us, true);
            }
            TaskEvent::Failed(e) => {
                totals.failed += 1;
                totals.demoted += u64::from(e.demoted_to.is_some());
                self.run_ended(queue, e.runtime_us, false);
            }
            TaskEvent::TimedOut(e) => {
                totals.timed_out += 1;
                totals.demoted += u64::from(e.demoted_to.is_some());
                self.run_ended(queue, e.runtime_us, false);
            }
            // How long a lost attempt ran is not known.
            TaskEvent::Lost(_) => {
                totals.lost += 1;
                self.record_run(false);
            }
            TaskEvent::Requeued(_) => totals.requeued += 1,
            TaskEvent::Dead(_) => totals.dead += 1,
            TaskEvent::Retried(_) => totals.retried += 1,
            TaskEvent::Reprioritized(_) => totals.reprioritized += 1,
            TaskEvent::Throttled(_) => totals.throttled += 1,
            TaskEvent::CancelRequested(_) => totals.cancel_requested += 1,
            // A run that somebody ended says nothing about success.
            TaskEvent::Cancelled(e) => {
                totals.cancelled += 1;
                let figures = &mut self.queues[level(queue)];
                figures.cancelled += 1;
                if let Some(runtime) = e.runtime_us {
                    figures.runtime.record(runtime);
                }
            }
        }
    }

    fn run_ended(&mut self, queue: Priority, runtime: Micros, succeeded: bool) {
        self.queues[level(queue)].runtime.record(runtime);
        self.record_run(succeeded);
    }

    fn process(&mut self, header: &Header<'_>, event: &ProcessEvent) -> Applied {
        let id = subject(header)?;
        match event {
            // Processes of others are not work of ours; `processes` folds them.
            ProcessEvent::Watched(_)
            | ProcessEvent::Reaping(_)
            | ProcessEvent::Survived(_)
            | ProcessEvent::Terminated(_)
            | ProcessEvent::Ended(_)
            | ProcessEvent::Unwatched(_) => return Ok(()),
            ProcessEvent::Registered(_) if self.processes.contains_key(&id) => {
                return Err(format!("process {id} was registered before"));
            }
            ProcessEvent::Registered(_) => {}
            ProcessEvent::Unkillable(e) => {
                let Some(process) = self.processes.get_mut(&id) else {
                    return Err(format!("process {id} outlives SIGKILL and did not run"));
                };
                process.unkillable = Some(UnkillableFacts {
                    since: header.seq,
                    at: header.recorded_at,
                    first: e.survivors.first().copied(),
                    processes: e.processes,
                });
            }
            ProcessEvent::Exited(_) | ProcessEvent::Reaped(_) | ProcessEvent::Lost(_) => {
                if self.processes.remove(&id).is_none() {
                    return Err(format!("process {id} ended and did not run"));
                }
            }
        }
        let totals = &mut self.process_totals;
        match event {
            ProcessEvent::Registered(e) => {
                totals.registered += 1;
                let process = LiveProcess {
                    pid: e.pid,
                    task: e.task.clone(),
                    attempt: e.attempt,
                    since: header.recorded_at,
                    unkillable: None,
                };
                self.processes.insert(id, process);
            }
            ProcessEvent::Exited(_) => totals.exited += 1,
            ProcessEvent::Reaped(e) => match e.cause {
                LadderCause::MaxRuntime => totals.reaped_max_runtime += 1,
                LadderCause::Cancel => totals.reaped_cancel += 1,
                LadderCause::Leftovers => totals.reaped_leftovers += 1,
                LadderCause::Stalled => totals.reaped_stalled += 1,
            },
            ProcessEvent::Unkillable(_) => totals.unkillable += 1,
            ProcessEvent::Lost(_) => totals.lost += 1,
            ProcessEvent::Watched(_)
            | ProcessEvent::Reaping(_)
            | ProcessEvent::Survived(_)
            | ProcessEvent::Terminated(_)
            | ProcessEvent::Ended(_)
            | ProcessEvent::Unwatched(_) => {}
        }
        Ok(())
    }

    fn job(&mut self, header: &Header<'_>, event: &JobEvent) -> Applied {
        let name = subject(header)?;
        match event {
            // What jobs there are is in a view of its own.
            JobEvent::Defined(_)
            | JobEvent::Changed(_)
            | JobEvent::Removed(_)
            | JobEvent::Triggered(_) => {}
            JobEvent::Due(_) => self.upkeep.jobs_due += 1,
            JobEvent::Skipped(_) => self.upkeep.jobs_skipped += 1,
            JobEvent::Paused(_) => {
                self.upkeep.jobs_paused.insert(name);
            }
            JobEvent::Resumed(_) => {
                self.upkeep.jobs_paused.remove(&name);
            }
        }
        Ok(())
    }

    fn checkpoint(&mut self, header: &Header<'_>, event: &CheckpointEvent) -> Applied {
        match event {
            CheckpointEvent::Created(_) => {
                self.upkeep.checkpoints_created += 1;
                self.upkeep.last_checkpoint = Some((header.seq, header.recorded_at));
            }
            CheckpointEvent::Rejected(_) => self.upkeep.checkpoints_rejected += 1,
            CheckpointEvent::Failed(_) => self.upkeep.checkpoints_failed += 1,
            CheckpointEvent::Pruned(_) => self.upkeep.checkpoints_pruned += 1,
        }
        Ok(())
    }
}

/// Where an event takes a live task.
enum Step {
    To(Phase),
    /// And to another queue.
    ToQueue(Priority, Phase),
    Stay,
    Over,
}

/// `None` if the event cannot follow.
fn step(header: &Header<'_>, event: &TaskEvent, phase: Phase) -> Option<Step> {
    let step = match (event, phase) {
        (TaskEvent::Started(_), Phase::Queued { .. }) => Step::To(Phase::Running),
        (TaskEvent::CancelRequested(_), Phase::Running) => Step::To(Phase::Cancelling),
        (TaskEvent::Completed(_), Phase::Running | Phase::Cancelling)
        | (TaskEvent::Cancelled(_), Phase::Queued { .. } | Phase::Running | Phase::Cancelling) => {
            Step::Over
        }
        (
            TaskEvent::Failed(TaskFailed {
                demoted_to: Some(queue),
                ..
            })
            | TaskEvent::TimedOut(TaskTimedOut {
                demoted_to: Some(queue),
                ..
            }),
            Phase::Running | Phase::Cancelling,
        ) => Step::ToQueue(*queue, Phase::Undecided),
        (
            TaskEvent::Failed(_) | TaskEvent::TimedOut(_) | TaskEvent::Lost(_),
            Phase::Running | Phase::Cancelling,
        ) => Step::To(Phase::Undecided),
        (TaskEvent::Throttled(_), Phase::Running | Phase::Cancelling) => Step::Stay,
        (TaskEvent::Reprioritized(e), Phase::Queued { .. }) => {
            let since = Phase::Queued {
                since: header.seq,
                at: e.since,
            };
            Step::ToQueue(e.priority, since)
        }
        (TaskEvent::Dead(e), phase) if may_die(e.reason, phase) => Step::To(Phase::Dead),
        (TaskEvent::Requeued(_), Phase::Undecided) | (TaskEvent::Retried(_), Phase::Dead) => {
            Step::To(queued_by(header))
        }
        (
            TaskEvent::Submitted(_)
            | TaskEvent::Started(_)
            | TaskEvent::Completed(_)
            | TaskEvent::Failed(_)
            | TaskEvent::TimedOut(_)
            | TaskEvent::Lost(_)
            | TaskEvent::Requeued(_)
            | TaskEvent::CancelRequested(_)
            | TaskEvent::Cancelled(_)
            | TaskEvent::Dead(_)
            | TaskEvent::Retried(_)
            | TaskEvent::Reprioritized(_)
            | TaskEvent::Throttled(_),
            _,
        ) => return None,
    };
    Some(step)
}

/// Where a task dies of what.
fn may_die(reason: DeadReason, phase: Phase) -> bool {
    match reason {
        DeadReason::Failed | DeadReason::TimedOut | DeadReason::Lost => {
            matches!(phase, Phase::Undecided)
        }
        DeadReason::Dependency | DeadReason::Expired => matches!(phase, Phase::Queued { .. }),
    }
}

fn queued_by(header: &Header<'_>) -> Phase {
    Phase::Queued {
        since: header.seq,
        at: header.recorded_at,
    }
}

fn subject(header: &Header<'_>) -> Result<Id, String> {
    Id::new(header.subject_id()).map_err(|e| format!("its subject has no id: {e}"))
}
