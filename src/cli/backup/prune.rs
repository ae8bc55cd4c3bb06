//! `ledger backup prune`: removes backups that the rule lets go. The newest good one of each ledger
//! stays whatever the rule says.

use std::num::NonZeroUsize;

use ledger_core::backup::Keep;
use ledger_core::clock;
use ledger_core::event::LedgerBackupsPruned;
use ledger_core::ids::Id;
use ledger_core::time::Millis;
use serde::Serialize;

use super::{DirArg, confirm, record_by};
use crate::api::wire::{ApiError, ErrorCode, NoteRequest};
use crate::cli::error::{Exit, Failure};
use crate::cli::globals::Globals;
use crate::cli::output::{Buffering, Paging, note};
use crate::cli::source::Node;
use crate::cli::tail::duration;
use crate::config::Config;
use crate::units::{count_of, parse_size};

/// Options.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    dir: DirArg,
    /// Remove those that are older [default: backup.keep_for of the configuration]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    keep_for: Option<Millis>,
    /// Keep so many, however old and large they are [default: backup.keep_at_least]
    #[arg(long, value_name = "N")]
    keep_at_least: Option<u32>,
    /// Remove the oldest until all together have no more bytes [default: backup.max_size]
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    max_size: Option<u64>,
    /// Only say which would be removed
    #[arg(long)]
    dry_run: bool,
    /// Don't ask
    #[arg(long)]
    yes: bool,
}

#[derive(Serialize)]
struct Removed<'a> {
    removed: &'a [Id],
    dry_run: bool,
}

pub(crate) fn run(globals: &Globals, args: &Args) -> Result<Exit, Failure> {
    let data_dir = globals.data_dir()?;
    let catalog = args.dir.catalog(globals, &data_dir)?;
    let config = Config::load(&data_dir, globals.config.as_deref())?;
    let set = config.backup.keep();
    let keep = Keep {
        keep_for: args.keep_for.or(set.keep_for),
        at_least: args
            .keep_at_least
            .map_or(set.at_least, |n| usize::try_from(n).unwrap_or(usize::MAX)),
        max_size: args.max_size.or(set.max_size),
    };
    if keep.keep_for.is_none() && keep.max_size.is_none() {
        return Err(
            ApiError::new(ErrorCode::Usage, "there is no rule by which backups go")
                .hint("name --keep-for or --max-size, or set backup.keep_for or backup.max_size")
                .into(),
        );
    }
    let locked = catalog.lock()?;
    let threads = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
    let gone = catalog.expendable(keep, clock::now(), threads)?;
    if !args.dry_run && !gone.is_empty() {
        if !args.yes {
            let names: Vec<&str> = gone.iter().map(|name| &**name).collect();
            let backups = count_of(gone.len() as u64, "backup");
            confirm(&format!("remove {backups} ({})?", names.join(", ")))?;
        }
        for name in &gone {
            locked.remove(name)?;
        }
        let request = NoteRequest::BackupsPruned(LedgerBackupsPruned {
            dir: catalog.dir().display().to_string(),
            backups: gone.clone(),
        });
        // Backups can be looked after where there is no ledger.
        match Node::find(&data_dir)? {
            Some(node) => record_by(&node, &request)?,
            None => note("no node runs, so the removal is not recorded in the ledger"),
        }
    }
    let mut out = globals.out(Paging::Never, Buffering::Full);
    if globals.json {
        out.json(&Removed {
            removed: &gone,
            dry_run: args.dry_run,
        })?;
    } else {
        let verb = if args.dry_run {
            "would be removed"
        } else {
            "removed"
        };
        out.lines(gone.iter().map(|name| format!("{verb}: {name}")))?;
        if gone.is_empty() {
            out.line("nothing is to be removed")?;
        }
    }
    out.finish()?;
    Ok(Exit::OK)
}
