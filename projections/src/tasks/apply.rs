//! How events change tasks: the one transition function of live running, recovery and rebuild.
//!
//! Whatever does not fit is refused here as corruption; it should have been refused when it was
//! decided.

use std::sync::Arc;

use ledger_core::envelope::Header;
use ledger_core::event::{
    Attempt, DeadReason, Event, Failure, Priority, ProcessEvent, QueueEvent, RateUse,
    TaskCancelled, TaskDead, TaskEvent, TaskThrottled,
};
use ledger_core::ids::{Id, Seq};
use ledger_core::time::{Micros, Timestamp};

use super::index::Promise;
use super::state::{
    AttemptRecord, Closing, ProcessRef, QueuePause, Run, Task, TaskState, Tasks, level,
};
use crate::framework::{ApplyError, Projection, RestoreError};

impl Projection for Tasks {
    const NAME: &'static str = "tasks";
    const VERSION: u32 = 3;

    fn wants(kind: &str) -> bool {
        kind.starts_with("task.")
            || kind.starts_with("queue.")
            || matches!(kind, "process.registered" | "process.unkillable")
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
                ProcessEvent::Unkillable(p) => {
                    self.with_task(&p.task, |task| task.unkillable(p.attempt, header.seq))
                }
                ProcessEvent::Exited(_)
                | ProcessEvent::Reaped(_)
                | ProcessEvent::Lost(_)
                | ProcessEvent::Watched(_)
                | ProcessEvent::Reaping(_)
                | ProcessEvent::Survived(_)
                | ProcessEvent::Terminated(_)
                | ProcessEvent::Ended(_)
                | ProcessEvent::Unwatched(_) => Ok(()),
            },
            Event::Queue(event) => self.queue(header, event),
            Event::Ledger(_)
            | Event::Lease(_)
            | Event::Node(_)
            | Event::Job(_)
            | Event::Checkpoint(_)
            | Event::Recovery(_)
            | Event::Snapshot(_)
            | Event::App
            | Event::Unknown => Ok(()),
        };
        result.map_err(|reason| ApplyError {
            seq: header.seq,
            reason,
        })
    }

    fn rows(&self, emit: &mut dyn FnMut(&str, &str)) {
        self.rows_while(&mut |key, value| {
            emit(key, value);
            true
        });
    }

    fn rows_while(&self, emit: &mut dyn FnMut(&str, &str) -> bool) {
        let plain = "rows hold only strings, numbers and string-keyed maps";
        for (seq, task) in &self.tasks {
            let value = serde_json::to_string(task).expect(plain);
            if !emit(&format!("{:020}", seq.0), &value) {
                return;
            }
        }
        let mut more = true;
        self.queue_and_rate_rows(&mut |key, value| more = more && emit(key, value));
    }

    fn from_rows(rows: &mut dyn Iterator<Item = (String, String)>) -> Result<Self, RestoreError> {
        let mut tasks = Self::default();
        for (key, value) in rows {
            let bad = |reason: String| RestoreError::row(&*key, reason);
            tasks.restore(&key, &value).map_err(bad)?;
        }
        Ok(tasks)
    }
}

impl Tasks {
    /// All rows but those of tasks.
    pub(super) fn queue_and_rate_rows(&self, emit: &mut dyn FnMut(&str, &str)) {
        let plain = "rows hold only strings, numbers and string-keyed maps";
        for (queue, pause) in self.paused.iter().enumerate() {
            if let Some(pause) = pause {
                let value = serde_json::to_string(pause).expect(plain);
                emit(&format!("queue/{queue}"), &value);
            }
        }
        for (key, rate) in &self.rates {
            let value = serde_json::to_string(rate).expect(plain);
            emit(&format!("rate/{key}"), &value);
        }
    }

    pub(super) fn restore(&mut self, key: &str, value: &str) -> Result<(), String> {
        let bad = |e: serde_json::Error| e.to_string();
        match key.split_once('/') {
            None => self.insert(serde_json::from_str(value).map_err(bad)?),
            Some(("queue", queue)) => {
                let queue: Priority = queue.parse().map_err(|e| format!("{e}"))?;
                self.paused[level(queue)] = Some(serde_json::from_str(value).map_err(bad)?);
                Ok(())
            }
            Some(("rate", name)) => {
                let name = Id::new(name).map_err(|e| e.to_string())?;
                self.rates
                    .insert(name, serde_json::from_str(value).map_err(bad)?);
                Ok(())
            }
            Some(_) => Err("no such row".to_owned()),
        }
    }

