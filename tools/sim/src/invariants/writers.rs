//! At most one process appends per term, and it is the one that acquired the term.
//!
//! Why: two writers of one term can't be told apart by anybody, not even by the store that fences.

use std::collections::BTreeMap;

use ledger_core::ids::Term;

use super::{Checked, holds};

const NAME: &str = "at most one node appends per term";

/// Who has written in which term.
#[derive(Debug, Default)]
pub(crate) struct Writers(BTreeMap<Term, String>);

impl Writers {
    /// A life of a node has written in a term.
    pub(crate) fn wrote(&mut self, term: Term, life: &str) -> Checked {
        let first = self.0.entry(term).or_insert_with(|| life.to_owned());
        holds(NAME, first == life, || {
            format!("{life} writes in term {term}, as {first} did")
        })
    }
}
