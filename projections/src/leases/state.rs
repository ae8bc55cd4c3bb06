//! The current term.

use ledger_core::ids::{Id, Seq, Term};
use ledger_core::time::Timestamp;
use serde::{Deserialize, Serialize};

/// One node's hold of the lease.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tenure {
    /// The term.
    pub term: Term,
    /// The node.
    pub holder: Id,
    /// Tells two lives of one name apart.
    pub incarnation: String,
    /// The event that began it.
    pub acquired: Seq,
    /// When.
    pub acquired_at: Timestamp,
    /// Whether it has ended, by a release or a loss.
    pub ended: bool,
}

/// The latest tenure, if there ever was one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Leases {
    pub(super) latest: Option<Tenure>,
}

impl Leases {
    /// The latest tenure, open or ended.
    pub fn latest(&self) -> Option<&Tenure> {
        self.latest.as_ref()
    }

    /// The tenure that has neither been released nor recorded as lost.
    pub fn open(&self) -> Option<&Tenure> {
        self.latest.as_ref().filter(|tenure| !tenure.ended)
    }

    /// The term that the next acquisition takes.
    pub fn next_term(&self) -> Term {
        self.latest
            .as_ref()
            .map_or(Term::ZERO, |tenure| tenure.term)
            .next()
    }
}
