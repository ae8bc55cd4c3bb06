//! `ledger task logs`: what a task wrote.
//!
//! On a terminal control characters are shown instead of obeyed, since the text is whatever the
//! task wanted to write; elsewhere, and with `--raw`, the bytes come as they are.

use std::io::{self, IsTerminal, Read, Write};
use std::path::Path;

use ledger_core::event::{Attempt, Failure as Failed};
use ledger_core::ids::Id;
use projections::tasks::{Closing, StateName, TaskView};

use super::kept;
use super::show::why_dead;
use super::view::{held_by, meant, task};
use crate::api::wire::{ApiError, ErrorCode, OutputQuery, Stream};
use crate::cli::error::{Exit, Failure};
use crate::cli::globals::Globals;
use crate::cli::output::escape::escape;
use crate::cli::output::note;
use crate::cli::session::Session;
use crate::cli::source::Source;
use crate::scheduler::policy::Policy;
use crate::shim::AttemptDir;

/// Options.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The task: its id, or at least 8 characters that no other begins with
    #[arg(value_name = "ID")]
    id: Id,
    /// Standard error instead of standard output
    #[arg(long)]
    stderr: bool,
    /// Of this attempt [default: the latest; with -f the one that the task waits for, if it does]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    attempt: Option<u32>,
    /// Go on until the attempt has ended
    #[arg(long, short = 'f')]
    follow: bool,
    /// Pass control characters through to the terminal
    #[arg(long)]
    raw: bool,
}

pub(crate) fn run(globals: &Globals, args: &Args) -> Result<Exit, Failure> {
    let data_dir = globals.data_dir()?;
    let stream = if args.stderr {
        Stream::Stderr
    } else {
        Stream::Stdout
    };
    let mut sink = Sink::new(args.raw);
    let source = Source::open(&data_dir)?;
    let view = match &source {
        Source::Node(node) => {
            let query = OutputQuery {
                stream,
                attempt: args.attempt,
                follow: false,
            };
            let id = meant(node, &args.id)?;
            let view = node.wait(node.client().task(&id, None))?;
            if args.attempt.is_none() && view.attempt.is_none() {
                if !args.follow || view.ended_at.is_some() {
                    return Err(
                        not_started(&view, "follow it with -f to wait for its output").into(),
                    );
                }
                let why = why_not_started(&view);
                note(format_args!("task {id} has not been started: {why}"));
            }
            if args.follow {
                // Who leads then may be another.
                node.wait(follow(&data_dir, &id, args, stream, &mut sink))?
            } else {
                node.wait(async {
                    let mut bytes = node.client().output(&id, &query).await?;
                    while let Some(bytes) = bytes.next().await? {
                        sink.write(&bytes)?;
                    }
                    Ok::<_, Failure>(())
                })?;
                view
            }
        }
        Source::Files(_) => from_files(&source, &data_dir, args, stream, &mut sink)?,
    };
    sink.finish()?;
    let Some(latest) = view.attempt else {
        // It was waited for, and ended without it.
        return Err(not_started(&view, "").into());
    };
    let attempt = args.attempt.map_or(latest, Attempt);
    let lack = kept::lacks(&view, stream).filter(|_| attempt == latest);
    let nothing = || why_nothing(&view, attempt).filter(|_| !sink.wrote);
    lack.or_else(nothing).into_iter().for_each(note);
    Ok(Exit::OK)
}

/// What an attempt has written so far, as nobody tells what comes; and the task.
fn from_files(
    source: &Source,
    data_dir: &Path,
    args: &Args,
    stream: Stream,
    sink: &mut Sink,
) -> Result<TaskView, Failure> {
    let view = task(source, &args.id, None, &Policy::default())?;
    let attempt = args.attempt.or(view.attempt.map(|attempt| attempt.0));
    let attempt = attempt.ok_or_else(|| not_started(&view, "start a node with `ledger up`"))?;
    let unreadable = |e: &dyn std::fmt::Display| {
        ApiError::new(ErrorCode::Failed, "the output can't be read").because(e)
    };
    let dir = AttemptDir::new(data_dir, &view.task_id, attempt).map_err(|e| unreadable(&e))?;
    let file = match stream {
        Stream::Stdout => dir.open_stdout(),
        Stream::Stderr => dir.open_stderr(),
    };
    if let Some(mut file) = file.map_err(|e| unreadable(&e))? {
        let mut buffer = vec![0; 64 * 1024];
        loop {
            match file.read(&mut buffer).map_err(|e| unreadable(&e))? {
                0 => break,
                n => sink.write(&buffer[..n])?,
            }
        }
    }
    let mut ended = view.attempts.iter().map(|record| record.attempt.0);
    let is_over = view.ended_at.is_some() || ended.any(|ended| ended == attempt);
    if args.follow && !is_over {
        sink.finish()?;
        let (id, what) = (&view.task_id, "can be followed no further");
        let error = ApiError::new(
            ErrorCode::Refused,
            format!("attempt {attempt} of task {id} {what}"),
        );
        return Err(error
            .because("no node runs that could tell when it ends")
            .hint("start one with `ledger up`; without -f what it wrote so far is shown")
            .into());
    }
    Ok(view)
}

