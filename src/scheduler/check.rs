//! Whether a task can be one, whatever its id, the time and the other tasks.
//!
//! What is wrong names its part, so that whoever asked can say it in the spelling of what was written:
//! a key of a file, an option of a command, a field of a request.

use std::fmt;

use ledger_core::event::{Payload, TaskSubmitted};

use super::decide::{MAX_ARGS, MAX_GRACE, MAX_RUNTIME};
use super::terms;

/// A part of a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The program and its arguments.
    Command,
    /// Its environment.
    Env,
    /// Its working directory.
    Cwd,
    /// How long an attempt may run.
    MaxRuntime,
    /// How long it may take to end.
    Grace,
    /// How often it is tried.
    MaxAttempts,
    /// How long it may stand still.
    StallAfter,
    /// What it waits for.
    DependsOn,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Command => "command",
            Self::Env => "env",
            Self::Cwd => "cwd",
            Self::MaxRuntime => "max_runtime",
            Self::Grace => "grace",
            Self::MaxAttempts => "max_attempts",
            Self::StallAfter => "stall_after",
            Self::DependsOn => "depends_on",
        })
    }
}

/// A part of a task that no task can have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{part} {why}")]
pub struct Unfit {
    /// Which.
    pub part: Part,
    /// Why, as what follows its name.
    pub why: String,
}

impl Unfit {
    /// As a result.
    pub(super) fn err<T>(part: Part, why: impl Into<String>) -> Result<T, Self> {
        let why = why.into();
        Err(Self { part, why })
    }
}

/// Checks what a task is.
///
/// # Errors
/// [`Unfit`] if nobody could run it.
pub fn check(task: &TaskSubmitted) -> Result<(), Unfit> {
    check_payload(&task.payload)?;
    if task.max_runtime_ms.0 == 0 || task.max_runtime_ms > MAX_RUNTIME {
        return Unfit::err(Part::MaxRuntime, "must be between 1ms and 30d");
    }
    if task.grace_ms > MAX_GRACE {
        return Unfit::err(Part::Grace, "must be at most 1h");
    }
    if let Some(terms) = &task.terms {
        terms::check_alone(terms)?;
        if terms.stall_after_ms.is_some() && matches!(task.payload, Payload::Builtin(_)) {
            let why = "is for commands: a job of the node's own has no processes";
            return Unfit::err(Part::StallAfter, why);
        }
    }
    Ok(())
}

fn check_payload(payload: &Payload) -> Result<(), Unfit> {
    let exec = match payload {
        Payload::Exec(exec) => exec,
        Payload::Builtin(_) => return Ok(()),
    };
    let has_nul = |s: &str| s.contains('\0');
    if exec.argv.first().is_none_or(String::is_empty) {
        return Unfit::err(Part::Command, "is empty: it needs at least a program");
    }
    let many = format!("has at most {MAX_ARGS} entries");
    if exec.argv.len() > MAX_ARGS {
        return Unfit::err(Part::Command, many);
    }
    if exec.env.len() > MAX_ARGS {
        return Unfit::err(Part::Env, many);
    }
    if exec.argv.iter().any(|arg| has_nul(arg)) {
        return Unfit::err(Part::Command, "has an argument that contains a NUL byte");
    }
    if let Some((name, _)) = exec.env.iter().find(|(name, value)| {
        name.is_empty() || name.contains('=') || has_nul(name) || has_nul(value)
    }) {
        return Unfit::err(
            Part::Env,
            format!("has the environment variable {name:?}, which can't be set"),
        );
    }
    match &exec.cwd {
        Some(cwd) if !cwd.starts_with('/') || has_nul(cwd) => {
            Unfit::err(Part::Cwd, "must be an absolute path")
        }
        Some(_) | None => Ok(()),
    }
}
