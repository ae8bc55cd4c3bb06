//! What a node writes when it takes the lease and when it gives it back.

use ledger_core::event::{
    LeaseAcquired, LeaseEvent, LeaseFenced, LeaseLost, LeaseReleased, ReleaseReason,
};
use ledger_core::ids::{Entity, Id};
use projections::leases::Leases;
use serde::{Deserialize, Serialize};

use crate::decided::Decided;

/// The subject of all lease events.
fn subject() -> Entity {
    Entity::new("lease/main").expect("the constant follows the rule of entities")
}

/// A holder that was ended so that the lease comes free.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    /// Which of its lives.
    pub incarnation: String,
    /// Its process.
    pub pid: i32,
    /// Start of that, in clock ticks since boot.
    pub start_time: u64,
    /// Why.
    #[serde(flatten)]
    pub cause: ledger_core::event::FenceCause,
}

/// Takes the lease for the term that follows, and records how the term before ended if its holder
/// never gave it back: ended by a node that stood by, or lost.
pub fn acquire(leases: &Leases, acquired: LeaseAcquired, ended: Option<&Ended>) -> Vec<Decided> {
    let mut decided = vec![Decided::new(subject(), LeaseEvent::Acquired(acquired))];
    decided.extend(leases.open().map(|before| {
        let (holder, term) = (before.holder.clone(), before.term);
        // Whoever was ended before it had a term of its own left the term before open.
        let ended = ended.filter(|ended| ended.incarnation == before.incarnation);
        let event = match ended {
            Some(ended) => LeaseEvent::Fenced(LeaseFenced {
                holder,
                term,
                pid: ended.pid,
                start_time: ended.start_time,
                cause: ended.cause.clone(),
            }),
            None => LeaseEvent::Lost(LeaseLost { holder, term }),
        };
        Decided::new(subject(), event)
    }));
    decided
}

/// Gives the lease back.
pub fn release(holder: &Id, reason: ReleaseReason) -> Decided {
    let released = LeaseReleased {
        holder: holder.clone(),
        reason,
    };
    Decided::new(subject(), LeaseEvent::Released(released))
}
