//! What is said about checkpoints.

use ledger_core::event::{CheckpointCreated, RecoveryDiverged, RecoveryVerified};
use ledger_core::ids::{Id, Seq};
use projections::checkpoints::{Checkpoint, FailedToMake, Gone, Refused, Told};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Every checkpoint that is kept, and what became of others.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct CheckpointList {
    /// Those that are kept, the oldest position first.
    pub checkpoints: Vec<Checkpoint>,
    /// Those that were removed lately.
    pub gone: Vec<Gone>,
    /// Those that recoveries have passed over lately.
    pub refused: Vec<Refused>,
    /// The latest that could not be made, if none has been made since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<FailedToMake>,
    /// The last time that state was found to be the same as other folds of the same events.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verified: Option<Told<RecoveryVerified>>,
    /// The last time that it was not, if it was not found to be the same since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub diverged: Option<Told<RecoveryDiverged>>,
}

impl CheckpointList {
    /// What an operator should know.
    pub fn warnings(&self) -> Vec<String> {
        let failed = self
            .failed
            .iter()
            .map(|failed| format!("the last checkpoint could not be made: {}", failed.reason));
        // A sound one after it makes up for it.
        let made_up = |seq| {
            let sound = |one: &Checkpoint| one.rejected.is_none() && one.recorded > seq;
            self.checkpoints.iter().any(sound)
        };
        let damaged = self.checkpoints.iter().filter_map(|one| {
            let reason = one.rejected.as_ref()?;
            if made_up(one.recorded) {
                return None;
            }
            Some(format!("checkpoint {} was passed over: {reason}", one.name))
        });
        let diverged = self.diverged.iter().map(|told| {
            let parts: Vec<_> = told.facts.parts.iter().map(|p| p.name.as_str()).collect();
            format!(
                "seq {}: two folds of the events up to seq {} differ in {}; `ledger rebuild --check` says where",
                told.recorded,
                told.facts.seq,
                parts.join(", ")
            )
        });
        diverged.chain(failed).chain(damaged).collect()
    }
}

/// A checkpoint that is wanted.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CheckpointRequest {
    /// Its name; made from the time without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<Id>,
    /// What is kept with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extra: Option<Value>,
}

/// A checkpoint that was made.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct CheckpointReceipt {
    /// Its name.
    pub checkpoint: Id,
    /// The event that tells of it.
    pub recorded: Seq,
    /// What that says.
    pub facts: CheckpointCreated,
    /// Those that were removed by age and number.
    pub pruned: Vec<Id>,
}

/// Removing checkpoints by the rule.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PruneRequest {
    /// Only say which.
    #[serde(default)]
    pub dry_run: bool,
}

/// Checkpoints that were removed, or would be.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PruneReport {
    /// Their names.
    pub pruned: Vec<Id>,
}
