//! The one boundary where a failure becomes words and an exit code.
//!
//! Every command returns a [`Failure`]; nothing else prints an error or leaves the process. People
//! get a few lines on standard error (what failed, why, what to do next), programs that
//! asked with `--json` get `{"error":{"code":…,"message":…,"cause":…,"hint":…}}` on one line of
//! standard error: standard output is for data alone, so that a consumer never has to tell the
//! two apart.
//!
//! A reader that closes its end of a pipe has what it wants: the command ends quietly with 0,
//! unless its exit code is its answer (`verify`, `rebuild --check`, `exec`); those go on without
//! printing.

use std::io::{self, Write};

use ledger_core::store::{BlockFault, OpenError, ReadError};
use projections::framework::{ReplayError, SnapshotError};

use super::output::escape::escape;
use crate::api::wire::{ApiError, ErrorBody, ErrorCode};
use crate::audit::filter::FilterError;
use crate::config::ConfigError;

/// How a command that worked ends: 0, or the code that is its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Exit(pub(crate) u8);

impl Exit {
    /// All is well.
    pub(crate) const OK: Self = Self(0);
    /// The answer is no.
    pub(crate) const FAILED: Self = Self(1);
    /// What was verified is not intact.
    pub(crate) const TAMPERED: Self = Self(3);
    /// It does not extend what is known from elsewhere.
    pub(crate) const UNANCHORED: Self = Self(4);
    /// It does not account for all that began, or for all that is named.
    pub(crate) const INCOMPLETE: Self = Self(5);
}

/// Why a command ends early.
#[derive(Debug)]
pub(crate) enum Failure {
    /// It failed.
    Error(Box<ApiError>),
    /// A command that it was to run could not be started: an error like others, with the exit code
    /// that a shell would give.
    NotStarted(Box<ApiError>, Exit),
    /// Whoever read its output has closed the pipe.
    ClosedPipe,
}

impl Failure {
    /// From writing to standard output.
    pub(crate) fn of_output(error: &io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Self::ClosedPipe;
        }
        ApiError::new(ErrorCode::Failed, "the output can't be written")
            .because(error)
            .into()
    }
}

impl From<ApiError> for Failure {
    fn from(error: ApiError) -> Self {
        Self::Error(Box::new(error))
    }
}

/// A ledger that is not what was written, and what to do about it.
pub(crate) fn damaged(message: impl Into<String>) -> ApiError {
    ApiError::new(ErrorCode::Tampered, message).hint(
        "`ledger verify` says what is wrong; then restore a backup, or `ledger salvage --into DIR` \
         (see \"a damaged ledger\" in the operations guide)",
    )
}

/// A failure of the file system, with what can be done about those that people meet.
pub(crate) fn of_io(message: impl Into<String>, error: &io::Error) -> ApiError {
    use io::ErrorKind as Kind;
    let of = |code, hint: &str| (code, Some(hint.to_owned()));
    let (code, hint) = match error.kind() {
        Kind::StorageFull | Kind::QuotaExceeded => of(
            ErrorCode::Failed,
            "make room on that file system, or name a directory on another; then try again",
        ),
        Kind::NotADirectory | Kind::AlreadyExists => of(
            ErrorCode::Conflict,
            "there is a file in the place of a directory: name another",
        ),
        Kind::ReadOnlyFilesystem | Kind::PermissionDenied => of(
            ErrorCode::Failed,
            "see who owns it and may write there, and that the disk is not mounted read-only",
        ),
        Kind::NotFound => (ErrorCode::NotFound, None),
        _ => (ErrorCode::Failed, None),
    };
    let failed = ApiError::new(code, message);
    match hint {
        Some(hint) => failed.hint(hint),
        None => failed,
    }
}

impl From<FilterError> for Failure {
    fn from(error: FilterError) -> Self {
        ApiError::new(ErrorCode::Usage, error.to_string()).into()
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        let message = error.to_string();
        match error {
            ConfigError::Missing(_) => ApiError::new(ErrorCode::NotFound, message),
            ConfigError::Io { .. } => ApiError::new(ErrorCode::Failed, message),
            ConfigError::Faults(faults) if faults.count() > 1 => {
                let message = format!("{} has {} faults", faults.path().display(), faults.count());
                ApiError::new(ErrorCode::Usage, message).because_of_all(faults.lines())
            }
            ConfigError::Faults(_) => ApiError::new(ErrorCode::Usage, message),
        }
        .into()
    }
}

impl From<OpenError> for Failure {
    fn from(error: OpenError) -> Self {
        let message = error.to_string();
        match error {
            OpenError::Missing(_) => ApiError::new(ErrorCode::NotFound, message)
                .hint("make one with `ledger init`, or name another with --data-dir"),
            OpenError::Exists(_) => ApiError::new(ErrorCode::Conflict, message)
                .hint("use it, or make one elsewhere with --data-dir"),
            OpenError::InUse => ApiError::new(ErrorCode::Refused, message)
                .because("its lock is held, and no node answers on a socket in its `run` directory")
                .hint("a node may be starting or stopping: try again in a moment; `ledger lease status` shows who it is"),
            OpenError::Newer { .. } => ApiError::new(ErrorCode::Refused, message)
                .hint("use the version of `ledger` that wrote it, or a later one"),
            OpenError::Io { error, .. } => of_io(message, &error),
            OpenError::Damaged(_) => damaged(message),
            OpenError::Gone { .. } => ApiError::new(ErrorCode::Tampered, message).hint(
                "bring it back from where it went, or `ledger restore` a backup; \
                 `ledger salvage --dry-run` says what can be proven without it",
            ),
        }
        .into()
    }
}

