//! Making, opening, closing; the conformance suite; the head file's part.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use tempfile::TempDir;

use super::super::*;
use crate::ids::{Seq, Term};
use crate::store::conformance::{self, Opened};
use crate::store::samples::{batch, genesis, ledger_id};
use crate::store::{ReadError, for_each_event};

fn create(dir: &Path) -> RedbStore {
    let id = ledger_id(1);
    RedbStore::create(dir, id, &genesis(id)).unwrap()
}

fn append(store: &mut RedbStore, sizes: &[usize]) -> Head {
    let batch = batch(store.ledger_id(), store.head(), Term(1), sizes);
    store.append(&batch).unwrap()
}

fn opened(store: RedbStore) -> Opened {
    let reader = Arc::new(store.reader());
    (Box::new(store), reader)
}

fn damaged(error: &OpenError, with: &str) -> bool {
    matches!(error, OpenError::Damaged(text) if text.contains(with))
}

#[test]
fn it_conforms() {
    let dirs = TempDir::new().unwrap();
    let mut n = 0;
    conformance::run(&mut || {
        n += 1;
        let dir = dirs.path().join(n.to_string());
        fs::create_dir(&dir).unwrap();
        opened(create(&dir))
    });
    let dir = TempDir::new().unwrap();
    drop(create(dir.path()));
    conformance::reopens(&mut || opened(RedbStore::open(dir.path()).unwrap()));
}

#[test]
fn a_ledger_is_made_once_and_only_when_asked() {
    let dir = TempDir::new().unwrap();
    assert!(matches!(
        RedbStore::open(dir.path()),
        Err(OpenError::Missing(_))
    ));
    assert!(matches!(
        OfflineReader::open(dir.path()),
        Err(OpenError::Missing(_))
    ));
    let store = create(dir.path());
    assert_eq!(store.head().seq, Seq::FIRST);
    for file in [STORE_FILE, HEAD_FILE] {
        let mode = fs::metadata(dir.path().join(file)).unwrap().permissions();
        assert_eq!(mode.mode() & 0o777, 0o600, "{file}");
    }
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
    let again = RedbStore::create(dir.path(), ledger_id(1), &genesis(ledger_id(1)));
    assert!(matches!(again, Err(OpenError::Exists(_))));
    drop(store);
    let again = RedbStore::create(dir.path(), ledger_id(1), &genesis(ledger_id(1)));
    assert!(matches!(again, Err(OpenError::Exists(_))));
    assert_eq!(RedbStore::open(dir.path()).unwrap().head().seq, Seq::FIRST);
}

