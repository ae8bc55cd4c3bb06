//! Terms strictly increase; each begins with its `lease.acquired`, and no event of an older term follows
//! one of a newer.
//!
//! Why: the term is the fencing token. A reader that sees a term knows that no later event was decided
//! by whoever led before.

use ledger_core::envelope::Header;
use ledger_core::ids::Term;

use super::{Checked, holds};

const NAME: &str = "terms strictly increase";

/// The last term, and what is known of it.
#[derive(Debug, Default)]
pub(crate) struct Terms {
    last: Term,
    /// Whether it was given back, which is its last event.
    released: bool,
}

impl Terms {
    /// The next event of the history.
    pub(crate) fn event(&mut self, header: &Header<'_>) -> Checked {
        let (term, last, seq) = (header.term, self.last, header.seq);
        holds(NAME, term >= last, || {
            format!("seq {seq} is of term {term}, after one of term {last}")
        })?;
        let begins = header.kind == "lease.acquired";
        holds(NAME, (term > last) == begins || term == Term::ZERO, || {
            format!(
                "seq {seq} ({}) is of term {term}, after one of term {last}",
                header.kind
            )
        })?;
        holds(NAME, begins || !self.released, || {
            format!(
                "seq {seq} ({}) follows the release of its term",
                header.kind
            )
        })?;
        self.released = header.kind == "lease.released";
        self.last = term;
        Ok(())
    }
}
