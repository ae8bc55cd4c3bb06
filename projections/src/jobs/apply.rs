//! How events change jobs and their runs.

use ledger_core::envelope::Header;
use ledger_core::event::{Event, JobDue, JobEvent, JobSpec, JobTriggered, TaskEvent};
use ledger_core::ids::Id;
use ledger_core::time::{Micros, Timestamp};

use super::state::{Definition, Job, JobRun, Jobs, Pause, RECENT_RUNS, RunOutcome, RunState};
use crate::framework::{ApplyError, Projection, RestoreError};

impl Projection for Jobs {
    const NAME: &'static str = "jobs";
    const VERSION: u32 = 1;

    fn wants(kind: &str) -> bool {
        kind.starts_with("job.") || (kind.starts_with("task.") && kind != "task.submitted")
    }

    fn apply(&mut self, header: &Header<'_>, event: &Event) -> Result<(), ApplyError> {
        match event {
            Event::Job(event) => self
                .job(header, event)
                .map_err(|reason| ApplyError::at(header, reason)),
            Event::Task(event) => {
                self.task(header, event);
                Ok(())
            }
            Event::Ledger(_)
            | Event::Process(_)
            | Event::Lease(_)
            | Event::Node(_)
            | Event::Checkpoint(_)
            | Event::Recovery(_)
            | Event::Queue(_)
            | Event::Snapshot(_)
            | Event::App
            | Event::Unknown => Ok(()),
        }
    }

    fn rows(&self, emit: &mut dyn FnMut(&str, &str)) {
        for (name, job) in &self.jobs {
            let value = serde_json::to_string(job)
                .expect("jobs hold only strings, numbers and string-keyed maps");
            emit(name, &value);
        }
    }

    fn from_rows(rows: &mut dyn Iterator<Item = (String, String)>) -> Result<Self, RestoreError> {
        let mut jobs = Self::default();
        for (key, value) in rows {
            let job: Job = serde_json::from_str(&value)
                .map_err(|e| RestoreError::row(key.clone(), e.to_string()))?;
            if *job.name != *key {
                return Err(RestoreError::row(key, "it is the row of another job"));
            }
            for run in &job.runs {
                jobs.of_task.insert(run.task.clone(), job.name.clone());
            }
            jobs.jobs.insert(job.name.clone(), job);
        }
        Ok(jobs)
    }
}

impl Jobs {
    fn job(&mut self, header: &Header<'_>, event: &JobEvent) -> Result<(), String> {
        let name = Id::new(header.subject_id()).map_err(|e| e.to_string())?;
        let at = header.recorded_at;
        let is_defined = self.get(&name).is_some_and(|job| job.definition.is_some());
        match event {
            JobEvent::Defined(_) if is_defined => {
                return Err(format!("job {name} is defined already"));
            }
            JobEvent::Changed(_) | JobEvent::Removed(_) if !is_defined => {
                return Err(format!("there is no job {name}"));
            }
            JobEvent::Due(JobDue { task, .. }) | JobEvent::Triggered(JobTriggered { task })
                if self.of_task.contains_key(task) =>
            {
                return Err(format!("task {task} is a run of a job already"));
            }
            JobEvent::Defined(_)
            | JobEvent::Changed(_)
            | JobEvent::Removed(_)
            | JobEvent::Due(_)
            | JobEvent::Triggered(_)
            | JobEvent::Skipped(_)
            | JobEvent::Paused(_)
            | JobEvent::Resumed(_) => {}
        }
        // Histories from before definitions were recorded have runs of jobs that nobody defined.
        let job = self
            .jobs
            .entry(name.clone())
            .or_insert_with(|| Job::new(name.clone()));
        let definition = |spec: &JobSpec| Definition {
            spec: spec.clone(),
            told: header.seq,
        };
        match event {
            JobEvent::Defined(e) => {
                job.definition = Some(definition(&e.spec));
                job.decided = e.from;
            }
            JobEvent::Changed(e) => {
                job.definition = Some(definition(&e.spec));
                job.decided = e.from.unwrap_or(job.decided);
            }
            JobEvent::Removed(_) => job.definition = None,
            JobEvent::Due(e) => {
                job.decided = e.due_at;
                self.run(header, &name, &e.task, Some(e.due_at));
            }
            JobEvent::Triggered(e) => self.run(header, &name, &e.task, None),
            JobEvent::Skipped(e) => {
                job.decided = e.through.unwrap_or(e.due_at);
                job.skips += 1;
            }
            JobEvent::Paused(e) => {
                let reason = e.reason.clone();
                job.paused = Some(Pause { at, reason });
            }
            JobEvent::Resumed(e) => {
                job.paused = None;
                job.decided = e.from.unwrap_or(job.decided);
            }
        }
        Ok(())
    }

    /// A run begins; the oldest that is over is forgotten for it.
    fn run(&mut self, header: &Header<'_>, name: &Id, task: &Id, due_at: Option<Timestamp>) {
        let Some(job) = self.jobs.get_mut(name) else {
            return;
        };
        if job.runs.len() >= RECENT_RUNS
            && let Some(over) = job.runs.iter().position(|run| !run.is_live())
            && let Some(over) = job.runs.remove(over)
        {
            self.of_task.remove(&over.task);
        }
        self.of_task.insert(task.clone(), name.clone());
        job.runs.push_back(JobRun {
            task: task.clone(),
            due_at,
            told: header.seq,
            submitted_at: header.recorded_at,
            runtime_us: None,
            state: RunState::Waiting,
        });
    }

    /// What becomes of a task matters here if it is a run of a job.
    fn task(&mut self, header: &Header<'_>, event: &TaskEvent) {
        let Some(name) = self.of_task.get(header.subject_id()) else {
            return;
        };
        let Some(run) = self.jobs.get_mut(name).and_then(|job| {
            let mut runs = job.runs.iter_mut().rev();
            runs.find(|run| *run.task == *header.subject_id())
        }) else {
            return;
        };
        let ended = |outcome| RunState::Ended {
            at: header.recorded_at,
            outcome,
        };
        let (state, runtime): (RunState, Option<Micros>) = match event {
            TaskEvent::Submitted(_)
            | TaskEvent::CancelRequested(_)
            | TaskEvent::Reprioritized(_)
            | TaskEvent::Throttled(_) => (run.state, None),
            TaskEvent::Started(_) => (RunState::Running, None),
            TaskEvent::Completed(e) => (ended(RunOutcome::Completed), Some(e.runtime_us)),
            // What follows from these stands in the same batch.
            TaskEvent::Failed(e) => (RunState::Waiting, Some(e.runtime_us)),
            TaskEvent::TimedOut(e) => (RunState::Waiting, Some(e.runtime_us)),
            TaskEvent::Lost(_) | TaskEvent::Requeued(_) | TaskEvent::Retried(_) => {
                (RunState::Waiting, None)
            }
            TaskEvent::Cancelled(e) => (ended(RunOutcome::Cancelled), e.runtime_us),
            TaskEvent::Dead(e) => (ended(RunOutcome::Dead(e.reason)), None),
        };
        run.state = state;
        run.runtime_us = runtime.or(run.runtime_us);
    }
}
