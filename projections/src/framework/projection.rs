//! The contract of a projection: a fold over events with a canonical content.
//!
//! Live running, recovery, rebuild, time travel and simulation all call the same
//! [`Projection::apply`]. It must be deterministic (the same events give the same rows, on every
//! machine, in every process) and it must check before it changes: an event that it refuses leaves
//! the state as it was, so that a poisoned projection still shows the truth as of the event before.

use ledger_core::envelope::Header;
use ledger_core::event::Event;
use ledger_core::ids::Seq;

/// A read model: folds events into state and can write that state out as rows and read it back.
pub trait Projection: Default + Clone + Send + Sync + 'static {
    /// Its name, unique among projections; it names its snapshot file, so it is made of `a-z`,
    /// `0-9` and `_` only.
    const NAME: &'static str;

    /// Version of its fold and rows. A bump makes every older snapshot void.
    const VERSION: u32;

    /// Whether it reads payloads. Where it does not, [`Projection::apply`] is given
    /// [`Event::Unknown`] for every event and nothing is decoded for its sake.
    const NEEDS_PAYLOAD: bool = true;

    /// Whether events of this kind are folded; others are skipped undecoded.
    fn wants(kind: &str) -> bool;

    /// Folds one event. Called in order, without gaps among the kinds that it wants.
    ///
    /// A wanted kind that this binary does not know arrives as [`Event::Unknown`]. A known kind
    /// whose payload does not decode, or has an unknown version, never arrives: the framework
    /// treats it like an error from here.
    ///
    /// # Errors
    /// [`ApplyError`] if the event cannot follow what was folded before. The state is then as it
    /// was before the call.
    fn apply(&mut self, header: &Header<'_>, event: &Event) -> Result<(), ApplyError>;

    /// Canonical content: rows in strictly ascending key order; the value is minified JSON (no
    /// line breaks). Equal states emit equal rows, and all that `apply` depends on is in them.
    fn rows(&self, emit: &mut dyn FnMut(&str, &str));

    /// [`Projection::rows`] for as long as `emit` says so. Whoever has much content stops when it doesn't.
    fn rows_while(&self, emit: &mut dyn FnMut(&str, &str) -> bool) {
        let mut more = true;
        self.rows(&mut |key, value| more = more && emit(key, value));
    }

    /// The inverse of [`Projection::rows`].
    ///
    /// # Errors
    /// [`RestoreError`] if the rows are not what `rows` of this version writes.
    fn from_rows(rows: &mut dyn Iterator<Item = (String, String)>) -> Result<Self, RestoreError>;
}

/// An event that a projection cannot fold: the history it was given is not possible.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("seq {seq}: {reason}")]
pub struct ApplyError {
    /// The event.
    pub seq: Seq,
    /// Why it cannot follow.
    pub reason: String,
}

impl ApplyError {
    /// The event of this header cannot be folded, for this reason.
    pub fn at(header: &Header<'_>, reason: impl Into<String>) -> Self {
        Self {
            seq: header.seq,
            reason: reason.into(),
        }
    }
}

/// Rows that a projection cannot be restored from.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("row {key:?}: {reason}")]
pub struct RestoreError {
    /// The row's key; empty if a row is missing.
    pub key: String,
    /// What is wrong with it.
    pub reason: String,
}

impl RestoreError {
    /// The row under `key` is not acceptable, for this reason.
    pub fn row(key: impl Into<String>, reason: impl Into<String>) -> Self {
        Self {
            key: key.into(),
            reason: reason.into(),
        }
    }
}
