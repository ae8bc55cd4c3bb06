//! `ledger export --format tiles`: a directory of C2SP tiles, begun or extended.

use std::ops::ControlFlow;
use std::path::Path;

use ledger_core::chain::Head;
use ledger_core::export::{TileDir, TileDirError};
use ledger_core::store::LogReader;
use ledger_core::tree_head::TreeHead;

use super::{Args, Done, each_event};
use crate::api::wire::{ApiError, ErrorCode};
use crate::audit::filter::SeqRange;
use crate::cli::error::{Failure, of_io};
use crate::cli::output::progress::Progress;
use crate::keys;

pub(super) fn export(
    args: &Args,
    reader: &dyn LogReader,
    head: Head,
    data_dir: &Path,
) -> Result<Done, Failure> {
    if !args.filter.is_empty() {
        return Err(
            ApiError::new(ErrorCode::Usage, "tiles are of a whole ledger")
                .because("a verifier could not check a part")
                .hint("leave out the filters, or choose another format")
                .into(),
        );
    }
    let Some(to) = args.to.as_deref() else {
        return Err(
            ApiError::new(ErrorCode::Usage, "tiles are a directory: name it with --to").into(),
        );
    };
    let ledger = reader.ledger_id();
    let key = keys::load(data_dir, reader).map_err(ApiError::from)?;
    let mut tiles = TileDir::open(to, ledger, head.seq).map_err(of_tiles)?;
    let range = SeqRange {
        first: tiles.next(),
        last: head.seq,
    };
    let bar = Progress::events("exporting", head.seq.0);
    each_event(reader, range, head, &mut |event, bytes| {
        let seq = event.event.header.seq;
        bar.at(seq.0);
        tiles.push(seq, bytes, event.hash).map_err(of_tiles)?;
        Ok(ControlFlow::Continue(()))
    })?;
    let grown = tiles
        .finish(|tree: &TreeHead| Ok::<_, TilesFailure>(tree.sign(&key)))
        .map_err(|TilesFailure(failure)| failure)?;
    Ok(Done {
        format: "tiles",
        to: Some(to.display().to_string()),
        ledger_id: ledger,
        seq: grown.tree.size.last(),
        hash: head.hash,
        events: grown.tree.size.0 - grown.before.0,
        complete: true,
        signed: true,
        lost: Vec::new(),
    })
}

/// [`Failure`] with a way to it from what tiles say.
struct TilesFailure(Failure);

impl From<TileDirError> for TilesFailure {
    fn from(error: TileDirError) -> Self {
        Self(of_tiles(error))
    }
}

fn of_tiles(error: TileDirError) -> Failure {
    let message = error.to_string();
    match error {
        TileDirError::Io { error, .. } => of_io(message, &error),
        TileDirError::Foreign(_) => ApiError::new(ErrorCode::Conflict, message)
            .hint("name an empty directory, or one that tiles of this ledger were exported into"),
        TileDirError::OtherLedger { .. } => ApiError::new(ErrorCode::Conflict, message)
            .hint("export each ledger into a directory of its own"),
        TileDirError::Damaged { .. } => ApiError::new(ErrorCode::Tampered, message)
            .hint("export into a new directory and compare"),
        TileDirError::Forked { .. } | TileDirError::Behind { .. } => {
            ApiError::new(ErrorCode::Tampered, message)
                .because(
                    "the ledger was rolled back, replaced, or restored from before that export",
                )
                .hint("keep both, and find out which is true; a new export needs a new directory")
        }
        TileDirError::Order { .. } => ApiError::new(ErrorCode::Failed, message),
    }
    .into()
}
