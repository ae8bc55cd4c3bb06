//! `ledger backup list`.

use ledger_core::backup::Listed;
use ledger_core::hash::Hash;
use ledger_core::ids::{Id, LedgerId, Seq};
use ledger_core::time::Timestamp;
use serde::Serialize;

use super::DirArg;
use crate::cli::error::{Exit, Failure};
use crate::cli::globals::Globals;
use crate::cli::output::table::{Column, Table};
use crate::cli::output::{Buffering, Paging};
use crate::units::{count_of, format_count, format_size};

/// Options.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    dir: DirArg,
}

#[derive(Serialize)]
struct Shown<'a> {
    backup: &'a Id,
    path: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    ledger_id: Option<LedgerId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    made_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    seq: Option<Seq>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hash: Option<Hash>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fault: Option<String>,
}

impl<'a> Shown<'a> {
    fn of(listed: &'a Listed) -> Self {
        let manifest = listed.manifest.as_ref();
        Self {
            backup: &listed.name,
            path: listed.path.display().to_string(),
            ledger_id: manifest.ok().map(|m| m.ledger_id),
            made_at: manifest.ok().map(|m| m.made_at),
            seq: manifest.ok().map(|m| m.seq),
            hash: manifest.ok().map(|m| m.hash),
            bytes: manifest.ok().map(|m| m.bytes()),
            fault: manifest.err().map(ToString::to_string),
        }
    }
}

pub(crate) fn run(globals: &Globals, args: &Args) -> Result<Exit, Failure> {
    let catalog = args.dir.catalog(globals, &globals.data_dir()?)?;
    let listed = catalog.list()?;
    let mut out = globals.out(Paging::Allowed, Buffering::Full);
    if globals.json {
        out.json(&listed.iter().map(Shown::of).collect::<Vec<_>>())?;
        out.finish()?;
        return Ok(Exit::OK);
    }
    let mut table = Table::new(&[
        Column::text("BACKUP"),
        Column::number("EVENTS"),
        Column::number("SIZE"),
        Column::number("FILES"),
        Column::text("HASH"),
    ]);
    for listed in &listed {
        let name = listed.name.to_string();
        table.row(match &listed.manifest {
            Ok(m) => vec![
                name,
                format_count(m.seq.0),
                format_size(m.bytes()),
                format_count(m.files.len() as u64),
                m.hash.short(),
            ],
            Err(error) => vec![
                name,
                "-".to_owned(),
                "-".to_owned(),
                "-".to_owned(),
                format!("not readable: {error}"),
            ],
        });
    }
    let lines = table.render(out.width, out.paint, &|_, cell| cell.to_owned());
    out.lines(lines)?;
    let dir = catalog.dir().display().to_string();
    out.wrapped(format_args!(
        "{} in {}, {} on disk; `ledger backup verify` reads them",
        count_of(listed.len() as u64, "backup"),
        crate::cli::output::escape::escape(&dir),
        format_size(catalog.disk_bytes()?)
    ))?;
    out.finish()?;
    Ok(Exit::OK)
}
