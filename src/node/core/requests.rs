//! What clients ask of the core: each request becomes events or a refusal, and its reply waits for
//! the disk like everything else.

use ledger_core::envelope::Origin;
use ledger_core::event::{Event, LedgerEvent, LedgerResumed, TaskSubmitted};
use ledger_core::ids::{Id, Seq};

use super::{Core, Stage, ledger_subject};
use crate::decided::Decided;
use crate::node::command::{AppEvent, Command, Now, Output, Rejected, Reply, RequestId};
use crate::node::expect;
use crate::node::sequencer::Entry;
use crate::scheduler;

impl Core {
    pub(super) fn request(&mut self, now: Now, id: RequestId, origin: Origin, command: Command) {
        if matches!(self.stage, Stage::Stopping) {
            let result = Err(Rejected::NotLeading("the node is shutting down".into()));
            self.outputs.push(Output::Reply { id, result });
            return;
        }
        let result = match command {
            Command::Submit { task_id, task, key } => self.submit(now, &origin, task_id, task, key),
            Command::Cancel { task_id, reason } => self.cancel(now, origin, &task_id, reason),
            Command::Retry { task_id } => match scheduler::decide::retry(self.tasks(), &task_id) {
                Ok(decided) => {
                    let origin = self.for_task(&task_id, origin);
                    self.record(now, &origin, None, vec![decided.into()])
                }
                Err(refusal) => Err(refusal.into()),
            },
            Command::DefineJobs { jobs } => self.define_jobs(now, &origin, &jobs),
            Command::TriggerJob { job } => self.trigger_job(now, &origin, &job),
            Command::PauseJob { job, reason } => self.pause_job(now, &origin, &job, reason),
            Command::ResumeJob { job } => self.resume_job(now, &origin, &job),
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
            Command::AwaitEnd { task_id } => match self.tasks().get(&task_id) {
                None => Err(scheduler::decide::Refusal::Unknown(task_id).into()),
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
        let position = self.tasks().queued_count(queue);
        let decided = scheduler::decide::submit(self.tasks(), &task_id, task)?;
        match self.record(now, origin, key.as_ref(), vec![decided.into()])? {
            Reply::Recorded(head) => Ok(Reply::Submitted {
                task_id,
                queue,
                position,
                head,
            }),
            other => Ok(other),
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
