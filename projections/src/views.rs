//! The views by name: one line for each projection that people look at.
//!
//! Decision state that nobody looks at (`leases`, `idempotency`) is folded by the sequencer and is
//! not here. Adding a view is adding a line to [`all`].

use crate::framework::{Fold, View};
use crate::status::Status;
use crate::tasks::Tasks;

/// Every view, before the first event, sorted by name.
pub fn all() -> Vec<Box<dyn View>> {
    vec![
        Box::<Fold<Status>>::default(),
        Box::<Fold<Tasks>>::default(),
    ]
}

/// The view of this name, before the first event.
pub fn named(name: &str) -> Option<Box<dyn View>> {
    all().into_iter().find(|view| view.name() == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_sorted() {
        let names: Vec<_> = all().iter().map(|view| view.name()).collect();
        assert!(names.windows(2).all(|pair| pair[0] < pair[1]), "{names:?}");
        assert_eq!(named("tasks").map(|view| view.name()), Some("tasks"));
        assert!(named("nothing").is_none());
    }
}
