//! What people and programs ask of watched processes.

use ledger_core::ids::Id;
use serde::{Deserialize, Serialize};

use super::state::{Counters, Processes, Watched};

/// What is kept of all processes together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// Processes of attempts that are open.
    pub attempts: u64,
    /// Processes of others that are watched.
    pub foreign: u64,
    /// What happened so far.
    pub counters: Counters,
}

/// One watched process as it is sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessView {
    /// `BOOT.PID.START`, by which it can't be mistaken for another.
    pub id: Id,
    /// What is known of it.
    #[serde(flatten)]
    pub process: Watched,
}

impl Processes {
    /// The process of this id (`BOOT.PID.START`).
    pub fn get(&self, id: &str) -> Option<&Watched> {
        self.watched.get(id)
    }

    /// Every watched process, by id.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Watched)> {
        self.watched.iter().map(|(id, process)| (&**id, process))
    }

    /// Those that somebody else started.
    pub fn foreign(&self) -> impl Iterator<Item = (&str, &Watched)> {
        self.iter()
            .filter(|(_, process)| process.foreign().is_some())
    }

    /// How many of them there are.
    pub fn foreign_count(&self) -> usize {
        self.foreign
    }

    /// How often what happened.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// What is kept of all together.
    pub fn kept(&self) -> Kept {
        Kept {
            attempts: (self.watched.len() - self.foreign) as u64,
            foreign: self.foreign as u64,
            counters: self.counters,
        }
    }

    /// Changes whenever anything does of what somebody else started.
    pub fn foreign_changes(&self) -> u64 {
        let c = &self.counters;
        c.watched + c.reaping + c.survived + c.terminated + c.ended + c.recycled + c.unwatched
    }

    /// All of them as they are sent, oldest first.
    pub fn views(&self) -> Vec<ProcessView> {
        let views = self.iter().filter_map(|(id, process)| {
            Some(ProcessView {
                id: Id::new(id).ok()?,
                process: process.clone(),
            })
        });
        let mut views: Vec<_> = views.collect();
        views.sort_by_key(|view| view.process.told);
        views
    }
}
