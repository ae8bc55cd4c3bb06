//! `ledger blob verify`: the part of `ledger verify` that is about blobs.

use std::path::Path;

use ledger_core::blobs::{self, BlobReport};
use ledger_core::store::LogReader;

use super::open;
use crate::cli::error::{Exit, Failure};
use crate::cli::globals::Globals;
use crate::cli::output::escape::escape;
use crate::cli::output::{Buffering, Out, Paging};
use crate::cli::source::Source;
use crate::units::{count_of, format_count, format_size};

/// Options.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

pub(crate) fn run(globals: &Globals, _: &Args) -> Result<Exit, Failure> {
    let data_dir = globals.data_dir()?;
    let source = Source::open(&data_dir)?;
    let report = check(&data_dir, source.reader())?;
    let mut out = globals.out(Paging::Never, Buffering::Full);
    let printed = if globals.json {
        out.json(&report)
    } else {
        print(&mut out, &report)
    };
    match printed.and_then(|()| out.finish()) {
        // The exit code is the answer, so a closed pipe does not end it early.
        Ok(()) | Err(Failure::ClosedPipe) => {}
        Err(failure) => return Err(failure),
    }
    Ok(if report.is_intact() {
        Exit::OK
    } else {
        Exit::TAMPERED
    })
}

/// Checks the blobs that a ledger names, in its data directory.
///
/// # Errors
/// [`Failure`] if the events can't be read.
pub(crate) fn check(data_dir: &Path, reader: &dyn LogReader) -> Result<BlobReport, Failure> {
    Ok(blobs::verify(reader, &open(data_dir)?, &|_| {})?)
}

/// Findings, then what was read.
///
/// # Errors
/// As [`Out::line`].
pub(crate) fn print(out: &mut Out, report: &BlobReport) -> Result<(), Failure> {
    for finding in &report.findings {
        let line = finding.to_string();
        out.line(escape(&line))?;
    }
    let unlisted = report.found.saturating_sub(report.findings.len() as u64);
    if unlisted > 0 {
        out.line(format_args!("and {} more", format_count(unlisted)))?;
    }
    let read = format!(
        "{}, {}",
        count_of(report.blobs, "blob"),
        format_size(report.bytes)
    );
    if report.is_intact() {
        let verdict = out.paint.good("intact");
        out.line(format_args!("{verdict}: {read}"))
    } else {
        let verdict = out.paint.bad("NOT INTACT");
        let found = count_of(report.found, "finding");
        out.line(format_args!("{verdict}: {found} in {read}"))
    }
}
