//! The three verdicts as lines for people, and as one object for programs.

use ledger_core::blobs::BlobReport;
use ledger_core::hash::Hash;
use ledger_core::ids::{LedgerId, Seq};
use ledger_core::verify::{Finding, Report, Verdict};
use projections::lives::Outcome;
use serde::Serialize;

use super::heads::Judged;
use super::{Anchored, Verdicts};
use crate::cli::blob;
use crate::cli::error::Failure;
use crate::cli::globals::Globals;
use crate::cli::output::Out;
use crate::cli::output::escape::escape;
use crate::units::{count_of, format_count, format_size};

/// All of it, for programs.
#[derive(Serialize)]
struct Shown<'a> {
    ledger_id: Option<LedgerId>,
    seq: Seq,
    hash: Hash,
    events: u64,
    blocks: u64,
    bytes: u64,
    intact: ShownIntact<'a>,
    anchored: ShownAnchored<'a>,
    complete: ShownComplete<'a>,
}

#[derive(Serialize)]
struct ShownIntact<'a> {
    verdict: Verdict,
    findings: &'a [Finding],
    found: u64,
    /// The blobs that events name; absent if the events can't be believed.
    blobs: Option<&'a BlobReport>,
}

#[derive(Serialize)]
struct ShownAnchored<'a> {
    verdict: &'static str,
    heads: &'a [Judged],
}

#[derive(Serialize)]
struct ShownComplete<'a> {
    verdict: &'static str,
    #[serde(flatten)]
    outcome: Option<&'a Outcome>,
}

const NOT_JUDGED: &str = "not_judged";

impl<'a> From<&'a Verdicts> for Shown<'a> {
    fn from(verdicts: &'a Verdicts) -> Self {
        let report = &verdicts.intact;
        let (anchored, heads) = match &verdicts.anchored {
            Anchored::NotAsked => ("not_asked", &[][..]),
            Anchored::NotJudged => (NOT_JUDGED, &[][..]),
            Anchored::Heads(heads) if heads.iter().all(|head| head.fault.is_none()) => {
                ("anchored", &heads[..])
            }
            Anchored::Heads(heads) => ("not_anchored", &heads[..]),
        };
        let complete = match &verdicts.complete {
            None => NOT_JUDGED,
            Some(outcome) if outcome.is_complete() => "complete",
            Some(_) => "not_complete",
        };
        Self {
            ledger_id: report.ledger_id,
            seq: report.head.seq,
            hash: report.head.hash,
            events: report.events,
            blocks: report.blocks,
            bytes: report.bytes,
            intact: ShownIntact {
                verdict: report.verdict,
                findings: &report.findings,
                found: report.found,
                blobs: verdicts.blobs.as_ref(),
            },
            anchored: ShownAnchored {
                verdict: anchored,
                heads,
            },
            complete: ShownComplete {
                verdict: complete,
                outcome: verdicts.complete.as_ref(),
            },
        }
    }
}

/// Shows the verdicts.
pub(super) fn print(out: &mut Out, globals: &Globals, verdicts: &Verdicts) -> Result<(), Failure> {
    if globals.json {
        return out.json(&Shown::from(verdicts));
    }
    intact(out, &verdicts.intact)?;
    if let Some(blobs) = verdicts.blobs.as_ref().filter(|blobs| blobs.blobs > 0) {
        blob::verify::print(out, blobs)?;
    }
    anchored(out, &verdicts.anchored)?;
    complete(out, verdicts.complete.as_ref())
}

fn intact(out: &mut Out, report: &Report) -> Result<(), Failure> {
    findings(out, &report.findings, report.found)?;
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
            out.wrapped(format_args!(
                "seq {} has hash {}",
                report.head.seq, report.head.hash
            ))
        }
        Verdict::Damaged => {
            let verdict = out.paint.bad("NOT INTACT");
            let found = count_of(report.found, "finding");
            out.line(format_args!("{verdict}: {found} in {read}"))
        }
    }
}

fn findings(out: &mut Out, findings: &[impl std::fmt::Display], found: u64) -> Result<(), Failure> {
    for finding in findings {
        let line = finding.to_string();
        out.line(escape(&line))?;
    }
    let unlisted = found.saturating_sub(findings.len() as u64);
    if unlisted > 0 {
        out.line(format_args!("and {} more", format_count(unlisted)))?;
    }
    Ok(())
}

fn anchored(out: &mut Out, anchored: &Anchored) -> Result<(), Failure> {
    let heads = match anchored {
        Anchored::NotAsked => {
            return out.line(
                "anchored: not asked for, which takes a head known from elsewhere (--against)",
            );
        }
        Anchored::NotJudged => {
            return out.line("anchored: not judged, because the history is not intact");
        }
        Anchored::Heads(heads) => heads,
    };
    for head in heads {
        let file = escape(&head.file).into_owned();
        let line = match &head.fault {
            Some(fault) => format!("{file}: {}", escape(&fault.message)),
            None => {
                let by = head.cosigned.iter().map(|by| {
                    let at = out.times.full(by.at);
                    format!(", cosigned by {} at {at}", escape(&by.witness))
                });
                format!("{file}: seq {}{}", head.seq, by.collect::<String>())
            }
        };
        out.line(line)?;
    }
    let all = count_of(heads.len() as u64, "head");
    match heads.iter().filter(|head| head.fault.is_some()).count() {
        0 => {
            let verdict = out.paint.good("anchored");
            let last = heads.iter().map(|head| head.seq).max().unwrap_or_default();
            out.line(format_args!(
                "{verdict}: the history extends {all}, the last at seq {last}"
            ))
        }
        not => {
            let verdict = out.paint.bad("NOT ANCHORED");
            out.line(format_args!(
                "{verdict}: by {} of {all}",
                format_count(not as u64)
            ))
        }
    }
}

fn complete(out: &mut Out, outcome: Option<&Outcome>) -> Result<(), Failure> {
    let Some(outcome) = outcome else {
        return out.line("complete: not judged, because the history is not intact");
    };
    findings(out, &outcome.findings, outcome.found)?;
    let ended: u64 = outcome.lives.iter().map(|tally| tally.ended).sum();
    let open: u64 = outcome.lives.iter().map(|tally| tally.open).sum();
    let which = outcome.lives.iter().filter(|tally| tally.open > 0);
    let which: Vec<_> = which
        .map(|tally| count_of(tally.open, tally.family))
        .collect();
    let which = match which.as_slice() {
        [] => String::new(),
        which => format!(" ({})", which.join(", ")),
    };
    let lives = format!(
        "of all that began, {} ended, {} still open{which}",
        format_count(ended),
        format_count(open)
    );
    if outcome.is_complete() {
        let verdict = out.paint.good("complete");
        out.line(format_args!("{verdict}: {lives}"))
    } else {
        let verdict = out.paint.bad("NOT COMPLETE");
        let found = count_of(outcome.found, "finding");
        out.line(format_args!("{verdict}: {found}; {lives}"))
    }
}
