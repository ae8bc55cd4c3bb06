//! `ledger task submit`, and the options that it shares with `ledger exec`.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use ledger_core::clock;
use ledger_core::codec::MAX_EVENT;
use ledger_core::event::{Exec, Payload, Priority};
use ledger_core::ids::{Entity, Id};
use ledger_core::time::Millis;
use projections::tasks::StateName;

use super::retry::recorded;
use super::terms::{TermsArgs, within};
use super::view::held_by;
use crate::api::wire::{ApiError, ErrorCode, SubmitReceipt, SubmitRequest};
use crate::cli::error::{Exit, Failure};
use crate::cli::globals::Globals;
use crate::cli::output::{Buffering, Out, Paging, note};
use crate::cli::resume::PAUSED;
use crate::cli::session::Session;
use crate::cli::source::Node;
use crate::names::key;
use crate::scheduler::decide::{MAX_GRACE, MAX_RUNTIME};

/// What to run, and how.
#[derive(Debug, clap::Args)]
pub(crate) struct Job {
    /// Its queue: 0 (interactive), 1 (standard) or 2 (background)
    #[arg(long, short = 'p', value_name = "N", default_value = "1")]
    priority: Priority,
    /// How long an attempt may run [default: tasks.max_runtime of the configuration]
    #[arg(long, value_name = "DURATION", value_parser = max_runtime)]
    max_runtime: Option<Millis>,
    /// How long it may take to end when asked to [default: tasks.grace of the configuration]
    #[arg(long, value_name = "DURATION", value_parser = grace)]
    grace: Option<Millis>,
    #[command(flatten)]
    terms: TermsArgs,
    /// Sets a variable, or passes on the one that is set here (repeatable)
    #[arg(long, short = 'e', value_name = "NAME[=VALUE]")]
    env: Vec<String>,
    /// Its id [default: made by the node]
    #[arg(long, value_name = "ID")]
    id: Option<Id>,
    /// The same with the same key changes nothing and gives the first's receipt; something else is
    /// refused
    #[arg(long, value_name = "KEY", value_parser = key)]
    idempotency_key: Option<Id>,
    /// Who you say you are, such as agent/ada; who you provably are is recorded beside it
    #[arg(long = "as", value_name = "ACTOR")]
    claimed_actor: Option<Entity>,
    /// Ties this to others
    #[arg(long, value_name = "ID")]
    correlation: Option<Id>,
    /// What it reads on standard input [default: nothing]: a file, or `-` for what comes in here, which
    /// is read to its end first
    #[arg(long, value_name = "FILE|-")]
    stdin: Option<PathBuf>,
    /// What to run: the first word that is no option, or all behind `--`
    #[arg(value_name = "COMMAND", required = true, trailing_var_arg = true)]
    command: Vec<String>,
}

impl Job {
    /// Whether it was said what the command reads.
    pub(crate) const fn names_input(&self) -> bool {
        self.stdin.is_some()
    }

    /// The request to submit it, with the working directory that was decided on.
    ///
    /// # Errors
    /// [`ErrorCode::Usage`] if a variable is not one, or the input can't be read.
    pub(crate) fn request(self, cwd: Option<String>) -> Result<SubmitRequest, ApiError> {
        let env = self
            .env
            .iter()
            .map(|text| variable(text))
            .collect::<Result<BTreeMap<_, _>, _>>()?;
        let terms = self.terms.terms(clock::now())?;
        let stdin = self.stdin.as_deref().map(input).transpose()?;
        Ok(SubmitRequest {
            task_id: self.id,
            priority: self.priority,
            payload: Payload::Exec(Exec {
                argv: self.command,
                env,
                cwd,
                stdin,
            }),
            max_runtime_ms: self.max_runtime,
            grace_ms: self.grace,
            terms,
            idempotency_key: self.idempotency_key,
            claimed_actor: self.claimed_actor,
            correlation: self.correlation,
        })
    }
}

/// `--max-runtime`.
fn max_runtime(text: &str) -> Result<Millis, String> {
    within(text, Millis(1), MAX_RUNTIME)
}

/// `--grace`.
fn grace(text: &str) -> Result<Millis, String> {
    within(text, Millis(0), MAX_GRACE)
}

fn variable(text: &str) -> Result<(String, String), ApiError> {
    let wrong = |why: &str| {
        ApiError::new(
            ErrorCode::Usage,
            format!("--env {text:?} is not a variable"),
        )
        .because(why)
        .hint("write --env NAME=VALUE, or --env NAME to pass on what is set here")
    };
    let (name, value) = match text.split_once('=') {
        Some((name, value)) => (name, value.to_owned()),
        None => (
            text,
            std::env::var(text).map_err(|_| wrong("it is not set here"))?,
        ),
    };
    if name.is_empty() {
        Err(wrong("it has no name"))
    } else {
        Ok((name.to_owned(), value))
    }
}

