//! A start uses the newest checkpoint that is what was written and recorded, and names each newer one that
//! is not; what is recorded is on disk, whole, unless somebody has damaged it.
//!
//! Why: a damaged one that is used is a state that nobody decided, and one that is passed over for no
//! reason makes every start a long one.

use std::collections::BTreeSet;

use ledger_core::envelope::Header;
use ledger_core::event::{CheckpointCreated, CheckpointEvent, Event, PartDigest};
use ledger_core::ids::Id;
use opsledger::node::checkpoints::{CheckpointFile, Report};

use super::{Broken, Checked, holds};
use crate::shelf::{Shelf, said};

const NAME: &str = "a start uses the newest sound checkpoint, and no other";
const KEPT: &str = "a checkpoint that is recorded is on disk";
const MADE: &str = "a checkpoint holds what the events before it come to";

/// The checkpoints that events tell of.
#[derive(Debug, Default)]
pub(crate) struct Checkpoints(BTreeSet<CheckpointFile>);

impl Checkpoints {
    /// The next event of the history.
    pub(crate) fn event(&mut self, header: &Header<'_>, event: &Event) {
        if let Event::Checkpoint(CheckpointEvent::Created(created)) = event
            && let Ok(name) = Id::new(header.subject_id())
        {
            let seq = created.seq;
            self.0.insert(CheckpointFile { seq, name });
        }
    }

    /// A start has come by its state.
    pub(crate) fn used(&self, shelf: &Shelf, report: &Report, who: &str) -> Checked {
        let is_usable = |file: &CheckpointFile| shelf.is_sound(file) && self.0.contains(file);
        let used = report.checkpoint.as_ref().map(|from| CheckpointFile {
            seq: from.seq,
            name: from.name.clone(),
        });
        if let Some(used) = &used {
            holds(NAME, is_usable(used), || {
                format!("{who} has used {}, which is damaged", said(used))
            })?;
        }
        let newest = shelf.list().rfind(|file| is_usable(file));
        holds(NAME, used.as_ref() == newest, || {
            format!("{who} has used {used:?}, the newest is {newest:?}: {report:?}")
        })?;
        let newer = shelf.list().rev();
        let newer = newer.take_while(|file| Some(*file) != newest);
        let passed = report.passed_over.iter().map(|passed| &passed.file);
        holds(NAME, newer.eq(passed), || {
            format!("{who} has passed over {:?}", report.passed_over)
        })
    }

    /// Whatever is recorded and was left alone is there.
    pub(crate) fn kept(&self, shelf: &Shelf) -> Checked {
        let mut lost = self.0.iter();
        let lost = lost.find(|file| !shelf.is_sound(file) && !shelf.is_touched(file));
        let what = || lost.map(said).unwrap_or_default();
        holds(KEPT, lost.is_none(), what)
    }
}

/// One was made, where the events came to these parts.
pub(crate) fn made(facts: &CheckpointCreated, parts: &[PartDigest]) -> Checked {
    holds(MADE, facts.parts == parts, || {
        format!("{:?} differs from {parts:?}", facts.parts)
    })
}

/// One could not be made though nothing failed.
pub(crate) fn unmade(what: &dyn std::fmt::Display) -> Broken {
    Broken {
        invariant: MADE,
        what: what.to_string(),
    }
}