impl From<ReadError> for Failure {
    fn from(error: ReadError) -> Self {
        let message = error.to_string();
        match error {
            // What the client of a node said is passed on as it is.
            ReadError::Io(error) => match error.get_ref().and_then(|e| e.downcast_ref()) {
                Some(error) => ApiError::clone(error),
                None => ApiError::new(ErrorCode::Failed, message),
            },
            ReadError::Damaged(_) | ReadError::Block { .. } => damaged(message),
        }
        .into()
    }
}

impl From<BlockFault> for Failure {
    fn from(fault: BlockFault) -> Self {
        damaged("the ledger is damaged").because(fault).into()
    }
}

impl From<ReplayError> for Failure {
    fn from(error: ReplayError) -> Self {
        let message = error.to_string();
        match error {
            ReplayError::Read(error) => error.into(),
            ReplayError::Diverged { .. } => ApiError::new(ErrorCode::Tampered, message).into(),
            ReplayError::Beyond { .. } => ApiError::new(ErrorCode::NotFound, message).into(),
            ReplayError::Stopped => ApiError::new(ErrorCode::Failed, message).into(),
        }
    }
}

impl From<SnapshotError> for Failure {
    fn from(error: SnapshotError) -> Self {
        let code = match error {
            SnapshotError::Missing => ErrorCode::NotFound,
            _ => ErrorCode::Failed,
        };
        ApiError::new(code, error.to_string()).into()
    }
}

/// How errors are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ErrorStyle {
    /// Lines for people, in color or not.
    Lines(super::output::style::Paint),
    /// One JSON object.
    Json,
}

/// Shows an error on standard error and returns its exit code. Nothing can be done if that can't
/// be written, so that is ignored.
pub(crate) fn report(error: &ApiError, style: ErrorStyle) -> Exit {
    let mut stderr = io::stderr().lock();
    let _ = match style {
        ErrorStyle::Json => {
            let body = ErrorBody {
                error: error.clone(),
            };
            serde_json::to_string(&body)
                .map_err(io::Error::from)
                .and_then(|json| writeln!(stderr, "{json}"))
        }
        ErrorStyle::Lines(paint) => {
            let line = |label: &str, text: &str| format!("{label} {}", escape(text));
            let mut lines = vec![line(&paint.bad("error:"), &error.message)];
            let causes = error.cause.iter().chain(error.more());
            lines.extend(causes.map(|c| line(&paint.dim("cause:"), c)));
            lines.extend(error.hint.as_deref().map(|h| line(&paint.dim("hint:"), h)));
            writeln!(stderr, "{}", lines.join("\n"))
        }
    };
    Exit(error.code.exit_code())
}

#[cfg(test)]
mod tests {
    use ledger_core::ids::Seq;

    use super::*;

    fn said(failure: impl Into<Failure>) -> (u8, String, bool) {
        match failure.into() {
            Failure::Error(error) => (error.code.exit_code(), error.message, error.hint.is_some()),
            Failure::NotStarted(..) | Failure::ClosedPipe => panic!("not such an error"),
        }
    }

    #[test]
    fn what_can_be_done_about_a_failure_is_said() {
        let newer = OpenError::Newer { found: 9, known: 1 };
        let (code, message, hint) = said(newer);
        assert_eq!((code, hint), (6, true));
        assert_eq!(
            message,
            "the store has layout 9; this binary knows layouts up to 1"
        );
        assert_eq!(said(OpenError::Missing("/x".into())).0, 7);
        assert_eq!(said(OpenError::Exists("/x".into())).0, 8);
        assert_eq!(said(OpenError::InUse).0, 6);
        assert_eq!(said(OpenError::Damaged("x".into())).0, 3);
        let beyond = ReplayError::Beyond {
            head: Seq(1),
            wanted: Seq(2),
        };
        assert_eq!(said(beyond).0, 7);
    }

    #[test]
    fn what_a_node_said_comes_through_a_reader_unchanged() {
        let error = ApiError::new(ErrorCode::NotLeader, "m")
            .because("c")
            .hint("h");
        let read = ReadError::Io(io::Error::other(error.clone()));
        match Failure::from(ReplayError::Read(read)) {
            Failure::Error(found) => assert_eq!(*found, error),
            Failure::NotStarted(..) | Failure::ClosedPipe => panic!("not such an error"),
        }
    }

    #[test]
    fn a_closed_pipe_is_no_error() {
        let closed = Failure::of_output(&io::ErrorKind::BrokenPipe.into());
        assert!(matches!(closed, Failure::ClosedPipe));
        let full = Failure::of_output(&io::ErrorKind::StorageFull.into());
        assert!(matches!(full, Failure::Error(_)));
    }
}
