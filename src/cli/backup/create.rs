//! `ledger backup [create]`. A backup that lacks a blob, because the ledger has lost it, is made, and
//! the exit code says so: 5.

use std::num::NonZeroUsize;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use ledger_core::backup::{Basis, Made, Request};
use ledger_core::blobs::BlobFinding;
use ledger_core::clock;
use ledger_core::hash::Hash;
use ledger_core::ids::{Id, LedgerId, Seq};
use serde::Serialize;

use super::{DirArg, record};
use crate::api::wire::NoteRequest;
use crate::cli::blob;
use crate::cli::error::{Exit, Failure};
use crate::cli::globals::Globals;
use crate::cli::output::escape::escape;
use crate::cli::output::progress::Progress;
use crate::cli::output::{Buffering, Paging, note};
use crate::cli::source::Source;
use crate::node::backups::{backed_up, check_place};
use crate::node::boot::software;
use crate::units::{count_of, format_size};

/// Options.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    dir: DirArg,
    /// Write all of it instead of sharing files with the backup before
    #[arg(long)]
    full: bool,
}

#[derive(Serialize)]
struct Shown<'a> {
    backup: &'a Id,
    path: String,
    ledger_id: LedgerId,
    seq: Seq,
    hash: Hash,
    files: usize,
    blobs: usize,
    bytes: u64,
    written: u64,
    manifest: Hash,
    /// Blobs that events name and that it does not have.
    lost: &'a [BlobFinding],
}

pub(crate) fn run(globals: &Globals, args: &Args) -> Result<Exit, Failure> {
    let data_dir = globals.data_dir()?;
    let catalog = args.dir.catalog(globals, &data_dir)?;
    check_place(&data_dir, catalog.dir())?;
    let source = Source::open(&data_dir)?;
    source.require_whole()?;
    let locked = catalog.lock()?;
    let bar = Progress::events("backing up", 0);
    let request = Request {
        made_at: clock::now(),
        software: &software(),
        basis: if args.full {
            Basis::Nothing
        } else {
            Basis::Newest
        },
        blobs: &blob::open(&data_dir)?,
        threads: std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN),
    };
    let made = locked.create(source.reader(), request, &|done, total| {
        bar.of(done, total);
    })?;
    drop(bar);
    if let Some(why) = &made.shared_nothing {
        note(format_args!(
            "the backup before could not be built upon, so all was written: {}",
            escape(why)
        ));
    }
    let dir = catalog.dir().display().to_string();
    let request = NoteRequest::BackedUp(backed_up(&made, dir));
    record(&source, "backup", &request)?;
    if same_disk(catalog.dir(), &data_dir) {
        note("the backup is on the file system of the ledger, and lost if that is: see --to");
    }
    show(globals, &made)
}

fn same_disk(a: &Path, b: &Path) -> bool {
    let device = |path: &Path| std::fs::metadata(path).map(|meta| meta.dev()).ok();
    device(a).is_some() && device(a) == device(b)
}

fn show(globals: &Globals, made: &Made) -> Result<Exit, Failure> {
    let manifest = &made.manifest;
    let mut out = globals.out(Paging::Never, Buffering::Full);
    if globals.json {
        out.json(&Shown {
            backup: &manifest.name,
            path: made.path.display().to_string(),
            ledger_id: manifest.ledger_id,
            seq: manifest.seq,
            hash: manifest.hash,
            files: manifest.files.len(),
            blobs: manifest.blobs.len(),
            bytes: manifest.bytes(),
            written: made.written,
            manifest: made.manifest_hash,
            lost: &made.lost,
        })?;
    } else {
        out.wrapped(format_args!(
            "{}: {} of {}, {} written now; read back and verified",
            escape(&made.path.display().to_string()),
            format_size(manifest.bytes()),
            count_of(manifest.seq.0, "event"),
            format_size(made.written),
        ))?;
        out.wrapped(format_args!(
            "seq {} has hash {}",
            manifest.seq, manifest.hash
        ))?;
    }
    out.finish()?;
    if made.lost.is_empty() {
        return Ok(Exit::OK);
    }
    for blob in &made.lost {
        note(format_args!(
            "not in the backup: {}",
            escape(&blob.to_string())
        ));
    }
    Ok(Exit::INCOMPLETE)
}
