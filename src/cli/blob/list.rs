//! `ledger blob list`.

use std::collections::HashMap;

use ledger_core::blobs::{MediaType, named_in};
use ledger_core::hash::Hash;
use ledger_core::ids::Seq;
use ledger_core::time::Timestamp;
use serde::Serialize;

use super::{of_blob, open};
use crate::cli::error::{Exit, Failure};
use crate::cli::globals::Globals;
use crate::cli::output::table::{Column, Table};
use crate::cli::output::text::width;
use crate::cli::output::{Buffering, Paging};
use crate::cli::source::Source;
use crate::units::format_size;

/// Options.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only those that no event names
    #[arg(long)]
    unnamed: bool,
}

#[derive(Serialize)]
struct Row {
    blake3: Hash,
    bytes: u64,
    modified: Timestamp,
    /// The last event that names it.
    #[serde(skip_serializing_if = "Option::is_none")]
    named_by: Option<Seq>,
    #[serde(skip_serializing_if = "Option::is_none")]
    media_type: Option<MediaType>,
}

pub(crate) fn run(globals: &Globals, args: &Args) -> Result<Exit, Failure> {
    let data_dir = globals.data_dir()?;
    let source = Source::open(&data_dir)?;
    let reader = source.reader();
    let named = named_in(reader, Seq::FIRST..=reader.head()?.seq)?;
    let named: HashMap<Hash, (Seq, MediaType)> = named
        .into_iter()
        .map(|(seq, named)| (named.blake3, (seq, named.media_type)))
        .collect();
    let mut rows = Vec::new();
    for entry in open(&data_dir)?.list() {
        let entry = entry.map_err(of_blob)?;
        let by = named.get(&entry.digest);
        if args.unnamed && by.is_some() {
            continue;
        }
        rows.push(Row {
            blake3: entry.digest,
            bytes: entry.bytes,
            modified: entry.modified,
            named_by: by.map(|(seq, _)| *seq),
            media_type: by.map(|(_, media_type)| media_type.clone()),
        });
    }
    let mut out = globals.out(Paging::Allowed, Buffering::Full);
    if globals.json {
        out.json(&rows)?;
    } else {
        let mut table = Table::new(&[
            Column::text("BLOB"),
            Column::number("SIZE"),
            Column::number("SEQ"),
            Column::text("TYPE"),
        ]);
        for row in &rows {
            let by = row.named_by.map(|seq| seq.to_string());
            let media_type = row.media_type.as_ref().map(ToString::to_string);
            table.row(vec![
                row.blake3.to_string(),
                format_size(row.bytes),
                by.unwrap_or_else(|| "-".to_owned()),
                media_type.unwrap_or_else(|| "-".to_owned()),
            ]);
        }
        let lines = table.render(None, out.paint, &|_, cell| cell.to_owned());
        let widest = lines.iter().map(|line| width(line)).max();
        let fits = out.width.is_none_or(|columns| widest <= Some(columns));
        if fits {
            out.lines(lines)?;
        } else {
            // A name that is cut is of no use: what is said of it goes below.
            for row in &rows {
                out.line(row.blake3)?;
                let by = row.named_by.map(|seq| format!("  seq {seq}"));
                let media_type = row.media_type.as_ref().map(|t| format!("  {t}"));
                out.line(format_args!(
                    "    {}{}{}",
                    format_size(row.bytes),
                    by.unwrap_or_default(),
                    media_type.unwrap_or_default()
                ))?;
            }
        }
    }
    out.finish()?;
    Ok(Exit::OK)
}
