//! Finding a task by its id without keeping the id twice: with a million tasks the second copy would
//! take a fifth of the memory.
//!
//! The table holds positions only; whose id stands where is looked up in the tasks themselves. How
//! ids are hashed is drawn anew for each process, so that nobody can choose ids that collide; no
//! order of the table is ever seen.

// tidy: allow(import) — lookups only: no order of the table can be seen
use std::hash::{BuildHasher, RandomState};

use hashbrown::HashTable;
use hashbrown::hash_table::Entry;
use ledger_core::ids::Seq;

/// Positions of tasks by their ids.
#[derive(Debug, Clone, Default)]
pub(super) struct ById {
    places: HashTable<Seq>,
    hasher: RandomState,
}

impl ById {
    /// The position of the task with this id; `name` tells the id at a position.
    pub(super) fn find<'t>(&self, id: &str, name: impl Fn(Seq) -> &'t str) -> Option<Seq> {
        let hash = self.hasher.hash_one(id);
        self.places.find(hash, |seq| name(*seq) == id).copied()
    }

    /// Makes room for more.
    pub(super) fn reserve(&mut self, more: usize) {
        // Nothing is there to be hashed again when a table is filled at once.
        if self.places.is_empty() {
            self.places = HashTable::with_capacity(more);
        }
    }

    /// Adds a task; false if one of its id is there.
    pub(super) fn insert_new<'t>(
        &mut self,
        id: &str,
        seq: Seq,
        name: impl Fn(Seq) -> &'t str,
    ) -> bool {
        let hasher = &self.hasher;
        let rehash = |seq: &Seq| hasher.hash_one(name(*seq));
        let same = |seq: &Seq| name(*seq) == id;
        match self.places.entry(hasher.hash_one(id), same, rehash) {
            Entry::Occupied(_) => false,
            Entry::Vacant(place) => {
                place.insert(seq);
                true
            }
        }
    }

    /// Adds a task, whose id must not be there yet.
    pub(super) fn insert<'t>(&mut self, id: &str, seq: Seq, name: impl Fn(Seq) -> &'t str) {
        let hasher = &self.hasher;
        let rehash = |seq: &Seq| hasher.hash_one(name(*seq));
        self.places.insert_unique(hasher.hash_one(id), seq, rehash);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_added_is_found_and_nothing_else_however_many_there_are() {
        let names: Vec<String> = (0..5000).map(|n| format!("task-{n}")).collect();
        let name = |seq: Seq| names[usize::try_from(seq.0).unwrap()].as_str();
        let mut ids = ById::default();
        for (seq, id) in (0..).map(Seq).zip(&names) {
            assert_eq!(ids.find(id, name), None);
            ids.insert(id, seq, name);
            assert_eq!(ids.find(id, name), Some(seq));
        }
        for (seq, id) in (0..).map(Seq).zip(&names) {
            assert_eq!(ids.find(id, name), Some(seq));
        }
        for other in ["", "task-", "task-5000", "task-01"] {
            assert_eq!(ids.find(other, name), None);
        }
    }
}