/// There is nothing to show of a task that never ran.
fn not_started(view: &TaskView, way_on: &str) -> ApiError {
    let id = &view.task_id;
    let error = ApiError::new(
        ErrorCode::NotFound,
        format!("task {id} has not been started"),
    )
    .because(why_not_started(view));
    match view.ended_at {
        Some(_) => error,
        None => error.hint(way_on),
    }
}

fn why_not_started(view: &TaskView) -> String {
    let state = view.state.as_str();
    match (&view.held, view.dead_reason, view.position) {
        (Some(held), ..) => format!("it is {state}: {}", held_by(held)),
        (None, Some(reason), _) => {
            let why = why_dead(reason, view.dead_dependency.as_deref());
            format!("it is {state}: {why}")
        }
        (None, None, Some(position)) => format!("it is {state}, {position} before it"),
        (None, None, None) => format!("it is {state}"),
    }
}

/// Why an attempt wrote nothing, where that is not its own doing.
fn why_nothing(view: &TaskView, attempt: Attempt) -> Option<String> {
    let mut ended = view.attempts.iter();
    let record = ended.find(|record| record.attempt == attempt)?;
    let what = match record.closing {
        Closing::Spawn | Closing::NotExecutable => "could not be started",
        Closing::Lost => "was lost",
        Closing::Completed
        | Closing::Exit(_)
        | Closing::Signal(_)
        | Closing::TimedOut
        | Closing::Stalled
        | Closing::Cancelled => return None,
    };
    let failure = match &view.failure {
        Some(Failed::Spawn { step, message, .. }) if view.attempt == Some(attempt) => {
            format!(": {}", escape(&format!("{step}: {message}")))
        }
        Some(_) | None => String::new(),
    };
    Some(format!(
        "attempt {attempt} of task {} {what}{failure}",
        view.task_id
    ))
}

/// Follows one attempt to its end, over as many leaders as it takes. The task as it is then.
async fn follow(
    data_dir: &Path,
    id: &Id,
    args: &Args,
    stream: Stream,
    sink: &mut Sink,
) -> Result<TaskView, Failure> {
    let session = Session::new(data_dir).await?;
    let attempt = match args.attempt {
        Some(attempt) => attempt,
        None => {
            let view = session.view(id).await?;
            let latest = view.attempt.map_or(0, |attempt| attempt.0);
            match view.state {
                StateName::Queued | StateName::Held => latest + 1,
                _ => latest.max(1),
            }
        }
    };
    let mut write = |bytes: &[u8]| sink.write(bytes);
    session.attempt(id, stream, attempt, &mut write).await
}

/// Longest line held back to be made safe as a whole.
const MAX_LINE: usize = 64 * 1024;

/// Standard output for bytes of a task.
struct Sink {
    stdout: io::Stdout,
    /// The line so far, where lines are made safe.
    safe: Option<Vec<u8>>,
    /// Whether there was anything.
    wrote: bool,
}

impl Sink {
    fn new(raw: bool) -> Self {
        let stdout = io::stdout();
        let safe = (stdout.is_terminal() && !raw).then(Vec::new);
        Self {
            stdout,
            safe,
            wrote: false,
        }
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.wrote |= !bytes.is_empty();
        let Some(line) = &mut self.safe else {
            return put(&self.stdout, bytes);
        };
        line.extend_from_slice(bytes);
        let mut out = Vec::new();
        while let Some(end) = line.iter().position(|b| *b == b'\n') {
            let rest = line.split_off(end + 1);
            line.pop();
            out.extend_from_slice(plain(line).as_bytes());
            out.push(b'\n');
            *line = rest;
        }
        if line.len() > MAX_LINE {
            out.extend_from_slice(plain(&std::mem::take(line)).as_bytes());
        }
        put(&self.stdout, &out)
    }

    fn finish(&mut self) -> Result<(), Failure> {
        let rest = self.safe.take().unwrap_or_default();
        put(&self.stdout, plain(&rest).as_bytes())
    }
}

/// A line without what acts on a terminal; tabs stay.
fn plain(line: &[u8]) -> String {
    let text = String::from_utf8_lossy(line.strip_suffix(b"\r").unwrap_or(line));
    let parts: Vec<_> = text.split('\t').map(escape).collect();
    parts.join("\t")
}

fn put(mut stdout: &io::Stdout, bytes: &[u8]) -> Result<(), Failure> {
    stdout
        .write_all(bytes)
        .and_then(|()| stdout.flush())
        .map_err(|e| Failure::of_output(&e))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_keep_tabs_and_lose_what_acts() {
        assert_eq!(plain(b"a\tb\r"), "a\tb");
        assert_eq!(plain(b"\x1b[2Jx\xff"), "\\x1b[2Jx\u{fffd}");
    }
}
