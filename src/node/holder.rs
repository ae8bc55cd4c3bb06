//! Whom the lease's record names, and what became of that process: what can be said of a holder that does
//! not answer.

use std::fmt;
use std::path::Path;

use ledger_core::ids::{Id, Term};
use ledger_core::time::Millis;
use serde::Serialize;

use crate::lease::file;
use crate::lease::record::RecordFault;
use crate::shim::{ProcessIdentity, ProcessStat, ProcessState};

/// Whom the record names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Named {
    /// The node.
    pub holder: Id,
    /// Its process.
    pub pid: i32,
    /// Its term, if it has begun one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub term: Option<Term>,
    /// What became of that process.
    pub process: Process,
    /// How long it may be silent until a standby ends it.
    #[serde(skip)]
    pub ttl: Millis,
}

/// What became of the process that the record names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Process {
    /// It runs.
    Lives,
    /// It was stopped by a signal.
    Stopped,
    /// It has ended; its number may be another's.
    Gone,
    /// That can't be told.
    Unknown,
}

impl fmt::Display for Named {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "process {} of node {}", self.pid, self.holder)
    }
}

/// Reads the record and looks at its process.
///
/// # Errors
/// [`RecordFault`] if the record names nobody.
pub fn look(data_dir: &Path) -> Result<Named, RecordFault> {
    let (record, _) = file::read(data_dir)?;
    Ok(Named {
        process: process(&record.process),
        holder: record.holder,
        pid: record.process.pid,
        term: record.term,
        ttl: record.ttl,
    })
}

/// Whether the record says that a node of this name leads, in a process that lives and is not this one.
pub fn is_led_by_another(data_dir: &Path, node: &Id) -> bool {
    let me = i32::try_from(std::process::id());
    look(data_dir).is_ok_and(|named| {
        let lives = matches!(named.process, Process::Lives | Process::Stopped);
        lives && named.holder == *node && me != Ok(named.pid)
    })
}

fn process(identity: &ProcessIdentity) -> Process {
    match identity.is_alive_same() {
        Ok(false) => Process::Gone,
        Err(_) => Process::Unknown,
        Ok(true) => match ProcessStat::of(identity.pid) {
            Ok(Some(stat)) if stat.state == ProcessState::Stopped => Process::Stopped,
            Ok(_) | Err(_) => Process::Lives,
        },
    }
}
