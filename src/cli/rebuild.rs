//! `ledger rebuild`: a projection is a fold of the log, so it can always be made again; and with
//! `--check`, what is shown now is held against a new fold without changing it.
//!
//! Through a node the new fold is made here from its raw blocks, so that what the node shows is
//! checked by somebody else.

use std::borrow::Cow;

use ledger_core::hash::Hash;
use ledger_core::ids::{LedgerId, Seq};
use ledger_core::store::LogReader;
use projections::framework::{
    FirstDifference, Fold, Health, SnapshotError, View, ViewDir, catch_up, first_difference,
};
use projections::views;
use serde::Serialize;

use super::checkpoint::checkpoints;
use super::error::{Exit, Failure};
use super::filter_args::AtArg;
use super::globals::Globals;
use super::output::escape::escape;
use super::output::progress::Progress;
use super::output::text::cut;
use super::output::{Buffering, Out, Paging, note};
use super::source::{Node, Source};
use crate::api::wire::{ApiError, ErrorCode};
use crate::config::nearest;
use crate::lease::lock::DirLock;
use crate::node::checkpoints::{CheckpointError, path_of, verify};
use crate::node::decision::Decision;

/// Options.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Which projection [default: all of them]
    #[arg(value_name = "NAME")]
    name: Option<String>,
    /// Change nothing: compare what is shown now with a new fold; exit 1 if they differ
    #[arg(long, conflicts_with = "at")]
    check: bool,
    #[command(flatten)]
    at: AtArg,
}

/// What came of one projection, for programs and people.
#[derive(Debug, Serialize)]
struct Outcome {
    name: Cow<'static, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<u32>,
    seq: Seq,
    /// Digest of the new fold.
    rebuilt: Hash,
    /// Digest of what is shown now, if that was compared.
    #[serde(skip_serializing_if = "Option::is_none")]
    live: Option<Hash>,
    /// Whether both are the same, if that was compared.
    #[serde(skip_serializing_if = "Option::is_none")]
    same: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    difference: Option<FirstDifference>,
    /// Why there was nothing to compare with, or where the fold stopped.
    #[serde(skip_serializing_if = "Option::is_none")]
    remark: Option<String>,
}

pub(crate) fn run(globals: &Globals, args: &Args) -> Result<Exit, Failure> {
    let data_dir = globals.data_dir()?;
    let wanted = wanted(args.name.as_deref())?;
    let source = Source::open(&data_dir)?;
    let at = args.at.seq(source.reader())?;
    let mut outcomes = Vec::new();
    for view in wanted {
        outcomes.push(match (&source, at, args.check) {
            (_, Some(at), _) => refold(source.reader(), view, Some(at))?,
            (Source::Node(node), None, true) => check_node(node, view)?,
            (Source::Files(files), None, true) => {
                check_files(&**files, &data_dir.join("views"), view)?
            }
            (Source::Node(node), None, false) => rebuild_in_node(node, view)?,
            (Source::Files(files), None, false) => rebuild_files(&**files, &data_dir, view)?,
        });
    }
    if args.check && args.name.is_none() {
        outcomes.extend(check_checkpoints(&source, &data_dir)?);
    }
    let mut out = globals.out(Paging::Never, Buffering::Full);
    let printed = print(&mut out, globals, &outcomes).and_then(|()| out.finish());
    match printed {
        Ok(()) | Err(Failure::ClosedPipe) => {}
        Err(failure) => return Err(failure),
    }
    let differs = outcomes.iter().any(|outcome| outcome.same == Some(false));
    Ok(if differs { Exit::FAILED } else { Exit::OK })
}

fn wanted(name: Option<&str>) -> Result<Vec<Box<dyn View>>, ApiError> {
    let all = views::all();
    let Some(name) = name else {
        return Ok(all);
    };
    let names: Vec<_> = all.iter().map(|view| view.name()).collect();
    let found: Vec<_> = all.into_iter().filter(|view| view.name() == name).collect();
    if !found.is_empty() {
        return Ok(found);
    }
    let hint = match nearest(name, names.iter().copied()) {
        Some(nearest) => format!("did you mean {nearest}?"),
        None => format!("there are {}", names.join(", ")),
    };
    Err(ApiError::new(
        ErrorCode::NotFound,
        format!("there is no projection {name:?}"),
    )
    .hint(hint))
}

/// Folds a view from the first event, with a progress bar.
fn fold(
    reader: &dyn LogReader,
    mut view: Box<dyn View>,
    at: Option<Seq>,
) -> Result<Box<dyn View>, Failure> {
    let total = at.map_or_else(|| reader.head().map(|head| head.seq), Ok)?;
    let bar = Progress::events(view.name(), total.0);
    catch_up(view.as_mut(), reader, at, &mut |seq| {
        bar.at(seq.0);
        std::ops::ControlFlow::Continue(())
    })?;
    Ok(view)
}

