//! `standing`: whether work goes on here, and which of it began elsewhere. Decision state.
//!
//! A directory that was made from a backup or an export is paused until an operator says
//! otherwise. Attempts that were open in the history it was made from belong to another directory:
//! nothing of them is here, and nobody may be taken for their process.
//!
//! It knows by what clock the last node went, so that the next one of the same boot sees whether the
//! wall clock was set meanwhile.

mod apply;
mod state;

pub use state::{Paused, PausedBy, Standing};

#[cfg(test)]
mod tests;
