//! The files are intact and complete: chain, tree, the store's own pages, and the lives that the events
//! tell of.
//!
//! Why: it is what `ledger verify` says to people, and nothing that happened here was damage.

use std::num::NonZeroUsize;

use ledger_core::store::LogReader;
use ledger_core::store::sim::{Disk, offline};
use ledger_core::verify::{examine_intact, verify_reader};
use projections::lives::Lives;

use super::{Broken, Checked, holds};

const NAME: &str = "the files are intact and complete";

fn broken(what: &dyn std::fmt::Display) -> Broken {
    Broken {
        invariant: NAME,
        what: what.to_string(),
    }
}

/// The files at the end of a run, which nobody has open.
pub(crate) fn check(disk: &Disk) -> Checked {
    let reader = offline(disk).map_err(|error| broken(&error))?;
    let report = verify_reader(&reader, NonZeroUsize::MIN, &|_, _| {});
    let report = report.map_err(|error| broken(&error))?;
    holds(NAME, report.is_intact(), || {
        format!("{:?}", report.findings)
    })?;
    let head = reader.head().map_err(|error| broken(&error))?;
    let (examiner, mut lives) = Lives::begin(head.seq);
    let one = NonZeroUsize::MIN;
    examine_intact(&reader, &[], one, &|_, _| {}, examiner, &mut |notes| {
        lives.fold(notes)
    });
    let outcome = lives.end();
    holds(NAME, outcome.is_complete(), || {
        format!("{:?}", outcome.findings)
    })
}
