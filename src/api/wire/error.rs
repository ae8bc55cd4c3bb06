//! What a request gets that can't be met.

use std::fmt;

use ledger_core::ids::Seq;
use serde::{Deserialize, Serialize};

/// What kind of failure: one code for the HTTP status, the exit code and scripts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorCode {
    /// The request is malformed or asks for something impossible.
    Usage,
    /// Not possible now, or not allowed: not leading, fenced, stepping down, against policy.
    Refused,
    /// The node does not lead (any more).
    NotLeader,
    /// There is no such thing.
    NotFound,
    /// It clashes with what is there.
    Conflict,
    /// The ledger or a file is damaged.
    Tampered,
    /// It does not agree with a head that is known from elsewhere.
    Unanchored,
    /// Something failed on our side.
    Failed,
    /// It took longer than allowed.
    Timeout,
    /// The connection was lost before the answer came: it may have been done or not. Made by clients;
    /// no node says so.
    Lost,
}

impl ErrorCode {
    /// Whether the leader may have changed, so that it is worth looking for the next.
    pub const fn is_of_leadership(self) -> bool {
        matches!(self, Self::NotLeader | Self::Lost)
    }

    /// The HTTP status that goes with it.
    pub const fn http_status(self) -> u16 {
        match self {
            Self::Usage => 400,
            Self::Refused => 403,
            Self::NotFound => 404,
            Self::Conflict | Self::Unanchored => 409,
            Self::Lost => 502,
            Self::NotLeader => 503,
            Self::Tampered | Self::Failed => 500,
            Self::Timeout => 504,
        }
    }

    /// The exit code that goes with it.
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::Failed | Self::Lost => 1,
            Self::Usage => 2,
            Self::Tampered => 3,
            Self::Unanchored => 4,
            Self::Refused | Self::NotLeader => 6,
            Self::NotFound => 7,
            Self::Conflict => 8,
            Self::Timeout => 124,
        }
    }
}

/// A failure for people and programs: what failed, why, what to do next.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiError {
    /// What kind of failure.
    pub code: ErrorCode,
    /// What failed.
    pub message: String,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
    /// Why else, if one thing fails for several reasons: each that follows the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub more_causes: Option<Box<MoreCauses>>,
    /// What to do next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// What is so instead of what was expected: where the ledger ends, or the version of the
    /// subject, 0 if it has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actual: Option<Seq>,
    /// The socket of the node that leads, if another one does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leader: Option<Box<str>>,
}

/// Further reasons. In a box of their own: few failures have any, and all results carry the room.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct MoreCauses(pub Vec<String>);

impl ApiError {
    /// A failure without cause and hint.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            cause: None,
            more_causes: None,
            hint: None,
            actual: None,
            leader: None,
        }
    }

    /// Adds the socket of the node that leads.
    #[must_use]
    pub fn led_from(mut self, socket: String) -> Self {
        self.leader = Some(socket.into());
        self
    }

    /// Adds what is so instead of what was expected.
    #[must_use]
    pub fn actually(mut self, actual: Seq) -> Self {
        self.actual = Some(actual);
        self
    }

    /// Adds why.
    #[must_use]
    pub fn because(mut self, cause: impl fmt::Display) -> Self {
        self.cause = Some(cause.to_string());
        self
    }

    /// The reasons behind the first.
    pub fn more(&self) -> impl Iterator<Item = &String> {
        self.more_causes.iter().flat_map(|more| &more.0)
    }

    /// Adds every reason there is.
    #[must_use]
    pub fn because_of_all(mut self, causes: impl IntoIterator<Item = String>) -> Self {
        let mut causes = causes.into_iter();
        self.cause = causes.next();
        let more: Vec<String> = causes.collect();
        self.more_causes = (!more.is_empty()).then(|| Box::new(MoreCauses(more)));
        self
    }

    /// Adds what to do next.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        match &self.cause {
            Some(cause) => write!(f, ": {cause}")?,
            None => return Ok(()),
        }
        let mut more = self.more();
        more.try_for_each(|cause| write!(f, "; {cause}"))
    }
}

impl std::error::Error for ApiError {}

/// The body of every failed answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorBody {
    /// The failure.
    pub error: ApiError,
}
