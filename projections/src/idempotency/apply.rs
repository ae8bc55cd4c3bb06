//! How events change the window. Only headers are read; no payload is decoded for it.

use ledger_core::envelope::Header;
use ledger_core::event::Event;
use ledger_core::ids::{Seq, is_id};
use ledger_core::time::Timestamp;

use super::state::{Entry, Idempotency};
use crate::framework::{ApplyError, Projection, RestoreError};

impl Projection for Idempotency {
    const NAME: &'static str = "idempotency";
    const VERSION: u32 = 1;
    const NEEDS_PAYLOAD: bool = false;

    /// All: any event may carry a key, and every event's time moves the window.
    fn wants(_kind: &str) -> bool {
        true
    }

    fn apply(&mut self, header: &Header<'_>, _: &Event) -> Result<(), ApplyError> {
        let fresh =
            |first: &Entry| header.recorded_at.since(first.recorded_at).0 <= super::WINDOW_US;
        if let Some(key) = header.idempotency_key
            && let Some(seq) = self.lookup(key)
            && let Ok(at) = self.order.binary_search_by_key(&seq, |entry| entry.seq)
            && fresh(&self.order[at])
        {
            let reason = format!("idempotency key {key} was used at seq {seq} and is remembered");
            return Err(ApplyError::at(header, reason));
        }
        self.advance(header.recorded_at);
        if let Some(key) = header.idempotency_key {
            self.remember(Entry {
                seq: header.seq,
                recorded_at: header.recorded_at,
                key: key.into(),
            });
        }
        Ok(())
    }

    /// One row for each key, by the seq of its event (20 digits, so that they sort).
    fn rows(&self, emit: &mut dyn FnMut(&str, &str)) {
        for Entry {
            seq,
            recorded_at,
            key,
        } in &self.order
        {
            // A key is an id: nothing in it needs an escape.
            let value = format!("[\"{key}\",{}]", recorded_at.0);
            emit(&format!("{:020}", seq.0), &value);
        }
    }

    fn from_rows(rows: &mut dyn Iterator<Item = (String, String)>) -> Result<Self, RestoreError> {
        let mut window = Self::default();
        for (key, value) in rows {
            let bad = |reason: String| RestoreError::row(&*key, reason);
            let seq = key
                .parse()
                .map(Seq)
                .map_err(|_| bad("not a seq".to_owned()))?;
            let (name, at): (String, u64) =
                serde_json::from_str(&value).map_err(|e| bad(e.to_string()))?;
            let last = window.order.back();
            if !is_id(&name) || window.lookup(&name).is_some() {
                return Err(bad("not a key, or there twice".to_owned()));
            }
            if last.is_some_and(|last| last.seq >= seq || last.recorded_at.0 > at) {
                return Err(bad("out of order".to_owned()));
            }
            window.remember(Entry {
                seq,
                recorded_at: Timestamp(at),
                key: name.into(),
            });
        }
        Ok(window)
    }
}
