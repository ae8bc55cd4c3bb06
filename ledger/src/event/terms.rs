//! On what terms a task is run: what it waits for, how often it is tried, which keys it shares with
//! others; and what the scheduler drew or computed by them, so that a replay need not.

use serde::{Deserialize, Serialize};

use super::{Attempt, Priority};
use crate::ids::Id;
use crate::time::{Millis, Timestamp};

/// What a submission says beyond its queue and its limits. Each field has a default, which is not
/// stored; neither are terms that are all default.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Terms {
    /// How many attempts may fail or run past their limit before the task is dead.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub max_attempts: u32,
    /// It is not started before this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_before: Option<Timestamp>,
    /// If it still waits by then, it is dead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// Tasks that must have completed before it is started.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub depends_on: Vec<Id>,
    /// Its starts are counted against the rate of this key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate_key: Option<Id>,
    /// At most so many tasks of this key run at once as the node allows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub concurrency_key: Option<Id>,
    /// An attempt is ended once its whole tree has used no CPU time and written nothing for so
    /// long.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stall_after_ms: Option<Millis>,
}

impl Default for Terms {
    fn default() -> Self {
        Self {
            max_attempts: 1,
            not_before: None,
            expires_at: None,
            depends_on: Vec::new(),
            rate_key: None,
            concurrency_key: None,
            stall_after_ms: None,
        }
    }
}

fn one() -> u32 {
    1
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "the signature is serde's"
)]
fn is_one(n: &u32) -> bool {
    *n == 1
}

/// What a start took from the bucket of its rate key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RateUse {
    /// The key.
    pub key: Id,
    /// When the bucket is full again if nothing more is taken: all that there is to remember of it.
    pub full_at: Timestamp,
}

/// The pause before another attempt, drawn when it was decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backoff {
    /// How long it is.
    pub delay_ms: Millis,
    /// When it is over.
    pub until: Timestamp,
}

/// Moved to another queue by hand, while it waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskReprioritized {
    /// The queue it stands in now.
    pub priority: Priority,
    /// The queue it stood in.
    pub before: Priority,
    /// Since when it counts as waiting there.
    pub since: Timestamp,
}

/// A running attempt was told to come back later, by whoever limits its rate: nothing of its rate
/// key is started until then.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskThrottled {
    /// The run that says so.
    pub attempt: Attempt,
    /// The key.
    pub rate_key: Id,
    /// How long.
    pub retry_after_ms: Millis,
    /// Until when.
    pub until: Timestamp,
}