/// A directory as the node will understand it, wherever the node stands.
pub(crate) fn absolute(dir: &Path) -> Result<String, ApiError> {
    let wrong = |why: String| {
        ApiError::new(
            ErrorCode::Usage,
            format!("{} can't be worked in", dir.display()),
        )
        .because(why)
    };
    let path = std::path::absolute(dir).map_err(|e| wrong(e.to_string()))?;
    match std::fs::metadata(&path) {
        Ok(meta) if meta.is_dir() => {}
        Ok(_) => return Err(wrong("it is not a directory".to_owned())),
        Err(e) => return Err(wrong(e.to_string())),
    }
    path.into_os_string()
        .into_string()
        .map_err(|_| wrong("its name is not UTF-8".to_owned()))
}

/// Options.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Where it runs [default: a directory of its own]
    #[arg(long, value_name = "DIR")]
    cwd: Option<PathBuf>,
    #[command(flatten)]
    job: Job,
}

pub(crate) fn run(globals: &Globals, args: Args) -> Result<Exit, Failure> {
    let data_dir = globals.data_dir()?;
    let cwd = args.cwd.as_deref().map(absolute).transpose()?;
    let request = args.job.request(cwd)?;
    let node = Node::require(&data_dir)?;
    let (receipt, again) = node.wait(async {
        let session = Session::new(&data_dir).await?;
        let receipt = session.submit(&request).await?;
        let again = match receipt.replayed {
            true => Some(session.view(&receipt.task_id).await?.state),
            false => None,
        };
        Ok::<_, Failure>((receipt, again))
    })?;
    if receipt.paused {
        note(PAUSED);
    }
    let mut out = globals.out(Paging::Never, Buffering::Full);
    if globals.json {
        out.json(&receipt)?;
    } else {
        show(&mut out, &receipt, again)?;
    }
    out.finish()?;
    Ok(Exit::OK)
}

/// A receipt: where the task stands, or how far one has come that was submitted before, and where that
/// is recorded.
pub(crate) fn show(
    out: &mut Out,
    receipt: &SubmitReceipt,
    before: Option<StateName>,
) -> Result<(), Failure> {
    let SubmitReceipt {
        task_id,
        queue,
        position,
        seq,
        hash,
        term,
        held,
        ..
    } = receipt;
    let stands = match (before, held) {
        (Some(state), _) => format!(
            "task {task_id} was submitted before, and is {}",
            state.as_str()
        ),
        (None, Some(held)) => format!(
            "task {task_id} is held in queue {} ({queue}): {}",
            queue.level(),
            held_by(held)
        ),
        (None, None) => format!(
            "task {task_id} is in queue {} ({queue}), {position} before it",
            queue.level()
        ),
    };
    out.fitted(stands)?;
    out.line(recorded(*seq, *term, hash))
}

/// What a task is to read, as text: the ledger keeps it.
fn input(from: &Path) -> Result<String, ApiError> {
    let mut text = String::new();
    // As JSON it may be longer still, which the node says.
    let limit = MAX_EVENT as u64;
    let read = if from == Path::new("-") {
        std::io::stdin()
            .lock()
            .take(limit + 1)
            .read_to_string(&mut text)
    } else {
        std::fs::File::open(from).and_then(|file| file.take(limit + 1).read_to_string(&mut text))
    };
    read.map_err(|e| {
        let message = format!("the input {} can't be read", from.display());
        let wrong = ApiError::new(ErrorCode::Usage, message);
        match e.kind() {
            std::io::ErrorKind::InvalidData => wrong
                .because("it is not UTF-8 text, which is what the ledger keeps")
                .hint("put it into a file and name that to the command"),
            _ => wrong.because(e),
        }
    })?;
    if text.len() as u64 > limit {
        return Err(ApiError::new(ErrorCode::Usage, "the input is too large")
            .because("it is a part of an event, which has at most 64 KiB, line ends and the like counted as JSON writes them")
            .hint("put it into a file and name that to the command"));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_given_or_passed_on() {
        assert_eq!(variable("A=b=c").unwrap(), ("A".into(), "b=c".into()));
        assert_eq!(variable("A=").unwrap(), ("A".into(), String::new()));
        assert_eq!(variable("PATH").unwrap().1, std::env::var("PATH").unwrap());
        assert!(variable("NOT_SET_ANYWHERE_1").is_err());
        assert!(variable("=x").is_err());
    }
}
