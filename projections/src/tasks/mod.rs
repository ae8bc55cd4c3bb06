//! `tasks`: every task, where it stands, and the queues. Decision state: the scheduler reads it to
//! decide, `task list` and `task show` read a second copy of it that is folded from durable events
//! only.
//!
//! Invariants: a task is in exactly one state; it is in a queue exactly while it is queued; an
//! attempt is open exactly while it is running or cancelling; an event that does not fit the state
//! of its task is an error and changes nothing.

mod apply;
mod query;
mod state;

pub use query::{StateName, TaskView, UnknownState};
pub use state::{AttemptRecord, Closing, ProcessRef, Run, Task, TaskState, Tasks};

#[cfg(test)]
mod tests;
