//! Verification: is the ledger exactly what was written? A library that returns findings; it
//! prints nothing and repairs nothing.
//!
//! | must hold | checked by |
//! |---|---|
//! | every event decodes, stands at its seq, and hashes to its block's second edge | each block alone, in parallel |
//! | the first edge of a block is the second of the one before; no seq is missing | [`Verifier`], as blocks come in |
//! | terms and times never go down | within a block, and across |
//! | seq 1 is `ledger.created` of this ledger, at term 0; no other event is of term 0 | the blocks that hold seq 1 and 2 |
//! | the blocks end where the store says | [`Verifier::finish`] |
//! | an event known from elsewhere (the head file) is there, with that hash | [`KnownHead`] |
//! | the store's own pages are sound, and its byte count is right | [`verify_offline`] |
//! | the Merkle tree that the store keeps is the one over its events | [`verify_offline`] |
//!
//! What this can't find: a whole history replaced by whoever can compute hashes, or rolled back
//! together with its head file. That takes a head known from outside, see [`anchors`]. What is made
//! of the events while they are read anyway is up to an [`Examine`].

mod anchor;
mod examine;
mod report;
mod tree;
mod verifier;

pub use anchor::{AnchorExaminer, AnchorFault, AnchorFold, AnchorNotes, anchors};
pub use examine::{Examine, Nothing};
pub use report::{Finding, Place, Report, Verdict, What};
pub use verifier::{KnownHead, Verifier};

use std::num::NonZeroUsize;
use std::path::Path;

use crate::chain::Head;
use crate::ids::Seq;
use crate::merkle::TreeHash;
use crate::store::durable::OfflineReader;
use crate::store::redb::{HeadFile, HeadFileFault};
use crate::store::{LogReader, Offline, OpenError, ReadError};

/// Checks everything that a reader shows. `known` are events that must be there; `progress` is
/// told how many events were read, and of how many.
pub fn verify_intact(
    reader: &dyn LogReader,
    known: &[KnownHead],
    threads: NonZeroUsize,
    progress: &dyn Fn(u64, u64),
) -> Report {
    examine_intact(reader, known, threads, progress, Nothing, &mut |()| {})
}

/// As [`verify_intact`], and gives `fold` what `examiner` notes of the events.
pub fn examine_intact<E: Examine>(
    reader: &dyn LogReader,
    known: &[KnownHead],
    threads: NonZeroUsize,
    progress: &dyn Fn(u64, u64),
    examiner: E,
    fold: &mut dyn FnMut(E::Notes),
) -> Report {
    match reader.head() {
        Ok(head) => {
            let known = known.to_vec();
            let begin = |known| {
                Verifier::examining(reader.ledger_id(), threads, known, examiner, Box::new(fold))
            };
            verify_up_to(reader, head, known, progress, begin)
        }
        Err(error) => Report::unreadable(reader.ledger_id(), &error.to_string()),
    }
}

/// Checks a ledger that says it ends at `head`.
fn verify_up_to<'f, E: Examine>(
    reader: &dyn LogReader,
    head: Head,
    mut known: Vec<KnownHead>,
    progress: &dyn Fn(u64, u64),
    begin: impl FnOnce(Vec<KnownHead>) -> Verifier<'f, E>,
) -> Report {
    known.push(KnownHead {
        place: Place::Head,
        seq: head.seq,
        hash: head.hash,
    });
    let mut verifier = begin(known);
    match reader.blocks(Seq::FIRST) {
        Err(error) => verifier.unreadable(&error),
        Ok(blocks) => {
            let mut done = 0;
            for block in blocks {
                match block {
                    Ok(block) => {
                        done += u64::from(block.count());
                        verifier.push(block);
                    }
                    Err(error) => verifier.unreadable(&error),
                }
                progress(done, head.seq.0.max(done));
            }
        }
    }
    verifier.finish(head)
}

