//! `ledger checkpoint verify`: holds files against what the ledger says of them: SHA-256, position, and
//! that they restore to what was folded. Whether that is what the events lead to is asked by
//! `ledger rebuild --check`.

use ledger_core::ids::{Id, Seq};
use ledger_core::store::LogReader;
use projections::checkpoints::Checkpoint;
use projections::framework::hash_at;
use serde::Serialize;

use super::{checkpoints, named, strangers, there_is};
use crate::cli::error::{Exit, Failure};
use crate::cli::globals::Globals;
use crate::cli::output::escape::escape;
use crate::cli::output::{Buffering, Paging, note};
use crate::cli::source::Source;
use crate::node::checkpoints::{CheckpointDir, Presence, verify};

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
    #[serde(flatten)]
    verdict: Verdict,
}

/// What is to be said of one.
#[derive(Serialize)]
#[serde(rename_all = "snake_case", tag = "verdict", content = "reason")]
enum Verdict {
    /// It is what was written.
    Good,
    /// It is not.
    NotGood(String),
    /// A recovery has passed it over, which is known; its file stands aside if it was there.
    SetAside(String),
    /// There is no file.
    Missing,
}

pub(crate) fn run(globals: &Globals, args: &Args) -> Result<Exit, Failure> {
    let data_dir = globals.data_dir()?;
    let source = Source::open(&data_dir)?;
    let list = checkpoints(&source)?;
    let wanted: Vec<&Checkpoint> = match &args.name {
        Some(name) => vec![named(&list, name)?],
        None => list.checkpoints.iter().collect(),
    };
    let dir = CheckpointDir::new(&data_dir);
    let outcome = |one: &&Checkpoint| Outcome {
        checkpoint: one.name.clone(),
        seq: one.facts.seq,
        verdict: check(source.reader(), &dir, one),
    };
    let outcomes: Vec<Outcome> = wanted.iter().map(outcome).collect();
    let mut out = globals.out(Paging::Never, Buffering::Full);
    if globals.json {
        out.json(&outcomes)?;
    } else {
        for one in &outcomes {
            let word = match &one.verdict {
                Verdict::Good => out.paint.good("good"),
                Verdict::NotGood(why) => format!("{}: {}", out.paint.bad("NOT GOOD"), escape(why)),
                Verdict::SetAside(why) => {
                    format!("{}: {}", out.paint.warn("set aside"), escape(why))
                }
                Verdict::Missing => out.paint.warn("missing"),
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
    strangers(&dir, &list);
    Ok(exit(&outcomes, args.name.is_some()))
}

/// What was passed over is no news, unless somebody asks for just that one.
fn exit(outcomes: &[Outcome], named: bool) -> Exit {
    let any = |of: fn(&Verdict) -> bool| outcomes.iter().any(|one| of(&one.verdict));
    if any(|v| matches!(v, Verdict::NotGood(_))) {
        return Exit::TAMPERED;
    }
    let useless = |v: &Verdict| !matches!(v, Verdict::Good);
    if any(|v| matches!(v, Verdict::Missing)) || (named && any(useless)) {
        note("the next checkpoint that is made lets go of what is missing or set aside");
        return Exit::FAILED;
    }
    Exit::OK
}

fn check(reader: &dyn LogReader, dir: &CheckpointDir, one: &Checkpoint) -> Verdict {
    let (file, presence) = there_is(one, dir);
    if presence == Presence::Missing && one.rejected.is_none() {
        return Verdict::Missing;
    }
    if let Err(error) = verify(&dir.file(&file), reader.ledger_id(), &one.facts) {
        return match &one.rejected {
            Some(known) => Verdict::SetAside(known.clone()),
            None => Verdict::NotGood(error.to_string()),
        };
    }
    match hash_at(reader, one.facts.seq) {
        Ok(found) if found == one.facts.hash => Verdict::Good,
        Ok(found) => Verdict::NotGood(format!(
            "seq {} has hash {found} in the ledger",
            one.facts.seq
        )),
        Err(error) => Verdict::NotGood(error.to_string()),
    }
}
