//! `ledger snapshot verify`: reads snapshots, manifest and content, and holds them against the ledger. The
//! exit code is the answer: 0, or 3 if something is wrong with any of them.

use ledger_core::hash::Hash;
use ledger_core::ids::Id;
use serde::Serialize;

use super::{checked, facts, lock};
use crate::cli::error::{Exit, Failure};
use crate::cli::globals::Globals;
use crate::cli::output::escape::escape;
use crate::cli::output::progress::Progress;
use crate::cli::output::{Buffering, Paging, note};
use crate::cli::source::Source;
use crate::snapshots::{Listed, SnapshotError, Snapshots};
use crate::units::{count_of, format_size};

/// Options.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only of this set
    #[arg(value_name = "SET")]
    set: Option<Id>,
    /// Which of the set: a name, `latest` or `all`
    #[arg(value_name = "SNAPSHOT", default_value = "all")]
    snapshot: String,
}

#[derive(Serialize)]
struct Shown {
    set: Id,
    snapshot: Id,
    good: bool,
    /// Whether the ledger has its manifest's hash.
    recorded: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    manifest: Option<Hash>,
    #[serde(skip_serializing_if = "Option::is_none")]
    files: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fault: Option<String>,
}

pub(crate) fn run(globals: &Globals, args: &Args) -> Result<Exit, Failure> {
    let data_dir = globals.data_dir()?;
    let known = facts(&Source::open(&data_dir)?)?;
    let snapshots = Snapshots::of(&data_dir);
    let mut wanted: Vec<Listed> = Vec::new();
    let sets = match &args.set {
        Some(set) => vec![set.clone()],
        None => snapshots.sets()?,
    };
    for set in sets {
        match &*args.snapshot {
            "all" if args.set.is_none() || snapshots.find(&set, "latest").is_ok() => {
                wanted.extend(snapshots.list(&set)?);
            }
            "all" => wanted.push(snapshots.find(&set, "latest")?),
            name => wanted.push(snapshots.find(&set, name)?),
        }
    }
    let bytes = |listed: &Listed| listed.manifest.as_ref().map_or(0, |(m, _)| m.bytes());
    let bar = Progress::bytes("verifying", wanted.iter().map(bytes).sum());
    let mut read = 0;
    let mut rows = Vec::new();
    if !wanted.is_empty() {
        let locked = lock(&snapshots)?;
        for listed in wanted {
            let facts = known.get(&listed.set);
            let (set, snapshot) = (listed.set.clone(), listed.name.clone());
            let recorded = facts.is_some_and(|facts| facts.kept.contains_key(&snapshot));
            let result = checked(listed, facts).and_then(|(manifest, hash)| {
                locked.verify(&manifest, &mut |bytes| {
                    read += bytes;
                    bar.at(read);
                })?;
                Ok((manifest, hash))
            });
            let fault = match &result {
                Ok(_) => None,
                Err(error) if is_damage(error) => Some(error.to_string()),
                Err(_) => return Err(result.err().map_or(Failure::ClosedPipe, Failure::from)),
            };
            let result = result.ok();
            if !recorded {
                note(format_args!(
                    "snapshot {snapshot} of {set} is not recorded in the ledger: that it was not \
                     changed since can't be told"
                ));
            }
            rows.push(Shown {
                set,
                snapshot,
                good: fault.is_none(),
                recorded,
                manifest: result.as_ref().map(|(_, hash)| *hash),
                files: result.as_ref().map(|(m, _)| m.files.len() as u64),
                bytes: result.as_ref().map(|(m, _)| m.bytes()),
                fault,
            });
        }
    }
    drop(bar);
    show(globals, &rows)
}

/// Whether an error is a finding.
fn is_damage(error: &SnapshotError) -> bool {
    matches!(
        error,
        SnapshotError::Manifest { .. }
            | SnapshotError::Changed { .. }
            | SnapshotError::Content { .. }
    )
}

fn show(globals: &Globals, rows: &[Shown]) -> Result<Exit, Failure> {
    let mut out = globals.out(Paging::Never, Buffering::Full);
    if globals.json {
        out.json(&rows)?;
    } else {
        for row in rows {
            let name = format!("{} {}", row.set, row.snapshot);
            let line = match &row.fault {
                None => format!(
                    "{} {name}: {}, {}",
                    out.paint.good("good:"),
                    count_of(row.files.unwrap_or(0), "file"),
                    format_size(row.bytes.unwrap_or(0))
                ),
                Some(fault) => format!("{} {name}: {}", out.paint.bad("DAMAGED:"), escape(fault)),
            };
            out.wrapped(line)?;
        }
        if rows.is_empty() {
            out.line("there are no snapshots")?;
        }
    }
    out.finish()?;
    Ok(if rows.iter().all(|row| row.good) {
        Exit::OK
    } else {
        Exit::TAMPERED
    })
}
