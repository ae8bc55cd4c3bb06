//! `ledger restore` and `ledger import`: a data directory from a backup or an export, or (`at`) from
//! the beginning of a ledger. What they make is paused. If blobs that its events name could not be had, it is made, each is named, and the
//! exit code is 5.

mod at;

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};

use ledger_core::blobs::BlobReport;
use ledger_core::copy::BuildError;
use ledger_core::hash::Hash;
use ledger_core::ids::{LedgerId, Seq};
use ledger_core::store::{AppendError, OpenError};
use serde::Serialize;

use super::backup::{DirArg, of_manifest};
use super::blob::of_blob;
use super::error::{Exit, Failure, of_io};
use super::globals::Globals;
use super::init::of_boot;
use super::output::escape::escape;
use super::output::progress::Progress;
use super::output::{Buffering, Paging, note};
use crate::api::wire::{ApiError, ErrorCode};
use crate::lease::lock::LockError;
use crate::node::found::{FoundError, Founded, import, restore};
use crate::units::count_of;

/// Options of `restore`.
#[derive(Debug, clap::Args)]
pub(crate) struct RestoreArgs {
    /// Which: a name, `latest`, or the path of a backup
    #[arg(value_name = "BACKUP", required_unless_present = "at")]
    backup: Option<String>,
    /// From the ledger itself, which is only read: as of this position or time, such as 120, 15m
    /// (ago), 2026-01-31T08:00:00Z
    #[arg(long, value_name = "SEQ|TIME", requires = "into", conflicts_with_all = ["backup", "dir"])]
    at: Option<String>,
    /// The data directory to make [default: the one that all commands use]
    #[arg(long, value_name = "DIR")]
    into: Option<PathBuf>,
    #[command(flatten)]
    dir: DirArg,
}

/// Options of `import`.
#[derive(Debug, clap::Args)]
pub(crate) struct ImportArgs {
    /// A complete export (`ledger export --format jsonl`), or `-` for standard input
    #[arg(value_name = "FILE")]
    file: String,
    /// The data directory to make [default: the one that all commands use]
    #[arg(long, value_name = "DIR")]
    into: Option<PathBuf>,
    /// The directory with the blobs that the events name: what `ledger export --blobs` has made, or a
    /// data directory
    #[arg(long, value_name = "DIR")]
    blobs: Option<PathBuf>,
}

#[derive(Serialize)]
struct Shown {
    data_dir: String,
    ledger_id: LedgerId,
    from_seq: Seq,
    from_hash: Hash,
    incarnation: String,
    seq: Seq,
    hash: Hash,
    paused: bool,
    /// The blobs that events name, and which of them are not there.
    blobs: BlobReport,
}

pub(crate) fn run_restore(globals: &Globals, args: &RestoreArgs) -> Result<Exit, Failure> {
    // One of the two is there, and --into with the other.
    let Some(backup) = &args.backup else {
        let into = target(globals, args.into.as_deref())?;
        return at::run(globals, args.at.clone(), &into);
    };
    let backup = if backup.contains('/') {
        PathBuf::from(backup)
    } else {
        let catalog = args.dir.catalog(globals, &globals.data_dir()?)?;
        catalog.find(backup)?.path
    };
    let into = target(globals, args.into.as_deref())?;
    let bar = Progress::events("restoring", 0);
    let founded = restore(&backup, &into, &|done, total| bar.of(done, total)).map_err(of_found)?;
    drop(bar);
    show(globals, &into, founded)
}

pub(crate) fn run_import(globals: &Globals, args: &ImportArgs) -> Result<Exit, Failure> {
    let into = target(globals, args.into.as_deref())?;
    let unreadable = |error: io::Error| {
        let code = match error.kind() {
            io::ErrorKind::NotFound => ErrorCode::NotFound,
            _ => ErrorCode::Failed,
        };
        ApiError::new(code, format!("{} can't be read", args.file)).because(error)
    };
    let (lines, total): (Box<dyn Read>, u64) = if args.file == "-" {
        (Box::new(io::stdin().lock()), 0)
    } else {
        let file = File::open(&args.file).map_err(unreadable)?;
        let meta = file.metadata().map_err(unreadable)?;
        if meta.is_dir() {
            let what = format!("{} is a directory", args.file);
            return Err(ApiError::new(ErrorCode::Usage, what)
                .because("an export is one file of lines")
                .hint("a directory of blobs goes to --blobs; a backup is restored with `ledger restore`")
                .into());
        }
        (Box::new(file), meta.len())
    };
    let bar = Progress::bytes("importing", total);
    let lines = BufReader::with_capacity(
        256 * 1024,
        Counted {
            lines,
            bar: &bar,
            read: 0,
        },
    );
    let founded = import(lines, args.blobs.as_deref(), &into, &|_| {}).map_err(of_found)?;
    drop(bar);
    show(globals, &into, founded)
}

