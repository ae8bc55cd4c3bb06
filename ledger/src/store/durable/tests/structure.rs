//! A store whose own record of its pages is wrong is not written, whoever opens it: what is appended
//! stays in the journal, and the next append says why.

use std::fs;

use tempfile::TempDir;

use super::super::*;
use super::basics::copy;
use crate::ids::Term;
use crate::store::redb::STORE_FILE;
use crate::store::samples::{batch, genesis, ledger_id};

const CHECKED: Settings = Settings {
    segment_bytes: 16 * 1024,
    seal_bytes: 8 * 1024,
    block_cap: 4 * 1024,
    lag_bytes: 64 * 1024,
    sealing: SealIn::Background,
    structure: Structure::CheckedFirst,
};

/// What redb keeps in front of its pages; opening and closing write there.
const HEADER: usize = 4096;

fn append(store: &mut DurableStore) -> Result<Head, AppendError> {
    let batch = batch(store.ledger_id(), store.head(), Term(1), &[500; 4]);
    store.append(&batch)
}

fn filled() -> TempDir {
    let dir = TempDir::new().unwrap();
    let id = ledger_id(1);
    drop(DurableStore::create(dir.path(), id, &genesis(id)).unwrap());
    let mut store = DurableStore::open_with(dir.path(), CHECKED).unwrap();
    for _ in 0..60 {
        append(&mut store).unwrap();
    }
    store.wait_until_in_step().unwrap();
    store.close().unwrap();
    dir
}

#[test]
fn a_sound_store_is_sealed_once_it_was_checked() {
    let dir = filled();
    let mut store = DurableStore::open_with(dir.path(), CHECKED).unwrap();
    let before = store.reader().sealed();
    for _ in 0..30 {
        append(&mut store).unwrap();
    }
    store.wait_until_in_step().unwrap();
    assert!(store.reader().sealed() > before);
    store.close().unwrap();
    OfflineReader::open(dir.path())
        .unwrap()
        .check_head()
        .unwrap();
}

#[test]
fn a_store_that_is_closed_at_once_is_checked_before() {
    let dir = filled();
    for _ in 0..3 {
        DurableStore::open_with(dir.path(), CHECKED)
            .unwrap()
            .close()
            .unwrap();
    }
    let reader = OfflineReader::open(dir.path()).unwrap();
    crate::store::Offline::check_structure(&reader).unwrap();
}

#[test]
fn a_store_with_a_wrong_record_of_its_pages_is_not_written_and_the_next_append_says_why() {
    refuses_damage(&filled());
}

#[test]
fn so_is_one_whose_writer_was_killed() {
    let dir = filled();
    let mut store = DurableStore::open_with(dir.path(), CHECKED).unwrap();
    for _ in 0..30 {
        append(&mut store).unwrap();
    }
    store.wait_until_in_step().unwrap();
    let killed = copy(dir.path());
    drop(store);
    refuses_damage(&killed);
}

/// Damages a copy of the store in one byte after the other.
fn refuses_damage(sample: &TempDir) {
    let good = fs::read(sample.path().join(STORE_FILE)).unwrap();
    let mut tried = 0;
    for at in (HEADER..good.len()).step_by(509) {
        let dir = copy(sample.path());
        let path = dir.path().join(STORE_FILE);
        let mut bad = good.clone();
        bad[at] ^= 0x10;
        fs::write(&path, &bad).unwrap();
        let structure = OfflineReader::open(dir.path())
            .map(|reader| crate::store::Offline::check_structure(&reader));
        // Only what opening does not find, and the check does.
        if !matches!(structure, Ok(Err(_))) {
            continue;
        }
        let Ok(mut store) = DurableStore::open_with(dir.path(), CHECKED) else {
            continue;
        };
        // Whether the writer comes first or the check.
        if tried % 2 == 0 {
            // The check may be through already, and then this append is told so.
            if let Err(error) = append(&mut store) {
                assert!(error.to_string().contains("sealing failed"), "{error}");
            }
            let found = store.reader().wait_until_checked().unwrap_err();
            assert_eq!(found.kind(), io::ErrorKind::InvalidData, "byte {at}");
        }
        let failed = (0..10_000).find_map(|_| append(&mut store).err());
        let failed = failed.expect("an append fails once it waits for the sealer");
        assert!(
            failed.to_string().contains("sealing failed"),
            "byte {at}: {failed}"
        );
        // What was acknowledged before is there.
        let acknowledged = store.head();
        assert!(store.close().is_err());
        let after = fs::read(&path).unwrap();
        assert!(
            after[HEADER..] == bad[HEADER..],
            "byte {at}: pages were written"
        );
        let left = OfflineReader::open(dir.path()).unwrap();
        assert_eq!(left.head().unwrap(), acknowledged, "byte {at}");
        drop(left);
        // Whoever opens it next finds the same.
        let foreground = Settings {
            sealing: SealIn::Foreground,
            ..CHECKED
        };
        assert!(
            matches!(
                DurableStore::open_with(dir.path(), foreground),
                Err(OpenError::Damaged(_))
            ),
            "byte {at}"
        );
        let after = fs::read(&path).unwrap();
        assert!(
            after[HEADER..] == bad[HEADER..],
            "byte {at}: pages were written"
        );
        tried += 1;
        if tried == 6 {
            break;
        }
    }
    assert!(tried > 0, "no damage of this kind was tried");
}
