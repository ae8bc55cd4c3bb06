//! Making, opening, closing, killing; the conformance suite; the seam between journal and redb.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use tempfile::TempDir;

use super::super::*;
use crate::ids::Term;
use crate::store::conformance::{self, Opened};
use crate::store::redb::{HEAD_FILE, STORE_FILE};
use crate::store::samples::{batch, genesis, ledger_id};
use crate::verify::{Report, verify_offline};

/// Small enough that a few hundred events fill segments and blocks.
const TINY: Settings = Settings {
    segment_bytes: 16 * 1024,
    seal_bytes: 8 * 1024,
    block_cap: 4 * 1024,
    lag_bytes: 64 * 1024,
    sealing: SealIn::Foreground,
    structure: Structure::Trusted,
};

fn create(dir: &Path, settings: Settings) -> DurableStore {
    let id = ledger_id(1);
    drop(DurableStore::create(dir, id, &genesis(id)).unwrap());
    DurableStore::open_with(dir, settings).unwrap()
}

fn append(store: &mut DurableStore, sizes: &[usize]) -> Head {
    let batch = batch(store.ledger_id(), store.head(), Term(1), sizes);
    store.append(&batch).unwrap()
}

fn opened(store: DurableStore) -> Opened {
    let reader = Arc::new(store.reader());
    (Box::new(store), reader)
}

fn verified(dir: &Path) -> Report {
    let one = std::num::NonZeroUsize::MIN;
    verify_offline(dir, one, &|_, _| {}).unwrap()
}

/// The files as they are now, as a kill would leave them; nothing must be writing. Of what is sealed a
/// segment may still go: what was copied with it is then of two moments, and copied anew.
pub(super) fn copy(from: &Path) -> TempDir {
    loop {
        match copied(from) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            copied => return copied.unwrap(),
        }
    }
}

fn copied(from: &Path) -> io::Result<TempDir> {
    let to = TempDir::new()?;
    let journal = from.join(JOURNAL_DIR);
    fs::create_dir(to.path().join(JOURNAL_DIR))?;
    for name in [STORE_FILE, HEAD_FILE] {
        // These are there however often it is tried.
        fs::copy(from.join(name), to.path().join(name)).unwrap();
    }
    for entry in fs::read_dir(journal).unwrap() {
        let entry = entry?;
        let name = Path::new(JOURNAL_DIR).join(entry.file_name());
        fs::copy(entry.path(), to.path().join(name))?;
    }
    Ok(to)
}

#[test]
fn it_conforms() {
    let in_thread = Settings {
        sealing: SealIn::Background,
        ..TINY
    };
    for settings in [Settings::default(), TINY, in_thread] {
        let dirs = TempDir::new().unwrap();
        let mut n = 0;
        conformance::run(&mut || {
            n += 1;
            let dir = dirs.path().join(n.to_string());
            fs::create_dir(&dir).unwrap();
            opened(create(&dir, settings))
        });
        let dir = TempDir::new().unwrap();
        drop(create(dir.path(), settings));
        conformance::reopens(&mut || {
            opened(DurableStore::open_with(dir.path(), settings).unwrap())
        });
        let report = verified(dir.path());
        assert!(report.is_intact(), "{:?}", report.findings);
    }
}

#[test]
fn what_a_kill_leaves_is_whole_and_goes_on() {
    let dir = TempDir::new().unwrap();
    let mut store = create(dir.path(), TINY);
    let mut copies = Vec::new();
    for n in 0..60 {
        let head = append(&mut store, &vec![200; 1 + n % 7]);
        if n % 5 == 0 {
            copies.push((copy(dir.path()), head));
        }
    }
    assert!(
        store.reader().sealed() > Seq(100),
        "it was sealed on the way"
    );
    for (dir, head) in copies {
        let report = verified(dir.path());
        assert!(report.is_intact(), "{:?}", report.findings);
        assert_eq!(report.head, head);
        let mut again = DurableStore::open_with(dir.path(), TINY).unwrap();
        assert_eq!(again.head(), head);
        append(&mut again, &[100, 200]);
        again.close().unwrap();
        assert!(verified(dir.path()).is_intact());
    }
}

#[test]
fn segments_are_used_again() {
    let dir = TempDir::new().unwrap();
    let mut store = create(dir.path(), TINY);
    for _ in 0..400 {
        append(&mut store, &[700, 700]);
    }
    store.close().unwrap();
    let segments = fs::read_dir(dir.path().join(JOURNAL_DIR)).unwrap().count();
    assert!(
        segments <= 6,
        "{segments} segments of 16 KiB for 560 KiB of events"
    );
    assert!(verified(dir.path()).is_intact());
}

#[test]
fn a_journal_that_is_gone_is_missed() {
    let dir = TempDir::new().unwrap();
    let mut store = create(dir.path(), TINY);
    append(&mut store, &[100]);
    store.close().unwrap();
    fs::remove_dir_all(dir.path().join(JOURNAL_DIR)).unwrap();
    let error = DurableStore::open(dir.path()).unwrap_err();
    assert!(matches!(error, OpenError::Damaged(_)), "{error}");
    assert!(!verified(dir.path()).is_intact());
}

#[test]
fn a_journal_of_another_ledger_is_refused() {
    let (dir, other) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let mut store = create(dir.path(), TINY);
    append(&mut store, &[100]);
    store.close().unwrap();
    let id = ledger_id(2);
    let mut store = DurableStore::create(other.path(), id, &genesis(id)).unwrap();
    append(&mut store, &[100]);
    store.close().unwrap();
    fs::remove_dir_all(dir.path().join(JOURNAL_DIR)).unwrap();
    fs::rename(other.path().join(JOURNAL_DIR), dir.path().join(JOURNAL_DIR)).unwrap();
    let error = DurableStore::open(dir.path()).unwrap_err();
    assert!(error.to_string().contains("belongs to ledger"), "{error}");
    assert!(matches!(error, OpenError::Damaged(_)));
    assert!(OfflineReader::open(dir.path()).is_err());
}

#[test]
fn a_journal_that_does_not_follow_is_found() {
    let dir = TempDir::new().unwrap();
    let mut store = create(dir.path(), TINY);
    append(&mut store, &[100; 10]);
    let before = copy(dir.path());
    // Another history from here on, of the same length.
    append(&mut store, &[100; 40]);
    store.close().unwrap();
    let mut fork = DurableStore::open_with(before.path(), TINY).unwrap();
    append(&mut fork, &[101; 40]);
    append(&mut fork, &[100]);
    fork.close().unwrap();
    for entry in fs::read_dir(before.path().join(JOURNAL_DIR)).unwrap() {
        let entry = entry.unwrap();
        let to = dir.path().join(JOURNAL_DIR).join(entry.file_name());
        fs::copy(entry.path(), to).unwrap();
    }
    let error = DurableStore::open(dir.path()).unwrap_err();
    assert!(matches!(error, OpenError::Damaged(_)), "{error}");
    assert!(!verified(dir.path()).is_intact());
}