/// What is read moves the bar.
struct Counted<'a> {
    lines: Box<dyn Read>,
    bar: &'a Progress,
    read: u64,
}

impl Read for Counted<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.lines.read(buffer)?;
        self.read += n as u64;
        self.bar.at(self.read);
        Ok(n)
    }
}

fn target(globals: &Globals, into: Option<&Path>) -> Result<PathBuf, Failure> {
    match into {
        Some(into) => std::path::absolute(into).map_err(|e| {
            ApiError::new(ErrorCode::Failed, "the current directory can't be told")
                .because(e)
                .into()
        }),
        None => Ok(globals.data_dir()?),
    }
}

/// Names the blobs that could not be had.
fn lost(blobs: &BlobReport) -> Exit {
    for blob in &blobs.findings {
        note(format_args!("lost: {}", escape(&blob.to_string())));
    }
    if blobs.is_intact() {
        return Exit::OK;
    }
    let lost = count_of(blobs.found, "blob");
    note(format_args!(
        "{lost} that events name could not be had: `ledger verify` says so too, until the same \
         content is stored with `ledger blob put`"
    ));
    Exit::INCOMPLETE
}

fn show(globals: &Globals, into: &Path, founded: Founded) -> Result<Exit, Failure> {
    let Founded {
        ledger_id,
        from: (from_seq, from_hash),
        head,
        incarnation,
        blobs,
    } = founded;
    let exit = lost(&blobs);
    let data_dir = into.display().to_string();
    let mut out = globals.out(Paging::Never, Buffering::Full);
    if globals.json {
        out.json(&Shown {
            data_dir,
            ledger_id,
            from_seq,
            from_hash,
            incarnation,
            seq: head.seq,
            hash: head.hash,
            paused: true,
            blobs,
        })?;
    } else {
        out.wrapped(format_args!(
            "ledger {ledger_id} is in {}, up to seq {from_seq} with hash {from_hash}",
            escape(&data_dir)
        ))?;
        out.wrapped(format_args!(
            "seq {} says where it came from; nothing is started until `ledger resume`",
            head.seq
        ))?;
        out.wrapped("keys and ledger.toml are never in backups and exports: put them back before `ledger up`")?;
    }
    out.finish()?;
    Ok(exit)
}

pub(crate) fn of_found(error: FoundError) -> Failure {
    let message = error.to_string();
    match error {
        FoundError::NotEmpty(_) => ApiError::new(ErrorCode::Conflict, message)
            .because("a restore or import never overwrites anything")
            .hint("name a directory that is empty or not there with --into"),
        FoundError::Link(_) => ApiError::new(ErrorCode::Conflict, message)
            .because("a restore or import never replaces one, nor follows it")
            .hint("name the directory that it leads to, or another, with --into"),
        FoundError::Inside { .. } => ApiError::new(ErrorCode::Usage, message)
            .hint("name a directory outside of it with --into"),
        FoundError::Io { error, .. }
        | FoundError::Lock(LockError::Io { error, .. })
        | FoundError::Build(BuildError::Append(
            AppendError::Full(error) | AppendError::Io(error),
        ))
        | FoundError::Build(BuildError::Open(OpenError::Io { error, .. })) => {
            of_io(message, &error)
        }
        FoundError::Lock(_) | FoundError::Build(_) => ApiError::new(ErrorCode::Failed, message),
        FoundError::Blob(error) => return of_blob(error),
        FoundError::Manifest(error) => of_manifest(message, &error),
        FoundError::Backup(_) => ApiError::new(ErrorCode::Tampered, message)
            .hint("`ledger backup verify` says what is wrong; another backup may be good"),
        FoundError::Source(error) => return error.into(),
        FoundError::NotItsBeginning(_) => ApiError::new(ErrorCode::Tampered, message)
            .hint("`ledger verify` says what is wrong with the ledger"),
        FoundError::Import(_) => ApiError::new(ErrorCode::Tampered, message)
            .hint("export it again, or bring the file back as it was exported"),
        FoundError::Boot(error) => return of_boot(error),
        FoundError::NotGood(_) => ApiError::new(ErrorCode::Tampered, message),
    }
    .into()
}
