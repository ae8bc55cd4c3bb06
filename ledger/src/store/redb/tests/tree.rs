//! The tree's rows beside the blocks: made for older layouts, checked when a store is opened.

use std::num::NonZeroUsize;
use std::path::Path;

use tempfile::TempDir;

use super::super::meta::{BLOCKS, HEAD_ROW, LAYOUT_ROW, META, TREE};
use super::super::*;
use crate::ids::{Seq, Term};
use crate::store::samples::{batch, genesis, ledger_id};
use crate::store::{LogReader, LogTree};
use crate::verify::{What, verify_offline};
use ::redb::ReadableTable;

/// Enough events for rows of level 1, in blocks of many.
fn ledger(dir: &Path) -> RedbStore {
    let id = ledger_id(1);
    let mut store = RedbStore::create(dir, id, &genesis(id)).unwrap();
    for count in [1, 300, 20, 700] {
        let batch = batch(id, store.head(), Term(1), &vec![20; count]);
        store.append(&batch).unwrap();
    }
    store
}

/// Changes a closed store's tables.
fn change(dir: &Path, f: impl FnOnce(&::redb::WriteTransaction)) {
    let db = Database::open(dir.join(STORE_FILE)).unwrap();
    let txn = db.begin_write().unwrap();
    f(&txn);
    txn.commit().unwrap();
}

/// Makes it what an older binary has left.
fn without_tree(dir: &Path, layout: u32) {
    change(dir, |txn| {
        assert!(txn.delete_table(TREE).unwrap());
        let mut meta = txn.open_table(META).unwrap();
        let head = meta.get(HEAD_ROW).unwrap().unwrap().value()[..64].to_vec();
        meta.insert(HEAD_ROW, &head[..]).unwrap();
        meta.insert(LAYOUT_ROW, &layout.to_le_bytes()[..]).unwrap();
    });
}

#[test]
fn a_store_without_a_tree_is_given_one() {
    for layout in [1, 2] {
        let dir = TempDir::new().unwrap();
        let store = ledger(dir.path());
        let (head, root) = (store.head(), store.reader().tree().unwrap().root());
        store.close().unwrap();
        without_tree(dir.path(), layout);

        let offline = OfflineReader::open(dir.path()).unwrap();
        assert_eq!(offline.tree().unwrap().root(), root, "as it lies there");
        drop(offline);
        let mut store = RedbStore::open(dir.path()).unwrap();
        assert_eq!(store.head(), head);
        assert_eq!(store.reader().tree().unwrap().root(), root);
        let next = batch(store.ledger_id(), head, Term(1), &[20; 300]);
        store.append(&next).unwrap();
        store.close().unwrap();
        let store = RedbStore::open(dir.path()).unwrap();
        let all = LogTree::of_blocks(store.reader().blocks(Seq::FIRST).unwrap()).unwrap();
        assert_eq!(store.reader().tree().unwrap().root(), all.root());
    }
}

#[test]
fn damaged_events_are_given_no_tree() {
    let dir = TempDir::new().unwrap();
    ledger(dir.path()).close().unwrap();
    without_tree(dir.path(), 2);
    change(dir.path(), |txn| {
        let mut blocks = txn.open_table(BLOCKS).unwrap();
        let mut bytes = blocks.get(1).unwrap().unwrap().value().to_vec();
        let last = bytes.len() - 2;
        bytes[last] ^= 1;
        blocks.insert(1, &bytes[..]).unwrap();
    });
    let error = RedbStore::open(dir.path()).unwrap_err();
    assert!(matches!(error, OpenError::Damaged(_)), "{error}");
}

#[test]
fn rows_that_do_not_lead_to_the_root_are_damage() {
    type Fault = fn(&::redb::WriteTransaction);
    let faults: [Fault; 4] = [
        |txn| {
            let mut tree = txn.open_table(TREE).unwrap();
            assert!(tree.remove((1, 0)).unwrap().is_some());
        },
        |txn| {
            let mut tree = txn.open_table(TREE).unwrap();
            let mut row = tree.get((1, 0)).unwrap().unwrap().value().to_vec();
            row[40] ^= 1;
            tree.insert((1, 0), &row[..]).unwrap();
        },
        |txn| assert!(txn.delete_table(TREE).unwrap()),
        |txn| {
            let mut meta = txn.open_table(META).unwrap();
            let mut head = meta.get(HEAD_ROW).unwrap().unwrap().value().to_vec();
            head[70] ^= 1;
            meta.insert(HEAD_ROW, &head[..]).unwrap();
        },
    ];
    for fault in faults {
        let dir = TempDir::new().unwrap();
        ledger(dir.path()).close().unwrap();
        change(dir.path(), fault);
        let before = fs::read(dir.path().join(STORE_FILE)).unwrap();
        let error = RedbStore::open(dir.path()).unwrap_err();
        let told = matches!(&error, OpenError::Damaged(why) if why.contains("tree"));
        assert!(told, "{error}");
        assert!(fs::read(dir.path().join(STORE_FILE)).unwrap() == before);
        let offline = OfflineReader::open(dir.path()).unwrap();
        assert!(offline.tree().is_err());
        let report = verify_offline(dir.path(), NonZeroUsize::MIN, &|_, _| {}).unwrap();
        let found: Vec<What> = report.findings.iter().map(|f| f.what).collect();
        assert_eq!(found, [What::Tree], "{:?}", report.findings);
    }
}