#[test]
fn a_first_batch_that_is_none_makes_no_ledger() {
    let dir = TempDir::new().unwrap();
    let id = ledger_id(1);
    let head = genesis(id).head();
    let first = [
        batch(id, Head::EMPTY, Term(1), &[]),
        batch(id, head, Term(1), &[5]),
        genesis(ledger_id(2)),
    ];
    for bad in first {
        let refused = RedbStore::create(dir.path(), id, &bad);
        assert!(matches!(refused, Err(OpenError::Io { .. })));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}

#[test]
fn an_interrupted_creation_is_made_anew_and_a_lost_store_is_not() {
    let made = TempDir::new().unwrap();
    create(made.path()).close().unwrap();
    let from = |name: &str| made.path().join(name);
    // Every moment between two steps of a creation leaves one of these.
    for leftovers in [
        &[(STORE_FILE, STORE_NEW)][..],
        &[(STORE_FILE, STORE_NEW), (HEAD_FILE, HEAD_NEW)],
        &[(STORE_FILE, STORE_NEW), (HEAD_FILE, HEAD_FILE)],
    ] {
        let dir = TempDir::new().unwrap();
        for (name, left) in leftovers {
            fs::copy(from(name), dir.path().join(left)).unwrap();
        }
        let missing = RedbStore::open(dir.path());
        assert!(matches!(missing, Err(OpenError::Missing(_))));
        drop(create(dir.path()));
        assert!(RedbStore::open(dir.path()).is_ok());
    }
    fs::remove_file(from(STORE_FILE)).unwrap();
    let gone = RedbStore::open(made.path()).unwrap_err();
    assert!(matches!(gone, OpenError::Gone { .. }), "{gone}");
    let gone = OfflineReader::open(made.path()).unwrap_err();
    assert!(matches!(gone, OpenError::Gone { .. }), "{gone}");
    let id = ledger_id(1);
    let gone = RedbStore::create(made.path(), id, &genesis(id)).unwrap_err();
    assert!(matches!(gone, OpenError::Gone { .. }), "{gone}");
}

#[test]
fn one_process_writes_and_nobody_reads_its_file_meanwhile() {
    let dir = TempDir::new().unwrap();
    let mut store = create(dir.path());
    assert!(matches!(RedbStore::open(dir.path()), Err(OpenError::InUse)));
    assert!(matches!(
        OfflineReader::open(dir.path()),
        Err(OpenError::InUse)
    ));
    append(&mut store, &[10, 20]);
    store.close().unwrap();
    let offline = OfflineReader::open(dir.path()).unwrap();
    offline.check_undisturbed().unwrap();
    let mut store = RedbStore::open(dir.path()).unwrap();
    assert!(offline.check_undisturbed().is_err());
    append(&mut store, &[10]);
    drop(store);
    assert!(offline.check_undisturbed().is_err());
}

#[test]
fn readers_that_outlive_the_store_get_errors() {
    let dir = TempDir::new().unwrap();
    let mut store = create(dir.path());
    append(&mut store, &[10; 2000]);
    let reader = store.reader();
    let mut blocks = reader.blocks(Seq::FIRST).unwrap();
    assert!(blocks.next().unwrap().is_ok());
    store.close().unwrap();
    assert!(matches!(reader.head(), Err(ReadError::Io(_))));
    assert!(matches!(reader.blocks(Seq::FIRST), Err(ReadError::Io(_))));
    // What is left of a walk comes from redb's cache, or is an error; it ends either way.
    assert!(blocks.all(|b| matches!(b, Ok(_) | Err(ReadError::Io(_)))));
    assert!(RedbStore::open(dir.path()).is_ok());
}

#[test]
fn a_killed_store_is_read_without_changing_a_byte() {
    let dir = TempDir::new().unwrap();
    let mut store = create(dir.path());
    for _ in 0..5 {
        append(&mut store, &[400; 30]);
    }
    let image = TempDir::new().unwrap();
    for file in [STORE_FILE, HEAD_FILE] {
        let copy = image.path().join(file);
        fs::copy(dir.path().join(file), &copy).unwrap();
        fs::set_permissions(&copy, fs::Permissions::from_mode(0o400)).unwrap();
    }
    let before = fs::read(image.path().join(STORE_FILE)).unwrap();
    let offline = OfflineReader::open(image.path()).unwrap();
    assert_eq!(offline.head().unwrap(), store.head());
    assert_eq!(offline.event_bytes(), store.reader().event_bytes());
    offline.check_head().unwrap();
    offline.check_structure().unwrap();
    let mut n = 0;
    let walked = for_each_event(&offline, Seq::FIRST, |_| {
        n += 1;
        std::ops::ControlFlow::<()>::Continue(())
    });
    assert!(walked.is_ok());
    assert_eq!(Seq(n), store.head().seq);
    drop(offline);
    assert_eq!(fs::read(image.path().join(STORE_FILE)).unwrap(), before);
}

#[test]
fn a_store_behind_its_head_file_is_refused() {
    let dir = TempDir::new().unwrap();
    let mut store = create(dir.path());
    append(&mut store, &[10; 3]);
    let old = dir.path().join("old");
    fs::copy(dir.path().join(STORE_FILE), &old).unwrap();
    append(&mut store, &[10; 3]);
    store.close().unwrap();
    fs::rename(&old, dir.path().join(STORE_FILE)).unwrap();
    let error = RedbStore::open(dir.path()).unwrap_err();
    assert!(
        damaged(&error, "acknowledged events are missing"),
        "{error}"
    );
    let offline = OfflineReader::open(dir.path()).unwrap();
    assert!(offline.check_head().is_err());
}

#[test]
fn the_head_file_may_lag_but_must_agree() {
    let dir = TempDir::new().unwrap();
    let mut store = create(dir.path());
    append(&mut store, &[10; 3]);
    let head = dir.path().join(HEAD_FILE);
    let lagging = fs::read(&head).unwrap();
    append(&mut store, &[10; 3]);
    store.close().unwrap();
    fs::write(&head, &lagging).unwrap();
    RedbStore::open(dir.path()).unwrap().close().unwrap();

    let mut said = HeadFile::decode(&lagging).unwrap();
    said.hash.0[0] ^= 1;
    fs::write(&head, said.encode()).unwrap();
    let error = RedbStore::open(dir.path()).unwrap_err();
    assert!(
        damaged(&error, "not the one that was acknowledged"),
        "{error}"
    );

    said.ledger_id = ledger_id(2);
    fs::write(&head, said.encode()).unwrap();
    let error = RedbStore::open(dir.path()).unwrap_err();
    assert!(damaged(&error, "is of ledger"), "{error}");

    fs::write(&head, &lagging[..40]).unwrap();
    let error = RedbStore::open(dir.path()).unwrap_err();
    assert!(damaged(&error, "40 bytes long"), "{error}");

    fs::remove_file(&head).unwrap();
    let error = RedbStore::open(dir.path()).unwrap_err();
    assert!(damaged(&error, "missing"), "{error}");
}

#[test]
fn what_is_not_a_store_is_told_apart() {
    let dir = TempDir::new().unwrap();
    create(dir.path()).close().unwrap();
    let path = dir.path().join(STORE_FILE);
    let sound = fs::read(&path).unwrap();
    let mut newer_redb = sound.clone();
    (newer_redb[64], newer_redb[192]) = (4, 4);
    let mut older_redb = sound.clone();
    (older_redb[64], older_redb[192]) = (2, 2);
    for (bytes, with) in [
        (&[][..], "is empty"),
        (b"hello", "not a redb file"),
        (&[0; 10_000], "not a redb file"),
        (&sound[..9], "not a redb file"),
        (&sound[..sound.len() / 2], "ledger.redb"),
        (&newer_redb, "version"),
        (&older_redb, "upgrade"),
    ] {
        fs::write(&path, bytes).unwrap();
        let error = RedbStore::open(dir.path()).unwrap_err();
        assert!(damaged(&error, with), "{with}: {error}");
        let error = OfflineReader::open(dir.path()).unwrap_err();
        assert!(damaged(&error, with), "{with}: {error}");
        assert_eq!(
            fs::read(&path).unwrap(),
            bytes,
            "a refused file is not touched"
        );
    }
    fs::remove_file(&path).unwrap();
    std::os::unix::fs::symlink("/dev/zero", &path).unwrap();
    let error = RedbStore::open(dir.path()).unwrap_err();
    assert!(damaged(&error, "not a regular file"), "{error}");
}

#[test]
fn a_newer_layout_is_refused_and_named() {
    let dir = TempDir::new().unwrap();
    create(dir.path()).close().unwrap();
    let db = Database::open(dir.path().join(STORE_FILE)).unwrap();
    let txn = db.begin_write().unwrap();
    let layout = (LAYOUT.0 + 1).to_le_bytes();
    txn.open_table(meta::META)
        .unwrap()
        .insert(meta::LAYOUT_ROW, &layout[..])
        .unwrap();
    txn.commit().unwrap();
    drop(db);
    let newer = (LAYOUT.0 + 1, LAYOUT.0);
    let is_newer =
        |e: &OpenError| matches!(e, OpenError::Newer { found, known } if (*found, *known) == newer);
    assert!(is_newer(&RedbStore::open(dir.path()).unwrap_err()));
    assert!(is_newer(&OfflineReader::open(dir.path()).unwrap_err()));
}
