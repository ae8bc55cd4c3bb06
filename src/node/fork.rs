//! A data directory from the beginning of a ledger: its state as of an event, for those who look into
//! what was. The ledger, at work or at rest, is read and not written to.
//!
//! What says that the copy is the same history:
//! - every event is hashed again from the first one to the last, and must lead to the hash that the
//!   ledger has there;
//! - the root of the tree over what was written is the older end of a consistency proof, whose newer
//!   end is the ledger's own root.

use std::collections::BTreeSet;
use std::path::Path;

use ledger_core::blobs::{BlobDir, named_in};
use ledger_core::chain::Head;
use ledger_core::copy::{CopyError, StoreBuilder, copy_events, head_at};
use ledger_core::event::{LedgerEvent, LedgerForked};
use ledger_core::hash::Hash;
use ledger_core::ids::Seq;
use ledger_core::merkle::{ProofFault, ProveError, TreeRoot, TreeSize, check_consistency};
use ledger_core::store::{LogReader, LogTree, ReadError};

use super::found::{Built, FoundError, Founded, carry, check_outside, found, unread};

/// A data directory that was made from the beginning of a ledger.
#[derive(Debug, Clone)]
pub struct Forked {
    /// What was made.
    pub founded: Founded,
    /// The last event that was taken, with its hash and when it was recorded.
    pub upto: Head,
    /// The tree over what was taken, which the ledger's own begins with.
    pub tree: TreeRoot,
    /// The ledger's own tree.
    pub source: TreeRoot,
}

/// Makes the data directory `into` from the events up to `upto` of the ledger that `reader` reads, with
/// the blobs that they name from its data directory `from`. `progress` is told how far it has come, and
/// of how much.
///
/// # Errors
/// [`FoundError`]; `into` is then as it was.
pub fn fork(
    reader: &dyn LogReader,
    from: &Path,
    upto: Seq,
    into: &Path,
    progress: &dyn Fn(u64, u64),
) -> Result<Forked, FoundError> {
    check_outside(into, from)?;
    let tree = reader.tree().map_err(FoundError::Source)?;
    let (source, source_hash) = (tree.root(), tree.head(reader.ledger_id()).chain);
    let head = head_at(reader, upto).map_err(FoundError::Source)?;
    let head = head.filter(|head| head.seq <= source.size.last());
    let head = head.ok_or_else(|| {
        let what = format!("it has no seq {upto}");
        FoundError::Source(ReadError::Damaged(what))
    })?;
    let root = tree.root_at(TreeSize::of(upto)).map_err(unproven)?;
    let founded = found(into, |dir| {
        let mut builder = StoreBuilder::new(dir, reader.ledger_id());
        copy_events(reader, Head::EMPTY, head, &mut |batch| {
            progress(batch.head().seq.0, upto.0);
            builder.push(&batch)
        })
        .map_err(|error| match error {
            CopyError::Source(error) => FoundError::Source(error),
            CopyError::Sink(error) => error.into(),
        })?;
        let store = builder.finish()?;
        let written = store.reader();
        prove(written.tree().map_err(unread)?.root(), root, &tree)?;
        let named = named_in(&written, Seq::FIRST..=upto).map_err(unread)?;
        let digests: BTreeSet<Hash> = named.iter().map(|(_, named)| named.blake3).collect();
        let lost = carry(&BlobDir::open(from)?, digests.into_iter(), dir)?;
        let event = |incarnation: String| {
            LedgerEvent::Forked(LedgerForked {
                seq: head.seq,
                hash: head.hash,
                as_of: head.recorded_at,
                source_seq: source.size.last(),
                source_hash,
                incarnation,
            })
        };
        drop(written);
        Ok(Built {
            store,
            who: "restore",
            event,
            lost,
        })
    })?;
    Ok(Forked {
        founded,
        upto: head,
        tree: root,
        source,
    })
}

/// Checks that what was written has the root that the ledger's tree had then, and that this tree has
/// grown out of it.
fn prove(written: TreeRoot, then: TreeRoot, ledger: &LogTree<'_>) -> Result<(), FoundError> {
    let now = ledger.root();
    let proof = ledger.consistency(then.size, now.size).map_err(unproven)?;
    let fault = |fault: ProofFault| FoundError::NotItsBeginning(fault.to_string());
    check_consistency(&written, &then, &[]).map_err(fault)?;
    check_consistency(&then, &now, &proof).map_err(fault)
}

fn unproven(error: ProveError<ReadError>) -> FoundError {
    match error {
        ProveError::Source(error) => FoundError::Source(error),
        other => FoundError::NotItsBeginning(other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use ledger_core::ids::{Id, LedgerId};
    use ledger_core::store::Blocks;
    use ledger_core::store::durable::OfflineReader;

    use super::*;
    use crate::node::create_ledger;

    /// A ledger whose tree is another's.
    struct Liar(OfflineReader, OfflineReader);

    impl LogReader for Liar {
        fn ledger_id(&self) -> LedgerId {
            self.0.ledger_id()
        }

        fn head(&self) -> Result<Head, ReadError> {
            self.0.head()
        }

        fn blocks(&self, from: Seq) -> Result<Blocks<'_>, ReadError> {
            self.0.blocks(from)
        }

        fn tree(&self) -> Result<LogTree<'_>, ReadError> {
            self.1.tree()
        }
    }

    #[test]
    fn what_the_ledgers_own_tree_does_not_begin_with_is_not_made() {
        let room = tempfile::tempdir().unwrap();
        let made = |name: &str| {
            let dir = room.path().join(name);
            create_ledger(&dir, &Id::new(name).unwrap(), None).unwrap();
            OfflineReader::open(&dir).unwrap()
        };
        let (dir, into) = (room.path().join("one"), room.path().join("new"));
        let liar = Liar(made("one"), made("two"));
        let upto = |reader: &dyn LogReader, seq| fork(reader, &dir, seq, &into, &|_, _| {});
        let refused = upto(&liar, Seq(1)).unwrap_err();
        assert!(
            matches!(refused, FoundError::NotItsBeginning(_)),
            "{refused}"
        );
        for none in [Seq(0), Seq(2)] {
            let refused = upto(&liar.0, none).unwrap_err();
            assert!(matches!(refused, FoundError::Source(_)), "{refused}");
        }
        assert!(!into.exists(), "nothing was made");
        let forked = upto(&liar.0, Seq(1)).unwrap();
        assert_eq!((forked.tree, forked.upto.seq), (forked.source, Seq(1)));
        assert_eq!(forked.founded.head.seq, Seq(4), "and what says so");
    }
}
