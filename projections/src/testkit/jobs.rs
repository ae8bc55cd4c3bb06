//! What becomes of jobs in a drawn history.

use ledger_core::event::*;
use ledger_core::ids::Entity;
use ledger_core::time::Millis;

use super::{History, id};

impl History {
    /// The job is defined if it is not, or now and then changed or removed.
    pub(super) fn define(&mut self, job: &Entity, pick: u32) {
        let (task, from) = (Self::template(pick), self.now);
        let spec = JobSpec {
            schedule: Schedule::Every {
                every_ms: Millis(1_000 * u64::from(1 + pick % 5)),
            },
            overlap: Overlap::Skip,
            missed: Missed::RunOnce,
            task,
            source: "ledger.toml".into(),
        };
        let event = if self.defined.insert(job.id().to_owned()) {
            JobEvent::Defined(JobDefined { spec, from })
        } else {
            match pick % 7 {
                0 => JobEvent::Changed(JobChanged {
                    spec,
                    from: Some(from),
                }),
                1 => {
                    self.defined.remove(job.id());
                    JobEvent::Removed(JobRemoved {})
                }
                _ => return,
            }
        };
        self.append(vec![(job.clone(), event.into())]);
    }

    /// A run of a job is due, or asked for by hand, and submitted with that.
    pub(super) fn due(&mut self, job: Entity, pick: u32) {
        self.define(&job, pick);
        let submitted = self.submission(pick);
        let (due_at, task) = (self.now, id(submitted.2.id()));
        let due = if pick.is_multiple_of(5) {
            JobEvent::Triggered(JobTriggered { task })
        } else {
            JobEvent::Due(JobDue { due_at, task })
        };
        let due = (due.kind().to_owned(), 1, job, due.to_json(), None);
        self.append_raw(vec![due, submitted]);
    }

    /// Pauses a job, or resumes it if it is paused.
    pub(super) fn pause(&mut self, job: Entity) {
        let event = if self.paused.remove(job.id()) {
            JobEvent::Resumed(JobResumed { from: None })
        } else {
            self.paused.insert(job.id().to_owned());
            JobEvent::Paused(JobPaused { reason: None })
        };
        self.append(vec![(job, event.into())]);
    }
}