fn outcome(view: &dyn View) -> Outcome {
    Outcome {
        name: view.name().into(),
        version: Some(view.version()),
        seq: view.position().seq,
        rebuilt: view.digest(),
        live: None,
        same: None,
        difference: None,
        remark: match view.health() {
            Health::Following => None,
            Health::Poisoned { seq, reason } => Some(format!(
                "stops before seq {seq}, which can't be folded: {reason}"
            )),
        },
    }
}

fn refold(
    reader: &dyn LogReader,
    view: Box<dyn View>,
    at: Option<Seq>,
) -> Result<Outcome, Failure> {
    Ok(outcome(fold(reader, view, at)?.as_ref()))
}

/// What a view shows: its position, digest and rows.
struct Content {
    seq: Seq,
    hash: Hash,
    digest: Hash,
    rows: Vec<(String, String)>,
}

fn check_node(node: &Node, view: Box<dyn View>) -> Result<Outcome, Failure> {
    let name = view.name();
    let (head, rows) = node.wait(async {
        let mut snapshot = node.client().snapshot(name).await?;
        let mut rows = Vec::new();
        while let Some((key, value)) = snapshot.row().await? {
            rows.push((key, value.get().to_owned()));
        }
        Ok::<_, ApiError>((snapshot.head().clone(), rows))
    })?;
    if head.version != view.version() {
        let cause = format!(
            "the node folds version {}, this is {}",
            head.version,
            view.version()
        );
        return Err(
            ApiError::new(ErrorCode::Refused, format!("{name} can't be compared"))
                .because(cause)
                .hint("use the node's own version of `ledger`")
                .into(),
        );
    }
    let content = Content {
        seq: head.seq,
        hash: head.hash,
        digest: head.digest,
        rows,
    };
    compare(node, view, content)
}

fn check_files(
    reader: &dyn LogReader,
    dir: &std::path::Path,
    view: Box<dyn View>,
) -> Result<Outcome, Failure> {
    let mut live = view.fresh();
    // Opening a directory of views would make it.
    let loaded = match dir.symlink_metadata() {
        Ok(_) => ViewDir::open(dir).and_then(|dir| live.load(&dir, reader.ledger_id())),
        Err(_) => Err(SnapshotError::Missing),
    };
    match loaded {
        Ok(()) => {
            let mut rows = Vec::new();
            live.rows(&mut |key, value| rows.push((key.to_owned(), value.to_owned())));
            let position = live.position();
            let digest = live.digest();
            compare(
                reader,
                view,
                Content {
                    seq: position.seq,
                    hash: position.hash,
                    digest,
                    rows,
                },
            )
        }
        Err(SnapshotError::Missing) => {
            let mut outcome = refold(reader, view, None)?;
            outcome.remark = Some("no snapshot to compare with".to_owned());
            Ok(outcome)
        }
        // A snapshot that can't be read shows nothing that could be right.
        Err(error) => {
            let mut outcome = refold(reader, view, None)?;
            outcome.same = Some(false);
            outcome.remark = Some(error.to_string());
            Ok(outcome)
        }
    }
}

fn compare(reader: &dyn LogReader, view: Box<dyn View>, live: Content) -> Result<Outcome, Failure> {
    let head = reader.head()?.seq;
    if live.seq > head {
        return Err(ApiError::new(
            ErrorCode::Tampered,
            format!("{} is ahead of the ledger", view.name()),
        )
        .because(format!(
            "it stands at seq {}, the ledger ends at seq {head}",
            live.seq
        ))
        .hint("`ledger verify` says whether events are missing")
        .into());
    }
    let rebuilt = fold(reader, view, Some(live.seq))?;
    let mut outcome = outcome(rebuilt.as_ref());
    outcome.live = Some(live.digest);
    let position = rebuilt.position();
    if position.seq == live.seq && position.hash != live.hash {
        outcome.same = Some(false);
        outcome.remark = Some(format!(
            "it was folded from another history up to seq {}",
            live.seq
        ));
        return Ok(outcome);
    }
    let mut rows = Vec::new();
    rebuilt.rows(&mut |key, value| rows.push((key.to_owned(), value.to_owned())));
    // The rows are compared whatever the digests say: a digest is the other side's word.
    outcome.difference = first_difference(live.rows.into_iter(), rows.into_iter());
    outcome.same = Some(outcome.difference.is_none() && outcome.rebuilt == live.digest);
    Ok(outcome)
}

