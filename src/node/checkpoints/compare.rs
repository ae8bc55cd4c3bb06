//! Holding state against other folds of the same events: what a leader decides by must be what anyone
//! makes of the ledger, whoever folds, from wherever, at whatever time.
//!
//! ```text
//! checkpoint before ──> fold ──> digests == recorded by whoever made it? ──> … ──> digests, for the next
//! ```
//!
//! Invariant: the fold begins before the first of what it is held against, so it can't be made of any of
//! them. What has once been found the same stands in the ledger, and what is made later is held against it:
//! so it is found out, too, if another version of this program makes something else of the same events.
//!
//! The idea is that of replicated databases that compare checksums of their replicas at a common position.

use ledger_core::event::{
    FoldCompared, OtherFold, PartDigest, PartDiverged, RecoveredFrom, RecoveryDiverged,
};
use ledger_core::ids::Seq;
use ledger_core::store::LogReader;
use projections::framework::{Fold, Health, Position, ReplayError, catch_up, unwatched};

use super::files::Files;
use super::fold::{Recovered, fold_upto};
use crate::node::decision::Decision;

/// A fold that somebody else made, by its digests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference {
    /// Where it stands.
    pub seq: Seq,
    /// Whose it is.
    pub with: OtherFold,
    /// What it is there.
    pub parts: Vec<PartDigest>,
}

/// What came of it.
#[derive(Debug, Clone)]
pub struct Compared {
    /// The checkpoint that the fold began with.
    pub checkpoint: Option<RecoveredFrom>,
    /// Where it ends.
    pub position: Position,
    /// What it is there.
    pub parts: Vec<PartDigest>,
    /// What is the same.
    pub same: Vec<FoldCompared>,
    /// What is not.
    pub diverged: Vec<RecoveryDiverged>,
}

/// Why state can't be compared.
#[derive(Debug, thiserror::Error)]
pub enum CompareError {
    /// The events can't be read.
    #[error(transparent)]
    Replay(#[from] ReplayError),
    /// They can be read and not be folded.
    #[error("seq {seq} can't be folded: {reason}")]
    Poisoned {
        /// The first of them.
        seq: Seq,
        /// Why.
        reason: String,
    },
}

/// Folds up to `upto` and holds the fold against each reference on the way there. Those that stand behind
/// `upto`, or before the first event, are left out.
///
/// # Errors
/// [`CompareError`]; that a reference differs is none.
pub fn compare(
    files: &dyn Files,
    reader: &dyn LogReader,
    mut references: Vec<Reference>,
    upto: Seq,
) -> Result<Compared, CompareError> {
    references.retain(|one| (Seq::FIRST..=upto).contains(&one.seq));
    references.sort_by_key(|one| one.seq);
    let first = references.first().map_or(upto, |one| one.seq);
    // Not one of what it is held against, and nothing that was made of it.
    let Recovered { mut fold, report } = fold_upto(files, reader, Some(Seq(first.0 - 1)))?;
    let mut compared = Compared {
        checkpoint: report.checkpoint,
        position: fold.position(),
        parts: Vec::new(),
        same: Vec::new(),
        diverged: Vec::new(),
    };
    for reference in references {
        go_on(&mut fold, reader, reference.seq)?;
        compared.hold(&fold.state().part_digests(), reference);
    }
    go_on(&mut fold, reader, upto)?;
    compared.position = fold.position();
    compared.parts = fold.state().part_digests();
    Ok(compared)
}

fn go_on(fold: &mut Fold<Decision>, reader: &dyn LogReader, upto: Seq) -> Result<(), CompareError> {
    catch_up(fold, reader, Some(upto), &mut unwatched)?;
    match fold.health() {
        Health::Following => Ok(()),
        Health::Poisoned { seq, reason } => Err(CompareError::Poisoned {
            seq: *seq,
            reason: reason.clone(),
        }),
    }
}

impl Compared {
    fn hold(&mut self, folded: &[PartDigest], reference: Reference) {
        let Reference { seq, with, parts } = reference;
        let mut incomparable = Vec::new();
        let mut differ = Vec::new();
        for part in folded {
            match parts.iter().find(|other| other.name == part.name) {
                Some(other) if other.version != part.version => {
                    incomparable.push(part.name.clone());
                }
                Some(other) if other.digest != part.digest => differ.push(PartDiverged {
                    name: part.name.clone(),
                    version: part.version,
                    found: other.digest,
                    folded: part.digest,
                }),
                Some(_) => {}
                None => incomparable.push(part.name.clone()),
            }
        }
        let unknown = parts
            .iter()
            .filter(|other| folded.iter().all(|part| part.name != other.name));
        incomparable.extend(unknown.map(|other| other.name.clone()));
        if differ.is_empty() {
            self.same.push(FoldCompared {
                seq,
                with,
                incomparable,
            });
        } else {
            self.diverged.push(RecoveryDiverged {
                checkpoint: self.checkpoint.clone(),
                seq,
                with,
                parts: differ,
            });
        }
    }
}