    fn insert(&mut self, mut task: Task) -> Result<(), String> {
        if self.seq_of(&task.id).is_some() {
            return Err(format!("task {} exists already", task.id));
        }
        if let Some(unknown) = task.depends_on().iter().find(|id| self.get(id).is_none()) {
            return Err(format!(
                "task {} depends on task {unknown}, which was never submitted",
                task.id
            ));
        }
        if let Some((_, last)) = self.tasks.last_key_value()
            && last.submitted_by == task.submitted_by
        {
            task.submitted_by = Arc::clone(&last.submitted_by);
        }
        let seq = task.submitted;
        self.tasks.insert(seq, Box::new(task));
        let tasks = &self.tasks;
        let id_at = |seq| tasks.get(&seq).map_or("", |task| &*task.id);
        self.by_id.insert(id_at(seq), seq);
        self.index(seq);
        Ok(())
    }

    fn change(&mut self, header: &Header<'_>, event: &TaskEvent) -> Result<(), String> {
        if let TaskEvent::Dead(e) = event
            && let Some(task) = self.get(header.subject_id())
        {
            self.check_dead(task, e.reason, e.dependency.as_ref())?;
        }
        self.with_task(header.subject_id(), |task| task.next_state(header, event))?;
        match event {
            TaskEvent::Started(e) => self.taken(e.rate.as_ref()),
            TaskEvent::Throttled(e) => self.throttled(header, e),
            TaskEvent::Submitted(_)
            | TaskEvent::Completed(_)
            | TaskEvent::Failed(_)
            | TaskEvent::TimedOut(_)
            | TaskEvent::Lost(_)
            | TaskEvent::Requeued(_)
            | TaskEvent::CancelRequested(_)
            | TaskEvent::Cancelled(_)
            | TaskEvent::Dead(_)
            | TaskEvent::Retried(_)
            | TaskEvent::Reprioritized(_) => {}
        }
        Ok(())
    }

    /// A task that waits is dead for a reason that can be seen.
    fn check_dead(
        &self,
        task: &Task,
        reason: DeadReason,
        dependency: Option<&Id>,
    ) -> Result<(), String> {
        let fits = match (reason, dependency) {
            (DeadReason::Dependency, Some(on)) => {
                let broken = |on: &Task| on.promise() == Promise::Broken;
                task.depends_on().contains(on) && self.get(on).is_some_and(broken)
            }
            (DeadReason::Dependency, None) => false,
            (DeadReason::Expired, _) => task.expires_at().is_some(),
            (DeadReason::Failed | DeadReason::TimedOut | DeadReason::Lost, _) => true,
        };
        if fits {
            return Ok(());
        }
        Err(format!(
            "task {} is dead for something that is not so",
            task.id
        ))
    }

    /// A start took something from the bucket of a rate key.
    fn taken(&mut self, rate: Option<&RateUse>) {
        if let Some(RateUse { key, full_at }) = rate {
            self.rates.entry(key.clone()).or_default().full_at = *full_at;
        }
    }

    fn throttled(&mut self, header: &Header<'_>, event: &TaskThrottled) {
        /// Keys remembered before those that hold nothing any more are forgotten.
        const MANY: usize = 1000;
        if self.rates.len() >= MANY {
            let now = header.recorded_at;
            self.rates
                .retain(|_, rate| rate.full_at.max(rate.held_until) > now);
        }
        let rate = self.rates.entry(event.rate_key.clone()).or_default();
        rate.held_until = rate.held_until.max(event.until);
    }

