//! How results are written: apart from what they are.

pub(crate) mod ask;
pub(crate) mod escape;
pub(crate) mod event;
pub(crate) mod keys;
mod pager;
pub(crate) mod progress;
pub(crate) mod style;
mod subject;
pub(crate) mod summary;
pub(crate) mod table;
pub(crate) mod text;
pub(crate) mod time;

use std::fmt::Display;
use std::io::{self, BufWriter, IsTerminal, Stdout, Write};
use std::sync::OnceLock;

use jiff::tz::TimeZone;
use serde::Serialize;

use super::error::Failure;
use pager::Pager;
use style::{ColorChoice, Paint};
use time::Times;

/// Whether a command's output may go through a pager.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Paging {
    /// On a terminal, unless `--no-pager` was given.
    Allowed,
    /// Not: it is short, or goes on.
    Never,
}

/// When what was written is passed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Buffering {
    /// When much has come together: for output that ends.
    Full,
    /// After every line: for output that goes on.
    Lines,
}

/// Columns for text where there is no terminal to ask.
const PLAIN_WIDTH: usize = 80;

/// What the global options say of output.
#[derive(Debug, Clone, Copy)]
pub(crate) struct OutputOptions {
    /// `--color`.
    pub(crate) color: ColorChoice,
    /// `--utc`.
    pub(crate) utc: bool,
    /// `--no-pager`.
    pub(crate) no_pager: bool,
}

/// Standard output, or the pager in front of it.
#[derive(Debug)]
pub(crate) struct Out {
    sink: Sink,
    buffering: Buffering,
    /// How things are painted.
    pub(crate) paint: Paint,
    /// How times are shown.
    pub(crate) times: Times,
    /// Columns of the terminal; `None` if there is none.
    pub(crate) width: Option<usize>,
}

#[derive(Debug)]
enum Sink {
    Stdout(BufWriter<Stdout>),
    Pager(BufWriter<Pager>),
}

impl Sink {
    fn writer(&mut self) -> &mut dyn Write {
        match self {
            Self::Stdout(writer) => writer,
            Self::Pager(writer) => writer,
        }
    }
}

impl Out {
    /// Opens the output.
    pub(crate) fn open(options: OutputOptions, paging: Paging, buffering: Buffering) -> Self {
        let stdout = io::stdout();
        let terminal = stdout.is_terminal();
        let width = terminal.then(|| {
            terminal_size::terminal_size_of(&stdout).map_or(80, |(w, _)| usize::from(w.0).max(20))
        });
        let paint = Paint::of(options.color, &stdout);
        let times = match (terminal, options.utc) {
            (true, false) => Times::Local(TimeZone::system()),
            (true, true) => Times::Local(TimeZone::UTC),
            (false, _) => Times::Utc,
        };
        let pager = (terminal && paging == Paging::Allowed && !options.no_pager)
            .then(Pager::start)
            .flatten();
        let sink = match pager {
            Some(pager) => Sink::Pager(BufWriter::new(pager)),
            None => Sink::Stdout(BufWriter::with_capacity(64 * 1024, stdout)),
        };
        Self {
            sink,
            buffering,
            paint,
            times,
            width,
        }
    }

    /// Columns and rows of the terminal as it is now, which what is written fits from here on.
    pub(crate) fn measure(&mut self) -> (usize, usize) {
        let (columns, rows) = terminal_size::terminal_size_of(io::stdout())
            .map_or((80, 24), |(w, h)| (usize::from(w.0), usize::from(h.0)));
        let columns = columns.max(20);
        self.width = Some(columns);
        (columns, rows.max(1))
    }

    /// Writes a line.
    ///
    /// # Errors
    /// [`Failure::ClosedPipe`] if nobody reads any more, or an error if it can't be written.
    pub(crate) fn line(&mut self, line: impl Display) -> Result<(), Failure> {
        let writer = self.sink.writer();
        let written = writeln!(writer, "{line}").and_then(|()| match self.buffering {
            Buffering::Full => Ok(()),
            Buffering::Lines => writer.flush(),
        });
        written.map_err(|e| Failure::of_output(&e))
    }

    /// Writes a line; on a terminal that it does not fit on, it goes on in the next ones. A word is
    /// never cut: somebody may copy it.
    ///
    /// # Errors
    /// As [`Out::line`].
    pub(crate) fn wrapped(&mut self, line: impl Display) -> Result<(), Failure> {
        let line = line.to_string();
        match self.width {
            Some(columns) => text::wrap(&line, columns)
                .iter()
                .try_for_each(|part| self.line(part)),
            None => self.line(line),
        }
    }

    /// Columns that text may take, also where there is no terminal.
    pub(crate) fn columns(&self) -> usize {
        self.width.unwrap_or(PLAIN_WIDTH)
    }

    /// Writes text for people, in lines that fit wherever they are read. A word is never cut.
    ///
    /// # Errors
    /// As [`Out::line`].
    pub(crate) fn fitted(&mut self, text: impl Display) -> Result<(), Failure> {
        let columns = self.columns();
        self.lines(text::wrap(&text.to_string(), columns))
    }

    /// Writes several lines.
    ///
    /// # Errors
    /// As [`Out::line`].
    pub(crate) fn lines(&mut self, lines: impl IntoIterator<Item = String>) -> Result<(), Failure> {
        lines.into_iter().try_for_each(|line| self.line(line))
    }

    /// Writes a value as one JSON document.
    ///
    /// # Errors
    /// As [`Out::line`].
    pub(crate) fn json(&mut self, value: &impl Serialize) -> Result<(), Failure> {
        let json = serde_json::to_string_pretty(value)
            .map_err(|e| Failure::of_output(&io::Error::from(e)))?;
        self.line(json)
    }

    /// Writes a value as JSON on one line.
    ///
    /// # Errors
    /// As [`Out::line`].
    pub(crate) fn json_line(&mut self, value: &impl Serialize) -> Result<(), Failure> {
        let json =
            serde_json::to_string(value).map_err(|e| Failure::of_output(&io::Error::from(e)))?;
        self.line(json)
    }

    /// Writes what moves the cursor; only for a terminal.
    ///
    /// # Errors
    /// As [`Out::line`].
    pub(crate) fn raw(&mut self, text: &str) -> Result<(), Failure> {
        self.sink
            .writer()
            .write_all(text.as_bytes())
            .map_err(|e| Failure::of_output(&e))
    }

    /// Passes on what was written, and says whether that worked.
    ///
    /// # Errors
    /// As [`Out::line`].
    pub(crate) fn finish(&mut self) -> Result<(), Failure> {
        self.sink
            .writer()
            .flush()
            .map_err(|e| Failure::of_output(&e))
    }
}

/// How notes are written, once that is known.
static NOTES: OnceLock<NoteStyle> = OnceLock::new();

/// How notes are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NoteStyle {
    /// A line for people.
    Lines,
    /// A JSON object a line, so that programs can read all of standard error.
    Json,
}

/// Settles how notes are written from now on.
pub(crate) fn set_notes(style: NoteStyle) {
    // Only a test runs two commands in one process, and it does not look.
    let _ = NOTES.set(style);
}

/// Writes a note to standard error: a line, or an object such as `{"note":"…"}`.
pub(crate) fn note(text: impl Display) {
    match NOTES.get() {
        Some(NoteStyle::Json) => {
            let text = text.to_string();
            aside(serde_json::json!({ "note": text }));
        }
        Some(NoteStyle::Lines) | None => aside(text),
    }
}

/// Writes a line to standard error as it is. That it can't be written is no reason to stop.
pub(crate) fn aside(text: impl Display) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}
