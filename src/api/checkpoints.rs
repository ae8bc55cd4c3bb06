//! `/v1/checkpoints`: list, make, remove by the rule.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use ledger_core::event::CheckpointCause;
use projections::checkpoints::Checkpoints;

use super::error::{failed, usage};
use super::extract::Content;
use super::server::{Api, blocking, json};
use super::wire::{
    ApiError, CheckpointList, CheckpointReceipt, CheckpointRequest, ErrorCode, PruneReport,
    PruneRequest,
};
use crate::node::checkpoints::{MakeError, Wish};
use crate::redact;

/// All that is known of checkpoints.
pub(crate) fn listed(all: &Checkpoints) -> CheckpointList {
    CheckpointList {
        checkpoints: all.kept().cloned().collect(),
        gone: all.gone().cloned().collect(),
        refused: all.refused().map(|(_, refused)| refused.clone()).collect(),
        failed: all.failed().cloned(),
        verified: all.verified().cloned(),
        diverged: all.diverged().cloned(),
    }
}

pub(super) async fn list(State(api): State<Arc<Api>>) -> Result<Json<CheckpointList>, ApiError> {
    api.views_caught_up().await?;
    let views = Arc::clone(&api.views);
    let seen = blocking(move || views.with_checkpoints(|all, _| listed(all))).await?;
    let none = || ApiError::new(ErrorCode::Failed, "the node has no view of checkpoints");
    seen.map(Json).ok_or_else(none)
}

pub(super) async fn create(
    State(api): State<Arc<Api>>,
    Content(body): Content,
) -> Result<Json<CheckpointReceipt>, ApiError> {
    let request: CheckpointRequest = json(&body)?;
    let extra = match request.extra {
        None => None,
        Some(extra) => {
            let text = extra.to_string();
            let clean = redact::json(&text);
            let clean = serde_json::from_str(&clean);
            Some(clean.map_err(|e| usage("the extra state can't be kept").because(e))?)
        }
    };
    let wish = Wish {
        cause: CheckpointCause::Operator,
        name: request.name,
        extra,
    };
    let checkpointer = Arc::clone(&api.checkpointer);
    let made = blocking(move || checkpointer.make(&wish)).await?;
    let made = made.map_err(|error| of_make(&error))?;
    Ok(Json(CheckpointReceipt {
        checkpoint: made.name,
        recorded: made.recorded,
        facts: made.facts,
        pruned: made.pruned,
    }))
}

pub(super) async fn prune(
    State(api): State<Arc<Api>>,
    Content(body): Content,
) -> Result<Json<PruneReport>, ApiError> {
    let request: PruneRequest = json(&body)?;
    let checkpointer = Arc::clone(&api.checkpointer);
    let pruned = blocking(move || checkpointer.prune(request.dry_run)).await?;
    let pruned = pruned.map_err(|error| of_make(&error))?;
    Ok(Json(PruneReport { pruned }))
}

fn of_make(error: &MakeError) -> ApiError {
    let text = error.to_string();
    match error {
        MakeError::Exists(_) => ApiError::new(ErrorCode::Conflict, text)
            .hint("give it another name, or none: then one is made from the time"),
        MakeError::Extra(_) => {
            usage(&text).hint("keep it in a file or a blob, and its digest here")
        }
        MakeError::Stopping => {
            ApiError::new(ErrorCode::NotLeader, "this node does not lead any more")
                .hint("start a node with `ledger up`")
        }
        MakeError::Fold(_) | MakeError::File(_) | MakeError::View(_) => {
            failed("the checkpoint can't be made", text)
                .hint("nothing is lost by it: the one before is used, or all is folded")
        }
    }
}
