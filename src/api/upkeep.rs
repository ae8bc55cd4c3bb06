//! `/v1/resume` and `/v1/notes`: what happens to the ledger as a whole.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use ledger_core::event::{LedgerEvent, SnapshotEvent};
use ledger_core::hash::Hash;
use ledger_core::ids::Seq;

use super::error::usage;
use super::events::event_at;
use super::extract::Content;
use super::server::{Api, Caller, blocking, json};
use super::tasks::recorded;
use super::wire::{ApiError, ErrorCode, NoteRequest, Receipt, ResumeRequest, SnapshotNote};
use crate::node::command::Command;
use crate::redact;

/// Longest reason and longest path that is recorded, in bytes.
const MAX_TEXT: usize = 4096;

/// Starts what waits, in a ledger that was restored, imported or salvaged.
pub(super) async fn resume(
    State(api): State<Arc<Api>>,
    Caller(origin): Caller,
    Content(body): Content,
) -> Result<Json<Receipt>, ApiError> {
    let request: ResumeRequest = json(&body)?;
    let reason = request.reason.as_deref().map(text).transpose()?;
    recorded(api.ask(origin, Command::Resume { reason }).await?)
}

/// Records a backup, an export or a snapshot that a client has made. What it says of the history must be so.
pub(super) async fn note(
    State(api): State<Arc<Api>>,
    Caller(origin): Caller,
    Content(body): Content,
) -> Result<Json<Receipt>, ApiError> {
    let event = match json(&body)? {
        NoteRequest::BackedUp(mut note) => {
            agrees(&api, note.seq, note.hash).await?;
            note.dir = text(&note.dir)?;
            LedgerEvent::BackedUp(note)
        }
        NoteRequest::BackupsPruned(mut note) => {
            note.dir = text(&note.dir)?;
            LedgerEvent::BackupsPruned(note)
        }
        NoteRequest::Exported(note) => {
            agrees(&api, note.seq, note.hash).await?;
            if !matches!(&*note.format, "jsonl" | "csv" | "tiles") {
                return Err(usage("an export is jsonl, csv or tiles"));
            }
            LedgerEvent::Exported(note)
        }
        NoteRequest::Snapshot { set, did } => {
            let event = snapshot(did)?;
            return recorded(
                api.ask(origin, Command::NoteSnapshot { set, event })
                    .await?,
            );
        }
    };
    recorded(api.ask(origin, Command::Note { event }).await?)
}

fn snapshot(did: SnapshotNote) -> Result<SnapshotEvent, ApiError> {
    Ok(match did {
        SnapshotNote::Created(note) => SnapshotEvent::Created(note),
        SnapshotNote::Failed(mut note) => {
            note.reason = text(&note.reason)?;
            SnapshotEvent::Failed(note)
        }
        SnapshotNote::Pruned(note) => SnapshotEvent::Pruned(note),
        SnapshotNote::Restored(mut note) => {
            note.into = text(&note.into)?;
            SnapshotEvent::Restored(note)
        }
    })
}

/// A text that may stand in the log.
fn text(text: &str) -> Result<String, ApiError> {
    if text.len() > MAX_TEXT {
        return Err(usage(format!(
            "a text of at most {MAX_TEXT} bytes is taken"
        )));
    }
    Ok(redact::text(text).into_owned())
}

async fn agrees(api: &Arc<Api>, seq: Seq, hash: Hash) -> Result<(), ApiError> {
    let reader = Arc::clone(&api.reader);
    let found = blocking(move || event_at(reader.as_ref(), seq)).await??;
    if found.hash == hash {
        return Ok(());
    }
    Err(ApiError::new(
        ErrorCode::Conflict,
        format!("seq {seq} has another hash here"),
    )
    .because(format!("{} was named, it is {}", hash, found.hash)))
}
