//! The scheduler: which task runs next, and what follows from how an attempt ended.
//!
//! Pure decisions only: they read folded state and return events. What starts processes and
//! watches them lives in [`crate::node`] and [`crate::shim`].

pub mod decide;

#[cfg(test)]
mod tests;
