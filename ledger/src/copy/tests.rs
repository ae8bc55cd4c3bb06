//! Whatever the batches were, a copy is the same history.

use std::convert::Infallible;
use std::num::NonZeroUsize;

use proptest::prelude::*;

use super::*;
use crate::chain::Head;
use crate::ids::{Seq, Term};
use crate::store::LogWriter;
use crate::store::memory::MemoryStore;
use crate::store::samples::{batch, genesis, ledger_id};
use crate::verify::{Verdict, verify_offline};

fn sample(sizes: &[Vec<usize>]) -> MemoryStore {
    let mut store = MemoryStore::new(ledger_id(1));
    store.append(&genesis(ledger_id(1))).unwrap();
    for (n, sizes) in (1..).zip(sizes) {
        let head = LogWriter::head(&store);
        let batch = batch(ledger_id(1), head, Term(n), sizes);
        store.append(&batch).unwrap();
    }
    store
}

fn events(reader: &dyn LogReader) -> Vec<Vec<u8>> {
    let blocks = reader.blocks(Seq::FIRST).unwrap().map(Result::unwrap);
    let events = blocks.flat_map(|b| b.iter().map(<[u8]>::to_vec).collect::<Vec<_>>());
    events.collect()
}

fn copy(from: &MemoryStore, after: Head, head: Head, to: &mut MemoryStore) {
    copy_events::<Infallible>(from, after, head, &mut |batch| {
        to.append(&batch).unwrap();
        Ok(())
    })
    .unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn a_copy_in_two_parts_is_the_same_history(
        sizes in prop::collection::vec(prop::collection::vec(1_usize..40_000, 1..6), 1..12),
        cut in any::<prop::sample::Index>(),
    ) {
        let store = sample(&sizes);
        let whole = LogReader::head(&store).unwrap();
        let mut part = sample(&sizes[..cut.index(sizes.len())]);
        let middle = LogReader::head(&part).unwrap();
        copy(&store, middle, whole, &mut part);
        prop_assert_eq!(LogReader::head(&part).unwrap(), whole);
        prop_assert_eq!(events(&part), events(&store));
        // Only so far, though the source goes on.
        let mut head = MemoryStore::new(ledger_id(1));
        copy(&store, Head::EMPTY, middle, &mut head);
        prop_assert_eq!(LogReader::head(&head).unwrap(), middle);
        // Where it stood then can be told from where it stands now.
        prop_assert_eq!(head_at(&store, middle.seq).unwrap(), Some(middle));
        prop_assert_eq!(head_at(&store, whole.seq).unwrap(), Some(whole));
        prop_assert_eq!(head_at(&store, whole.seq.next()).unwrap(), None);
    }
}

#[test]
fn a_store_is_built_from_batches_of_many_terms() {
    let source = sample(&vec![vec![30_000; 30]; 5]);
    let head = LogReader::head(&source).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let mut builder = StoreBuilder::new(dir.path(), ledger_id(1));
    copy_events(&source, Head::EMPTY, head, &mut |batch| {
        builder.push(&batch)
    })
    .unwrap();
    let store = builder.finish().unwrap();
    assert_eq!(LogWriter::head(&store), head);
    assert_eq!(events(&store.reader()), events(&source));
    store.close().unwrap();
    let report = verify_offline(dir.path(), NonZeroUsize::MIN, &|_, _| {}).unwrap();
    assert_eq!(report.verdict, Verdict::Intact, "{report:?}");
    assert!(matches!(
        StoreBuilder::new(dir.path(), ledger_id(1)).finish(),
        Err(BuildError::Empty)
    ));
}

#[test]
fn events_that_lead_elsewhere_are_no_copy() {
    let source = sample(&[vec![10; 3], vec![10; 3]]);
    let head = LogReader::head(&source).unwrap();
    let mut taken = 0;
    let mut sink = |batch: Batch| -> Result<(), Infallible> {
        taken += batch.len();
        Ok(())
    };
    let beyond = Head {
        seq: Seq(9),
        ..head
    };
    let other = Head {
        hash: crate::hash::Hash::ZERO,
        ..head
    };
    for wrong in [beyond, other] {
        let copied = copy_events(&source, Head::EMPTY, wrong, &mut sink);
        assert!(matches!(
            copied,
            Err(CopyError::Source(ReadError::Damaged(_)))
        ));
    }
    assert_eq!(taken, 14);
}
