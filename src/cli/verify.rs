//! `ledger verify`: is the history exactly what was written? The check is a library
//! ([`ledger_core::verify`]); here it gets what to read, and its findings become lines.
//!
//! Through a node the raw bytes are hashed here, so a node that lies about its store is found out.
//! The exit code is the answer, so a closed pipe does not end it early.

use std::num::NonZeroUsize;

use ledger_core::blobs::BlobReport;
use ledger_core::hash::Hash;
use ledger_core::ids::{LedgerId, Seq};
use ledger_core::store::{LogReader as _, Offline as _, OpenError};
use ledger_core::verify::{Finding, Report, Verdict, verify_intact, verify_reader};
use serde::Serialize;

use super::blob;
use super::error::{Exit, Failure};
use super::globals::Globals;
use super::output::escape::escape;
use super::output::progress::Progress;
use super::output::{Buffering, Out, Paging};
use super::source::Source;
use crate::units::{count_of, format_count, format_size};

/// Options.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

/// The verdict, for programs.
#[derive(Serialize)]
struct Verified<'a> {
    verdict: Verdict,
    ledger_id: Option<LedgerId>,
    seq: Seq,
    hash: Hash,
    events: u64,
    blocks: u64,
    bytes: u64,
    findings: &'a [Finding],
    found: u64,
    /// The blobs that events name; absent if the events can't be believed.
    blobs: Option<&'a BlobReport>,
}

pub(crate) fn run(globals: &Globals, _: &Args) -> Result<Exit, Failure> {
    let data_dir = globals.data_dir()?;
    let mut blobs = None;
    let report = match Source::try_open(&data_dir)? {
        Ok(source) => {
            let report = verify(&source)?;
            if report.verdict == Verdict::Intact {
                blobs = Some(blob::verify::check(&data_dir, source.reader())?);
            }
            report
        }
        // What can't even be opened because it is damaged is a finding like others.
        Err(OpenError::Damaged(text)) => Report::unopened(&text),
        Err(error) => return Err(error.into()),
    };
    let mut out = globals.out(Paging::Never, Buffering::Full);
    let printed = print(&mut out, globals, &report, blobs.as_ref()).and_then(|()| out.finish());
    match printed {
        Ok(()) | Err(Failure::ClosedPipe) => {}
        Err(failure) => return Err(failure),
    }
    let whole = blobs.is_none_or(|blobs| blobs.is_intact());
    Ok(match report.verdict {
        Verdict::Intact if whole => Exit::OK,
        Verdict::Intact | Verdict::Damaged => Exit::TAMPERED,
    })
}

fn verify(source: &Source) -> Result<Report, Failure> {
    let threads = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
    let head = match source {
        Source::Node(node) => node.head()?.seq,
        Source::Files(files) => files.end()?.seq,
    };
    let bar = Progress::events("verifying", head.0);
    let progress = |done: u64, _: u64| bar.at(done);
    Ok(match source {
        Source::Node(node) => verify_intact(&**node, &[], threads, &progress),
        Source::Files(files) => verify_reader(&**files, threads, &progress)?,
    })
}

fn print(
    out: &mut Out,
    globals: &Globals,
    report: &Report,
    blobs: Option<&BlobReport>,
) -> Result<(), Failure> {
    if globals.json {
        return out.json(&Verified {
            verdict: report.verdict,
            ledger_id: report.ledger_id,
            seq: report.head.seq,
            hash: report.head.hash,
            events: report.events,
            blocks: report.blocks,
            bytes: report.bytes,
            findings: &report.findings,
            found: report.found,
            blobs,
        });
    }
    for finding in &report.findings {
        let line = finding.to_string();
        out.line(escape(&line))?;
    }
    let unlisted = report.found.saturating_sub(report.findings.len() as u64);
    if unlisted > 0 {
        out.line(format_args!("and {} more", format_count(unlisted)))?;
    }
    let read = format!(
        "{} in {}, {}",
        count_of(report.events, "event"),
        count_of(report.blocks, "block"),
        format_size(report.bytes)
    );
    match report.verdict {
        Verdict::Intact => {
            let verdict = out.paint.good("intact");
            out.line(format_args!("{verdict}: {read}"))?;
            out.line(format_args!(
                "seq {} has hash {}",
                report.head.seq, report.head.hash
            ))?;
            match blobs.filter(|blobs| blobs.blobs > 0) {
                Some(blobs) => blob::verify::print(out, blobs),
                None => Ok(()),
            }
        }
        Verdict::Damaged => {
            let verdict = out.paint.bad("NOT INTACT");
            let found = count_of(report.found, "finding");
            out.line(format_args!("{verdict}: {found} in {read}"))
        }
    }
}
