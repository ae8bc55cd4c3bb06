//! `standing`: whether work goes on here, and which of it began elsewhere. Decision state.
//!
//! A directory that was made from a backup or an export is paused until an operator says
//! otherwise. Attempts that were open in the history it was made from belong to another directory:
//! nothing of them is here, and nobody may be taken for their process.

mod apply;
mod state;

pub use state::{Paused, PausedBy, Standing};

#[cfg(test)]
mod tests;
