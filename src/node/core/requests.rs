//! What clients ask of the core: each request becomes events or a refusal, and its reply waits for
//! the disk like everything else.

use ledger_core::envelope::Origin;
use ledger_core::event::{
    Event, LedgerEvent, LedgerResumed, Priority, ReleaseReason, TaskSubmitted, snapshot_subject,
};
use ledger_core::ids::{Id, Seq};

use super::{Core, Stage, checkpoint_subject, ledger_subject};
use crate::decided::Decided;
use crate::node::command::{
    AppEvent, Command, Now, Output, Rejected, Reply, RequestId, StopReason,
};
use crate::node::expect;
use crate::node::sequencer::Entry;
use crate::scheduler;
use crate::scheduler::decide::Refusal;
use crate::scheduler::held;

impl Core {
    pub(super) fn request(&mut self, now: Now, id: RequestId, origin: Origin, command: Command) {
        if matches!(self.stage, Stage::Stopping(_)) {
            let result = Err(Rejected::NotLeading("the node is shutting down".into()));
            self.outputs.push(Output::Reply { id, result });
            return;
        }
        let result = match command {
            Command::Submit { task_id, task, key } => self.submit(now, &origin, task_id, task, key),
            Command::Cancel { task_id, reason } => self.cancel(now, origin, &task_id, reason),
            Command::Retry { task_id } => {
                let at = self.clock.wall(now);
                let decided = scheduler::decide::retry(self.tasks(), &task_id, at);
                self.about(now, origin, &task_id, decided.map(Some))
            }
            Command::SetPriority { task_id, priority } => {
                let (tasks, at) = (self.tasks(), self.decided_at(now));
                let decided =
                    scheduler::steer::set_priority(tasks, &self.policy, &task_id, priority, at);
                self.about(now, origin, &task_id, decided)
            }
            Command::RetryAfter {
                task_id,
                attempt,
                retry_after,
            } => {
                let (tasks, at) = (self.tasks(), self.decided_at(now));
                let decided = scheduler::steer::throttle(tasks, &task_id, attempt, retry_after, at);
                self.about(now, origin, &task_id, decided.map(Some))
            }
            Command::PauseQueue { queue, reason } => {
                let decided = scheduler::steer::pause(self.tasks(), queue, reason);
                self.news(now, &origin, decided)
            }
            Command::ResumeQueue { queue, reason } => {
                let decided = scheduler::steer::resume(self.tasks(), queue, reason);
                self.news(now, &origin, decided)
            }
            Command::DefineJobs { jobs } => self.define_jobs(now, &origin, &jobs),
            Command::TriggerJob { job } => self.trigger_job(now, &origin, &job),
            Command::PauseJob { job, reason } => self.pause_job(now, &origin, &job, reason),
            Command::ResumeJob { job } => self.resume_job(now, &origin, &job),
            Command::Watch { candidate, terms } => self.watch(now, &origin, &candidate, terms),
            Command::Unwatch { target } => self.unwatch(now, &origin, &target),
            Command::Append {
                events,
                key,
                expected_head,
            } => self.append(now, &origin, events, key, expected_head),
            Command::Resume { reason } => match self.state().standing.paused() {
                Some(_) => self.note(now, &origin, LedgerEvent::Resumed(LedgerResumed { reason })),
                None => Ok(Reply::Unchanged(self.sequencer.head())),
            },
            Command::Note { event } => self.note(now, &origin, event),
            Command::NoteCheckpoint { name, event } => {
                let noted = Decided::new(checkpoint_subject(&name), *event);
                self.record(now, &origin, None, vec![noted.into()])
            }
            Command::NoteRecovery { event } => {
                let noted = Decided::new(self.actor.clone(), *event);
                self.record(now, &origin, None, vec![noted.into()])
            }
            Command::NoteSnapshot { set, event } => {
                let noted = Decided::new(snapshot_subject(&set), event);
                self.record(now, &origin, None, vec![noted.into()])
            }
            Command::StepDown => {
                self.shut_down(now, ReleaseReason::StepDown, StopReason::SteppedDown);
                Ok(Reply::Recorded(self.sequencer.head()))
            }
            Command::AwaitEnd { task_id } => match self.tasks().get(&task_id) {
                None => Err(Refusal::Unknown(task_id).into()),
                Some(task) if task.is_ended() => Ok(Reply::TaskEnded(Box::new(task.view()))),
                Some(_) => {
                    self.waiting.entry(task_id).or_default().push(id);
                    return;
                }
            },
        };
        // A refusal rests on state that may not be durable yet, so it waits like everything else.
        self.sequencer.reply(self.sequencer.head().seq, id, result);
    }

