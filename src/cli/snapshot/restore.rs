//! `ledger snapshot restore`: brings the files of a snapshot back, in place or elsewhere. What it replaces
//! it says before, and asks.

use std::path::{Path, PathBuf};

use ledger_core::event::SnapshotRestored;
use ledger_core::hash::Hash;
use ledger_core::ids::Id;
use serde::Serialize;

use super::{checked, facts, lock, tell};
use crate::api::wire::{ApiError, ErrorCode, SnapshotNote};
use crate::cli::error::{Exit, Failure};
use crate::cli::globals::Globals;
use crate::cli::output::ask::Question;
use crate::cli::output::escape::escape;
use crate::cli::output::progress::Progress;
use crate::cli::output::{Buffering, Out, Paging, note};
use crate::cli::source::Source;
use crate::config::Config;
use crate::snapshots::{Change, Manifest, Plan, Planned, Snapshots};
use crate::units::{count_of, format_count};

/// Options.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Of which set
    #[arg(value_name = "SET")]
    set: Id,
    /// Which: a name, or `latest`
    #[arg(value_name = "SNAPSHOT", default_value = "latest")]
    snapshot: String,
    /// Beneath which directory [default: where the files were copied from]
    #[arg(long, value_name = "DIR")]
    into: Option<PathBuf>,
    /// Also one that is not recorded in the ledger, so that nobody can tell whether it was changed
    #[arg(long)]
    unrecorded: bool,
    /// Only say what would be done
    #[arg(long)]
    dry_run: bool,
    /// Don't ask before files are replaced
    #[arg(long)]
    yes: bool,
}

#[derive(Serialize)]
struct Shown<'a> {
    set: &'a Id,
    snapshot: &'a Id,
    manifest: Hash,
    into: String,
    dry_run: bool,
    /// Files that were written, or would be.
    written: u64,
    /// Those of them that take the place of others.
    replaced: u64,
    files: &'a [Planned],
}

pub(crate) fn run(globals: &Globals, args: &Args) -> Result<Exit, Failure> {
    let data_dir = globals.data_dir()?;
    let source = Source::open(&data_dir)?;
    let known = facts(&source)?;
    let snapshots = Snapshots::of(&data_dir);
    let locked = lock(&snapshots)?;
    let listed = snapshots.find(&args.set, &args.snapshot)?;
    let facts = known.get(&args.set);
    let recorded = facts.is_some_and(|facts| facts.kept.contains_key(&listed.name));
    let (manifest, hash) = checked(listed, facts)?;
    if !recorded && !args.unrecorded {
        let message = format!(
            "snapshot {} of {} is not recorded in the ledger",
            manifest.snapshot, args.set
        );
        return Err(ApiError::new(ErrorCode::Refused, message)
            .because("that it was not changed since it was made can't be told")
            .hint("a node records the latest when it starts; --unrecorded restores it as it is")
            .into());
    }
    let into = match &args.into {
        Some(into) => std::path::absolute(into).map_err(|e| {
            ApiError::new(ErrorCode::Failed, "the current directory can't be told").because(e)
        })?,
        None => in_place(globals, &data_dir, &manifest)?,
    };
    let plan = locked.plan(&manifest, &into)?;
    let replaced = plan.count(Change::replaces);
    if !args.dry_run {
        if replaced > 0 && !args.yes {
            confirm(&plan, &into)?;
        }
        let bar = Progress::bytes("restoring", manifest.bytes().saturating_mul(2));
        let mut done = 0;
        let restored = locked.restore(&manifest, &into, &mut |bytes| {
            done += bytes;
            bar.at(done);
        })?;
        drop(bar);
        let told = SnapshotRestored {
            snapshot: manifest.snapshot.clone(),
            manifest: hash,
            into: into.display().to_string(),
            files: restored.written,
            replaced: restored.replaced,
        };
        tell(&source, &args.set, SnapshotNote::Restored(told))?;
    }
    let mut out = globals.out(Paging::Never, Buffering::Full);
    if globals.json {
        out.json(&Shown {
            set: &args.set,
            snapshot: &manifest.snapshot,
            manifest: hash,
            into: into.display().to_string(),
            dry_run: args.dry_run,
            written: plan.count(|change| change != Change::Same),
            replaced,
            files: &plan.files,
        })?;
    } else {
        print(&mut out, args, &manifest, &plan, &into)?;
    }
    out.finish()?;
    Ok(Exit::OK)
}

/// Where the files were copied from, if the configuration says the same: a manifest alone does not say
/// where to write.
fn in_place(globals: &Globals, data_dir: &Path, manifest: &Manifest) -> Result<PathBuf, Failure> {
    let config = Config::load(data_dir, globals.config.as_deref())?;
    let set = &manifest.set;
    let root = config
        .snapshots
        .get(set)
        .map(|config| config.file_set(set, data_dir).root);
    match root {
        Some(root) if root.display().to_string() == manifest.root => Ok(root),
        other => {
            let message = "where the files belong is not certain";
            let cause = match other {
                Some(root) => format!(
                    "they were copied from {}, and the root of {set} is {} now",
                    manifest.root,
                    root.display()
                ),
                None => format!(
                    "they were copied from {}, and {set} is not configured any more",
                    manifest.root
                ),
            };
            Err(ApiError::new(ErrorCode::Usage, message)
                .because(cause)
                .hint("name the directory with --into")
                .into())
        }
    }
}

fn confirm(plan: &Plan, into: &Path) -> Result<(), Failure> {
    let replaced = plan.files.iter().filter(|file| file.change.replaces());
    for file in replaced {
        note(format_args!("replaces {}", escape(&file.path)));
    }
    let count = count_of(plan.count(Change::replaces), "file");
    let into = into.display().to_string();
    Question {
        ask: &format!("replace {count} beneath {}?", escape(&into)),
        act: &format!("this replaces {count} beneath {into}"),
        refused: "nothing was restored",
    }
    .confirm()
}

fn print(
    out: &mut Out,
    args: &Args,
    manifest: &Manifest,
    plan: &Plan,
    into: &Path,
) -> Result<(), Failure> {
    for file in plan.files.iter().filter(|f| f.change != Change::Same) {
        let word = match (file.change, args.dry_run) {
            (Change::Same, _) => continue,
            (Change::New, true) => "would be new",
            (Change::New, false) => "new",
            (Change::Replaced, true) => "would be replaced",
            (Change::Replaced, false) => "replaced",
            (Change::Mode, true) => "would change its mode",
            (Change::Mode, false) => "mode changed",
            (Change::ReplacesLink, true) => "link would be replaced",
            (Change::ReplacesLink, false) => "link replaced",
        };
        let doubt = match file.changing {
            true => " (changed while it was copied)",
            false => "",
        };
        out.line(format_args!("{word}: {}{doubt}", escape(&file.path)))?;
    }
    let written = count_of(plan.count(|change| change != Change::Same), "file");
    let verb = match args.dry_run {
        true => "would be written",
        false => "written",
    };
    let into = into.display().to_string();
    out.wrapped(format_args!(
        "{} {}: {written} {verb} beneath {}, {} of them replaced, {} the same already",
        args.set,
        manifest.snapshot,
        escape(&into),
        format_count(plan.count(Change::replaces)),
        format_count(plan.count(|change| change == Change::Same))
    ))
}
