//! The one place of this crate that asks what time it is.
//!
//! Everything that is decided or folded takes its time as an argument; the node and the command
//! line call these functions at their edge and pass the answer on.

use std::time::{SystemTime, UNIX_EPOCH};

use uuid::Uuid;

use crate::ids::{EventId, Id, LedgerId};
use crate::time::Timestamp;

/// The wall clock, in microseconds of UTC; 0 if it stands before 1970.
pub fn now() -> Timestamp {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    Timestamp(u64::try_from(since.as_micros()).unwrap_or(u64::MAX)).min(Timestamp::MAX)
}

/// A new random ledger id (UUIDv7: sorts by when it was made).
pub fn new_ledger_id() -> LedgerId {
    LedgerId(Uuid::now_v7())
}

/// A new idempotency key, for a request that is to be sent again if its answer is lost.
pub fn new_idempotency_key() -> Id {
    Id::new(format!("auto-{}", Uuid::now_v7())).expect("letters, digits and dashes make an id")
}

/// Builds a UUIDv7 event id from a time and 80 random bits drawn elsewhere, so that whoever
/// decides stays deterministic. Bits beyond the 74 that a UUIDv7 holds are masked by the layout.
pub fn event_id(at: Timestamp, random: [u8; 10]) -> EventId {
    EventId(uuid::Builder::from_unix_timestamp_millis(at.0 / 1000, &random).into_uuid())
}