    /// Records what was decided about a task, if anything was.
    fn about(
        &mut self,
        now: Now,
        origin: Origin,
        task: &Id,
        decided: Result<Option<Decided>, Refusal>,
    ) -> Result<Reply, Rejected> {
        let decided = decided?;
        let origin = self.for_task(task, origin);
        self.news(now, &origin, decided)
    }

    /// Records what was decided, if anything was.
    fn news(
        &mut self,
        now: Now,
        origin: &Origin,
        decided: Option<Decided>,
    ) -> Result<Reply, Rejected> {
        match decided {
            Some(decided) => self.record(now, origin, None, vec![decided.into()]),
            None => Ok(Reply::Unchanged(self.sequencer.head())),
        }
    }

    fn submit(
        &mut self,
        now: Now,
        origin: &Origin,
        task_id: Option<Id>,
        task: TaskSubmitted,
        key: Option<Id>,
    ) -> Result<Reply, Rejected> {
        if let Some(seq) = self.replayed(key.as_ref()) {
            return Ok(Reply::Replayed(seq));
        }
        let task_id = task_id.unwrap_or_else(|| self.sequencer.new_id(now.wall));
        let queue = task.priority;
        let at = self.clock.wall(now);
        let decided = scheduler::decide::submit(self.tasks(), &task_id, task, at)?;
        let recorded = self.record(now, origin, key.as_ref(), vec![decided.into()])?;
        Ok(self.submitted(now, recorded, task_id, queue))
    }

    /// The answer to who submitted a task, by what came of recording it.
    pub(super) fn submitted(
        &self,
        now: Now,
        recorded: Reply,
        task_id: Id,
        queue: Priority,
    ) -> Reply {
        let Reply::Recorded(head) = recorded else {
            return recorded;
        };
        let task = self.tasks().get(&task_id);
        let position = task.and_then(|task| self.tasks().position(task));
        let position = position.unwrap_or(self.tasks().queued_count(queue).saturating_sub(1));
        let at = self.decided_at(now);
        let held = task.and_then(|task| held::held(self.tasks(), &self.policy, task, at));
        Reply::Submitted {
            task_id,
            queue,
            position,
            held,
            head,
        }
    }

    pub(super) fn cancel(
        &mut self,
        now: Now,
        origin: Origin,
        task_id: &Id,
        reason: Option<String>,
    ) -> Result<Reply, Rejected> {
        let Some(decided) = scheduler::decide::cancel(self.tasks(), task_id, reason)? else {
            return Ok(Reply::Unchanged(self.sequencer.head()));
        };
        let origin = self.for_task(task_id, origin);
        let reply = self.record(now, &origin, None, vec![decided.into()]);
        // A task that only waited has ended with this.
        self.tell_waiting(task_id);
        reply
    }

    fn append(
        &mut self,
        now: Now,
        origin: &Origin,
        events: Vec<AppEvent>,
        key: Option<Id>,
        expected_head: Option<Seq>,
    ) -> Result<Reply, Rejected> {
        if let Some(seq) = self.replayed(key.as_ref()) {
            return Ok(Reply::Replayed(seq));
        }
        let head = self.sequencer.head().seq;
        expect::check(&self.sequencer.state.subjects, head, expected_head, &events)?;
        expect::check_cause(head, origin.cause)?;
        let entries = events
            .into_iter()
            .map(|e| Entry {
                subject: e.subject,
                kind: e.kind,
                data: e.data,
                event: Event::App,
            })
            .collect();
        self.record(now, origin, key.as_ref(), entries)
    }

    fn note(&mut self, now: Now, origin: &Origin, event: LedgerEvent) -> Result<Reply, Rejected> {
        let noted = Decided::new(ledger_subject(self.ledger), event);
        self.record(now, origin, None, vec![noted.into()])
    }

    fn replayed(&self, key: Option<&Id>) -> Option<Seq> {
        key.and_then(|key| self.sequencer.state.keys.lookup(key))
    }
}
