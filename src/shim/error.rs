//! The errors of this room, one type per boundary. Damaged input is always an error, never a panic.

use std::io;
use std::path::PathBuf;

use super::records::ProtocolVersion;

/// Why a process could not be identified. A process that's merely gone is no error.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// `/proc` could not be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// The file that was read.
        path: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// A file of `/proc` does not look as documented.
    #[error("{path} is not in the documented format")]
    Format {
        /// The file that was read.
        path: String,
    },
}

/// What can go wrong with the directory of an attempt and the records in it.
#[derive(Debug, thiserror::Error)]
pub enum AttemptError {
    /// The task id isn't `[A-Za-z0-9][A-Za-z0-9._-]{0,127}`.
    #[error("not a valid task id: {0:?}")]
    InvalidTaskId(String),
    /// Attempts are counted from 1.
    #[error("attempts are counted from 1")]
    InvalidAttempt,
    /// A file or directory could not be read or written.
    #[error("cannot {operation} {path}: {source}")]
    Io {
        /// What was tried, as a verb: "open", "create", "write" …
        operation: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// A record is there but can't be understood.
    #[error("{path} is damaged: {reason}")]
    Damaged {
        /// The file of the record.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A record was written by a newer, unknown version of the protocol.
    #[error("{path} has protocol version {found}, which this binary does not know")]
    UnknownVersion {
        /// The file of the record.
        path: PathBuf,
        /// The version found in it.
        found: ProtocolVersion,
    },
}

/// Why a report could not be understood.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// The message isn't a report.
    #[error("not a report: {0}")]
    Malformed(#[from] serde_json::Error),
    /// The report has a version this binary doesn't know.
    #[error("report has protocol version {0}, which this binary does not know")]
    UnknownVersion(ProtocolVersion),
}
