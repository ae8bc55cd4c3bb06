//! The terms.

use std::collections::BTreeMap;

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
    /// The boot of its host during which it began.
    pub boot_id: String,
    /// Tells two lives of one name apart.
    pub incarnation: String,
    /// The event that began it.
    pub acquired: Seq,
    /// When.
    pub acquired_at: Timestamp,
    /// Whether it has ended, by a release or a loss.
    pub ended: bool,
}

/// Every tenure there was.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Leases {
    pub(super) tenures: BTreeMap<Term, Tenure>,
}

impl Leases {
    /// The latest tenure, open or ended.
    pub fn latest(&self) -> Option<&Tenure> {
        self.tenures.last_key_value().map(|(_, tenure)| tenure)
    }

    /// The tenure that has neither been released nor recorded as lost.
    pub fn open(&self) -> Option<&Tenure> {
        self.latest().filter(|tenure| !tenure.ended)
    }

    /// The tenure of a term.
    pub fn tenure(&self, term: Term) -> Option<&Tenure> {
        self.tenures.get(&term)
    }

    /// The term that the next acquisition takes.
    pub fn next_term(&self) -> Term {
        self.latest()
            .map_or(Term::ZERO, |tenure| tenure.term)
            .next()
    }
}
