//! What a recovery would find of the attempts that are open, as far as it can be seen without acting:
//! nothing is claimed, watched, started or given up.

use std::path::Path;

use ledger_core::event::Attempt;
use ledger_core::ids::Id;
use projections::tasks::Run;
use serde::Serialize;

use super::decision::Decision;
use crate::shim::{AttemptDir, Claimant, ProcessIdentity};

/// What would become of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Fate {
    /// It still runs and would be watched again.
    Reattached,
    /// It has ended and would be closed with its true outcome.
    Closed,
    /// Nobody has begun it: it would start now.
    Unstarted,
    /// Its tree is gone without an outcome.
    Lost,
    /// Its directory can't be read: nothing would be started or given up before it can.
    Unknown,
}

impl Fate {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Reattached,
        Self::Closed,
        Self::Unstarted,
        Self::Lost,
        Self::Unknown,
    ];

    /// The word for it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Reattached => "reattached",
            Self::Closed => "closed",
            Self::Unstarted => "unstarted",
            Self::Lost => "lost",
            Self::Unknown => "unknown",
        }
    }
}

/// An open attempt, and what would become of it.
#[derive(Debug, Clone, Serialize)]
pub struct Prospect {
    /// The task.
    pub task: Id,
    /// Which run of it.
    pub attempt: Attempt,
    /// What would become of it.
    pub fate: Fate,
}

/// Every open attempt, in the order of the tasks' submission.
pub fn outlook(data_dir: &Path, state: &Decision) -> Vec<Prospect> {
    let boot = ProcessIdentity::current().map(|me| me.boot_id).ok();
    let inherited = state.standing.inherited();
    let open = state.tasks.open().filter_map(|task| {
        let run = task.run()?;
        let fate = if task.is_builtin() || run.ordered <= inherited {
            Fate::Lost
        } else {
            let of_boot = state.leases.tenure(run.term).map(|tenure| &*tenure.boot_id);
            fate(data_dir, &task.id, run, of_boot == boot.as_deref())
        };
        Some(Prospect {
            task: task.id.clone(),
            attempt: run.attempt,
            fate,
        })
    });
    open.collect()
}

fn fate(data_dir: &Path, task: &Id, run: &Run, this_boot: bool) -> Fate {
    let read = AttemptDir::new(data_dir, task, run.attempt.0)
        .and_then(|dir| Ok((dir.read_outcome()?, dir.read_claim()?)));
    match read {
        Ok((Some(_), _)) => Fate::Closed,
        Ok((None, _)) if !this_boot => Fate::Lost,
        Ok((None, None)) => Fate::Unstarted,
        Ok((None, Some(claim))) if claim.kind == Claimant::Node => Fate::Lost,
        Ok((None, Some(claim))) => match claim.by.is_alive_same() {
            Ok(true) => Fate::Reattached,
            Ok(false) => Fate::Lost,
            Err(_) => Fate::Unknown,
        },
        Err(_) => Fate::Unknown,
    }
}
