//! Finding a task by its id without keeping the id twice: with a million tasks the second copy would
//! take a fifth of the memory.
//!
//! The table holds positions and hashes; whose id stands where is looked up in the tasks themselves. With
//! the hashes beside them, a table that grows looks up none of them. How ids are hashed is drawn anew for each process, so that nobody can choose ids that collide; no
//! order of the table is ever seen.

// tidy: allow(import) — lookups only: no order of the table can be seen
use std::hash::{BuildHasher, RandomState};

use hashbrown::HashTable;
use hashbrown::hash_table::Entry;
use ledger_core::ids::Seq;

/// Where the task is whose id has this hash.
#[derive(Debug, Clone, Copy)]
struct Place {
    hash: u64,
    seq: Seq,
}

impl Place {
    fn rehash(&self) -> u64 {
        self.hash
    }
}

/// Positions of tasks by their ids.
#[derive(Debug, Clone, Default)]
pub(super) struct ById {
    places: HashTable<Place>,
    hasher: RandomState,
}

impl ById {
    /// The position of the task with this id; `name` tells the id at a position.
    pub(super) fn find<'t>(&self, id: &str, name: impl Fn(Seq) -> &'t str) -> Option<Seq> {
        let hash = self.hasher.hash_one(id);
        let is_it = |place: &Place| place.hash == hash && name(place.seq) == id;
        self.places.find(hash, is_it).map(|place| place.seq)
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
        let hash = self.hasher.hash_one(id);
        let same = |place: &Place| place.hash == hash && name(place.seq) == id;
        match self.places.entry(hash, same, Place::rehash) {
            Entry::Occupied(_) => false,
            Entry::Vacant(free) => {
                free.insert(Place { hash, seq });
                true
            }
        }
    }

    /// Adds a task, whose id must not be there yet.
    pub(super) fn insert(&mut self, id: &str, seq: Seq) {
        let hash = self.hasher.hash_one(id);
        self.places
            .insert_unique(hash, Place { hash, seq }, Place::rehash);
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
            ids.insert(id, seq);
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
