//! `ledger exec`: runs a command as a task and behaves as if it ran here: its output comes out
//! here as it is written, Ctrl-C ends it, and its exit code becomes this one's.
//!
//! The task outlives the node: if that is killed or restarted meanwhile, this waits for the next one
//! and goes on where the output stopped, without a gap and without repeating a byte.

mod input;
mod not_started;
pub(crate) mod retried;

use std::io::Write;
use std::os::fd::AsFd;
use std::path::PathBuf;

use ledger_core::event::{DeadReason, Payload};
use ledger_core::ids::Id;
use projections::tasks::{Closing, StateName, TaskView};
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::error::{Exit, Failure};
use super::globals::Globals;
use super::output::escape::escape;
use super::output::{aside, note};
use super::resume::PAUSED;
use super::session::Session;
use super::source::Node;
use super::task::kept;
use super::task::show::why_dead;
use super::task::submit::{Job, absolute};
use super::task::view::held_by;
use crate::api::wire::{ApiError, CancelRequest, ErrorCode, Stream, SubmitRequest};
use crate::units::format_limit;

/// Options.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Where it runs [default: the current directory]
    #[arg(long, value_name = "DIR")]
    cwd: Option<PathBuf>,
    #[command(flatten)]
    job: Job,
}

/// What it exits with, where that is not the command's own code.
pub(crate) const CODES: &str = "It exits as the command does, or as a shell would: 128 and its \
    number for a signal, 124 past the limit, 126 for a command that can't be run, 127 for one that \
    is not there, 143 for one that was cancelled and 137 if it had to be killed for that. What was lost \
    too often, or never ran since it expired or what it depends on died, gives 1.\n\nThe command's \
    output is passed on as it is, up to tasks.output_limit; if there was more, that is said. With --json a line \
    {\"task\":…} follows on standard error once it has ended, however that was: what `ledger task show \
    --json` has.\n\n\
    It reads nothing on standard input unless --stdin says what.";

/// What a shell gives for a process that was ended by a signal.
const fn signaled(signal: u8) -> Exit {
    Exit(128 + signal)
}

pub(crate) fn run(globals: &Globals, args: Args) -> Result<Exit, Failure> {
    let data_dir = globals.data_dir()?;
    let cwd = absolute(args.cwd.as_deref().unwrap_or_else(|| ".".as_ref()))?;
    let says_input = args.job.names_input();
    let request = args.job.request(Some(cwd))?;
    let node = Node::require(&data_dir)?;
    if !says_input && input::has_come_in(std::io::stdin().as_fd()) {
        note(
            "what comes in on standard input is not passed on: `--stdin -` does that, and \
             `</dev/null` says that none is meant",
        );
    }
    // Submitting, streaming and waiting share one runtime: the node's.
    node.wait(async {
        let session = Session::new(&data_dir).await?;
        let view = match execute(&session, &request).await? {
            Ran::Ended(view) => view,
            Ran::Left(exit) => return Ok(exit),
        };
        if globals.json {
            aside(serde_json::json!({ "task": view }));
        }
        conclude(&view)
    })
}

/// What became of it.
enum Ran {
    /// The task has ended.
    Ended(Box<TaskView>),
    /// It is not waited for any more.
    Left(Exit),
}

async fn execute(session: &Session, request: &SubmitRequest) -> Result<Ran, Failure> {
    let mut interrupts = Interrupts::new()?;
    let receipt = session.submit(request).await?;
    if receipt.paused {
        note(PAUSED);
    }
    let id = receipt.task_id;
    // With a key of one's own, it may be anybody's who uses that: here it is only looked on.
    let first = receipt.replayed && request.idempotency_key.is_some();
    if first {
        note(format_args!(
            "task {id} was submitted before under this key: nothing is run anew"
        ));
    }
    if let Some(held) = &receipt.held {
        let why = held_by(held);
        note(format_args!(
            "task {id} is held ({why}): it starts once it is not"
        ));
    }
    let run = async {
        let mut stdout = |bytes: &[u8]| put(Stream::Stdout, bytes);
        let mut stderr = |bytes: &[u8]| put(Stream::Stderr, bytes);
        // Either is told of the end, with all that there is to know of it.
        let (view, _) = tokio::try_join!(
            session.stream(&id, Stream::Stdout, &mut stdout),
            session.stream(&id, Stream::Stderr, &mut stderr)
        )?;
        Ok(view)
    };
    tokio::pin!(run);
    let mut asked = false;
    loop {
        tokio::select! {
            ended = &mut run => return match ended {
                Ok(view) => Ok(Ran::Ended(Box::new(view))),
                Err(Failure::ClosedPipe) => {
                    // Nobody reads what it writes: it ends, as a command in a pipe does.
                    cancel(session, &id, "nobody reads its output any more").await;
                    Ok(Ran::Left(signaled(13)))
                }
                Err(failure) => Err(failure),
            },
            code = interrupts.next() => {
                if first || asked {
                    let state = if asked { "is being cancelled" } else { "goes on" };
                    note(format_args!("task {id} {state}; `ledger task show {id}` shows it"));
                    return Ok(Ran::Left(code));
                }
                asked = true;
                note(format_args!("task {id} is being cancelled; once more leaves it to that"));
                cancel(session, &id, "interrupted").await;
            }
        }
    }
}

