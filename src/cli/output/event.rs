//! Events as lines: `-o short|short-iso|verbose|json|jsonl|cat`.
//!
//! | format | one event is |
//! |---|---|
//! | `short` | a line for people, who need no boot ids; on a terminal cut to its width, under a line for each day |
//! | `short-iso` | the same with date and offset in every line, and names as they are |
//! | `verbose` | all fields, one a line |
//! | `json` | an element of one array |
//! | `jsonl` | a line of JSON, as exports have it |
//! | `cat` | its payload alone |

use clap::ValueEnum;
use ledger_core::envelope::{ChainedEvent, EventRef};
use serde_json::Value;

use super::escape::escape;
use super::summary::summary;
use super::text::{cut, cut_middle, pad, width};
use super::{Out, subject};
use crate::cli::error::Failure;

pub(crate) use super::summary::{payload_line, schedule, signal_name};

/// `-o`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum Format {
    /// A line an event, for people
    #[default]
    Short,
    /// The same with date and time zone in every line
    ShortIso,
    /// All fields
    Verbose,
    /// One JSON array
    Json,
    /// A JSON object a line
    Jsonl,
    /// The payload alone
    Cat,
}

/// Writes events in one format.
#[derive(Debug)]
pub(crate) struct EventPrinter {
    format: Format,
    day: Option<String>,
    written: u64,
}

impl EventPrinter {
    /// A printer that has written nothing yet.
    pub(crate) fn new(format: Format) -> Self {
        Self {
            format,
            day: None,
            written: 0,
        }
    }

    /// Writes an event.
    ///
    /// # Errors
    /// As [`Out::line`].
    pub(crate) fn print(&mut self, out: &mut Out, event: &ChainedEvent<'_>) -> Result<(), Failure> {
        match self.format {
            Format::Short => self.short(out, event)?,
            Format::ShortIso => {
                let line = short_iso(out, event);
                out.line(line)?;
            }
            Format::Verbose => {
                if self.written > 0 {
                    out.line("")?;
                }
                let lines = verbose(out, event);
                out.lines(lines)?;
            }
            Format::Json => {
                let lead = if self.written == 0 { "[" } else { "," };
                out.line(format_args!("{lead}{}", json(event)?))?;
            }
            Format::Jsonl => out.line(json(event)?)?,
            Format::Cat => match out.width {
                Some(_) => out.line(escape(event.event.data))?,
                None => out.line(event.event.data)?,
            },
        }
        self.written += 1;
        Ok(())
    }

    /// Writes what comes after the last event.
    ///
    /// # Errors
    /// As [`Out::line`].
    pub(crate) fn finish(&mut self, out: &mut Out) -> Result<(), Failure> {
        if self.format == Format::Json {
            out.line(if self.written == 0 { "[]" } else { "]" })?;
        }
        out.finish()
    }

    fn short(&mut self, out: &mut Out, event: &ChainedEvent<'_>) -> Result<(), Failure> {
        let h = &event.event.header;
        let day = out.times.day(h.recorded_at);
        if day != self.day
            && let Some(day) = &day
        {
            let line = out.paint.dim(&format!("── {day} ──"));
            out.line(line)?;
        }
        self.day = day;
        let time = out.times.short(h.recorded_at);
        let seq = format!("{:>5}", h.seq.0);
        // Most kinds are shorter than 20 characters; a narrow terminal has not that much to give.
        let room = out.width.map_or(20, |columns| (columns / 5).clamp(14, 20));
        let kind = match out.width {
            Some(_) => pad(&cut_middle(h.kind, room), room),
            None => pad(h.kind, room),
        };
        let Some(columns) = out.width else {
            let text = summary(&event.event);
            let rest = format!(
                "{} {} {}",
                subject::short(h.subject),
                h.actor,
                escape(&text)
            );
            return out.line(format_args!("{time} {seq} {kind} {}", rest.trim_end()));
        };
        // Names share what a wide terminal has to spare; the summary gets the rest.
        let subject = pad(&subject::fit(h.subject, (columns / 5).clamp(12, 44)), 12);
        let actor = pad(&cut_middle(h.actor, (columns / 6).clamp(9, 24)), 9);
        let names = [&*time, &seq, &kind, &subject, &actor];
        let taken: usize = names.iter().map(|s| width(s) + 1).sum();
        let text = cut(
            &escape(&summary(&event.event)),
            columns.saturating_sub(taken).max(8),
        );
        let paint = out.paint;
        let line = format!(
            "{} {} {} {subject} {} {text}",
            paint.dim(&time),
            paint.dim(&seq),
            paint_kind(out, h.kind, &kind),
            paint.dim(&actor)
        );
        out.line(line.trim_end())
    }
}

