//! What becomes of jobs: defined, due, run by hand, paused; and of what the node does itself.

use std::collections::BTreeMap;

use ledger_core::envelope::Origin;
use ledger_core::event::{
    JobDue, JobEvent, JobSkipped, JobSpec, JobTriggered, SkipReason, job_subject,
};
use ledger_core::ids::Id;
use ledger_core::time::Timestamp;

use super::{AttemptId, Core, Stage, attempt_of, is_inherited};
use crate::decided::Decided;
use crate::jobs::decide::{self, Step, Unsound};
use crate::node::command::{Now, Rejected, Reply};
use crate::node::sequencer::Entry;
use crate::scheduler;

/// What is recorded of an attempt that nobody looks after any more.
const NODE_GONE: &str = "the node that did it has gone";

impl Core {
    /// What an earlier life of the node did itself ended with it.
    pub(super) fn lose_builtins(&mut self, now: Now) {
        let inherited = self.state().standing.inherited();
        let open = self.tasks().open().filter(|task| task.is_builtin());
        let open = open.filter(|task| !is_inherited(task, inherited));
        let open: Vec<AttemptId> = open.filter_map(attempt_of).collect();
        for attempt in open {
            self.attempt_event(now, &attempt, |task, run| {
                scheduler::decide::lost(task, run, NODE_GONE, 0)
            });
            self.recovered(&attempt, |r| &mut r.lost);
        }
    }

    /// Decides everything that is due by now.
    pub(super) fn submit_due(&mut self, now: Now) {
        let times = self.times(now);
        let watching = *self.watching.get_or_insert(times);
        while let Some((name, timetable)) = self.agenda.due(times) {
            let Some(job) = self.sequencer.state.jobs.get(name) else {
                return;
            };
            let name = name.clone();
            let (now_of, since) = (times.of(timetable), watching.of(timetable));
            let steps = decide::due(job, timetable, now_of, since);
            if steps.is_empty() {
                return;
            }
            for step in steps {
                self.take_step(now, &name, step);
                if matches!(self.stage, Stage::Stopped(_)) {
                    return;
                }
            }
            self.look_at_job(&name);
        }
    }

    fn take_step(&mut self, now: Now, job: &Id, step: Step) {
        let origin = self.origin_of_job(job);
        let (due_at, cancel) = match step {
            Step::Skip(skipped) => return self.skip(now, &origin, job, skipped),
            Step::Run { due_at, cancel } => (due_at, cancel),
        };
        let Some(spec) = self.state().jobs.get(job).and_then(|job| job.spec()) else {
            return;
        };
        let task = self.task_of_run(job, due_at);
        let skipped = |reason| JobSkipped {
            due_at,
            reason,
            through: None,
        };
        let at = self.clock.wall(now);
        match scheduler::decide::submit(self.tasks(), &task, decide::task_of(job, spec), at) {
            Ok(submitted) => {
                for before in cancel {
                    let reason = Some(format!("the next run of job {job} is due"));
                    // One that has ended meanwhile needs no ending.
                    let _ = self.cancel(now, self.own_origin(), &before, reason);
                }
                let due = JobEvent::Due(JobDue { due_at, task });
                let decided = vec![Decided::new(job_subject(job), due), submitted];
                self.record_run(now, &origin, job, decided, skipped(SkipReason::Refused));
            }
            Err(scheduler::decide::Refusal::Exists(_)) => {
                self.skip(now, &origin, job, skipped(SkipReason::Repeated));
            }
            Err(refusal) => {
                tracing::error!(%job, %refusal, "a run that is due is refused");
                self.skip(now, &origin, job, skipped(SkipReason::Refused));
            }
        }
    }

    /// The task that a run is. An id that somebody has taken for a task of his own keeps no run away;
    /// where it is the node's, that run has been.
    fn task_of_run(&self, job: &Id, due_at: Timestamp) -> Id {
        let is_anothers = |id: &Id| {
            let task = self.tasks().get(id);
            task.is_some_and(|task| !task.submitted_by.starts_with("node/"))
        };
        let mut nth = 0;
        loop {
            let task = decide::due_task(job, due_at, nth);
            if !is_anothers(&task) {
                return task;
            }
            nth += 1;
        }
    }

