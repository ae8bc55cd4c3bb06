//! `subjects`: the version of each subject that applications record events about, so that an append
//! may say which one it rests on (optimistic concurrency). Decision state: the sequencer asks it
//! before it decides.
//!
//! - The **version** of a subject is the position of the last `app.*` event about it. What the node
//!   itself records about a subject of that name does not count.
//! - At most [`REMEMBERED`] subjects are remembered, those that changed last. Beyond that the eighth
//!   that has not changed for longest is forgotten at once, so forgetting costs next to nothing per
//!   event. Which ones are forgotten, and when, follows from the events alone.
//! - Of a subject that is not remembered nobody says that it is new once any has been forgotten:
//!   the answer is then [`Forgotten`], never a guess.
//! - It costs about 100 bytes for each subject, 100 MB when full, and a look into a table for each
//!   `app.*` event.

mod apply;
mod state;

pub use state::{Forgotten, REMEMBERED, Subjects, Version, VersionError};

#[cfg(test)]
mod tests;
