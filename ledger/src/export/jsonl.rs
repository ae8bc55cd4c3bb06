//! Lines of JSON: an object for each event, then one that says what they were. See FORMAT.md,
//! "Exported lines".
//!
//! A file without its last line was cut; one that says that it is not complete can't be imported.

use std::io::{self, BufRead, Read, Write};

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::chain::Head;
use crate::codec::{self, EncodeError};
use crate::envelope::{ChainedEvent, Draft, Origin, TraceParent};
use crate::hash::Hash;
use crate::ids::{Entity, EventId, Id, Kind, LedgerId, Seq, Term};
use crate::time::Timestamp;

/// Version of the last line.
pub const EXPORT_FORMAT: u32 = 1;

/// Longest line that is read: an event is at most 64 KiB, a head has at most some signatures.
const MAX_LINE: u64 = 1024 * 1024;

/// What the lines before the last are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExportHead {
    /// [`EXPORT_FORMAT`].
    pub format: u32,
    /// Whose events they are.
    pub ledger_id: LedgerId,
    /// How many.
    pub events: u64,
    /// Whether they are all events up to `seq`.
    pub complete: bool,
    /// The last event of the ledger when it was exported, which need not be among them.
    pub seq: Seq,
    /// Its hash.
    pub hash: Hash,
    /// The signed head of the ledger with that event, where there is a key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checkpoint: Option<String>,
}

/// Which events were exported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// All, from the first to the head.
    Complete,
    /// Some of them.
    Part,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct LastLine {
    export: ExportHead,
}

/// Why an event could not be exported.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The destination failed.
    #[error("the export can't be written: {0}")]
    Io(#[from] io::Error),
    /// The payload is between braces, but not JSON on one line.
    #[error("the payload of seq {seq} is no JSON that fits on a line: {reason}")]
    Payload {
        /// Which event.
        seq: Seq,
        /// Why.
        reason: String,
    },
}

/// Writes events as lines.
#[derive(Debug)]
pub struct JsonlWriter<W> {
    out: W,
    events: u64,
}

impl<W: Write> JsonlWriter<W> {
    /// A writer that has written nothing yet.
    pub fn new(out: W) -> Self {
        Self { out, events: 0 }
    }

    /// How many events were written.
    pub fn events(&self) -> u64 {
        self.events
    }

    /// Writes an event.
    ///
    /// # Errors
    /// [`ExportError`].
    pub fn write(&mut self, event: &ChainedEvent<'_>) -> Result<(), ExportError> {
        let payload = |reason: String| ExportError::Payload {
            seq: event.event.header.seq,
            reason,
        };
        if event.event.data.contains(['\n', '\r']) {
            return Err(payload("it has a line break".into()));
        }
        let mut line = serde_json::to_vec(event).map_err(|e| payload(e.to_string()))?;
        line.push(b'\n');
        self.out.write_all(&line)?;
        self.events += 1;
        Ok(())
    }

    /// Writes the last line and flushes. `head` is where the ledger ended.
    ///
    /// # Errors
    /// [`ExportError::Io`].
    pub fn finish(
        mut self,
        ledger_id: LedgerId,
        head: Head,
        extent: Extent,
        checkpoint: Option<String>,
    ) -> Result<W, ExportError> {
        let last = LastLine {
            export: ExportHead {
                format: EXPORT_FORMAT,
                ledger_id,
                events: self.events,
                complete: extent == Extent::Complete,
                seq: head.seq,
                hash: head.hash,
                checkpoint,
            },
        };
        let mut line = serde_json::to_vec(&last).map_err(io::Error::from)?;
        line.push(b'\n');
        self.out.write_all(&line)?;
        self.out.flush()?;
        Ok(self.out)
    }
}