    /// Records a run, or that it does not fit into an event.
    fn record_run(
        &mut self,
        now: Now,
        origin: &Origin,
        job: &Id,
        decided: Vec<Decided>,
        otherwise: JobSkipped,
    ) {
        let entries = decided.into_iter().map(Entry::from).collect();
        if let Err(Rejected::TooLarge(error)) = self.record(now, origin, None, entries) {
            tracing::error!(%job, error, "a run that is due is refused");
            self.skip(now, origin, job, otherwise);
        }
    }

    fn skip(&mut self, now: Now, origin: &Origin, job: &Id, skipped: JobSkipped) {
        let decided = Decided::new(job_subject(job), JobEvent::Skipped(skipped));
        self.record_own(now, origin, vec![decided]);
    }

    /// What becomes of a job by itself is caused by what defined it.
    fn origin_of_job(&self, job: &Id) -> Origin {
        let definition = self
            .state()
            .jobs
            .get(job)
            .and_then(|j| j.definition.as_ref());
        Origin {
            cause: definition.map(|definition| definition.told),
            ..self.own_origin()
        }
    }

    fn look_at_job(&mut self, job: &Id) {
        if let Some(job) = self.sequencer.state.jobs.get(job) {
            self.agenda.update(job);
        }
    }

    pub(super) fn define_jobs(
        &mut self,
        now: Now,
        origin: &Origin,
        wanted: &BTreeMap<Id, JobSpec>,
    ) -> Result<Reply, Rejected> {
        for (name, spec) in wanted {
            scheduler::check::check(&spec.task).map_err(|unfit| {
                let (name, reason) = (name.clone(), Unsound::Task(unfit.to_string()));
                decide::Refusal::Invalid { name, reason }
            })?;
        }
        let decided = decide::define(&self.state().jobs, wanted, self.times(now))?;
        let reply = self.record_all(now, origin, decided);
        self.agenda.refresh(&self.sequencer.state.jobs);
        reply
    }

    pub(super) fn trigger_job(
        &mut self,
        now: Now,
        origin: &Origin,
        job: &Id,
    ) -> Result<Reply, Rejected> {
        let task = decide::task_of(job, decide::spec(&self.state().jobs, job)?);
        let ids = (0..).map(|nth| decide::manual_task(job, now.wall, nth));
        let mut free = ids.filter(|id| self.tasks().get(id).is_none());
        let Some(task_id) = free.next() else {
            return Err(decide::Refusal::Unknown(job.clone()).into());
        };
        drop(free);
        let queue = task.priority;
        let at = self.clock.wall(now);
        let submitted = scheduler::decide::submit(self.tasks(), &task_id, task, at)?;
        let triggered = JobEvent::Triggered(JobTriggered {
            task: task_id.clone(),
        });
        let decided = vec![Decided::new(job_subject(job), triggered), submitted];
        let recorded = self.record_all(now, origin, decided)?;
        Ok(self.submitted(now, recorded, task_id, queue))
    }

    pub(super) fn pause_job(
        &mut self,
        now: Now,
        origin: &Origin,
        job: &Id,
        reason: Option<String>,
    ) -> Result<Reply, Rejected> {
        let decided = decide::pause(&self.state().jobs, job, reason)?;
        let reply = self.record_all(now, origin, decided.into_iter().collect());
        self.look_at_job(job);
        reply
    }

    pub(super) fn resume_job(
        &mut self,
        now: Now,
        origin: &Origin,
        job: &Id,
    ) -> Result<Reply, Rejected> {
        let decided = decide::resume(&self.state().jobs, job, self.times(now))?;
        let reply = self.record_all(now, origin, decided);
        self.look_at_job(job);
        reply
    }

    /// Records what was decided, if anything was.
    fn record_all(
        &mut self,
        now: Now,
        origin: &Origin,
        decided: Vec<Decided>,
    ) -> Result<Reply, Rejected> {
        if decided.is_empty() {
            return Ok(Reply::Unchanged(self.sequencer.head()));
        }
        let entries = decided.into_iter().map(Entry::from).collect();
        self.record(now, origin, None, entries)
    }
}
