//! The scheduler: which task runs next, and what follows from how an attempt ended.
//!
//! Pure decisions only: they read folded state and return events. What starts processes and
//! watches them lives in [`crate::node`] and [`crate::shim`].
//!
//! ```text
//! check     what can be a task at all
//! decide    a client or the world says something: submit, cancel, retry, an attempt ended
//! steer     priority, pauses, retry-after
//! dispatch  what follows by itself, and when
//! policy    the limits that all of them go by
//! held      why a task is not started, for people
//! ```

pub mod check;
pub mod decide;
pub mod dispatch;
pub mod held;
pub mod policy;
pub mod steer;
pub mod terms;

#[cfg(test)]
mod tests;
