//! How `ledger.*` and `node.*` events change the standing.

use ledger_core::envelope::Header;
use ledger_core::event::{Event, LedgerEvent, NodeEvent};

use super::state::{Paused, PausedBy, Standing};
use crate::framework::{ApplyError, Projection, RestoreError};

const CLOCK: &str = "clock";
const INHERITED: &str = "inherited";
const PAUSED: &str = "paused";

impl Projection for Standing {
    const NAME: &'static str = "standing";
    const VERSION: u32 = 2;

    fn wants(kind: &str) -> bool {
        kind.starts_with("ledger.") || kind.starts_with("node.")
    }

    fn apply(&mut self, header: &Header<'_>, event: &Event) -> Result<(), ApplyError> {
        if let Event::Node(event) = event {
            self.node(event);
        }
        let Event::Ledger(event) = event else {
            return Ok(());
        };
        let by = match event {
            LedgerEvent::Restored(_) | LedgerEvent::Forked(_) => PausedBy::Restore,
            LedgerEvent::Imported(_) => PausedBy::Import,
            LedgerEvent::Salvaged(_) => PausedBy::Salvage,
            LedgerEvent::Resumed(_) => {
                if self.paused.take().is_none() {
                    return Err(ApplyError::at(header, "what was not paused was resumed"));
                }
                return Ok(());
            }
            LedgerEvent::Created(_)
            | LedgerEvent::BackedUp(_)
            | LedgerEvent::BackupFailed(_)
            | LedgerEvent::BackupsPruned(_)
            | LedgerEvent::Exported(_) => return Ok(()),
        };
        // A backup of a ledger that was never resumed is restored paused once more.
        self.inherited = header.seq;
        self.paused = Some(Paused {
            by,
            since: header.seq,
            at: header.recorded_at,
        });
        Ok(())
    }

    fn rows(&self, emit: &mut dyn FnMut(&str, &str)) {
        if let Some(clock) = &self.clock {
            let value = serde_json::to_string(clock).expect("it holds a text and a time");
            emit(CLOCK, &value);
        }
        if self.inherited.0 > 0 {
            emit(INHERITED, &self.inherited.to_string());
        }
        if let Some(paused) = &self.paused {
            let value =
                serde_json::to_string(paused).expect("it holds a word, a number and a time");
            emit(PAUSED, &value);
        }
    }

    fn from_rows(rows: &mut dyn Iterator<Item = (String, String)>) -> Result<Self, RestoreError> {
        let mut standing = Self::default();
        for (key, value) in rows {
            let parsed = match key.as_str() {
                CLOCK => serde_json::from_str(&value).map(|clock| standing.clock = Some(clock)),
                INHERITED => serde_json::from_str(&value).map(|seq| standing.inherited = seq),
                PAUSED => serde_json::from_str(&value).map(|p| standing.paused = Some(p)),
                _ => return Err(RestoreError::row(key, "no such row")),
            };
            parsed.map_err(|e| RestoreError::row(key, e.to_string()))?;
        }
        Ok(standing)
    }
}

impl Standing {
    fn node(&mut self, event: &NodeEvent) {
        match event {
            // A node of before may not have said by what it goes.
            NodeEvent::Started(started) => self.clock.clone_from(&started.clock),
            NodeEvent::ClockSettled(settled) => self.clock = Some(settled.clock.clone()),
            NodeEvent::Recovered(_) | NodeEvent::Stopped(_) | NodeEvent::ClockStepped(_) => {}
        }
    }
}
