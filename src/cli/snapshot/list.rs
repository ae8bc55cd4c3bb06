//! `ledger snapshot list`: the snapshots there are, oldest first, with what the ledger says of each.

use ledger_core::hash::Hash;
use ledger_core::ids::Id;
use ledger_core::time::Timestamp;
use projections::status::SetFacts;
use serde::Serialize;

use super::facts;
use crate::cli::error::{Exit, Failure};
use crate::cli::globals::Globals;
use crate::cli::output::escape::escape;
use crate::cli::output::table::{Column, Table};
use crate::cli::output::{Buffering, Paging};
use crate::cli::source::Source;
use crate::snapshots::{Listed, Snapshots};
use crate::units::{format_count, format_size};

/// Options.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only of this set
    #[arg(value_name = "SET")]
    set: Option<Id>,
}

/// How a snapshot stands to the ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Standing {
    Recorded,
    NotRecorded,
    Changed,
    Damaged,
}

#[derive(Serialize)]
struct Shown {
    set: Id,
    snapshot: Id,
    latest: bool,
    standing: Standing,
    /// Whether the set is configured now.
    configured: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    made_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    files: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    manifest: Option<Hash>,
    #[serde(skip_serializing_if = "Option::is_none")]
    root: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fault: Option<String>,
}

pub(crate) fn run(globals: &Globals, args: &Args) -> Result<Exit, Failure> {
    let data_dir = globals.data_dir()?;
    let config = globals.settings_to_read_by(&data_dir)?;
    let known = facts(&Source::open(&data_dir)?)?;
    let snapshots = Snapshots::of(&data_dir);
    let mut rows = Vec::new();
    for set in snapshots.sets()? {
        if args.set.as_ref().is_some_and(|wanted| *wanted != set) {
            continue;
        }
        let listed = snapshots.list(&set)?;
        let last = listed.len().saturating_sub(1);
        for (index, listed) in listed.into_iter().enumerate() {
            let mut row = shown(listed, known.get(&set));
            row.latest = index == last;
            row.configured = config.snapshots.contains_key(&set);
            rows.push(row);
        }
    }
    let mut out = globals.out(Paging::Allowed, Buffering::Full);
    if globals.json {
        out.json(&rows)?;
        out.finish()?;
        return Ok(Exit::OK);
    }
    let mut table = Table::new(&[
        Column::text("SET"),
        Column::text("SNAPSHOT"),
        Column::number("FILES"),
        Column::number("SIZE"),
        Column::elastic("STATE"),
    ]);
    for row in &rows {
        table.row(cells(row));
    }
    let lines = table.render(out.width, out.paint, &|_, cell| cell.to_owned());
    out.lines(lines)?;
    out.finish()?;
    Ok(Exit::OK)
}

fn shown(listed: Listed, facts: Option<&SetFacts>) -> Shown {
    let recorded = facts.and_then(|facts| facts.kept.get(&listed.name));
    let standing = match (&listed.manifest, recorded) {
        (Err(_), _) => Standing::Damaged,
        (Ok(_), None) => Standing::NotRecorded,
        (Ok((_, found)), Some(recorded)) if found == recorded => Standing::Recorded,
        (Ok(_), Some(_)) => Standing::Changed,
    };
    let fault = listed.manifest.as_ref().err().map(ToString::to_string);
    let read = listed.manifest.ok();
    let manifest = read.as_ref().map(|(manifest, _)| manifest);
    Shown {
        set: listed.set,
        snapshot: listed.name,
        latest: false,
        standing,
        configured: false,
        made_at: manifest.map(|m| m.made_at),
        files: manifest.map(|m| m.files.len() as u64),
        bytes: manifest.map(crate::snapshots::Manifest::bytes),
        manifest: read.as_ref().map(|(_, hash)| *hash),
        root: manifest.map(|m| m.root.clone()),
        fault,
    }
}

fn cells(row: &Shown) -> Vec<String> {
    let mut state = match (row.standing, &row.fault) {
        (_, Some(fault)) => escape(fault).into_owned(),
        (Standing::Recorded, None) => "recorded".to_owned(),
        (Standing::NotRecorded, None) => "not recorded".to_owned(),
        (Standing::Changed | Standing::Damaged, None) => "CHANGED since it was recorded".to_owned(),
    };
    if row.latest {
        state.push_str(", latest");
    }
    if !row.configured {
        state.push_str(", set not configured");
    }
    vec![
        row.set.to_string(),
        row.snapshot.to_string(),
        row.files.map_or_else(|| "-".to_owned(), format_count),
        row.bytes.map_or_else(|| "-".to_owned(), format_size),
        state,
    ]
}
