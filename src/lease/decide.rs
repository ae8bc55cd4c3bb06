//! What a node writes when it takes the lease and when it gives it back.

use ledger_core::event::{LeaseAcquired, LeaseEvent, LeaseLost, LeaseReleased, ReleaseReason};
use ledger_core::ids::{Entity, Id};
use projections::leases::Leases;

use crate::decided::Decided;

/// The subject of all lease events.
fn subject() -> Entity {
    Entity::new("lease/main").expect("the constant follows the rule of entities")
}

/// Takes the lease for the term that follows, and records the term before as lost if its holder
/// never gave it back.
pub fn acquire(leases: &Leases, acquired: LeaseAcquired) -> Vec<Decided> {
    let mut decided = vec![Decided::new(subject(), LeaseEvent::Acquired(acquired))];
    decided.extend(leases.open().map(|before| {
        let lost = LeaseLost {
            holder: before.holder.clone(),
            term: before.term,
        };
        Decided::new(subject(), LeaseEvent::Lost(lost))
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
