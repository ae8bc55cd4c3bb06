//! The lease's record: who holds the lock on the data directory, since when, and a beat that moves
//! for as long as he works. A small text file, `run/lease`:
//!
//! ```text
//! {"version":1,"holder":"primary","pid":71,"start_time":923,"boot_id":"…","incarnation":"…","term":7,"ttl_ms":3000}
//! beat 00000000000000000042
//! ```
//!
//! - The record proves nothing: only the lock does. It says *whom to look at* when the lock is held
//!   and nothing moves; whoever acts on it checks the process itself first (`fence`).
//! - Beats are compared for change alone, so one that is torn by a read costs nothing.
//! - A record of another boot is void: none of its numbers mean anything now.
//! - It is never synced: after a power failure the lock is free, and no record is needed.

use std::fmt::Write as _;

use ledger_core::ids::{Id, Term};
use ledger_core::time::Millis;
use serde::{Deserialize, Serialize};

use crate::shim::ProcessIdentity;

/// The version that this binary writes.
pub const VERSION: u32 = 1;
/// Longest record that is read, in bytes.
pub const MAX_RECORD: usize = 4096;
/// Longest TTL that a record may claim: a week. A claim beyond it is nonsense.
const MAX_TTL: Millis = Millis(7 * 24 * 3_600_000);

/// Who holds the lease.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    version: u32,
    /// The node.
    pub holder: Id,
    #[serde(flatten)]
    /// Its process.
    pub process: ProcessIdentity,
    /// Drawn anew each time a node takes the lease.
    pub incarnation: String,
    /// Its term; nothing while it comes up.
    pub term: Option<Term>,
    /// How long it may be silent until others may end it.
    #[serde(rename = "ttl_ms")]
    pub ttl: Millis,
}

/// The part of a record's file that moves. Compared for change alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Beat(Vec<u8>);

/// Why a record can't be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecordFault {
    /// There is no file.
    #[error("there is no lease record")]
    Missing,
    /// The file is empty.
    #[error("the lease record is empty")]
    Empty,
    /// It is not a record, or only a part of one.
    #[error("the lease record is damaged: {0}")]
    Damaged(String),
    /// A later version of this software wrote it.
    #[error("the lease record has version {0}, this binary knows versions up to {VERSION}")]
    Newer(u32),
    /// The file can't be read.
    #[error("the lease record can't be read: {0}")]
    Unreadable(String),
}

impl Record {
    /// A record of this version.
    pub fn new(
        holder: Id,
        process: ProcessIdentity,
        incarnation: String,
        term: Option<Term>,
        ttl: Millis,
    ) -> Self {
        Self {
            version: VERSION,
            holder,
            process,
            incarnation,
            term,
            ttl,
        }
    }

    /// The whole file, with this beat.
    pub fn text(&self, beat: u64) -> String {
        let mut text = serde_json::to_string(self).expect("a record holds only texts and numbers");
        // Writing into a String can't fail.
        let _ = write!(text, "\nbeat {beat:020}\n");
        text
    }

    /// Reads a file's content.
    ///
    /// # Errors
    /// [`RecordFault`].
    pub fn parse(bytes: &[u8]) -> Result<(Self, Beat), RecordFault> {
        if bytes.is_empty() {
            return Err(RecordFault::Empty);
        }
        let damaged = |why: &str| RecordFault::Damaged(why.to_owned());
        let end = bytes
            .iter()
            .position(|b| *b == b'\n')
            .ok_or_else(|| damaged("its first line has no end"))?;
        let (line, beat) = (&bytes[..end], &bytes[end + 1..]);
        let version = serde_json::from_slice::<Versioned>(line)
            .map_err(|e| RecordFault::Damaged(e.to_string()))?
            .version;
        if version > VERSION {
            return Err(RecordFault::Newer(version));
        }
        let record: Self =
            serde_json::from_slice(line).map_err(|e| RecordFault::Damaged(e.to_string()))?;
        if record.ttl > MAX_TTL {
            return Err(damaged("its TTL is longer than a week"));
        }
        if !beat.starts_with(b"beat ") {
            return Err(damaged("it has no beat"));
        }
        Ok((record, Beat(beat.to_vec())))
    }
}

#[derive(Deserialize)]
struct Versioned {
    version: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(crate) fn record() -> Record {
        let process = ProcessIdentity {
            pid: 71,
            start_time: 923,
            boot_id: "b".into(),
        };
        let holder = Id::new("primary").unwrap();
        Record::new(holder, process, "i".into(), Some(Term(7)), Millis(3000))
    }

    #[test]
    fn a_record_reads_as_it_was_written() {
        let (read, first) = Record::parse(record().text(1).as_bytes()).unwrap();
        assert_eq!(read, record());
        let (_, second) = Record::parse(record().text(2).as_bytes()).unwrap();
        assert_ne!(first, second);
    }

    #[test]
    fn what_is_no_record_is_refused() {
        let text = record().text(1);
        assert_eq!(Record::parse(b""), Err(RecordFault::Empty));
        let first_line = text.find('\n').unwrap();
        for cut in 1..=first_line + 5 {
            let cut = Record::parse(&text.as_bytes()[..cut]);
            assert!(matches!(cut, Err(RecordFault::Damaged(_))), "{cut:?}");
        }
        for garbage in [
            &b"\0\0\0\0\n"[..],
            b"null\nbeat 1\n",
            b"{}\nbeat 1\n",
            b"\xff\xfe\n",
            b"{\"version\":1}\nbeat 1\n",
        ] {
            let read = Record::parse(garbage);
            assert!(matches!(read, Err(RecordFault::Damaged(_))), "{read:?}");
        }
        let newer = text.replace("\"version\":1", "\"version\":2,\"more\":true");
        assert_eq!(Record::parse(newer.as_bytes()), Err(RecordFault::Newer(2)));
        let patient = text.replace("3000", "604800001");
        let patient = Record::parse(patient.as_bytes());
        assert!(matches!(patient, Err(RecordFault::Damaged(_))));
    }
}
