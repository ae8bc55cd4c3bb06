//! How lease events change the terms.

use ledger_core::envelope::Header;
use ledger_core::event::{Event, LeaseEvent, LeaseFenced, LeaseLost};
use ledger_core::ids::Term;

use super::state::{Leases, Tenure};
use crate::framework::{ApplyError, Projection, RestoreError};

impl Projection for Leases {
    const NAME: &'static str = "leases";
    const VERSION: u32 = 1;

    fn wants(kind: &str) -> bool {
        kind.starts_with("lease.")
    }

    fn apply(&mut self, header: &Header<'_>, event: &Event) -> Result<(), ApplyError> {
        let Event::Lease(event) = event else {
            return Ok(());
        };
        match event {
            LeaseEvent::Acquired(e) => {
                if header.term < self.next_term() {
                    return Err(ApplyError::at(
                        header,
                        "a term was acquired that does not follow",
                    ));
                }
                let tenure = Tenure {
                    term: header.term,
                    holder: e.holder.clone(),
                    boot_id: e.boot_id.clone(),
                    incarnation: e.incarnation.clone(),
                    acquired: header.seq,
                    acquired_at: header.recorded_at,
                    ended: false,
                };
                self.tenures.insert(header.term, tenure);
            }
            LeaseEvent::Released(_) => self.end(header, header.term)?,
            // Recorded by the next holder, in its own term.
            LeaseEvent::Lost(LeaseLost { term, .. })
            | LeaseEvent::Fenced(LeaseFenced { term, .. })
                if *term < header.term =>
            {
                self.end(header, *term)?;
            }
            LeaseEvent::Lost(_) | LeaseEvent::Fenced(_) => {
                return Err(ApplyError::at(header, "a term was lost that is not over"));
            }
        }
        Ok(())
    }

    fn rows(&self, emit: &mut dyn FnMut(&str, &str)) {
        for (term, tenure) in &self.tenures {
            let value = serde_json::to_string(tenure)
                .expect("a tenure holds only strings, numbers and booleans");
            emit(&format!("{:020}", term.0), &value);
        }
    }

    fn from_rows(rows: &mut dyn Iterator<Item = (String, String)>) -> Result<Self, RestoreError> {
        let mut leases = Self::default();
        for (key, value) in rows {
            let tenure: Tenure =
                serde_json::from_str(&value).map_err(|e| RestoreError::row(key, e.to_string()))?;
            leases.tenures.insert(tenure.term, tenure);
        }
        Ok(leases)
    }
}

impl Leases {
    fn end(&mut self, header: &Header<'_>, term: Term) -> Result<(), ApplyError> {
        match self.tenures.get_mut(&term) {
            Some(tenure) if !tenure.ended => {
                tenure.ended = true;
                Ok(())
            }
            _ => Err(ApplyError::at(header, "a term ended that was not held")),
        }
    }
}
