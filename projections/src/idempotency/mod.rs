//! `idempotency`: which idempotency keys were used lately, so that a second append with a key
//! returns the first's receipt instead of appending again. Decision state: the sequencer asks it
//! before it decides.
//!
//! - A key stands in the header of the *last* event of an append only: the one that its receipt names.
//! - The window is [`WINDOW_US`] long and [`WINDOW_KEYS`] wide. Age is measured between recorded
//!   times, so every fold of the same log forgets the same keys at the same event.
//! - A remembered key that is recorded again is corruption: it should have been answered.

mod apply;
mod state;

pub use state::{Idempotency, WINDOW_KEYS, WINDOW_US};

#[cfg(test)]
mod tests;