async fn cancel(session: &Session, id: &Id, reason: &str) {
    let request = CancelRequest {
        reason: Some(reason.to_owned()),
    };
    match session.client().cancel(id, &request).await {
        // It may have ended by itself just now, which is as good.
        Ok(_)
        | Err(ApiError {
            code: ErrorCode::Conflict,
            ..
        }) => {}
        Err(error) => {
            let error = error.to_string();
            note(format_args!(
                "task {id} could not be cancelled: {}",
                escape(&error)
            ));
        }
    }
}

/// The exit code of a task that has ended, and a word where the code alone would not tell.
fn conclude(view: &TaskView) -> Result<Exit, Failure> {
    let id = &view.task_id;
    let own = view.exit_code.and_then(|code| u8::try_from(code).ok());
    for lack in [Stream::Stdout, Stream::Stderr].map(|stream| kept::lacks(view, stream)) {
        lack.into_iter().for_each(note);
    }
    if let (StateName::Dead, Some(reason @ (DeadReason::Dependency | DeadReason::Expired))) =
        (view.state, view.dead_reason)
    {
        let why = why_dead(reason, view.dead_dependency.as_deref());
        let ran = match view.attempts.is_empty() {
            true => " and never ran",
            false => "",
        };
        note(format_args!("task {id} is dead{ran}: {why}"));
        return Ok(own.map_or(Exit::FAILED, Exit));
    }
    let closing = view.attempts.last().map(|last| last.closing);
    match (view.state, closing) {
        (StateName::Cancelled, closing) => {
            // While it waited for another attempt, the code is that of the last.
            let ran = closing == Some(Closing::Cancelled);
            let exit = own.filter(|_| ran).map_or(signaled(15), Exit);
            let killed = exit == signaled(9);
            let how = if killed { " and had to be killed" } else { "" };
            note(format_args!("task {id} was cancelled{how}"));
            Ok(exit)
        }
        (StateName::Dead, Some(Closing::TimedOut)) => {
            let limit = format_limit(view.max_runtime_ms);
            note(format_args!(
                "task {id} ran longer than {limit} and was ended"
            ));
            Ok(Exit(124))
        }
        (StateName::Dead, Some(Closing::Stalled)) => {
            let after = view.terms.stall_after_ms.unwrap_or_default();
            let limit = format_limit(after);
            note(format_args!(
                "task {id} did nothing for {limit} and was ended"
            ));
            Ok(Exit(124))
        }
        (StateName::Dead, Some(Closing::Lost)) => {
            note(format_args!(
                "task {id} was lost: its processes ended without an outcome"
            ));
            Ok(Exit::FAILED)
        }
        (StateName::Dead, Some(Closing::Spawn | Closing::NotExecutable)) => {
            match &view.payload {
                Payload::Exec(exec) => {
                    let error = not_started::explain(exec, view.failure.as_ref());
                    Err(Failure::NotStarted(error.into(), Exit(own.unwrap_or(127))))
                }
                // Submitted here was a command, so this is another's task of the same id.
                Payload::Builtin(_) => Ok(own.map_or(Exit::FAILED, Exit)),
            }
        }
        _ => Ok(own.map_or(Exit::FAILED, Exit)),
    }
}

/// Writes to the same stream here. What a command writes is its own business, so nothing of it is
/// changed.
fn put(stream: Stream, bytes: &[u8]) -> Result<(), Failure> {
    let written = match stream {
        Stream::Stdout => {
            let mut out = std::io::stdout().lock();
            out.write_all(bytes).and_then(|()| out.flush())
        }
        Stream::Stderr => std::io::stderr().lock().write_all(bytes),
    };
    written.map_err(|e| Failure::of_output(&e))
}

/// Ctrl-C and its like.
struct Interrupts {
    int: Signal,
    term: Signal,
    hup: Signal,
}

impl Interrupts {
    fn new() -> Result<Self, ApiError> {
        let listen = |kind| {
            signal(kind).map_err(|e| {
                ApiError::new(ErrorCode::Failed, "signals can't be listened for").because(e)
            })
        };
        Ok(Self {
            int: listen(SignalKind::interrupt())?,
            term: listen(SignalKind::terminate())?,
            hup: listen(SignalKind::hangup())?,
        })
    }

    /// The next one, as the exit code it would have given.
    async fn next(&mut self) -> Exit {
        tokio::select! {
            _ = self.int.recv() => signaled(2),
            _ = self.term.recv() => signaled(15),
            _ = self.hup.recv() => signaled(1),
        }
    }
}
