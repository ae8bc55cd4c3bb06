//! `ledger checkpoint list`.

use ledger_core::clock;
use ledger_core::event::{RecoveryDiverged, RecoveryVerified};
use projections::checkpoints::{Checkpoint, Told};
use serde::Serialize;

use super::{checkpoints, strangers, there_is};
use crate::cli::error::{Exit, Failure};
use crate::cli::globals::Globals;
use crate::cli::output::escape::escape;
use crate::cli::output::summary::same_as;
use crate::cli::output::table::{Column, Table};
use crate::cli::output::{Buffering, Paging, note};
use crate::cli::source::Source;
use crate::node::checkpoints::{CheckpointDir, Presence};
use crate::units::{format_count, format_duration, format_size};

/// Options.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

/// One that is kept, and where.
#[derive(Serialize)]
struct Shown<'a> {
    #[serde(flatten)]
    checkpoint: &'a Checkpoint,
    path: String,
    /// What there is of it.
    #[serde(flatten)]
    presence: Presence,
}

impl<'a> Shown<'a> {
    fn of(checkpoint: &'a Checkpoint, dir: &CheckpointDir) -> Self {
        let (file, presence) = there_is(checkpoint, dir);
        Self {
            checkpoint,
            path: dir.file(&file).display().to_string(),
            presence,
        }
    }
}

#[derive(Serialize)]
struct List<'a> {
    checkpoints: Vec<Shown<'a>>,
    gone: &'a [projections::checkpoints::Gone],
    refused: &'a [projections::checkpoints::Refused],
    failed: Option<&'a projections::checkpoints::FailedToMake>,
    #[serde(skip_serializing_if = "Option::is_none")]
    verified: Option<&'a Told<RecoveryVerified>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    diverged: Option<&'a Told<RecoveryDiverged>>,
}

pub(crate) fn run(globals: &Globals, _: &Args) -> Result<Exit, Failure> {
    let data_dir = globals.data_dir()?;
    let source = Source::open(&data_dir)?;
    let list = checkpoints(&source)?;
    let dir = CheckpointDir::new(&data_dir);
    let shown = list.checkpoints.iter().map(|one| Shown::of(one, &dir));
    let shown: Vec<Shown<'_>> = shown.collect();
    let mut out = globals.out(Paging::Allowed, Buffering::Full);
    if globals.json {
        out.json(&List {
            checkpoints: shown,
            gone: &list.gone,
            refused: &list.refused,
            failed: list.failed.as_ref(),
            verified: list.verified.as_ref(),
            diverged: list.diverged.as_ref(),
        })?;
        out.finish()?;
        return Ok(Exit::OK);
    }
    let mut table = Table::new(&[
        Column::elastic("CHECKPOINT"),
        Column::number("EVENTS"),
        Column::number("SIZE"),
        Column::number("AGO"),
        Column::text("WHY"),
        Column::text("FILE"),
    ]);
    let now = clock::now();
    for one in &shown {
        table.row(row(one, now));
    }
    let paint = out.paint;
    let lines = table.render(out.width, paint, &|column, cell| match (column, cell) {
        (5, "there") | (..5, _) => cell.to_owned(),
        _ => paint.warn(cell),
    });
    out.lines(lines)?;
    out.lines(list.verified.iter().map(|told| compared(told, now)))?;
    out.finish()?;
    for warning in list.warnings() {
        note(format_args!("warning: {}", escape(&warning)));
    }
    strangers(&dir, &list);
    Ok(Exit::OK)
}

/// That what a recovery makes of the ledger is what others have made of it.
fn compared(told: &Told<RecoveryVerified>, now: ledger_core::time::Timestamp) -> String {
    let ago = format_duration(now.since(told.at));
    let (node, seq) = (&told.node, told.facts.seq);
    let same = same_as(&told.facts.compared);
    format!("node {node}, {ago} ago: state at seq {seq} {same}")
}

fn row(one: &Shown<'_>, now: ledger_core::time::Timestamp) -> Vec<String> {
    let Checkpoint {
        name,
        recorded_at,
        facts,
        rejected,
        ..
    } = one.checkpoint;
    let made_at = facts.made_at.unwrap_or(*recorded_at);
    let file = match (rejected, &one.presence) {
        (Some(_), Presence::There) => "passed over",
        (_, presence) => presence.word(),
    };
    vec![
        name.to_string(),
        format_count(facts.seq.0),
        format_size(facts.bytes),
        format_duration(now.since(made_at)),
        facts.cause.map_or("-", |cause| cause.name()).to_owned(),
        file.to_owned(),
    ]
}