/// Colors a kind by what it means: gone wrong, done, underway.
fn paint_kind(out: &Out, kind: &str, shown: &str) -> String {
    match kind.rsplit('.').next().unwrap_or_default() {
        "failed" | "dead" | "lost" | "rejected" => out.paint.bad(shown),
        "timed_out" | "cancelled" | "reaped" | "cancel_requested" | "requeued" => {
            out.paint.warn(shown)
        }
        "completed" => out.paint.good(shown),
        _ => out.paint.active(shown),
    }
}

/// An event in a line of its own, beside others that it belongs to.
pub(crate) fn one_line(out: &Out, event: &ChainedEvent<'_>) -> String {
    let h = &event.event.header;
    let subject = match out.width {
        Some(_) => subject::short(h.subject),
        None => h.subject.into(),
    };
    let line = format!(
        "{} {} {subject} {} {}",
        out.paint.dim(&format!("seq {}", h.seq)),
        paint_kind(out, h.kind, h.kind),
        h.actor,
        escape(&summary(&event.event))
    );
    match out.width {
        Some(width) if out.paint == super::style::Paint::NEVER => {
            cut(line.trim_end(), width.saturating_sub(4))
        }
        _ => line.trim_end().to_owned(),
    }
}

fn short_iso(out: &Out, event: &ChainedEvent<'_>) -> String {
    let h = &event.event.header;
    let text = summary(&event.event);
    let line = format!(
        "{} {} {} {} {} {}",
        out.times.iso(h.recorded_at),
        h.seq,
        h.kind,
        h.subject,
        h.actor,
        escape(&text)
    );
    match out.width {
        Some(columns) => cut(line.trim_end(), columns),
        None => line.trim_end().to_owned(),
    }
}

/// All fields of an event, named as in its JSON, with its place in the chain.
pub(crate) fn verbose(out: &Out, event: &ChainedEvent<'_>) -> Vec<String> {
    let mut lines = fields(out, &event.event);
    let data = lines.iter().position(|line| line == DATA);
    let hashes = [("prev_hash", event.prev_hash), ("hash", event.hash)];
    let hashes = hashes.map(|(name, hash)| format!("    {} {hash}", pad(name, 16)));
    let at = data.unwrap_or(lines.len());
    lines.splice(at..at, hashes);
    lines
}

/// The line above an event's data.
const DATA: &str = "    data";

/// All fields of an event, named as in its JSON.
pub(crate) fn fields(out: &Out, event: &EventRef<'_>) -> Vec<String> {
    let h = &event.header;
    let mut lines = vec![format!(
        "{} {}",
        out.paint.strong(&format!("seq {}", h.seq)),
        paint_kind(out, h.kind, h.kind)
    )];
    let mut field = |name: &str, value: String| {
        lines.push(format!("    {} {value}", pad(name, 16)));
    };
    field("recorded_at", out.times.full(h.recorded_at));
    field("term", h.term.to_string());
    field("event_id", h.event_id.to_string());
    field("version", h.version.to_string());
    field("subject", h.subject.to_owned());
    field("actor", h.actor.to_owned());
    let cause = h.cause.map(|cause| cause.to_string());
    for (name, value) in [
        ("claimed_actor", h.claimed_actor),
        ("cause", cause.as_deref()),
        ("correlation", h.correlation),
        ("traceparent", h.traceparent),
        ("idempotency_key", h.idempotency_key),
    ] {
        if let Some(value) = value {
            field(name, value.to_owned());
        }
    }
    lines.push(DATA.to_owned());
    lines.extend(pretty(event.data));
    lines
}

/// A payload over several lines, made safe; as it stands if it is not JSON after all.
fn pretty(data: &str) -> Vec<String> {
    let pretty = serde_json::from_str::<Value>(data).and_then(|v| serde_json::to_string_pretty(&v));
    let text = pretty.unwrap_or_else(|_| data.to_owned());
    text.lines()
        .map(|line| format!("        {}", escape(line)))
        .collect()
}

fn json(event: &ChainedEvent<'_>) -> Result<String, Failure> {
    serde_json::to_string(event).map_err(|e| Failure::of_output(&std::io::Error::from(e)))
}