/// Holds every checkpoint that is kept against a fold from the first event: one fold for all of them,
/// which stops where each stands.
fn check_checkpoints(source: &Source, data_dir: &std::path::Path) -> Result<Vec<Outcome>, Failure> {
    let reader = source.reader();
    let list = checkpoints(source)?;
    let mut all = Fold::<Decision>::default();
    let mut outcomes = Vec::new();
    // One that a recovery has passed over is known to be no good, and is used by nobody.
    for one in list.checkpoints.iter().filter(|one| one.rejected.is_none()) {
        let (seq, path) = (one.facts.seq, path_of(data_dir, one.facts.seq, &one.name));
        let bar = Progress::events("decision", seq.0);
        catch_up(&mut all, reader, Some(seq), &mut |seq| {
            bar.at(seq.0);
            std::ops::ControlFlow::Continue(())
        })?;
        drop(bar);
        let mut outcome = Outcome {
            name: format!("checkpoint {}", one.name).into(),
            // Its parts have versions of their own.
            version: None,
            ..outcome(&all)
        };
        match verify(&path, reader.ledger_id(), &one.facts) {
            Ok(verified) => {
                let rows = |fold: &Fold<Decision>| {
                    let mut rows = Vec::new();
                    View::rows(fold, &mut |k, v| rows.push((k.to_owned(), v.to_owned())));
                    rows
                };
                let live = verified.fold.digest();
                outcome.live = Some(live);
                if live != outcome.rebuilt {
                    let (live, rebuilt) = (rows(&verified.fold), rows(&all));
                    outcome.difference = first_difference(live.into_iter(), rebuilt.into_iter());
                }
                let same = live == outcome.rebuilt && all.position() == verified.fold.position();
                outcome.same = Some(same);
            }
            // What is not there is not wrong.
            Err(error @ CheckpointError::Missing) => {
                note(format_args!(
                    "checkpoint {} is not compared: {error}",
                    one.name
                ));
                continue;
            }
            Err(error) => {
                outcome.same = Some(false);
                outcome.remark = Some(error.to_string());
            }
        }
        outcomes.push(outcome);
    }
    Ok(outcomes)
}

fn rebuild_in_node(node: &Node, view: Box<dyn View>) -> Result<Outcome, Failure> {
    let info = node.wait(node.client().rebuild(view.name()))?;
    let missing = || ApiError::new(ErrorCode::Failed, "the node did not name the digest");
    Ok(Outcome {
        seq: info.seq,
        rebuilt: info.digest.ok_or_else(missing)?,
        remark: info.poisoned,
        ..outcome(view.as_ref())
    })
}

/// Writes a new snapshot. The lock is held meanwhile, so that no node writes another.
fn rebuild_files(
    reader: &dyn LogReader,
    data_dir: &std::path::Path,
    view: Box<dyn View>,
) -> Result<Outcome, Failure> {
    let _lock = DirLock::take(data_dir).map_err(|e| {
        ApiError::new(ErrorCode::Refused, "the snapshots can't be replaced now").because(e)
    })?;
    let rebuilt = fold(reader, view, None)?;
    let ledger_id: LedgerId = reader.ledger_id();
    rebuilt.save(&ViewDir::open(data_dir.join("views"))?, ledger_id)?;
    Ok(outcome(rebuilt.as_ref()))
}

fn print(out: &mut Out, globals: &Globals, outcomes: &[Outcome]) -> Result<(), Failure> {
    if globals.json {
        return out.json(&outcomes);
    }
    for outcome in outcomes {
        let word = match outcome.same {
            None => "folded".to_owned(),
            Some(true) => out.paint.good("same"),
            Some(false) => out.paint.bad("DIFFERS"),
        };
        let version = outcome.version.map(|version| format!(" version {version}"));
        out.line(format_args!(
            "{}{}: {word} at seq {}",
            out.paint.strong(&outcome.name),
            version.unwrap_or_default(),
            outcome.seq
        ))?;
        out.line(format_args!("    rebuilt {}", outcome.rebuilt))?;
        if let Some(live) = outcome.live {
            out.line(format_args!("    live    {live}"))?;
        }
        if let Some(remark) = &outcome.remark {
            out.line(format_args!("    {}", escape(remark)))?;
        }
        if let Some(difference) = &outcome.difference {
            out.line(format_args!(
                "    first difference: {}",
                escape(&difference.key)
            ))?;
            for (side, row) in [("live", &difference.live), ("rebuilt", &difference.rebuilt)] {
                let row = row.as_deref().map_or("nothing".into(), escape);
                out.line(format_args!("        {side:<7} {}", cut(&row, 2000)))?;
            }
        }
    }
    Ok(())
}
