//! What is said about a command that could not be started, and the exit code that a shell would
//! give for it: 127 if there is no such command, 126 if there is and it can't be run.

use ledger_core::event::{Exec, Failure};

use crate::api::wire::{ApiError, ErrorCode};

/// The system's number for "no such file or directory".
const ENOENT: i32 = 2;

/// The error for why a command was not started.
pub(crate) fn explain(exec: &Exec, failure: Option<&Failure>) -> ApiError {
    let Some(Failure::Spawn {
        step,
        errno,
        message,
    }) = failure
    else {
        return failed("the command could not be started");
    };
    let program = exec.argv.first().map_or("", String::as_str);
    if step != "exec" {
        return failed("the command could not be started").because(format!("{step}: {message}"));
    }
    if *errno != ENOENT {
        return failed(format!("the command {program} can't be run"))
            .because(message)
            .hint("it must be a file, no directory, that the node's user may execute (`chmod +x`), or name what is to run it");
    }
    let missing = failed(format!("there is no command {program}"));
    if program.contains('/') {
        let from = exec.cwd.as_deref().unwrap_or("the attempt's own directory");
        return missing
            .because(format!("{message}, seen from {from}"))
            .hint("name a file that is there; of a script, what its first line names must be there too");
    }
    let missing =
        missing.because("no directory in the PATH of the task has a program of that name");
    if exec.env.contains_key("PATH") {
        missing.hint("name the whole path of the program")
    } else {
        missing.hint(
            "a task has the node's PATH: name the whole path, or pass yours on with `-e PATH`",
        )
    }
}

fn failed(message: impl Into<String>) -> ApiError {
    ApiError::new(ErrorCode::Failed, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn explained(program: &str, path: Option<&str>, step: &str, errno: i32) -> ApiError {
        let exec = Exec {
            argv: vec![program.to_owned(), "argument".to_owned()],
            env: path
                .map(|path| ("PATH".to_owned(), path.to_owned()))
                .into_iter()
                .collect(),
            cwd: None,
            stdin: None,
        };
        let failure = Failure::Spawn {
            step: step.to_owned(),
            errno,
            message: "the system's words".to_owned(),
        };
        explain(&exec, Some(&failure))
    }

    #[test]
    fn each_reason_has_its_own_way_out() {
        let hint = |error: &ApiError| error.hint.clone().unwrap_or_default();
        let error = explained("nope", None, "exec", ENOENT);
        assert_eq!(error.message, "there is no command nope");
        assert!(hint(&error).contains("-e PATH"), "{error:?}");
        let error = explained("nope", Some("/x"), "exec", ENOENT);
        assert!(!hint(&error).contains("-e PATH"), "{error:?}");
        let error = explained("./nope", None, "exec", ENOENT);
        assert!(hint(&error).contains("first line"), "{error:?}");
        let error = explained("./plain", None, "exec", 13);
        assert_eq!(error.message, "the command ./plain can't be run");
        assert_eq!(error.cause.as_deref(), Some("the system's words"));
        assert!(hint(&error).contains("chmod +x"), "{error:?}");
        let error = explained("true", None, "working_directory", ENOENT);
        assert_eq!(error.message, "the command could not be started");
        assert_eq!(
            error.cause.as_deref(),
            Some("working_directory: the system's words")
        );
    }
}
