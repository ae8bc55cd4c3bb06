//! `recovery.*`: how a node that leads came by its state, and whether it is what the events say. Subject
//! `node/NAME`.

use serde::{Deserialize, Serialize};

use super::checkpoint::PartDigest;
use super::family;
use crate::hash::Hash;
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

/// A fold of this history that was made by somebody else, or at another time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum OtherFold {
    /// The one that a checkpoint was made of.
    Checkpoint {
        /// The checkpoint.
        name: Id,
    },
    /// The one that an earlier leader recorded.
    Verified {
        /// The `recovery.verified` that says so.
        recorded: Seq,
    },
    /// The one that this node had made while it stood by, with which it leads now.
    Standby,
}

/// A fold that was found to be the same.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FoldCompared {
    /// The position at which both were compared.
    pub seq: Seq,
    /// The other one.
    pub with: OtherFold,
    /// Parts that could not be compared, because they are of other versions or only in one of both.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub incomparable: Vec<String>,
}

/// Decision state was folded once more, apart from whoever decides, and held against other folds, which
/// are the same.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecoveryVerified {
    /// The checkpoint that the fold began with; without one, it was made from the first event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checkpoint: Option<RecoveredFrom>,
    /// Where it ends.
    pub seq: Seq,
    /// Chain hash there.
    pub hash: Hash,
    /// What it is there, part by part: the next recovery is held against that.
    pub parts: Vec<PartDigest>,
    /// What it was held against.
    pub compared: Vec<FoldCompared>,
    /// How long that took.
    pub took_us: Micros,
}

/// A part of which two folds have made different things.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartDiverged {
    /// The projection that it is.
    pub name: String,
    /// The projection's version.
    pub version: u32,
    /// The digest of the other fold.
    pub found: Hash,
    /// The digest of the fold that was made now.
    pub folded: Hash,
}

/// The same events were folded to different states: a defect of this program or of the host's memory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecoveryDiverged {
    /// The checkpoint that the fold began with; without one, it was made from the first event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checkpoint: Option<RecoveredFrom>,
    /// The position at which both were compared.
    pub seq: Seq,
    /// The other one.
    pub with: OtherFold,
    /// What differs.
    pub parts: Vec<PartDiverged>,
}

family!(
    /// Recoveries.
    RecoveryEvent {
        /// The work was taken up.
        Completed(RecoveryCompleted) = "recovery.completed",
        /// State was held against other folds and is the same.
        Verified(RecoveryVerified) = "recovery.verified",
        /// State was held against another fold and is not the same.
        Diverged(RecoveryDiverged) = "recovery.diverged",
    }
);