    fn queue(&mut self, header: &Header<'_>, event: &QueueEvent) -> Result<(), String> {
        let queue = header.subject_id();
        let level = Priority::ALL
            .into_iter()
            .find(|known| known.name() == queue)
            .map(level)
            .ok_or_else(|| format!("there is no queue {queue}"))?;
        let pause = match event {
            QueueEvent::Paused(e) => Some(QueuePause {
                since: header.seq,
                at: header.recorded_at,
                reason: e.reason.clone(),
            }),
            QueueEvent::Resumed(_) => None,
        };
        if pause.is_some() == self.paused[level].is_some() {
            return Err(format!("queue {queue} was paused or resumed twice"));
        }
        self.paused[level] = pause;
        Ok(())
    }

    /// Changes one task and keeps the indexes true to it.
    fn with_task(
        &mut self,
        id: &str,
        change: impl FnOnce(&mut Task) -> Result<(), String>,
    ) -> Result<(), String> {
        let seq = self
            .seq_of(id)
            .ok_or_else(|| format!("task {id} was never submitted"))?;
        let before = self.at(seq).map(Task::promise);
        self.unindex(seq);
        let task = self
            .tasks
            .get_mut(&seq)
            .ok_or_else(|| format!("task {id} has no entry"))?;
        let result = change(task);
        self.index(seq);
        if let Some(before) = before {
            self.promised(seq, before);
        }
        result
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
                self.state = TaskState::Running(Box::new(Run {
                    attempt: e.attempt,
                    ordered: header.seq,
                    ordered_at: at,
                    term: header.term,
                    node: e.node.clone(),
                    boost: e.boost,
                    process: None,
                    unkillable: None,
                }));
            }
            TaskEvent::Completed(_)
            | TaskEvent::Failed(_)
            | TaskEvent::TimedOut(_)
            | TaskEvent::Lost(_) => self.closed(header, event)?,
            TaskEvent::Requeued(e) => {
                self.expect_undecided("requeued")?;
                self.expect_next(e.attempt)?;
                self.queue(header, e.attempt, e.backoff.map(|backoff| backoff.until));
            }
            TaskEvent::Retried(e) => {
                if !matches!(self.state, TaskState::Dead { .. }) {
                    return Err(format!("task {} was retried and is not dead", self.id));
                }
                self.expect_next(e.attempt)?;
                // Whoever takes it out has looked at why it was there: it may fail and be lost as
                // often again. Attempts are counted on, because each has a directory of its own.
                (self.lost, self.failed) = (0, 0);
                self.queue(header, e.attempt, None);
            }
            TaskEvent::CancelRequested(e) => self.cancelling(header, e.reason.as_deref())?,
            TaskEvent::Cancelled(e) => self.cancelled(header, e)?,
            TaskEvent::Dead(e) => self.died(at, e)?,
            TaskEvent::Reprioritized(e) => self.moved(header, e.priority, e.since)?,
            TaskEvent::Throttled(e) => {
                if self.run().is_none_or(|run| run.attempt != e.attempt) {
                    return Err(format!(
                        "task {}: attempt {} was throttled and does not run",
                        self.id, e.attempt
                    ));
                }
            }
        }
        Ok(())
    }

    /// An attempt ended by itself, or for a fault of its own.
    fn closed(&mut self, header: &Header<'_>, event: &TaskEvent) -> Result<(), String> {
        match event {
            TaskEvent::Completed(e) => {
                self.close(header, e.attempt, Closing::Completed, e.runtime_us, None)?;
                self.state = TaskState::Completed {
                    at: header.recorded_at,
                };
            }
            TaskEvent::Failed(e) => {
                let closing = closing(&e.failure);
                self.close(header, e.attempt, closing, e.runtime_us, e.demoted_to)?;
                self.failed += 1;
                self.state = TaskState::Undecided;
            }
            TaskEvent::TimedOut(e) => {
                let closing = match e.stalled_ms {
                    Some(_) => Closing::Stalled,
                    None => Closing::TimedOut,
                };
                self.close(header, e.attempt, closing, e.runtime_us, e.demoted_to)?;
                self.failed += 1;
                self.state = TaskState::Undecided;
            }
            TaskEvent::Lost(e) => {
                self.close(header, e.attempt, Closing::Lost, Micros(0), None)?;
                self.lost += 1;
                self.state = TaskState::Undecided;
            }
            TaskEvent::Submitted(_)
            | TaskEvent::Started(_)
            | TaskEvent::Requeued(_)
            | TaskEvent::CancelRequested(_)
            | TaskEvent::Cancelled(_)
            | TaskEvent::Dead(_)
            | TaskEvent::Retried(_)
            | TaskEvent::Reprioritized(_)
            | TaskEvent::Throttled(_) => {}
        }
        Ok(())
    }

    fn cancelled(&mut self, header: &Header<'_>, e: &TaskCancelled) -> Result<(), String> {
        match e.attempt {
            Some(attempt) => {
                let runtime = e.runtime_us.unwrap_or_default();
                self.close(header, attempt, Closing::Cancelled, runtime, None)?;
            }
            None if matches!(self.state, TaskState::Queued { .. }) => {}
            None => return Err(format!("task {} was cancelled out of order", self.id)),
        }
        self.state = TaskState::Cancelled {
            at: header.recorded_at,
            reason: e.reason.as_deref().map(Into::into),
        };
        Ok(())
    }

    fn died(&mut self, at: Timestamp, e: &TaskDead) -> Result<(), String> {
        match e.reason {
            DeadReason::Failed | DeadReason::TimedOut | DeadReason::Lost => {
                self.expect_undecided("dead")?;
            }
            DeadReason::Dependency | DeadReason::Expired => {
                self.expect_queued("dead before it was started")?;
            }
        }
        self.state = TaskState::Dead {
            at,
            reason: e.reason,
            dependency: e.dependency.clone(),
        };
        Ok(())
    }

    fn queue(&mut self, header: &Header<'_>, next: Attempt, backoff_until: Option<Timestamp>) {
        self.state = TaskState::Queued {
            since: header.seq,
            since_at: header.recorded_at,
            next,
            backoff_until,
        };
    }

    fn moved(
        &mut self,
        header: &Header<'_>,
        priority: Priority,
        from: Timestamp,
    ) -> Result<(), String> {
        self.expect_queued("moved to another queue")?;
        if let TaskState::Queued {
            since, since_at, ..
        } = &mut self.state
        {
            (*since, *since_at) = (header.seq, from);
            self.priority = priority;
        }
        Ok(())
    }

    fn expect_queued(&self, what: &str) -> Result<(), String> {
        if matches!(self.state, TaskState::Queued { .. }) {
            return Ok(());
        }
        Err(format!("task {} is {what} and is not queued", self.id))
    }

    fn cancelling(&mut self, header: &Header<'_>, reason: Option<&str>) -> Result<(), String> {
        let TaskState::Running(run) = &self.state else {
            return Err(format!(
                "task {} is to be cancelled and does not run",
                self.id
            ));
        };
        self.state = TaskState::Cancelling {
            run: run.clone(),
            asked: header.seq,
            reason: reason.map(Into::into),
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
        demoted_to: Option<Priority>,
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
            queue: self.priority,
            boost: run.boost,
            demoted_to,
        };
        self.attempts.push(record);
        self.priority = demoted_to.unwrap_or(self.priority);
        Ok(())
    }

    fn registered(&mut self, attempt: Attempt, process: ProcessRef) -> Result<(), String> {
        match self.open(attempt) {
            Some(run) if run.process.is_none() => run.process = Some(process),
            Some(_) | None => {
                return Err(format!(
                    "task {}: a process was registered for attempt {attempt} out of turn",
                    self.id
                ));
            }
        }
        Ok(())
    }

    fn unkillable(&mut self, attempt: Attempt, seq: Seq) -> Result<(), String> {
        match self.open(attempt) {
            Some(run) if run.process.is_some() => run.unkillable = Some(seq),
            Some(_) | None => {
                return Err(format!(
                    "task {}: attempt {attempt} has no process that could be unkillable",
                    self.id
                ));
            }
        }
        Ok(())
    }

    /// This attempt, if it has not ended.
    fn open(&mut self, attempt: Attempt) -> Option<&mut Run> {
        match &mut self.state {
            TaskState::Running(run) | TaskState::Cancelling { run, .. } => {
                (run.attempt == attempt).then_some(run)
            }
            TaskState::Queued { .. }
            | TaskState::Undecided
            | TaskState::Completed { .. }
            | TaskState::Cancelled { .. }
            | TaskState::Dead { .. } => None,
        }
    }
}
