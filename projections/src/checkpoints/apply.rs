//! How events change what is known of checkpoints.

use std::collections::BTreeMap;

use ledger_core::envelope::Header;
use ledger_core::event::{CheckpointEvent, Event, RecoveryEvent};
use ledger_core::ids::{Id, Seq};

use super::state::{Checkpoint, Checkpoints, FailedToMake, Gone, REMEMBERED, Refused, Told};
use crate::framework::{ApplyError, Projection, RestoreError};

const FAILED: &str = "failed";
const DIVERGED: &str = "diverged";
const VERIFIED: &str = "verified";

impl Projection for Checkpoints {
    const NAME: &'static str = "checkpoints";
    const VERSION: u32 = 2;

    fn wants(kind: &str) -> bool {
        kind.starts_with("checkpoint.") || matches!(kind, "recovery.verified" | "recovery.diverged")
    }

    fn apply(&mut self, header: &Header<'_>, event: &Event) -> Result<(), ApplyError> {
        let changed = match event {
            Event::Checkpoint(event) => self.change(header, event),
            Event::Recovery(event) => self.compared(header, event),
            Event::Ledger(_)
            | Event::Task(_)
            | Event::Process(_)
            | Event::Lease(_)
            | Event::Node(_)
            | Event::Job(_)
            | Event::Queue(_)
            | Event::Snapshot(_)
            | Event::App
            | Event::Unknown => Ok(()),
        };
        changed.map_err(|reason| ApplyError::at(header, reason))
    }

    /// `diverged`; `failed`; `verified`; `gone/SEQ` and `refused/SEQ` by the event that says so; `kept/SEQ/NAME` by position.
    fn rows(&self, emit: &mut dyn FnMut(&str, &str)) {
        let plain = "they hold only texts, numbers and string-keyed maps";
        if let Some(diverged) = &self.diverged {
            emit(DIVERGED, &serde_json::to_string(diverged).expect(plain));
        }
        if let Some(failed) = &self.failed {
            emit(FAILED, &serde_json::to_string(failed).expect(plain));
        }
        for (seq, gone) in &self.gone {
            let value = serde_json::to_string(gone).expect(plain);
            emit(&format!("gone/{:020}", seq.0), &value);
        }
        for ((seq, name), kept) in &self.kept {
            let value = serde_json::to_string(kept).expect(plain);
            emit(&format!("kept/{:020}/{name}", seq.0), &value);
        }
        for (seq, refused) in &self.refused {
            let value = serde_json::to_string(refused).expect(plain);
            emit(&format!("refused/{:020}", seq.0), &value);
        }
        if let Some(verified) = &self.verified {
            emit(VERIFIED, &serde_json::to_string(verified).expect(plain));
        }
    }

    fn from_rows(rows: &mut dyn Iterator<Item = (String, String)>) -> Result<Self, RestoreError> {
        let mut restored = Self::default();
        for (key, value) in rows {
            restored
                .restore(&key, &value)
                .map_err(|reason| RestoreError::row(key, reason))?;
        }
        Ok(restored)
    }
}

impl Checkpoints {
    fn restore(&mut self, key: &str, value: &str) -> Result<(), String> {
        let bad = |e: serde_json::Error| e.to_string();
        let seq = |text: &str| text.parse().map(Seq).map_err(|_| "not a seq".to_owned());
        match key.split_once('/') {
            None if key == DIVERGED => {
                self.diverged = Some(serde_json::from_str(value).map_err(bad)?);
            }
            None if key == VERIFIED => {
                self.verified = Some(serde_json::from_str(value).map_err(bad)?);
            }
            None if key == FAILED => self.failed = Some(serde_json::from_str(value).map_err(bad)?),
            Some(("gone", at)) => {
                let gone = serde_json::from_str(value).map_err(bad)?;
                self.gone.insert(seq(at)?, gone);
            }
            Some(("refused", at)) => {
                let refused = serde_json::from_str(value).map_err(bad)?;
                self.refused.insert(seq(at)?, refused);
            }
            Some(("kept", _)) => self.keep(serde_json::from_str(value).map_err(bad)?)?,
            None | Some(_) => return Err("no such row".to_owned()),
        }
        Ok(())
    }

    fn keep(&mut self, checkpoint: Checkpoint) -> Result<(), String> {
        let (seq, name) = (checkpoint.facts.seq, checkpoint.name.clone());
        if self.places.contains_key(&name) {
            return Err(format!("checkpoint {name} is kept already"));
        }
        self.places.insert(name.clone(), seq);
        self.kept.insert((seq, name), checkpoint);
        Ok(())
    }

    fn compared(&mut self, header: &Header<'_>, event: &RecoveryEvent) -> Result<(), String> {
        let node = Id::new(header.subject_id()).map_err(|e| e.to_string())?;
        match event {
            RecoveryEvent::Completed(_) => {}
            RecoveryEvent::Verified(facts) => self.verified = Some(told(header, node, facts)),
            RecoveryEvent::Diverged(facts) => self.diverged = Some(told(header, node, facts)),
        }
        Ok(())
    }

    fn change(&mut self, header: &Header<'_>, event: &CheckpointEvent) -> Result<(), String> {
        let name = Id::new(header.subject_id()).map_err(|e| e.to_string())?;
        let at = header.recorded_at;
        match event {
            CheckpointEvent::Created(facts) => self.keep(Checkpoint {
                name,
                recorded: header.seq,
                recorded_at: at,
                facts: facts.clone(),
                rejected: None,
            })?,
            CheckpointEvent::Rejected(e) => {
                // A file may be found that nothing tells of: its making was interrupted.
                // Or one at another position, beside that of this name.
                if let Some(seq) = self.places.get(&name)
                    && e.seq.is_none_or(|of| of == *seq)
                    && let Some(kept) = self.kept.get_mut(&(*seq, name.clone()))
                {
                    kept.rejected = Some(e.reason.clone());
                }
                let refused = Refused {
                    name,
                    at,
                    reason: e.reason.clone(),
                };
                remember(&mut self.refused, header.seq, refused);
            }
            CheckpointEvent::Failed(e) => {
                self.failed = Some(FailedToMake {
                    seq: header.seq,
                    at,
                    cause: e.cause,
                    reason: e.reason.clone(),
                });
            }
            CheckpointEvent::Pruned(_) => {
                let seq = self
                    .places
                    .remove(&name)
                    .ok_or_else(|| format!("checkpoint {name} is not kept"))?;
                self.kept.remove(&(seq, name.clone()));
                remember(&mut self.gone, header.seq, Gone { name, seq, at });
            }
        }
        Ok(())
    }
}

fn told<T: Clone>(header: &Header<'_>, node: Id, facts: &T) -> Told<T> {
    Told {
        recorded: header.seq,
        at: header.recorded_at,
        node,
        facts: facts.clone(),
    }
}

fn remember<T>(all: &mut BTreeMap<Seq, T>, seq: Seq, new: T) {
    all.insert(seq, new);
    if all.len() > REMEMBERED {
        all.pop_first();
    }
}
