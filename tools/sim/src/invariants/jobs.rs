//! What falls due is decided exactly once: due times of a job are decided in order, none twice, each as
//! a run or with the reason why not.
//!
//! Why: whoever leads submits what is due. Two leaders, a clock that is set back or a restart must not
//! do the same hour's work again.

use std::collections::BTreeMap;

use ledger_core::envelope::Header;
use ledger_core::event::{Event, JobEvent, SkipReason};
use ledger_core::ids::Id;
use ledger_core::time::Timestamp;

use super::{Checked, holds};

const NAME: &str = "due jobs exactly once";

/// What was decided last of each job.
#[derive(Debug, Default)]
pub(crate) struct Jobs {
    last: BTreeMap<String, Timestamp>,
    runs: BTreeMap<Id, Timestamp>,
    pub(crate) due: u64,
}

impl Jobs {
    /// The next event of the history.
    pub(crate) fn event(&mut self, header: &Header<'_>, event: &Event) -> Checked {
        let Event::Job(event) = event else {
            return Ok(());
        };
        let (at, upto) = match event {
            JobEvent::Due(due) => {
                self.due += 1;
                let again = self.runs.insert(due.task.clone(), due.due_at);
                holds(NAME, again.is_none(), || {
                    format!("the run {} is submitted twice", due.task)
                })?;
                (due.due_at, due.due_at)
            }
            // A clock that was set back, and a job that was defined anew or resumed meanwhile, bring
            // times again that were decided before: they are left out, with this reason.
            JobEvent::Skipped(skipped) if skipped.reason == SkipReason::Repeated => return Ok(()),
            JobEvent::Skipped(skipped) => {
                (skipped.due_at, skipped.through.unwrap_or(skipped.due_at))
            }
            // The schedule begins anew.
            JobEvent::Defined(_) | JobEvent::Changed(_) | JobEvent::Resumed(_) => {
                self.last.remove(header.subject);
                return Ok(());
            }
            JobEvent::Removed(_) | JobEvent::Triggered(_) | JobEvent::Paused(_) => return Ok(()),
        };
        let before = self.last.insert(header.subject.to_owned(), upto);
        holds(NAME, before < Some(at) && at <= upto, || {
            format!("{} of {at:?} is decided after {before:?}", header.subject)
        })
    }
}
