//! `ledger checkpoint verify`: holds files against what the ledger says of them: SHA-256, position, and
//! that they restore to what was folded. Whether that is what the events lead to is asked by
//! `ledger rebuild --check`.

use ledger_core::ids::{Id, Seq};
use ledger_core::store::LogReader;
use projections::checkpoints::Checkpoint;
use projections::framework::hash_at;
use serde::Serialize;

use super::{checkpoints, named};
use crate::cli::error::{Exit, Failure};
use crate::cli::globals::Globals;
use crate::cli::output::escape::escape;
use crate::cli::output::{Buffering, Paging};
use crate::cli::source::Source;
use crate::node::checkpoints::{path_of, verify};

/// Options.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Which [default: all that are kept]
    #[arg(value_name = "NAME")]
    name: Option<Id>,
}

#[derive(Serialize)]
struct Outcome {
    checkpoint: Id,
    seq: Seq,
    good: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

pub(crate) fn run(globals: &Globals, args: &Args) -> Result<Exit, Failure> {
    let data_dir = globals.data_dir()?;
    let source = Source::open(&data_dir)?;
    let list = checkpoints(&source)?;
    let wanted: Vec<&Checkpoint> = match &args.name {
        Some(name) => vec![named(&list, name)?],
        None => list.checkpoints.iter().collect(),
    };
    let outcome = |one: &&Checkpoint| {
        let path = path_of(&data_dir, one.facts.seq, &one.name);
        let reason = check(source.reader(), &path, one).err();
        Outcome {
            checkpoint: one.name.clone(),
            seq: one.facts.seq,
            good: reason.is_none(),
            reason,
        }
    };
    let outcomes: Vec<Outcome> = wanted.iter().map(outcome).collect();
    let mut out = globals.out(Paging::Never, Buffering::Full);
    if globals.json {
        out.json(&outcomes)?;
    } else {
        for one in &outcomes {
            let word = match &one.reason {
                None => out.paint.good("good"),
                Some(reason) => format!("{}: {}", out.paint.bad("NOT GOOD"), escape(reason)),
            };
            out.wrapped(format_args!(
                "{} of seq {}: {word}",
                one.checkpoint, one.seq
            ))?;
        }
        if outcomes.is_empty() {
            out.line("there are no checkpoints")?;
        }
    }
    match out.finish() {
        Ok(()) | Err(Failure::ClosedPipe) => {}
        Err(failure) => return Err(failure),
    }
    let good = outcomes.iter().all(|one| one.good);
    Ok(if good { Exit::OK } else { Exit::TAMPERED })
}

fn check(reader: &dyn LogReader, path: &std::path::Path, one: &Checkpoint) -> Result<(), String> {
    verify(path, reader.ledger_id(), &one.facts).map_err(|e| e.to_string())?;
    let found = hash_at(reader, one.facts.seq).map_err(|e| e.to_string())?;
    if found == one.facts.hash {
        return Ok(());
    }
    Err(format!(
        "seq {} has hash {found} in the ledger",
        one.facts.seq
    ))
}
