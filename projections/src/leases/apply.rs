//! How lease events change the current term.

use ledger_core::envelope::Header;
use ledger_core::event::{Event, LeaseEvent};

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
                let before = self.latest.as_ref();
                if before.is_some_and(|tenure| header.term <= tenure.term) {
                    return Err(ApplyError::at(
                        header,
                        "a term was acquired that does not follow",
                    ));
                }
                self.latest = Some(Tenure {
                    term: header.term,
                    holder: e.holder.clone(),
                    incarnation: e.incarnation.clone(),
                    acquired: header.seq,
                    acquired_at: header.recorded_at,
                    ended: false,
                });
            }
            LeaseEvent::Released(_) => {
                let open = self
                    .latest
                    .as_mut()
                    .filter(|t| !t.ended && t.term == header.term);
                let Some(tenure) = open else {
                    return Err(ApplyError::at(
                        header,
                        "a term was released that is not held",
                    ));
                };
                tenure.ended = true;
            }
            // Recorded by the next holder, whose own term is the latest by now.
            LeaseEvent::Lost(e) => {
                if self
                    .latest
                    .as_ref()
                    .is_none_or(|tenure| e.term >= tenure.term)
                {
                    return Err(ApplyError::at(header, "a term was lost that is not over"));
                }
            }
        }
        Ok(())
    }

    fn rows(&self, emit: &mut dyn FnMut(&str, &str)) {
        if let Some(tenure) = &self.latest {
            let value = serde_json::to_string(tenure)
                .expect("a tenure holds only strings, numbers and booleans");
            emit("latest", &value);
        }
    }

    fn from_rows(rows: &mut dyn Iterator<Item = (String, String)>) -> Result<Self, RestoreError> {
        let mut leases = Self::default();
        for (key, value) in rows {
            if key != "latest" || leases.latest.is_some() {
                return Err(RestoreError::row(key, "there is one row, `latest`"));
            }
            let tenure =
                serde_json::from_str(&value).map_err(|e| RestoreError::row(key, e.to_string()))?;
            leases.latest = Some(tenure);
        }
        Ok(leases)
    }
}
