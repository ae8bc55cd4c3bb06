//! How events change what is watched.

use ledger_core::envelope::Header;
use ledger_core::event::{Event, ProcessEvent, ProcessReaping, ProcessWatched, UnwatchReason};

use super::state::{Counters, Foreign, OfAttempt, Processes, Purpose, Stage, Watched};
use crate::framework::{ApplyError, Projection, RestoreError};

/// The key of the row that holds the counts; no subject begins like this.
const COUNTERS: &str = "#counters";

impl Projection for Processes {
    const NAME: &'static str = "processes";
    const VERSION: u32 = 1;

    fn wants(kind: &str) -> bool {
        kind.starts_with("process.")
    }

    fn apply(&mut self, header: &Header<'_>, event: &Event) -> Result<(), ApplyError> {
        match event {
            Event::Process(event) => self
                .process(header, event)
                .map_err(|reason| ApplyError::at(header, reason)),
            Event::Ledger(_)
            | Event::Task(_)
            | Event::Lease(_)
            | Event::Node(_)
            | Event::Job(_)
            | Event::Checkpoint(_)
            | Event::Recovery(_)
            | Event::Queue(_)
            | Event::Snapshot(_)
            | Event::App
            | Event::Unknown => Ok(()),
        }
    }

    fn rows(&self, emit: &mut dyn FnMut(&str, &str)) {
        let json = |value: serde_json::Result<String>| {
            value.expect("they hold only strings, numbers and string-keyed maps")
        };
        emit(COUNTERS, &json(serde_json::to_string(&self.counters)));
        for (id, process) in &self.watched {
            emit(id, &json(serde_json::to_string(process)));
        }
    }

    fn from_rows(rows: &mut dyn Iterator<Item = (String, String)>) -> Result<Self, RestoreError> {
        let mut restored = Self::default();
        let mut counted = false;
        for (key, value) in rows {
            if key == COUNTERS {
                restored.counters = serde_json::from_str(&value)
                    .map_err(|e| RestoreError::row(key, e.to_string()))?;
                counted = true;
                continue;
            }
            let process: Watched = serde_json::from_str(&value)
                .map_err(|e| RestoreError::row(key.clone(), e.to_string()))?;
            restored.insert(key.into(), process);
        }
        if !counted {
            return Err(RestoreError::row(COUNTERS, "it is missing"));
        }
        Ok(restored)
    }
}

impl Processes {
    fn insert(&mut self, id: Box<str>, process: Watched) {
        self.foreign += usize::from(process.foreign().is_some());
        self.watched.insert(id, process);
    }

    fn remove(&mut self, id: &str) {
        if let Some(process) = self.watched.remove(id) {
            self.foreign -= usize::from(process.foreign().is_some());
        }
    }

    fn process(&mut self, header: &Header<'_>, event: &ProcessEvent) -> Result<(), String> {
        let id = header.subject_id();
        self.check(id, event)?;
        let counters = &mut self.counters;
        match event {
            ProcessEvent::Registered(e) => {
                counters.registered += 1;
                let process = Watched {
                    pid: e.pid,
                    start_time: e.start_time,
                    boot_id: e.boot_id.clone(),
                    pgid: e.pgid,
                    told: header.seq,
                    since: header.recorded_at,
                    purpose: Purpose::Attempt(OfAttempt {
                        task: e.task.clone(),
                        attempt: e.attempt,
                        shim_pid: e.shim_pid,
                        shim_start_time: e.shim_start_time,
                        max_runtime_ms: e.max_runtime_ms,
                        unkillable: None,
                    }),
                };
                self.insert(id.into(), process);
            }
            ProcessEvent::Watched(e) => {
                counters.watched += 1;
                self.insert(id.into(), foreign(header, e));
            }
            ProcessEvent::Reaping(e) => {
                counters.reaping += 1;
                self.set_stage(id, reaping(header, e));
            }
            ProcessEvent::Survived(e) => {
                counters.survived += 1;
                if let Some(Stage::Reaping { survived, .. }) = self.stage_mut(id) {
                    *survived = Some(e.clone());
                }
            }
            ProcessEvent::Unkillable(_) => {
                counters.unkillable += 1;
                let process = self.watched.get_mut(id).map(|process| &mut process.purpose);
                if let Some(Purpose::Attempt(of)) = process {
                    of.unkillable = Some(header.seq);
                }
            }
            ProcessEvent::Exited(_)
            | ProcessEvent::Reaped(_)
            | ProcessEvent::Lost(_)
            | ProcessEvent::Terminated(_)
            | ProcessEvent::Ended(_)
            | ProcessEvent::Unwatched(_) => {
                count_end(counters, event);
                self.remove(id);
            }
        }
        Ok(())
    }

