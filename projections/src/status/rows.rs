//! The canonical content of `status` and the way back from it.

use std::collections::VecDeque;

use ledger_core::envelope::Header;
use ledger_core::event::{Event, Priority};
use ledger_core::ids::Id;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::state::{LiveTask, RECENT_RUNS, Status, level};
use crate::framework::{ApplyError, Projection, RestoreError};

impl Projection for Status {
    const NAME: &'static str = "status";
    const VERSION: u32 = 4;

    /// All: even events that it does not understand are counted.
    fn wants(_kind: &str) -> bool {
        true
    }

    fn apply(&mut self, header: &Header<'_>, event: &Event) -> Result<(), ApplyError> {
        self.fold(header, event)
    }

    fn rows(&self, emit: &mut dyn FnMut(&str, &str)) {
        emit("backups", &json(&self.backups));
        emit("events", &json(&self.events));
        emit_some(emit, "lease", self.term.as_ref());
        emit_some(emit, "lease_before", self.term_before.as_ref());
        emit("lease_open", &json(&self.terms_open));
        emit_some(emit, "ledger", self.ledger.as_ref());
        emit_some(emit, "node", self.node.as_ref());
        emit_some(emit, "paused", self.paused.as_ref());
        for (id, process) in &self.processes {
            emit(&format!("process/{id}"), &json(process));
        }
        emit("process_totals", &json(&self.process_totals));
        for queue in Priority::ALL {
            let figures = &self.queues[level(queue)];
            emit(&format!("queue/{}", queue.level()), &json(figures));
        }
        emit("queues_paused", &json(&self.queues_paused));
        let digit = |&succeeded: &bool| if succeeded { '1' } else { '0' };
        emit(
            "recent",
            &json(&self.recent.iter().map(digit).collect::<String>()),
        );
        for (set, facts) in &self.snapshots {
            emit(&format!("snapshot/{set}"), &json(facts));
        }
        for (id, task) in &self.tasks {
            emit(&format!("task/{id}"), &json(task));
        }
        emit("task_totals", &json(&self.totals));
        emit("upkeep", &json(&self.upkeep));
    }

    fn from_rows(rows: &mut dyn Iterator<Item = (String, String)>) -> Result<Self, RestoreError> {
        let mut status = Self::default();
        for (key, value) in rows {
            status
                .restore(&key, &value)
                .map_err(|reason| RestoreError::row(key, reason))?;
        }
        Ok(status)
    }
}

impl Status {
    fn restore(&mut self, key: &str, value: &str) -> Result<(), String> {
        match key.split_once('/') {
            Some(("process", id)) => {
                self.processes.insert(checked(id)?, parsed(value)?);
            }
            Some(("snapshot", set)) => {
                self.snapshots.insert(checked(set)?, parsed(value)?);
            }
            Some(("task", id)) => self.insert(checked(id)?, parsed::<LiveTask>(value)?),
            Some(("queue", number)) => {
                let queue: Priority = number.parse().map_err(|e| format!("{e}"))?;
                self.queues[level(queue)] = parsed(value)?;
            }
            Some(_) => return Err("no such row".to_owned()),
            None => match key {
                "backups" => self.backups = parsed(value)?,
                "events" => self.events = parsed(value)?,
                "lease" => self.term = Some(parsed(value)?),
                "lease_before" => self.term_before = Some(parsed(value)?),
                "lease_open" => self.terms_open = parsed(value)?,
                "ledger" => self.ledger = Some(parsed(value)?),
                "node" => self.node = Some(parsed(value)?),
                "paused" => self.paused = Some(parsed(value)?),
                "process_totals" => self.process_totals = parsed(value)?,
                "queues_paused" => self.queues_paused = parsed(value)?,
                "recent" => self.recent = recent(&parsed::<String>(value)?)?,
                "task_totals" => self.totals = parsed(value)?,
                "upkeep" => self.upkeep = parsed(value)?,
                _ => return Err("no such row".to_owned()),
            },
        }
        Ok(())
    }
}

fn recent(digits: &str) -> Result<VecDeque<bool>, String> {
    if digits.len() > RECENT_RUNS {
        return Err(format!("more than {RECENT_RUNS} runs"));
    }
    let run = |digit| match digit {
        '1' => Ok(true),
        '0' => Ok(false),
        other => Err(format!("{other:?} is neither 0 nor 1")),
    };
    digits.chars().map(run).collect()
}

fn checked(id: &str) -> Result<Id, String> {
    Id::new(id).map_err(|e| e.to_string())
}

fn parsed<T: DeserializeOwned>(value: &str) -> Result<T, String> {
    serde_json::from_str(value).map_err(|e| e.to_string())
}

fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("rows hold only strings, numbers and maps of them")
}

fn emit_some(emit: &mut dyn FnMut(&str, &str), key: &str, value: Option<&impl Serialize>) {
    if let Some(value) = value {
        emit(key, &json(value));
    }
}
