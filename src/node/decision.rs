//! Decision state: all that the core folds in order to decide, as one projection, so that a node
//! that comes up folds the log once for all of it.

use ledger_core::envelope::Header;
use ledger_core::event::Event;
use projections::framework::{ApplyError, Projection, RestoreError};
use projections::idempotency::Idempotency;
use projections::leases::Leases;
use projections::tasks::Tasks;

/// Everything the core decides by.
#[derive(Debug, Clone, Default)]
pub struct Decision {
    /// Tasks and queues.
    pub tasks: Tasks,
    /// Who leads.
    pub leases: Leases,
    /// Idempotency keys.
    pub keys: Idempotency,
}

impl Projection for Decision {
    const NAME: &'static str = "decision";
    const VERSION: u32 = Tasks::VERSION * 10_000 + Leases::VERSION * 100 + Idempotency::VERSION;

    fn wants(_kind: &str) -> bool {
        // Any event may carry an idempotency key, and time passes with each.
        true
    }

    fn apply(&mut self, header: &Header<'_>, event: &Event) -> Result<(), ApplyError> {
        if Tasks::wants(header.kind) {
            self.tasks.apply(header, event)?;
        }
        if Leases::wants(header.kind) {
            self.leases.apply(header, event)?;
        }
        self.keys.apply(header, event)
    }

    fn rows(&self, emit: &mut dyn FnMut(&str, &str)) {
        self.keys.rows(&mut |key, value| emit(&format!("keys/{key}"), value));
        self.leases.rows(&mut |key, value| emit(&format!("leases/{key}"), value));
        self.tasks.rows(&mut |key, value| emit(&format!("tasks/{key}"), value));
    }

    fn from_rows(
        rows: &mut dyn Iterator<Item = (String, String)>,
    ) -> Result<Self, RestoreError> {
        let (mut keys, mut leases, mut tasks) = (Vec::new(), Vec::new(), Vec::new());
        for (key, value) in rows {
            let part = match key.split_once('/') {
                Some(("keys", _)) => &mut keys,
                Some(("leases", _)) => &mut leases,
                Some(("tasks", _)) => &mut tasks,
                _ => return Err(RestoreError::row(key, "belongs to no part")),
            };
            let rest = key.split_once('/').map_or("", |(_, rest)| rest);
            part.push((rest.to_owned(), value));
        }
        Ok(Self {
            keys: Idempotency::from_rows(&mut keys.into_iter())?,
            leases: Leases::from_rows(&mut leases.into_iter())?,
            tasks: Tasks::from_rows(&mut tasks.into_iter())?,
        })
    }
}