    /// Whether the event can follow.
    fn check(&self, id: &str, event: &ProcessEvent) -> Result<(), String> {
        let process = self.watched.get(id);
        let stage = process.and_then(Watched::foreign).map(|f| &f.stage);
        match event {
            ProcessEvent::Registered(_) | ProcessEvent::Watched(_) => match process {
                Some(_) => Err(format!("process {id} is watched already")),
                None => Ok(()),
            },
            ProcessEvent::Exited(_)
            | ProcessEvent::Reaped(_)
            | ProcessEvent::Lost(_)
            | ProcessEvent::Unkillable(_) => match process.map(|process| &process.purpose) {
                Some(Purpose::Attempt(_)) => Ok(()),
                Some(Purpose::Foreign(_)) | None => {
                    Err(format!("process {id} runs for no attempt"))
                }
            },
            ProcessEvent::Reaping(_) => match stage {
                Some(Stage::Watched) => Ok(()),
                Some(Stage::Reaping { .. }) => Err(format!("process {id} is being ended already")),
                None => Err(not_watched(id)),
            },
            ProcessEvent::Survived(_) | ProcessEvent::Terminated(_) => match stage {
                Some(Stage::Reaping { .. }) => Ok(()),
                Some(Stage::Watched) => Err(format!("process {id} was not to be ended")),
                None => Err(not_watched(id)),
            },
            ProcessEvent::Ended(_) | ProcessEvent::Unwatched(_) => match stage {
                Some(_) => Ok(()),
                None => Err(not_watched(id)),
            },
        }
    }

    fn stage_mut(&mut self, id: &str) -> Option<&mut Stage> {
        match &mut self.watched.get_mut(id)?.purpose {
            Purpose::Foreign(foreign) => Some(&mut foreign.stage),
            Purpose::Attempt(_) => None,
        }
    }

    fn set_stage(&mut self, id: &str, to: Stage) {
        if let Some(stage) = self.stage_mut(id) {
            *stage = to;
        }
    }
}

fn not_watched(id: &str) -> String {
    format!("process {id} is not watched for anybody")
}

fn count_end(counters: &mut Counters, event: &ProcessEvent) {
    let count = match event {
        ProcessEvent::Exited(_) => &mut counters.exited,
        ProcessEvent::Reaped(_) => &mut counters.reaped,
        ProcessEvent::Lost(_) => &mut counters.lost,
        ProcessEvent::Terminated(_) => &mut counters.terminated,
        ProcessEvent::Ended(_) => &mut counters.ended,
        ProcessEvent::Unwatched(e) => match e.reason {
            UnwatchReason::Recycled => &mut counters.recycled,
            UnwatchReason::Asked
            | UnwatchReason::Rebooted
            | UnwatchReason::Protected
            | UnwatchReason::Forbidden
            | UnwatchReason::OfAttempt
            | UnwatchReason::Forsaken => &mut counters.unwatched,
        },
        ProcessEvent::Registered(_)
        | ProcessEvent::Watched(_)
        | ProcessEvent::Reaping(_)
        | ProcessEvent::Survived(_)
        | ProcessEvent::Unkillable(_) => return,
    };
    *count += 1;
}

fn foreign(header: &Header<'_>, e: &ProcessWatched) -> Watched {
    Watched {
        pid: e.pid,
        start_time: e.start_time,
        boot_id: e.boot_id.clone(),
        pgid: e.pgid,
        told: header.seq,
        since: header.recorded_at,
        purpose: Purpose::Foreign(Foreign {
            uid: e.uid,
            command: e.command.clone(),
            started_at: e.started_at,
            max_runtime_ms: e.max_runtime_ms,
            stall_after_ms: e.stall_after_ms,
            grace_ms: e.grace_ms,
            by: header.actor.to_owned(),
            stage: Stage::Watched,
        }),
    }
}

fn reaping(header: &Header<'_>, e: &ProcessReaping) -> Stage {
    Stage::Reaping {
        cause: e.cause,
        ordered: header.seq,
        runtime_us: e.runtime_us,
        survived: None,
    }
}
