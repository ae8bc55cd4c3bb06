//! Heads of a ledger hold at every size, however its events are divided into blocks and workers;
//! heads of anything else don't.

use std::num::NonZeroUsize;

use super::*;
use crate::chain::Head;
use crate::ids::Term;
use crate::merkle::{TreeRoot, TreeWriter};
use crate::store::memory::MemoryStore;
use crate::store::samples::{batch, genesis, ledger_id};
use crate::store::{LogReader, LogWriter};
use crate::verify::{Report, examine_intact};

/// A ledger in batches of these sizes, and its head after each event, from 0 on, by other means.
fn ledger(batches: &[usize]) -> (MemoryStore, Vec<TreeHead>) {
    let ledger = ledger_id(1);
    let mut store = MemoryStore::new(ledger);
    let mut tree = TreeWriter::new();
    let head = |tree: &TreeWriter, chain| TreeHead {
        ledger,
        tree: tree.root(),
        chain,
    };
    let mut heads = vec![head(&tree, Hash::ZERO)];
    let mut append = |store: &mut MemoryStore, batch: &crate::chain::Batch| {
        for (event, hash) in batch.events() {
            tree.append(&[TreeHash::leaf(event)]);
            heads.push(head(&tree, hash));
        }
        store.append(batch).unwrap()
    };
    let mut last: Head = append(&mut store, &genesis(ledger));
    for &events in batches {
        last = append(
            &mut store,
            &batch(ledger, last, Term(1), &vec![200; events]),
        );
    }
    (store, heads)
}

fn look(store: &MemoryStore, threads: usize, sizes: &[TreeSize]) -> (Report, AnchorFold) {
    let (examiner, mut fold) = anchors(LogReader::ledger_id(store), sizes.iter().copied());
    let threads = NonZeroUsize::new(threads).unwrap();
    let mut take = |notes| fold.fold(notes);
    let report = examine_intact(store, &[], threads, &|_, _| {}, examiner, &mut take);
    (report, fold)
}

#[test]
fn a_head_holds_at_every_size_and_no_other_does() {
    let (store, heads) = ledger(&[1, 300, 2, 700, 255]);
    let all: Vec<_> = heads.iter().map(|head| head.tree.size).collect();
    let some = [TreeSize(0), TreeSize(1), TreeSize(256), TreeSize(900)];
    let last = [*all.last().unwrap()];
    for threads in [1, 3] {
        for sizes in [&all[..], &some, &last] {
            let (report, fold) = look(&store, threads, sizes);
            assert!(report.is_intact());
            assert_eq!(fold.end(), report.head.seq);
            for head in heads.iter().filter(|head| sizes.contains(&head.tree.size)) {
                assert_eq!(fold.check(head), Ok(()), "{head:?}");
                let mut wrong = *head;
                wrong.tree.hash.0[5] ^= 1;
                let fault = fold.check(&wrong).unwrap_err();
                assert!(matches!(fault, AnchorFault::Replaced { .. }), "{fault:?}");
                let mut wrong = *head;
                wrong.chain.0[5] ^= 1;
                let fault = fold.check(&wrong).unwrap_err();
                assert!(matches!(fault, AnchorFault::Chain { .. }), "{fault:?}");
            }
        }
    }
}

#[test]
fn other_ledgers_and_those_that_have_lost_their_end_are_told_apart() {
    let (store, heads) = ledger(&[20]);
    let known = *heads.last().unwrap();
    let (_, fold) = look(&store, 1, &[known.tree.size]);
    let other = TreeHead {
        ledger: ledger_id(2),
        ..known
    };
    let fault = fold.check(&other).unwrap_err();
    assert!(
        matches!(fault, AnchorFault::OtherLedger { .. }),
        "{fault:?}"
    );
    let (cut, _) = ledger(&[19]);
    let (report, fold) = look(&cut, 1, &[known.tree.size]);
    assert!(report.is_intact(), "the chain alone does not show it");
    let rolled_back = AnchorFault::RolledBack {
        head: Seq(21),
        end: Seq(20),
    };
    assert_eq!(fold.check(&known), Err(rolled_back));
    let huge = TreeHead {
        tree: TreeRoot {
            size: TreeSize::MAX,
            ..known.tree
        },
        ..known
    };
    let (_, fold) = look(&cut, 1, &[TreeSize::MAX]);
    assert!(matches!(
        fold.check(&huge),
        Err(AnchorFault::RolledBack { .. })
    ));
}
