//! `queue.*`: queues that an operator holds. Subject `queue/NAME`: `interactive`, `standard` or
//! `background`.

use serde::{Deserialize, Serialize};

use super::{Priority, family};
use crate::ids::Entity;

/// Nothing is started from the queue any more; what runs goes on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueuePaused {
    /// Why, in the words of whoever asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Tasks of the queue are started again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueResumed {
    /// Why, in the words of whoever asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// The subject of a queue's events.
pub fn queue_subject(queue: Priority) -> Entity {
    Entity::of("queue", queue.name()).expect("the queues' names are ids")
}

family!(
    /// Queues.
    QueueEvent {
        /// Held.
        Paused(QueuePaused) = "queue.paused",
        /// Served again.
        Resumed(QueueResumed) = "queue.resumed",
    }
);
