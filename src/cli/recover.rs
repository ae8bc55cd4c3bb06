//! `ledger recover --dry-run`: what a node that starts now would do before it serves, and how long that
//! takes. The fold is really made; nothing is changed, and nothing is recorded.

use std::collections::BTreeMap;

use ledger_core::event::RecoveredFrom;
use ledger_core::ids::{Id, Seq};
use ledger_core::time::Micros;
use projections::framework::Health;
use serde::Serialize;

use super::error::{Exit, Failure, damaged};
use super::globals::Globals;
use super::output::escape::escape;
use super::output::{Buffering, Out, Paging, note};
use super::source::Source;
use crate::api::wire::{ApiError, ErrorCode};
use crate::node::checkpoints::{CheckpointDir, Recovered, Report, fold_state};
use crate::node::outlook::{Fate, Prospect, outlook};
use crate::node::ports::Stopwatch;
use crate::units::{count_of, format_duration};

/// Most attempts that are named one by one to people.
const NAMED: usize = 20;

/// Options.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only say what would be done; a node does it when it starts
    #[arg(long)]
    dry_run: bool,
}

#[derive(Serialize)]
struct PassedOver {
    checkpoint: Id,
    seq: Seq,
    reason: String,
}

#[derive(Serialize)]
struct Shown<'a> {
    /// Whether a node leads now, so that nothing of this is about to happen.
    leads: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    checkpoint: Option<RecoveredFrom>,
    passed_over: Vec<PassedOver>,
    upto: Seq,
    replayed: u64,
    open_us: Micros,
    restore_us: Micros,
    replay_us: Micros,
    attempts: &'a [Prospect],
}

pub(crate) fn run(globals: &Globals, args: &Args) -> Result<Exit, Failure> {
    if !args.dry_run {
        return Err(ApiError::new(
            ErrorCode::Usage,
            "recovering is what a node does when it starts",
        )
        .hint("`ledger up` starts one; --dry-run says what it would do")
        .into());
    }
    let data_dir = globals.data_dir()?;
    let opening = Stopwatch::start();
    let source = Source::open(&data_dir)?;
    let open = opening.elapsed();
    let Recovered { fold, report } = fold_state(&CheckpointDir::new(&data_dir), source.reader())?;
    if let Health::Poisoned { seq, reason } = fold.health() {
        return Err(damaged(format!("seq {seq} can't be folded: {reason}")).into());
    }
    let attempts = outlook(&data_dir, fold.state());
    let leads = matches!(source, Source::Node(_));
    let upto = fold.position().seq;
    let mut out = globals.out(Paging::Allowed, Buffering::Full);
    if globals.json {
        let passed_over = report.passed_over.iter().map(|passed| PassedOver {
            checkpoint: passed.file.name.clone(),
            seq: passed.file.seq,
            reason: passed.reason.clone(),
        });
        out.json(&Shown {
            leads,
            passed_over: passed_over.collect(),
            checkpoint: report.checkpoint,
            upto,
            replayed: report.replayed,
            open_us: open,
            restore_us: report.restore,
            replay_us: report.replay,
            attempts: &attempts,
        })?;
    } else {
        if leads {
            note("a node leads here: this is what another would do if it had to take over now");
        }
        show(&mut out, &report, open, &attempts)?;
    }
    out.finish()?;
    Ok(Exit::OK)
}

fn show(
    out: &mut Out,
    report: &Report,
    open: Micros,
    attempts: &[Prospect],
) -> Result<(), Failure> {
    for passed in &report.passed_over {
        let label = out.paint.warn("passed over:");
        out.wrapped(format_args!(
            "{label} checkpoint {} of seq {}: {}",
            passed.file.name,
            passed.file.seq,
            escape(&passed.reason)
        ))?;
    }
    match &report.checkpoint {
        Some(from) => out.line(format_args!(
            "from checkpoint {}, seq {}",
            out.paint.strong(&from.name),
            from.seq
        ))?,
        None => out.line("from the first event: there is no checkpoint that can be used")?,
    }
    out.line(format_args!(
        "{} to fold",
        count_of(report.replayed, "event")
    ))?;
    let all = Micros(open.0 + report.restore.0 + report.replay.0);
    out.line(format_args!(
        "{}: opening {}, restoring {}, folding {}",
        format_duration(all),
        format_duration(open),
        format_duration(report.restore),
        format_duration(report.replay)
    ))?;
    let mut counts: BTreeMap<Fate, u64> = BTreeMap::new();
    for prospect in attempts {
        *counts.entry(prospect.fate).or_default() += 1;
    }
    let told = Fate::ALL.into_iter().filter_map(|fate| {
        let count = counts.get(&fate)?;
        Some(format!("{count} {}", fate.name()))
    });
    let told: Vec<_> = told.collect();
    let open = count_of(attempts.len() as u64, "open attempt");
    if told.is_empty() {
        return out.line(open);
    }
    out.line(format_args!("{open}: {}", told.join(", ")))?;
    for prospect in attempts.iter().take(NAMED) {
        out.line(format_args!(
            "    {} attempt {}: {}",
            prospect.task,
            prospect.attempt,
            prospect.fate.name()
        ))?;
    }
    match attempts.len().saturating_sub(NAMED) {
        0 => Ok(()),
        more => out.line(format_args!("    and {more} more")),
    }
}