/// What is wrong with a line.
#[derive(Debug, thiserror::Error)]
pub enum LineFault {
    /// It can't be read.
    #[error("it can't be read: {0}")]
    Io(#[source] io::Error),
    /// It is longer than any line of an export.
    #[error("it is longer than {MAX_LINE} bytes")]
    Long,
    /// It has no end, or the last line is missing.
    #[error("the export was cut: its last line, which says what it is, is missing")]
    Cut,
    /// There is something behind the last line.
    #[error("there is something behind the line that ends the export")]
    Behind,
    /// Not what a line of an export is.
    #[error("it is not a line of an export: {0}")]
    Malformed(String),
    /// It is too long an event.
    #[error(transparent)]
    Encode(EncodeError),
    /// It was written by newer software.
    #[error("the export has format {0}; this binary knows {EXPORT_FORMAT}")]
    Newer(u32),
}

/// What is wrong with which line.
#[derive(Debug, thiserror::Error)]
#[error("line {line}: {fault}")]
pub struct LineError {
    /// From 1.
    pub line: u64,
    /// What is wrong with it.
    pub fault: LineFault,
}

/// A line that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Line {
    /// An event's encoded bytes, and what the line says of its place in the chain.
    Event {
        /// The bytes.
        bytes: Vec<u8>,
        /// Hash of the event before it.
        prev_hash: Hash,
        /// Its own.
        hash: Hash,
    },
    /// The last line.
    End(ExportHead),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EventLine<'a> {
    seq: Seq,
    term: Term,
    recorded_at: Timestamp,
    event_id: EventId,
    kind: Kind,
    version: u16,
    subject: Entity,
    actor: Entity,
    #[serde(default)]
    claimed_actor: Option<Entity>,
    #[serde(default)]
    cause: Option<Seq>,
    #[serde(default)]
    correlation: Option<Id>,
    #[serde(default)]
    traceparent: Option<String>,
    #[serde(default)]
    idempotency_key: Option<Id>,
    #[serde(borrow)]
    data: &'a RawValue,
    prev_hash: Hash,
    hash: Hash,
}

/// Reads lines and makes the events' bytes anew. Neither chain nor order is checked here.
#[derive(Debug)]
pub struct JsonlReader<R> {
    source: R,
    line: u64,
    ended: bool,
}

impl<R: BufRead> JsonlReader<R> {
    /// A reader from the first line.
    pub fn new(source: R) -> Self {
        Self {
            source,
            line: 0,
            ended: false,
        }
    }

    /// The number of the line that was read last.
    pub fn line(&self) -> u64 {
        self.line
    }

    /// The next line; `None` behind the last.
    ///
    /// # Errors
    /// [`LineError`].
    pub fn read(&mut self) -> Result<Option<Line>, LineError> {
        self.line += 1;
        self.read_line().map_err(|fault| LineError {
            line: self.line,
            fault,
        })
    }

    fn read_line(&mut self) -> Result<Option<Line>, LineFault> {
        let mut line = Vec::new();
        let mut limited = self.source.by_ref().take(MAX_LINE + 1);
        limited
            .read_until(b'\n', &mut line)
            .map_err(LineFault::Io)?;
        if self.ended {
            return if line.is_empty() {
                Ok(None)
            } else {
                Err(LineFault::Behind)
            };
        }
        if line.len() as u64 > MAX_LINE {
            return Err(LineFault::Long);
        }
        if line.pop() != Some(b'\n') {
            return Err(LineFault::Cut);
        }
        let text = str::from_utf8(&line).map_err(|e| LineFault::Malformed(e.to_string()))?;
        let malformed = |e: serde_json::Error| LineFault::Malformed(e.to_string());
        if text.starts_with("{\"export\":") {
            let LastLine { export } = serde_json::from_str(text).map_err(malformed)?;
            if export.format != EXPORT_FORMAT {
                return Err(LineFault::Newer(export.format));
            }
            self.ended = true;
            return Ok(Some(Line::End(export)));
        }
        let parsed: EventLine<'_> = serde_json::from_str(text).map_err(malformed)?;
        encode(parsed).map(Some)
    }
}

fn encode(line: EventLine<'_>) -> Result<Line, LineFault> {
    let malformed = |what: &str| LineFault::Malformed(what.to_owned());
    let traceparent = match line.traceparent {
        None => None,
        Some(text) => {
            Some(TraceParent::new(&text).ok_or_else(|| malformed("traceparent is malformed"))?)
        }
    };
    let data = line.data.get();
    if !data.starts_with('{') {
        return Err(malformed("data is not an object"));
    }
    let draft = Draft {
        event_id: line.event_id,
        kind: line.kind,
        version: line.version,
        subject: line.subject,
        origin: Origin {
            actor: line.actor,
            claimed_actor: line.claimed_actor,
            cause: line.cause,
            correlation: line.correlation,
            traceparent,
        },
        idempotency_key: line.idempotency_key,
        data: data.to_owned(),
    };
    let mut bytes = Vec::with_capacity(data.len() + 512);
    codec::encode(&draft, line.seq, line.term, line.recorded_at, &mut bytes)
        .map_err(LineFault::Encode)?;
    Ok(Line::Event {
        bytes,
        prev_hash: line.prev_hash,
        hash: line.hash,
    })
}
