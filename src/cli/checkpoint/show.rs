//! `ledger checkpoint show`.

use ledger_core::ids::Id;
use projections::checkpoints::Checkpoint;

use super::{checkpoints, named, there_is};
use crate::cli::error::{Exit, Failure};
use crate::cli::globals::Globals;
use crate::cli::output::escape::escape;
use crate::cli::output::{Buffering, Out, Paging};
use crate::cli::source::Source;
use crate::node::checkpoints::{CheckpointDir, Presence};
use crate::units::{format_duration, format_size};

/// Options.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The checkpoint
    #[arg(value_name = "NAME")]
    name: Id,
}

pub(crate) fn run(globals: &Globals, args: &Args) -> Result<Exit, Failure> {
    let data_dir = globals.data_dir()?;
    let source = Source::open(&data_dir)?;
    let list = checkpoints(&source)?;
    let one = named(&list, &args.name)?;
    let mut out = globals.out(Paging::Allowed, Buffering::Full);
    if globals.json {
        out.json(one)?;
    } else {
        let dir = CheckpointDir::new(&data_dir);
        let (file, presence) = there_is(one, &dir);
        let lines = lines(&out, one, &dir.file(&file).display().to_string(), &presence);
        out.lines(lines)?;
    }
    out.finish()?;
    Ok(Exit::OK)
}

fn lines(out: &Out, one: &Checkpoint, path: &str, presence: &Presence) -> Vec<String> {
    let facts = &one.facts;
    let mut lines = vec![format!("checkpoint {}", out.paint.strong(&one.name))];
    let mut field = |name: &str, value: String| lines.push(format!("    {name:<10} {value}"));
    field(
        "position",
        format!("seq {}, hash {}", facts.seq, facts.hash.short()),
    );
    if let Some(term) = facts.term {
        field("term", term.to_string());
    }
    if let Some(at) = facts.made_at {
        field("made", out.times.full(at).to_string());
    }
    if let Some(cause) = facts.cause {
        field("why", cause.name().to_owned());
    }
    if let Some(took) = facts.took_us {
        field("took", format_duration(took));
    }
    if let Some(system) = &facts.system {
        field("ledger", escape(system).into_owned());
    }
    field("recorded", format!("seq {}", one.recorded));
    field("size", format_size(facts.bytes));
    field("sha256", facts.sha256.clone());
    field("file", escape(path).into_owned());
    match presence {
        Presence::There => {}
        Presence::Damaged(fault) => field("", out.paint.warn(fault)),
        Presence::SetAside | Presence::Missing => field("", out.paint.warn(presence.word())),
    }
    let tasks = facts.tasks.iter().map(|(state, n)| format!("{n} {state}"));
    let tasks: Vec<_> = tasks.collect();
    if !tasks.is_empty() {
        field("tasks", tasks.join(", "));
    }
    if let Some(extra) = &facts.extra {
        field("extra", escape(&extra.to_string()).into_owned());
    }
    if let Some(reason) = &one.rejected {
        field("passed over", out.paint.warn(&escape(reason)));
    }
    for part in &facts.parts {
        lines.push(format!(
            "    {:<12} version {}, digest {}",
            part.name,
            part.version,
            part.digest.short()
        ));
    }
    lines
}
