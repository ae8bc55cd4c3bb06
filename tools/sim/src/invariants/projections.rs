//! Projections equal their rebuild: what a core, a standby and a snapshot hold is the fold of the events.
//!
//! Why: everything is decided by folded state, and everything that people see is one. A fold that came
//! about differently must not differ.

use opsledger::node::decision::Decision;
use projections::framework::Projection;

use super::{Broken, Checked, holds};

const NAME: &str = "projections equal their rebuild";

fn rows(state: &Decision) -> Vec<(String, String)> {
    let mut rows = Vec::new();
    state.rows(&mut |key, value| rows.push((key.to_owned(), value.to_owned())));
    rows
}

/// Two states that came about differently.
pub(crate) fn same(one: &Decision, other: &Decision, who: &str) -> Checked {
    let (one, other) = (rows(one), rows(other));
    let differs = one.iter().zip(&other).find(|(one, other)| one != other);
    holds(NAME, one == other, || match differs {
        Some((one, other)) => format!("{who}: {one:?} differs from {other:?}"),
        None => format!("{who}: {} rows, and {}", one.len(), other.len()),
    })
}

/// A state, and what becomes of it when it is written down and read.
pub(crate) fn survives_snapshot(state: &Decision) -> Checked {
    let restored = Decision::from_rows(&mut rows(state).into_iter());
    let restored = restored.map_err(|error| Broken {
        invariant: NAME,
        what: format!("rows can't be read again: {error}"),
    })?;
    same(state, &restored, "read from its rows")
}

/// A history that does not fold.
pub(crate) fn unfolded(what: &dyn std::fmt::Display) -> Broken {
    Broken {
        invariant: NAME,
        what: what.to_string(),
    }
}
