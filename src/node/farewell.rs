//! What a node records when it stops because the disk is full.
//!
//! Its state is dropped and its store closed by then: the log is opened anew, as the next node would,
//! and what it says is what counts. The reserve gives the room. Nothing is sealed, because that may
//! need more room than there is; the next node does it.

use std::path::Path;

use ledger_core::chain::{BatchBuilder, ChainKey, Head};
use ledger_core::clock;
use ledger_core::envelope::{Draft, Origin};
use ledger_core::event::{NodeEvent, NodeStopped, Priority, ReleaseReason, StopCause};
use ledger_core::ids::Id;
use ledger_core::store::durable::{DurableStore, Settings, Structure};
use ledger_core::store::{LogReader, LogWriter};
use ledger_core::time::Timestamp;
use projections::framework::{Fold, rebuild, unwatched};

use super::core::node_subject;
use super::decision::Decision;
use super::ports::{Random, SeededRandom};
use super::reserve;
use crate::decided::Decided;
use crate::lease;

/// Gives up the reserve and records that the disk is full, as the last events of the term. The caller
/// holds the directory's lock and has closed the store.
///
/// # Errors
/// Why nothing was recorded, for the operator. Nothing is lost by it: the next node finds a term
/// that ended without a word, as after a crash.
pub(super) fn disk_is_full(dir: &Path, node: &Id) -> Result<Head, String> {
    reserve::release(dir).map_err(|e| format!("the reserve can't be given up: {e}"))?;
    // Others may take the room in the same moment: then there is none, and that is told.
    let said = |e: &dyn std::fmt::Display| e.to_string();
    let settings = Settings {
        seal_bytes: usize::MAX,
        lag_bytes: usize::MAX,
        // Closing writes too.
        structure: Structure::CheckedFirst,
        ..Settings::default()
    };
    let mut store = DurableStore::open_with(dir, settings).map_err(|e| said(&e))?;
    let mut random = SeededRandom::from_system().map_err(|e| said(&e))?;
    let head = last_words(&mut store, node, clock::now(), &mut random)?;
    // The events are durable whatever becomes of the rest.
    let _ = store.close();
    Ok(head)
}

/// Records in a store that was opened anew that the disk is full, as the last events of the term.
///
/// # Errors
/// Why nothing was recorded.
pub fn last_words(
    store: &mut DurableStore,
    node: &Id,
    now: Timestamp,
    random: &mut dyn Random,
) -> Result<Head, String> {
    let said = |e: &dyn std::fmt::Display| e.to_string();
    let reader = store.reader();
    let fold: Fold<Decision> = rebuild(&reader, None, &mut unwatched).map_err(|e| said(&e))?;
    let open = fold.state().leases.open();
    if open.is_none_or(|open| open.holder != *node || open.term != store.head().term) {
        return Err("the term had not begun".to_owned());
    }
    let drafts = drafts(node, fold.state(), now, random)?;
    let key = ChainKey::new(reader.ledger_id());
    let mut builder = BatchBuilder::new(key, store.head(), store.head().term);
    builder.push(&drafts, now).map_err(|e| said(&e))?;
    store.append(&builder.take()).map_err(|e| said(&e))
}

fn drafts(
    node: &Id,
    state: &Decision,
    now: Timestamp,
    random: &mut dyn Random,
) -> Result<Vec<Draft>, String> {
    let queued = Priority::ALL.map(|queue| state.tasks.queued_count(queue));
    let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    let stopped = NodeStopped {
        running: count(state.tasks.open_count()),
        queued: count(queued.iter().sum()),
        reason: Some(StopCause::DiskFull),
    };
    let actor = node_subject(node);
    let decided = [
        Decided::new(actor.clone(), NodeEvent::Stopped(stopped)),
        lease::decide::release(node, ReleaseReason::DiskFull),
    ];
    let draft = |decided: Decided| {
        let (kind, data) = decided.event.kind_and_data()?;
        Some(Draft {
            event_id: clock::event_id(now, random.bytes()),
            kind: kind.parse().ok()?,
            version: 1,
            subject: decided.subject,
            origin: Origin::of(actor.clone()),
            idempotency_key: None,
            data,
        })
    };
    let drafts: Option<Vec<_>> = decided.into_iter().map(draft).collect();
    drafts.ok_or_else(|| "an event of our own has no kind".to_owned())
}
