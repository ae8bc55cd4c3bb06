//! What happens when: in order of time, and of when it was put there where that is the same.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

/// What is to come.
#[derive(Debug)]
pub(crate) struct Queue<T> {
    order: BinaryHeap<Reverse<(u64, u64)>>,
    items: BTreeMap<u64, T>,
    next: u64,
}

impl<T> Default for Queue<T> {
    fn default() -> Self {
        Self {
            order: BinaryHeap::new(),
            items: BTreeMap::new(),
            next: 0,
        }
    }
}

impl<T> Queue<T> {
    /// It happens at `at`.
    pub(crate) fn put(&mut self, at: u64, item: T) {
        self.order.push(Reverse((at, self.next)));
        self.items.insert(self.next, item);
        self.next += 1;
    }

    /// What happens next, and when.
    pub(crate) fn take(&mut self) -> Option<(u64, T)> {
        let Reverse((at, number)) = self.order.pop()?;
        self.items.remove(&number).map(|item| (at, item))
    }
}
