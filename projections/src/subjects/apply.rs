//! How events change versions. Only headers are read; no payload is decoded for it.

use ledger_core::envelope::Header;
use ledger_core::event::{APP_PREFIX, Event};
use ledger_core::ids::{Entity, Seq};

use super::state::Subjects;
use crate::framework::{ApplyError, Projection, RestoreError};

/// The row of what was forgotten; sorts behind the numbers.
const FORGOTTEN: &str = "forgotten";

impl Projection for Subjects {
    const NAME: &'static str = "subjects";
    const VERSION: u32 = 1;
    const NEEDS_PAYLOAD: bool = false;

    fn wants(kind: &str) -> bool {
        kind.starts_with(APP_PREFIX)
    }

    fn apply(&mut self, header: &Header<'_>, _: &Event) -> Result<(), ApplyError> {
        self.advance(header.subject, header.seq);
        Ok(())
    }

    /// One row for each subject, by its version (20 digits, so that they sort), then how far others
    /// were forgotten, if any were.
    fn rows(&self, emit: &mut dyn FnMut(&str, &str)) {
        let mut sorted: Vec<_> = self.versions.iter().map(|(s, seq)| (*seq, s)).collect();
        sorted.sort_unstable();
        for (seq, subject) in sorted {
            // A subject is made of ids: nothing in it needs an escape.
            emit(&format!("{:020}", seq.0), &format!("\"{subject}\""));
        }
        if self.forgotten > Seq(0) {
            emit(FORGOTTEN, &self.forgotten.to_string());
        }
    }

    fn from_rows(rows: &mut dyn Iterator<Item = (String, String)>) -> Result<Self, RestoreError> {
        let mut subjects = Self::default();
        let mut first = None;
        let mut last = Seq(0);
        for (key, value) in rows {
            let bad = |reason: &str| RestoreError::row(&*key, reason);
            if key == FORGOTTEN {
                let forgotten = value.parse().map_err(|_| bad("not a seq"))?;
                if forgotten == 0 || first.is_none_or(|first| Seq(forgotten) >= first) {
                    return Err(bad("something older is remembered"));
                }
                subjects.forgotten = Seq(forgotten);
                continue;
            }
            let seq = key.parse().map(Seq).map_err(|_| bad("not a seq"))?;
            if seq <= last || subjects.forgotten > Seq(0) {
                return Err(bad("out of order"));
            }
            last = seq;
            first.get_or_insert(seq);
            let name: String = serde_json::from_str(&value).map_err(|e| bad(&e.to_string()))?;
            let subject = Entity::new(&name).map_err(|e| bad(&e.to_string()))?;
            if subjects
                .versions
                .insert(subject.as_str().into(), seq)
                .is_some()
            {
                return Err(bad("it is there twice"));
            }
        }
        Ok(subjects)
    }
}
