//! `tasks`: every task, where it stands, and the queues. Decision state: the scheduler reads it to
//! decide, `task list` and `task show` read a second copy of it that is folded from durable events
//! only.
//!
//! Invariants: a task is in exactly one state; it is in a queue exactly while it is queued; an
//! attempt is open exactly while it is running or cancelling; an event that does not fit the state
//! of its task is an error and changes nothing.
//!
//! A million tasks may be queued: submitting one and finding the next to start take logarithmic time
//! (`line.rs`), and what waits for a time, for another task or for its end is found by an index
//! (`index.rs`), never by looking through the queues.

mod apply;
mod by_id;
mod counted;
mod index;
mod keys;
mod line;
mod packed;
mod packing;
mod pick;
mod query;
mod state;

pub use line::Place;
pub use pick::{Gates, Standing};
pub use query::{Held, StateName, TaskView, UnknownState};
pub use state::{
    AttemptRecord, Closing, ProcessRef, QueuePause, RateState, Run, Task, TaskState, Tasks,
};

#[cfg(test)]
mod tests;
