//! `recovery.*`: how a node that leads came by its state. Subject `node/NAME`.

use serde::{Deserialize, Serialize};

use super::family;
use crate::ids::{Id, Seq};
use crate::time::Micros;

/// The checkpoint that a recovery began with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecoveredFrom {
    /// Its name.
    pub name: Id,
    /// The position it stands for.
    pub seq: Seq,
}

/// State was restored, and open work reconciled with the world; dispatching begins. Before this kind,
/// `node.recovered` said so.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecoveryCompleted {
    /// The checkpoint that was used; without one, all was folded from the first event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checkpoint: Option<RecoveredFrom>,
    /// How many checkpoints were passed over as damaged before.
    #[serde(default, skip_serializing_if = "is_none")]
    pub rejected: u32,
    /// The last event that was folded.
    pub upto: Seq,
    /// How many events were folded.
    pub replayed: u64,
    /// How long opening the store took.
    pub open_us: Micros,
    /// How long restoring from checkpoints took, those that were passed over included.
    pub restore_us: Micros,
    /// How long the fold took.
    pub replay_us: Micros,
    /// How long it took to find out what had become of open work, by the wall clock.
    pub reconcile_us: Micros,
    /// Attempts that still run and are watched again.
    pub reattached: u32,
    /// Attempts that ended meanwhile, closed with their true outcome.
    pub closed: u32,
    /// Attempts whose tree is gone without an outcome.
    pub lost: u32,
    /// How many of the tasks of those are queued again.
    pub requeued: u32,
    /// Attempts that had been ordered and never begun: they start now.
    pub unstarted: u32,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "the signature is serde's"
)]
fn is_none(n: &u32) -> bool {
    *n == 0
}

family!(
    /// Recoveries.
    RecoveryEvent {
        /// The work was taken up.
        Completed(RecoveryCompleted) = "recovery.completed",
    }
);
