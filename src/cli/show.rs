//! `ledger show SEQ`: one event, what led to it and what it led to.

use std::ops::ControlFlow;

use ledger_core::envelope::ChainedEvent;
use ledger_core::hash::Hash;
use ledger_core::ids::Seq;
use ledger_core::store::LogReader;
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};

use super::error::{Exit, Failure};
use super::globals::Globals;
use super::output::event::{one_line, verbose};
use super::output::{Buffering, Out, Paging};
use super::source::Source;
use super::source::scan::scan;
use crate::api::wire::{ApiError, ErrorCode};
use crate::audit::filter::{Filter, SeqRange};

/// How many events behind the one shown are searched for what it led to.
const REACH: u64 = 10_000;

/// Options.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The event's position
    #[arg(value_name = "SEQ", value_parser = position)]
    seq: u64,
}

/// A position as it is given.
pub(super) fn position(text: &str) -> Result<u64, String> {
    let wrong = || "an event's position is a number such as 42: the first event has 1".to_owned();
    text.parse().map_err(|_| wrong())
}

/// What is shown, for programs.
#[derive(Serialize)]
struct Shown {
    event: Box<RawValue>,
    /// The event that led to it.
    #[serde(skip_serializing_if = "Option::is_none")]
    cause: Option<Box<RawValue>>,
    /// Events that it led to, among those up to `searched_to`.
    caused: Vec<Box<RawValue>>,
    searched_to: Seq,
    /// The hash of the event behind it.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_hash: Option<Hash>,
}

pub(crate) fn run(globals: &Globals, args: &Args) -> Result<Exit, Failure> {
    let source = Source::open(&globals.data_dir()?)?;
    let reader = source.reader();
    let head = reader.head()?.seq;
    let seq = Seq(args.seq);
    if seq == Seq::ZERO || seq > head {
        return Err(
            ApiError::new(ErrorCode::NotFound, format!("there is no seq {seq}"))
                .because(format!("the ledger has seq 1 to {head}"))
                .into(),
        );
    }
    let mut out = globals.out(Paging::Allowed, Buffering::Full);
    if globals.json {
        let links = collect(reader, seq, head, &mut |event| to_raw_value(event))?;
        out.json(&Shown {
            event: links.event,
            cause: links.cause,
            caused: links.caused,
            searched_to: links.searched_to,
            next_hash: links.next_hash,
        })?;
    } else {
        let mut first = true;
        let links = collect(reader, seq, head, &mut |event| {
            // The event itself comes first and is shown in full.
            let whole = std::mem::take(&mut first);
            Ok(if whole {
                verbose(&out, event)
            } else {
                vec![one_line(&out, event)]
            })
        })?;
        print(&mut out, links)?;
    }
    out.finish()?;
    Ok(Exit::OK)
}

/// An event and its links, each in the form that `form` gives it.
struct Links<T> {
    event: T,
    cause: Option<T>,
    caused: Vec<T>,
    searched_to: Seq,
    next_hash: Option<Hash>,
}

type Form<'f, T> = &'f mut dyn FnMut(&ChainedEvent<'_>) -> Result<T, serde_json::Error>;

fn collect<T>(
    reader: &dyn LogReader,
    seq: Seq,
    head: Seq,
    form: Form<'_, T>,
) -> Result<Links<T>, Failure> {
    let searched_to = Seq(seq.0.saturating_add(REACH)).min(head);
    let (mut event, mut cause, mut cause_seq) = (None, None, None);
    let (mut caused, mut next_hash) = (Vec::new(), None);
    let mut formed = |e: &ChainedEvent<'_>| {
        form(e).map_err(|error| Failure::of_output(&std::io::Error::from(error)))
    };
    let everything = Filter::default();
    scan(
        reader,
        SeqRange {
            first: seq,
            last: searched_to,
        },
        &everything,
        &mut |e| {
            let header = &e.event.header;
            if header.seq == seq {
                event = Some(formed(e)?);
                cause_seq = header.cause;
            } else if header.cause == Some(seq) {
                caused.push(formed(e)?);
            }
            if header.seq == seq.next() {
                next_hash = Some(e.hash);
            }
            Ok(ControlFlow::Continue(()))
        },
    )?;
    // An event can only have been caused by one before it.
    if let Some(at) = cause_seq.filter(|at| *at < seq && *at > Seq::ZERO) {
        scan(
            reader,
            SeqRange {
                first: at,
                last: at,
            },
            &everything,
            &mut |e| {
                cause = Some(formed(e)?);
                Ok(ControlFlow::Continue(()))
            },
        )?;
    }
    let missing = || ApiError::new(ErrorCode::Tampered, format!("seq {seq} is missing"));
    Ok(Links {
        event: event.ok_or_else(missing)?,
        cause,
        caused,
        searched_to,
        next_hash,
    })
}

fn print(out: &mut Out, links: Links<Vec<String>>) -> Result<(), Failure> {
    let field = |name: &str, value: &str| format!("    {name:<16} {value}");
    let mut lines = links.event;
    let next = links
        .next_hash
        .map_or_else(|| "none yet".to_owned(), |hash| hash.to_string());
    // Beside the event's own hashes, where the chain goes on.
    let at = lines
        .iter()
        .position(|line| line.trim_start().starts_with("hash "));
    lines.insert(
        at.map_or(lines.len(), |at| at + 1),
        field("next_hash", &next),
    );
    if let Some(cause) = links.cause {
        lines.push(out.paint.strong("caused by"));
        lines.extend(cause.into_iter().map(|line| format!("    {line}")));
    }
    if !links.caused.is_empty() {
        lines.push(out.paint.strong("led to"));
        lines.extend(
            links
                .caused
                .into_iter()
                .flatten()
                .map(|line| format!("    {line}")),
        );
    }
    out.lines(lines)
}
