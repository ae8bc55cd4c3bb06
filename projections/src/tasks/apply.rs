//! How events change tasks: the one transition function of live running, recovery and rebuild.
//!
//! Whatever does not fit is refused here as corruption; it should have been refused when it was
//! decided.

use ledger_core::envelope::Header;
use ledger_core::event::{Attempt, Event, Failure, ProcessEvent, TaskEvent};
use ledger_core::ids::Id;
use ledger_core::time::Micros;

use super::state::{AttemptRecord, Closing, ProcessRef, Run, Task, TaskState, Tasks};
use crate::framework::{ApplyError, Projection, RestoreError};

impl Projection for Tasks {
    const NAME: &'static str = "tasks";
    const VERSION: u32 = 2;

    fn wants(kind: &str) -> bool {
        kind.starts_with("task.") || kind == "process.registered"
    }

    fn apply(&mut self, header: &Header<'_>, event: &Event) -> Result<(), ApplyError> {
        let result = match event {
            Event::Task(TaskEvent::Submitted(data)) => {
                let id = Id::new(header.subject_id()).map_err(|e| e.to_string());
                id.and_then(|id| self.insert(Task::new(id, header, data)))
            }
            Event::Task(event) => self.change(header, event),
            Event::Process(event) => match event {
                ProcessEvent::Registered(p) => {
                    self.with_task(&p.task, |task| task.registered(p.attempt, p.into()))
                }
                ProcessEvent::Exited(_) | ProcessEvent::Reaped(_) | ProcessEvent::Lost(_) => Ok(()),
            },
            Event::Ledger(_)
            | Event::Lease(_)
            | Event::Node(_)
            | Event::Job(_)
            | Event::Checkpoint(_)
            | Event::App
            | Event::Unknown => Ok(()),
        };
        result.map_err(|reason| ApplyError {
            seq: header.seq,
            reason,
        })
    }

    fn rows(&self, emit: &mut dyn FnMut(&str, &str)) {
        for (seq, task) in &self.tasks {
            let value = serde_json::to_string(task)
                .expect("tasks hold only strings, numbers and string-keyed maps");
            emit(&format!("{:020}", seq.0), &value);
        }
    }

    fn from_rows(rows: &mut dyn Iterator<Item = (String, String)>) -> Result<Self, RestoreError> {
        let mut tasks = Self::default();
        for (key, value) in rows {
            let bad = |reason: String| RestoreError {
                key: key.clone(),
                reason,
            };
            let task: Task = serde_json::from_str(&value).map_err(|e| bad(e.to_string()))?;
            tasks.insert(task).map_err(bad)?;
        }
        Ok(tasks)
    }
}

impl Tasks {
    fn insert(&mut self, task: Task) -> Result<(), String> {
        if self.by_id.contains_key(&task.id) {
            return Err(format!("task {} exists already", task.id));
        }
        self.by_id.insert(task.id.clone(), task.submitted);
        let seq = task.submitted;
        self.tasks.insert(seq, task);
        self.index(seq);
        Ok(())
    }

    fn change(&mut self, header: &Header<'_>, event: &TaskEvent) -> Result<(), String> {
        self.with_task(header.subject_id(), |task| task.next_state(header, event))
    }

    /// Changes one task and keeps the indexes true to it.
    fn with_task(
        &mut self,
        id: &str,
        change: impl FnOnce(&mut Task) -> Result<(), String>,
    ) -> Result<(), String> {
        let seq = *self
            .by_id
            .get(id)
            .ok_or_else(|| format!("task {id} was never submitted"))?;
        let task = self
            .tasks
            .get_mut(&seq)
            .ok_or_else(|| format!("task {id} has no entry"))?;
        match &task.state {
            TaskState::Queued { since, .. } => {
                self.queues[usize::from(task.priority.level())].remove(since);
            }
            TaskState::Running(_) | TaskState::Cancelling { .. } => {
                self.open.remove(&seq);
            }
            TaskState::Undecided
            | TaskState::Completed { .. }
            | TaskState::Cancelled { .. }
            | TaskState::Dead { .. } => {}
        }
        let result = change(task);
        self.index(seq);
        result
    }

    fn index(&mut self, seq: ledger_core::ids::Seq) {
        let Some(task) = self.tasks.get(&seq) else {
            return;
        };
        match &task.state {
            TaskState::Queued { since, .. } => {
                self.queues[usize::from(task.priority.level())].insert(*since, seq);
            }
            TaskState::Running(_) | TaskState::Cancelling { .. } => {
                self.open.insert(seq);
            }
            TaskState::Undecided
            | TaskState::Completed { .. }
            | TaskState::Cancelled { .. }
            | TaskState::Dead { .. } => {}
        }
    }
}

/// Linux's number for "no such file or directory", as events record it.
const ENOENT: i32 = 2;

fn closing(failure: &Failure) -> Closing {
    match failure {
        Failure::Exit { code } => Closing::Exit(*code),
        Failure::Signal { signal } => Closing::Signal(*signal),
        Failure::Spawn { step, errno, .. } if step == "exec" && *errno != ENOENT => {
            Closing::NotExecutable
        }
        Failure::Spawn { .. } => Closing::Spawn,
    }
}

