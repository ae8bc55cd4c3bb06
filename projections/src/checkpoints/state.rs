//! What is known of checkpoints.

use std::collections::BTreeMap;

use ledger_core::event::{CheckpointCause, CheckpointCreated, RecoveryDiverged, RecoveryVerified};
use ledger_core::ids::{Id, Seq};
use ledger_core::time::Timestamp;
use serde::{Deserialize, Serialize};

/// How many are remembered of those that are gone, and of those that were passed over.
pub const REMEMBERED: usize = 100;

/// A checkpoint that is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// Its name.
    pub name: Id,
    /// The event that tells of it.
    pub recorded: Seq,
    /// When that was recorded.
    pub recorded_at: Timestamp,
    /// What that says.
    pub facts: CheckpointCreated,
    /// Why it was passed over by the recovery that tried it last, if it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rejected: Option<String>,
}

/// A checkpoint that was removed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gone {
    /// Its name.
    pub name: Id,
    /// The position that it stood for.
    pub seq: Seq,
    /// When it was removed.
    pub at: Timestamp,
}

/// A checkpoint that a recovery has passed over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    /// Its name.
    pub name: Id,
    /// When.
    pub at: Timestamp,
    /// What is wrong with it.
    pub reason: String,
}

/// A checkpoint that could not be made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailedToMake {
    /// The event that says so.
    pub seq: Seq,
    /// When.
    pub at: Timestamp,
    /// Why it was to be made.
    pub cause: CheckpointCause,
    /// Why it could not be.
    pub reason: String,
}

/// What came of holding state against other folds of the same events.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told<T> {
    /// The event that says so.
    pub recorded: Seq,
    /// When.
    pub at: Timestamp,
    /// The node that did it.
    pub node: Id,
    /// What it says.
    pub facts: T,
}

/// Every checkpoint.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Checkpoints {
    /// By the position that each stands for, and its name.
    pub(super) kept: BTreeMap<(Seq, Id), Checkpoint>,
    /// Where each name stands.
    pub(super) places: BTreeMap<Id, Seq>,
    /// By the event that says so.
    pub(super) gone: BTreeMap<Seq, Gone>,
    /// By the event that says so.
    pub(super) refused: BTreeMap<Seq, Refused>,
    pub(super) failed: Option<FailedToMake>,
    pub(super) verified: Option<Told<RecoveryVerified>>,
    pub(super) diverged: Option<Told<RecoveryDiverged>>,
}

impl Checkpoints {
    /// Those that are kept, the oldest position first.
    pub fn kept(&self) -> impl DoubleEndedIterator<Item = &Checkpoint> {
        self.kept.values()
    }

    /// The one of this name, if it is kept.
    pub fn get(&self, name: &str) -> Option<&Checkpoint> {
        let (name, seq) = self.places.get_key_value(name)?;
        self.kept.get(&(*seq, name.clone()))
    }

    /// The one whose position is the latest.
    pub fn latest(&self) -> Option<&Checkpoint> {
        self.kept.values().next_back()
    }

    /// Those that were removed, the latest last.
    pub fn gone(&self) -> impl DoubleEndedIterator<Item = &Gone> {
        self.gone.values()
    }

    /// Those that were passed over, the latest last.
    pub fn refused(&self) -> impl DoubleEndedIterator<Item = (Seq, &Refused)> {
        self.refused.iter().map(|(seq, refused)| (*seq, refused))
    }

    /// The last time that state was found to be the same as other folds.
    pub fn verified(&self) -> Option<&Told<RecoveryVerified>> {
        self.verified.as_ref()
    }

    /// The last time that it was not, if it was not found to be the same since.
    pub fn diverged(&self) -> Option<&Told<RecoveryDiverged>> {
        let verified = self.verified.as_ref().map(|told| told.recorded);
        let diverged = self.diverged.as_ref();
        diverged.filter(|told| Some(told.recorded) > verified)
    }

    /// The latest that could not be made, if none has been made since.
    pub fn failed(&self) -> Option<&FailedToMake> {
        let failed = self.failed.as_ref()?;
        let later = self.kept.values().any(|kept| kept.recorded > failed.seq);
        (!later).then_some(failed)
    }
}
