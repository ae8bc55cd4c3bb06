//! What must hold, one file each, with the reason.
//!
//! | invariant | looked at |
//! |---|---|
//! | [`acknowledged`] | with every event, at every opening, at the end |
//! | [`terms`], [`jobs`] | with every event |
//! | [`writers`] | with every append |
//! | [`replies`] | with every answer |
//! | [`attempts`] | whenever a process begins or ends |
//! | [`innocents`] | with every signal |
//! | [`projections`], [`checkpoints`] | at every opening, at the end |
//! | [`terminal`], [`whole`], [`versions`] | at the end, when everything is healed |
//!
//! That a run comes to its end at all is the liveness part (`heal.rs`).

pub(crate) mod acknowledged;
pub(crate) mod attempts;
pub(crate) mod checkpoints;
pub(crate) mod innocents;
pub(crate) mod jobs;
pub(crate) mod projections;
pub(crate) mod replies;
pub(crate) mod terminal;
pub(crate) mod terms;
pub(crate) mod versions;
pub(crate) mod whole;
pub(crate) mod writers;

use std::fmt;

/// An invariant that does not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broken {
    /// Which.
    pub invariant: &'static str,
    /// What was found.
    pub what: String,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.invariant, self.what)
    }
}

/// What was found of an invariant.
pub(crate) type Checked = Result<(), Broken>;

/// Fails an invariant unless something is so.
pub(crate) fn holds(
    invariant: &'static str,
    is_so: bool,
    what: impl FnOnce() -> String,
) -> Checked {
    match is_so {
        true => Ok(()),
        false => Err(Broken {
            invariant,
            what: what(),
        }),
    }
}
