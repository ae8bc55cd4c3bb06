//! `ledger backup verify`: reads a backup and says whether it is what was written. The exit code is
//! the answer: 0, or 3 if something is wrong with any of them, else 5 if one lacks a blob that was lost
//! before it was made.

use std::num::NonZeroUsize;
use std::path::Path;

use ledger_core::backup::{BackupFinding, Checked, LostBlob, verify_backup};
use ledger_core::hash::Hash;
use ledger_core::ids::{LedgerId, Seq};
use serde::Serialize;

use super::{DirArg, of_manifest};
use crate::cli::error::{Exit, Failure};
use crate::cli::globals::Globals;
use crate::cli::output::escape::escape;
use crate::cli::output::progress::Progress;
use crate::cli::output::{Buffering, Out, Paging};
use crate::units::{count_of, format_size};

/// Options.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Which: a name, `latest`, `all`, or the path of a backup
    #[arg(value_name = "BACKUP", default_value = "latest")]
    backup: String,
    #[command(flatten)]
    dir: DirArg,
}

#[derive(Serialize)]
struct Shown<'a> {
    path: String,
    good: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    ledger_id: Option<LedgerId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    seq: Option<Seq>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hash: Option<Hash>,
    findings: &'a [BackupFinding],
    /// Blobs that events name and that were lost before it was made.
    lost: &'a [LostBlob],
}

pub(crate) fn run(globals: &Globals, args: &Args) -> Result<Exit, Failure> {
    let catalog = args.dir.catalog(globals, &globals.data_dir()?)?;
    let paths = match &*args.backup {
        path if path.contains('/') => vec![Path::new(path).to_path_buf()],
        "all" => catalog.list()?.into_iter().map(|b| b.path).collect(),
        name => vec![catalog.find(name)?.path],
    };
    let mut out = globals.out(Paging::Never, Buffering::Full);
    let mut exit = Exit::OK;
    let mut listed = Vec::new();
    for path in paths {
        let checked = check(&path)?;
        if !checked.is_good() {
            exit = Exit::TAMPERED;
        } else if !lost(&checked).is_empty() && exit != Exit::TAMPERED {
            exit = Exit::INCOMPLETE;
        }
        if globals.json {
            listed.push((path, checked));
            continue;
        }
        match show(&mut out, &path, &checked) {
            Ok(()) | Err(Failure::ClosedPipe) => {}
            Err(failure) => return Err(failure),
        }
    }
    if globals.json {
        let listed: Vec<_> = listed.iter().map(|(path, c)| shown(path, c)).collect();
        // One that was named is shown as one.
        let written = match &listed[..] {
            [one] if args.backup != "all" => out.json(one),
            all => out.json(&all),
        };
        match written {
            Ok(()) | Err(Failure::ClosedPipe) => {}
            Err(failure) => return Err(failure),
        }
    }
    match out.finish() {
        Ok(()) | Err(Failure::ClosedPipe) => Ok(exit),
        Err(failure) => Err(failure),
    }
}

fn check(path: &Path) -> Result<Checked, Failure> {
    let threads = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
    let bar = Progress::bytes("verifying", 0);
    let mut checked = verify_backup(path, threads, &|done, total| bar.of(done, total))
        .map_err(|error| of_manifest(format!("{}: {error}", path.display()), &error))?;
    if let Some((manifest, _)) = &checked.manifest
        && path
            .file_name()
            .is_some_and(|name| name != manifest.name.as_str())
    {
        checked.findings.push(BackupFinding {
            file: None,
            what: format!("it is backup {} under another name", manifest.name),
        });
    }
    Ok(checked)
}

fn lost(checked: &Checked) -> &[LostBlob] {
    let manifest = checked.manifest.as_ref();
    manifest.map_or(&[], |(manifest, _)| &manifest.lost)
}

fn shown<'a>(path: &Path, checked: &'a Checked) -> Shown<'a> {
    let manifest = checked.manifest.as_ref().map(|(manifest, _)| manifest);
    Shown {
        path: path.display().to_string(),
        good: checked.is_good(),
        ledger_id: manifest.map(|m| m.ledger_id),
        seq: manifest.map(|m| m.seq),
        hash: manifest.map(|m| m.hash),
        findings: &checked.findings,
        lost: lost(checked),
    }
}

fn show(out: &mut Out, path: &Path, checked: &Checked) -> Result<(), Failure> {
    let manifest = checked.manifest.as_ref().map(|(manifest, _)| manifest);
    let shown = path.display().to_string();
    let shown = escape(&shown);
    for finding in &checked.findings {
        let finding = finding.to_string();
        out.line(format_args!("{shown}: {}", escape(&finding)))?;
    }
    for LostBlob { seq, blake3 } in lost(checked) {
        out.line(format_args!(
            "{shown}: seq {seq} names blob {blake3}, which was lost before the backup was made"
        ))?;
    }
    match manifest {
        Some(manifest) if checked.is_good() => {
            let good = out.paint.good("good");
            out.line(format_args!(
                "{good}: {shown}: {}, {}",
                count_of(manifest.seq.0, "event"),
                format_size(manifest.bytes())
            ))?;
            out.wrapped(format_args!(
                "seq {} has hash {}",
                manifest.seq, manifest.hash
            ))
        }
        _ => {
            let bad = out.paint.bad("NOT GOOD");
            let found = count_of(checked.findings.len() as u64, "finding");
            out.line(format_args!("{bad}: {shown}: {found}"))
        }
    }
}