impl Task {
    fn next_state(&mut self, header: &Header<'_>, event: &TaskEvent) -> Result<(), String> {
        let at = header.recorded_at;
        match event {
            TaskEvent::Submitted(_) => return Err(format!("task {} exists already", self.id)),
            TaskEvent::Started(e) => {
                if !matches!(self.state, TaskState::Queued { .. }) {
                    return Err(format!("task {} was started and is not queued", self.id));
                }
                self.expect_next(e.attempt)?;
                self.state = TaskState::Running(Run {
                    attempt: e.attempt,
                    ordered: header.seq,
                    ordered_at: at,
                    term: header.term,
                    node: e.node.clone(),
                    process: None,
                });
            }
            TaskEvent::Completed(e) => {
                self.close(header, e.attempt, Closing::Completed, e.runtime_us)?;
                self.state = TaskState::Completed { at };
            }
            TaskEvent::Failed(e) => {
                self.close(header, e.attempt, closing(&e.failure), e.runtime_us)?;
                self.state = TaskState::Undecided;
            }
            TaskEvent::TimedOut(e) => {
                self.close(header, e.attempt, Closing::TimedOut, e.runtime_us)?;
                self.state = TaskState::Undecided;
            }
            TaskEvent::Lost(e) => {
                self.close(header, e.attempt, Closing::Lost, Micros(0))?;
                self.lost += 1;
                self.state = TaskState::Undecided;
            }
            TaskEvent::Requeued(e) => {
                self.expect_undecided("requeued")?;
                self.expect_next(e.attempt)?;
                self.queue(header, e.attempt);
            }
            TaskEvent::Retried(e) => {
                if !matches!(self.state, TaskState::Dead { .. }) {
                    return Err(format!("task {} was retried and is not dead", self.id));
                }
                self.expect_next(e.attempt)?;
                // Whoever takes it out has looked at why it was there: it may be lost as often
                // again. Attempts are counted on, because each has a directory of its own.
                self.lost = 0;
                self.queue(header, e.attempt);
            }
            TaskEvent::CancelRequested(e) => self.cancelling(header, e.reason.clone())?,
            TaskEvent::Cancelled(e) => {
                match e.attempt {
                    Some(attempt) => {
                        let runtime = e.runtime_us.unwrap_or_default();
                        self.close(header, attempt, Closing::Cancelled, runtime)?;
                    }
                    None if matches!(self.state, TaskState::Queued { .. }) => {}
                    None => return Err(format!("task {} was cancelled out of order", self.id)),
                }
                self.state = TaskState::Cancelled {
                    at,
                    reason: e.reason.clone(),
                };
            }
            TaskEvent::Dead(e) => {
                self.expect_undecided("dead")?;
                self.state = TaskState::Dead {
                    at,
                    reason: e.reason,
                };
            }
        }
        Ok(())
    }

    fn queue(&mut self, header: &Header<'_>, next: Attempt) {
        self.state = TaskState::Queued {
            since: header.seq,
            since_at: header.recorded_at,
            next,
        };
    }

    fn cancelling(&mut self, header: &Header<'_>, reason: Option<String>) -> Result<(), String> {
        let TaskState::Running(run) = &self.state else {
            return Err(format!(
                "task {} is to be cancelled and does not run",
                self.id
            ));
        };
        self.state = TaskState::Cancelling {
            run: run.clone(),
            asked: header.seq,
            reason,
        };
        Ok(())
    }

    fn expect_undecided(&self, what: &str) -> Result<(), String> {
        if self.state == TaskState::Undecided {
            return Ok(());
        }
        Err(format!(
            "task {} is {what} though no attempt of it just ended badly",
            self.id
        ))
    }

    /// Attempts are numbered without gaps, and only a queued task is started.
    fn expect_next(&self, attempt: Attempt) -> Result<(), String> {
        let expected = match &self.state {
            TaskState::Queued { next, .. } => *next,
            TaskState::Undecided | TaskState::Dead { .. } => self
                .attempts
                .last()
                .map_or(Attempt::FIRST, |record| record.attempt.next()),
            TaskState::Running(_)
            | TaskState::Cancelling { .. }
            | TaskState::Completed { .. }
            | TaskState::Cancelled { .. } => {
                return Err(format!(
                    "task {} can't begin attempt {attempt} now",
                    self.id
                ));
            }
        };
        if attempt == expected {
            return Ok(());
        }
        Err(format!(
            "task {} begins attempt {attempt} where {expected} comes next",
            self.id
        ))
    }

    fn close(
        &mut self,
        header: &Header<'_>,
        attempt: Attempt,
        closing: Closing,
        runtime_us: Micros,
    ) -> Result<(), String> {
        let Some(run) = self.run().filter(|run| run.attempt == attempt) else {
            return Err(format!(
                "task {}: attempt {attempt} ended and is not open",
                self.id
            ));
        };
        let record = AttemptRecord {
            attempt,
            ordered: run.ordered,
            closed: header.seq,
            closed_at: header.recorded_at,
            closing,
            runtime_us,
        };
        self.attempts.push(record);
        Ok(())
    }

    fn registered(&mut self, attempt: Attempt, process: ProcessRef) -> Result<(), String> {
        let id = self.id.clone();
        match &mut self.state {
            TaskState::Running(run) | TaskState::Cancelling { run, .. }
                if run.attempt == attempt && run.process.is_none() =>
            {
                run.process = Some(process);
                Ok(())
            }
            TaskState::Queued { .. }
            | TaskState::Running(_)
            | TaskState::Cancelling { .. }
            | TaskState::Undecided
            | TaskState::Completed { .. }
            | TaskState::Cancelled { .. }
            | TaskState::Dead { .. } => Err(format!(
                "task {id}: a process was registered for attempt {attempt} out of turn"
            )),
        }
    }
}
