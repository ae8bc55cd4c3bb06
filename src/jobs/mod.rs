//! Recurring jobs: when they are due, and what follows from that.
//!
//! ```text
//! configuration ── define ──> job.defined, changed, removed
//!                                   │ folded
//! timetable + what is decided ── due ──> job.due + task.submitted | job.skipped
//! ```
//! - What is due follows from folded state and the time, which is an input. Each due time is decided
//!   once, by the event that submits or skips it, so a node that comes up goes on where the last
//!   one was.
//! - A run is an ordinary task. Its id holds the job's name and the due time, so that even a
//!   decision that was made twice could not submit it twice.
//!
//! Idea: Kubernetes' cron jobs (deterministic names, overlap and deadlines); Vixie cron where
//! clocks change.

mod agenda;
pub mod decide;
pub(crate) mod timetable;

pub use agenda::{Agenda, Times};
pub use timetable::{Backlog, ScheduleError, Timetable};

#[cfg(test)]
mod tests;
