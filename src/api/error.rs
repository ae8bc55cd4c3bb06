//! Failures as HTTP answers, and refusals of the core as failures.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

use ledger_core::ids::Seq;
use projections::subjects::REMEMBERED;

use super::wire::{ApiError, ErrorBody, ErrorCode};
use crate::jobs;
use crate::node::command::Rejected;
use crate::reaper;
use crate::scheduler::decide::Refusal;
use crate::scheduler::terms::Dependency;

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.code.http_status())
            .unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        answer(status, self)
    }
}

/// A failure under a status of its own, where HTTP has a better word than the code's.
pub(super) fn answer(status: StatusCode, error: ApiError) -> Response {
    (status, Json(ErrorBody { error })).into_response()
}

impl From<Rejected> for ApiError {
    fn from(rejected: Rejected) -> Self {
        let message = rejected.to_string();
        match rejected {
            Rejected::Task(Refusal::Exists(id)) => Self::new(ErrorCode::Conflict, message)
                .hint(format!("choose another id, or see `ledger task show {id}`")),
            Rejected::Task(Refusal::Unknown(_)) => Self::new(ErrorCode::NotFound, message)
                .hint("see `ledger task list` for the tasks there are"),
            Rejected::Task(Refusal::Dependency { fault, .. }) => match fault {
                Dependency::Itself => Self::new(ErrorCode::Usage, message)
                    .hint("leave its own id out of depends_on"),
                Dependency::Unknown(_) => Self::new(ErrorCode::NotFound, message)
                    .hint("submit the tasks that others depend on first; see `ledger task list` for those there are"),
                Dependency::Broken { task, .. } => Self::new(ErrorCode::Conflict, message)
                    .hint(format!("see `ledger task show {task}`: one that is dead can be retried, no other ends anew")),
            },
            Rejected::Task(Refusal::Invalid(_)) => Self::new(ErrorCode::Usage, message),
            Rejected::Task(Refusal::State { .. }) => Self::new(ErrorCode::Conflict, message),
            Rejected::Job(jobs::decide::Refusal::Unknown(_)) => {
                Self::new(ErrorCode::NotFound, message)
                    .hint("see `ledger job list` for the jobs there are; one with `enabled = false` is none")
            }
            Rejected::Job(jobs::decide::Refusal::Invalid { .. }) => {
                Self::new(ErrorCode::Usage, message)
            }
            Rejected::Process(refusal) => process(&refusal, message),
            Rejected::TooLarge(_) => Self::new(ErrorCode::Usage, message)
                .hint("keep what is large out of the command: store it (`ledger blob put FILE`) and have the command read it (`ledger blob get DIGEST | …`)"),
            Rejected::Cause {
                cause: Seq::ZERO, ..
            } => Self::new(ErrorCode::Usage, message).hint("the first event has seq 1"),
            Rejected::Cause { .. } => Self::new(ErrorCode::NotFound, message)
                .hint("name an event that is there: `ledger tail` shows the last ones"),
            Rejected::Head { actual, .. } => Self::new(ErrorCode::Conflict, message)
                .hint("read what was appended meanwhile, then try again")
                .actually(actual),
            Rejected::Version {
                subject, actual, ..
            } => Self::new(ErrorCode::Conflict, message)
                .hint(format!(
                    "read what was appended meanwhile (`ledger query -k 'app.*' --subject {subject}`), then try again"
                ))
                .actually(actual.into()),
            Rejected::Forgotten { by, .. } => Self::new(ErrorCode::Refused, message)
                .because(format!(
                    "it is not among the {REMEMBERED} subjects that changed last; if there are events about it, the last is seq {by} or before"
                ))
                .hint("append without an expected version: the receipt names the version from then on"),
            Rejected::NotLeading(_) => Self::new(ErrorCode::NotLeader, message)
                .hint("what was not acknowledged may or may not have been recorded; start a node with `ledger up` and look"),
        }
    }
}

/// What to do about a refusal of the reaper.
fn process(refusal: &reaper::decide::Refusal, message: String) -> ApiError {
    use reaper::decide::Refusal;
    let (code, hint) = match refusal {
        Refusal::NoSuch(_) => (ErrorCode::NotFound, "see `ps` for the processes there are"),
        Refusal::Ended(_) => (
            ErrorCode::NotFound,
            "there is nothing left to end: its number is free once its parent waits for it, or ends",
        ),
        Refusal::NotWatched(_) => (
            ErrorCode::NotFound,
            "see `ledger ps` for the processes that are watched",
        ),
        Refusal::Protected { .. } => (ErrorCode::Refused, "choose a process that may be ended"),
        Refusal::OfAttempt { task, .. } => {
            return ApiError::new(ErrorCode::Refused, message)
                .hint(format!("`ledger task cancel {task}` ends it"));
        }
        Refusal::OfAnother { .. } => (
            ErrorCode::Refused,
            "ask as the user whose process it is, or as root",
        ),
        Refusal::Powerless { .. } => (
            ErrorCode::Refused,
            "run a node as that user, with a ledger of its own",
        ),
        Refusal::Watched(pid) => {
            return ApiError::new(ErrorCode::Conflict, message).hint(format!(
                "`ledger reap unwatch {pid}` first, to set other limits"
            ));
        }
        Refusal::Overdue { .. } => (
            ErrorCode::Refused,
            "the limit counts from the process's start: allow more, or end it with `kill`",
        ),
        Refusal::Limit { .. } => (ErrorCode::Usage, "give a time such as 10m"),
        Refusal::Full(_) => (
            ErrorCode::Refused,
            "`ledger reap unwatch` some first, or start the node with a higher `ulimit -n`",
        ),
        Refusal::BeingEnded(_) => (ErrorCode::Conflict, "wait for its end: see `ledger ps`"),
    };
    ApiError::new(code, message).hint(hint)
}

/// Something failed that the client can't help.
pub(super) fn failed(what: &str, error: impl std::fmt::Display) -> ApiError {
    ApiError::new(ErrorCode::Failed, what).because(error)
}

/// The request makes no sense.
pub(super) fn usage(message: impl Into<String>) -> ApiError {
    ApiError::new(ErrorCode::Usage, message)
}
