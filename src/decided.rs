//! What a decision returns: events about subjects, before they have an origin, an id or a place.

use ledger_core::event::Event;
use ledger_core::ids::Entity;

/// One event that was decided.
#[derive(Debug, Clone, PartialEq)]
pub struct Decided {
    /// What it is about.
    pub subject: Entity,
    /// What happened.
    pub event: Event,
}

impl Decided {
    /// An event about a subject.
    pub fn new(subject: Entity, event: impl Into<Event>) -> Self {
        Self {
            subject,
            event: event.into(),
        }
    }
}