/// Checks the ledger in a directory that no node has open, its files included, without changing
/// a byte.
///
/// # Errors
/// [`OpenError`] if nothing could be checked: there is no ledger, a node has it open (or opened it
/// meanwhile), it is of a newer layout, or the file system failed. Damage is a finding.
pub fn verify_offline(
    dir: &Path,
    threads: NonZeroUsize,
    progress: &dyn Fn(u64, u64),
) -> Result<Report, OpenError> {
    match OfflineReader::open(dir) {
        Ok(reader) => verify_reader(&reader, threads, progress),
        Err(error) => error
            .damage()
            .map_or(Err(error), |what| Ok(Report::unopened(&what))),
    }
}

/// As [`verify_offline`], for a ledger that is open already.
///
/// # Errors
/// [`OpenError::InUse`] if a node opened it meanwhile, [`OpenError::Io`] if the disk failed.
pub fn verify_reader(
    reader: &dyn Offline,
    threads: NonZeroUsize,
    progress: &dyn Fn(u64, u64),
) -> Result<Report, OpenError> {
    examine_reader(reader, threads, progress, Nothing, &mut |()| {})
}

/// As [`verify_reader`], and gives `fold` what `examiner` notes of the events.
///
/// # Errors
/// As [`verify_reader`].
pub fn examine_reader<E: Examine>(
    reader: &dyn Offline,
    threads: NonZeroUsize,
    progress: &dyn Fn(u64, u64),
    examiner: E,
    fold: &mut dyn FnMut(E::Notes),
) -> Result<Report, OpenError> {
    let head_file = reader.head_file();
    let known = match &head_file {
        Ok(said) => vec![KnownHead {
            place: Place::HeadFile,
            seq: said.seq,
            hash: said.hash,
        }],
        Err(_) => Vec::new(),
    };
    let (tree_examiner, mut tree) = tree::check(reader);
    let mut fold = |(notes, leaves): (E::Notes, Vec<TreeHash>)| {
        tree.fold(&leaves);
        fold(notes);
    };
    let examiner = (examiner, tree_examiner);
    let mut report = match reader.end() {
        Ok(end) => {
            let begin = |known| {
                let fold = Box::new(&mut fold);
                Verifier::examining(reader.ledger_id(), threads, known, examiner, fold)
            };
            verify_up_to(reader, end, known, progress, begin)
        }
        Err(error) => Report::unreadable(reader.ledger_id(), &error.to_string()),
    };
    if report.is_intact()
        && let Some(finding) = tree.end()
    {
        report.add(finding);
    }
    check_files(reader, &head_file, &mut report)?;
    if reader.check_undisturbed().is_err() {
        return Err(OpenError::InUse);
    }
    Ok(report)
}

/// What the chain doesn't cover: the head file's own soundness, redb's pages, the byte count.
fn check_files(
    reader: &dyn Offline,
    head_file: &Result<HeadFile, HeadFileFault>,
    report: &mut Report,
) -> Result<(), OpenError> {
    match head_file {
        Err(fault) => report.add(Finding {
            seq: None,
            place: Place::HeadFile,
            what: What::HeadFile,
            expected: "a sound head file".into(),
            found: fault.to_string(),
        }),
        Ok(said) if said.ledger_id != reader.ledger_id() => report.add(Finding {
            seq: None,
            place: Place::HeadFile,
            what: What::OtherLedger,
            expected: reader.ledger_id().to_string(),
            found: said.ledger_id.to_string(),
        }),
        Ok(_) => {}
    }
    match reader.check_structure() {
        Ok(()) => {}
        Err(ReadError::Io(error)) => {
            return Err(OpenError::Io {
                what: "reading the store".into(),
                error,
            });
        }
        Err(error) => report.add(Finding {
            seq: None,
            place: Place::Store,
            what: What::Structure,
            expected: "sound pages".into(),
            found: match error {
                ReadError::Damaged(why) => why,
                other => other.to_string(),
            },
        }),
    }
    if report.is_intact() && report.bytes != reader.event_bytes() {
        report.add(Finding {
            seq: None,
            place: Place::Store,
            what: What::Bytes,
            expected: reader.event_bytes().to_string(),
            found: report.bytes.to_string(),
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests;
