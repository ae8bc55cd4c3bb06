//! Each backup is whole, shares what it can, and is found out whatever is done to it.

use std::fs;
use std::num::NonZeroUsize;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;
use std::sync::LazyLock;

use super::*;
use crate::blobs::BlobDir;
use crate::chain::Head;
use crate::ids::{Id, Seq, Term};
use crate::store::memory::MemoryStore;
use crate::store::samples::{batch, genesis, ledger_id};
use crate::store::{LogReader, LogWriter};
use crate::time::{Millis, Timestamp};

static NO_BLOBS: LazyLock<BlobDir> =
    LazyLock::new(|| BlobDir::open(&std::env::temp_dir()).unwrap());

pub(super) fn request(basis: Basis, at: u64) -> Request<'static> {
    Request {
        made_at: Timestamp(1_700_000_000_000_000 + at),
        software: "test",
        basis,
        blobs: &NO_BLOBS,
        threads: NonZeroUsize::MIN,
    }
}

pub(super) fn ledger() -> MemoryStore {
    let mut store = MemoryStore::new(ledger_id(1));
    store.append(&genesis(ledger_id(1))).unwrap();
    store
}

fn grow(store: &mut MemoryStore, sizes: &[usize]) {
    let head = LogWriter::head(store);
    let term = Term(head.term.0 + 1);
    store
        .append(&batch(ledger_id(1), head, term, sizes))
        .unwrap();
}

fn back_up(store: &MemoryStore, catalog: &Catalog, basis: Basis, at: u64) -> Made {
    let locked = catalog.lock().unwrap();
    locked
        .create(store, request(basis, at), &|done, total| {
            assert!(done <= total);
        })
        .unwrap()
}

pub(super) fn findings(path: &Path) -> Vec<String> {
    let checked = verify_backup(path, NonZeroUsize::MIN, &|done, total| {
        assert!(done <= total)
    });
    let findings = checked.unwrap().findings;
    findings.iter().map(ToString::to_string).collect()
}

fn events(reader: &dyn LogReader, from: Seq) -> Vec<Vec<u8>> {
    let blocks = reader.blocks(from).unwrap().map(Result::unwrap);
    let events = blocks.flat_map(|b| b.iter().map(<[u8]>::to_vec).collect::<Vec<_>>());
    events.collect()
}

#[test]
fn each_backup_is_whole_and_shares_what_was_there() {
    let dir = tempfile::tempdir().unwrap();
    let catalog = Catalog::new(&dir.path().join("deep/er"));
    assert!(catalog.list().unwrap().is_empty());
    let mut store = ledger();
    let mut heads = Vec::new();
    for n in 0..4 {
        grow(&mut store, &[30_000; 7]);
        heads.push(LogReader::head(&store).unwrap());
        let made = back_up(&store, &catalog, Basis::Newest, n);
        assert_eq!(made.manifest.files.len() as u64, n + 1);
        assert_eq!(made.shared_nothing, None);
        assert!(made.written < 300_000);
    }
    // Nothing new: the files are those of the one before.
    let same = back_up(&store, &catalog, Basis::Newest, 9);
    assert_eq!((same.written, same.manifest.files.len()), (0, 4));
    let whole = back_up(&store, &catalog, Basis::Nothing, 10);
    assert_eq!(whole.manifest.files.len(), 1);

    let listed = catalog.list().unwrap();
    assert_eq!(listed.len(), 6);
    let first = "blocks-00000000000000000001";
    let inode = |n: usize| fs::metadata(listed[n].path.join(first)).unwrap().ino();
    assert!((1..5).all(|n| inode(n) == inode(0)));
    assert_ne!(inode(5), inode(0));
    for (listed, head) in listed.iter().zip(&heads) {
        assert_eq!(findings(&listed.path), [""; 0]);
        let reader = BackupReader::open(&listed.path).unwrap();
        assert_eq!(reader.head().unwrap(), *head);
        let all = events(&store, Seq::FIRST);
        assert_eq!(events(&reader, Seq::FIRST), all[..head.seq.0 as usize]);
        let middle = Seq(head.seq.0 - 2);
        assert!(
            events(&reader, middle).ends_with(&all[head.seq.0 as usize - 3..head.seq.0 as usize])
        );
    }
    assert_eq!(catalog.find("latest").unwrap().name, whole.manifest.name);
    assert!(matches!(
        catalog.find("../x"),
        Err(BackupError::Missing { .. })
    ));
}

/// What is done to a file, and how it is called.
type Harm<'a> = (&'static str, Box<dyn Fn(&Path) + 'a>);

/// Does something to a copy of a backup and says what is found.
fn after(backup: &Path, harm: impl FnOnce(&Path)) -> Vec<String> {
    let room = tempfile::tempdir().unwrap();
    let copy = room.path().join("copy");
    fs::create_dir(&copy).unwrap();
    for entry in fs::read_dir(backup).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), copy.join(entry.file_name())).unwrap();
    }
    harm(&copy);
    findings(&copy)
}

#[test]
fn every_kind_of_damage_to_every_file_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let catalog = Catalog::new(dir.path());
    let mut store = ledger();
    grow(&mut store, &[700; 3]);
    let older = back_up(&store, &catalog, Basis::Newest, 0).path;
    grow(&mut store, &[700; 3]);
    let backup = back_up(&store, &catalog, Basis::Newest, 1).path;
    assert_eq!(after(&backup, |_| {}), [""; 0]);
    let files = [
        MANIFEST_FILE,
        "blocks-00000000000000000001",
        "blocks-00000000000000000005",
    ];
    for file in files {
        let bytes = fs::read(backup.join(file)).unwrap();
        for at in (0..bytes.len()).step_by(5).chain([bytes.len() - 1]) {
            let found = after(&backup, |copy| {
                let mut bytes = bytes.clone();
                bytes[at] ^= 1 << (at % 8);
                fs::write(copy.join(file), bytes).unwrap();
            });
            assert!(found[0].starts_with(file), "{file} byte {at}: {found:?}");
        }
        for len in [0, 1, bytes.len() / 2, bytes.len() - 1] {
            let found = after(&backup, |copy| {
                fs::write(copy.join(file), &bytes[..len]).unwrap()
            });
            assert!(found[0].starts_with(file), "{file} cut to {len}: {found:?}");
        }
        let longer = [&bytes[..], b"x"].concat();
        let harms: [Harm<'_>; 4] = [
            (
                "longer",
                Box::new(move |path| fs::write(path, &longer).unwrap()),
            ),
            ("missing", Box::new(|path| fs::remove_file(path).unwrap())),
            (
                "a link",
                Box::new(|path| {
                    let away = path.with_file_name("away");
                    fs::rename(path, &away).unwrap();
                    symlink(away, path).unwrap();
                }),
            ),
            (
                "a directory",
                Box::new(|path| {
                    fs::remove_file(path).unwrap();
                    fs::create_dir(path).unwrap();
                }),
            ),
        ];
        for (what, harm) in harms {
            let found = after(&backup, |copy| harm(&copy.join(file)));
            assert!(
                found.iter().any(|f| f.starts_with(file)),
                "{file} {what}: {found:?}"
            );
        }
    }
    let strange = after(&backup, |copy| fs::write(copy.join("extra"), "").unwrap());
    assert_eq!(strange, ["extra: it is no part of the backup"]);
    // The manifest of another backup is sound in itself.
    let swapped = after(&backup, |copy| {
        fs::copy(older.join(MANIFEST_FILE), copy.join(MANIFEST_FILE)).unwrap();
    });
    assert_eq!(
        swapped,
        ["blocks-00000000000000000005: it is no part of the backup"]
    );
    let moved = dir.path().join("moved");
    fs::rename(&older, &moved).unwrap();
    let listed = catalog.find("moved").unwrap();
    assert!(matches!(listed.manifest, Err(ManifestError::Damaged(_))));
}

#[test]
fn whoever_makes_the_hashes_right_is_found_by_the_chain() {
    let dir = tempfile::tempdir().unwrap();
    let catalog = Catalog::new(dir.path());
    let mut store = ledger();
    grow(&mut store, &[700; 3]);
    let made = back_up(&store, &catalog, Basis::Newest, 0);
    let file = made.path.join("blocks-00000000000000000001");
    let mut bytes = fs::read(&file).unwrap();
    let last = bytes.len() - 10;
    bytes[last] ^= 1;
    fs::write(&file, &bytes).unwrap();
    let mut manifest = made.manifest.clone();
    manifest.files[0].blake3 = crate::hash::Hash::of(&bytes);
    fs::write(made.path.join(MANIFEST_FILE), manifest.to_text().0).unwrap();
    let found = findings(&made.path);
    assert!(found[0].contains("not those that were hashed"), "{found:?}");
}

#[test]
fn a_damaged_file_is_not_shared_again() {
    let dir = tempfile::tempdir().unwrap();
    let catalog = Catalog::new(dir.path());
    let mut store = ledger();
    grow(&mut store, &[100; 3]);
    let first = back_up(&store, &catalog, Basis::Newest, 0);
    let file = first.path.join("blocks-00000000000000000001");
    let mut bytes = fs::read(&file).unwrap();
    bytes[100] ^= 1;
    fs::write(&file, bytes).unwrap();
    grow(&mut store, &[100; 3]);
    let second = back_up(&store, &catalog, Basis::Newest, 1);
    let why = second.shared_nothing.unwrap();
    assert!(
        why.contains("blocks-00000000000000000001: its hash is"),
        "{why}"
    );
    assert_eq!(second.manifest.files.len(), 1);
    assert!(findings(&second.path).is_empty());
    assert!(!findings(&first.path).is_empty());
    // The next rests on the good one.
    assert_eq!(back_up(&store, &catalog, Basis::Newest, 2).written, 0);
    // What is not good is never removed by the rule, nor counted as the newest good one.
    let keep = Keep {
        keep_for: Some(Millis(0)),
        at_least: 0,
        max_size: None,
    };
    let now = Timestamp(1_800_000_000_000_000);
    let gone = catalog.expendable(keep, now, NonZeroUsize::MIN).unwrap();
    assert_eq!(gone, [first.manifest.name, second.manifest.name.clone()]);
    let locked = catalog.lock().unwrap();
    gone.iter().for_each(|name| locked.remove(name).unwrap());
    let left: Vec<Id> = catalog
        .list()
        .unwrap()
        .into_iter()
        .map(|b| b.name)
        .collect();
    assert_eq!(left.len(), 1);
    assert!(findings(&catalog.find("latest").unwrap().path).is_empty());
}

#[test]
fn another_history_is_no_basis() {
    let dir = tempfile::tempdir().unwrap();
    let catalog = Catalog::new(dir.path());
    let mut store = ledger();
    grow(&mut store, &[100; 3]);
    back_up(&store, &catalog, Basis::Newest, 0);
    let mut fork = ledger();
    grow(&mut fork, &[101; 5]);
    let made = back_up(&fork, &catalog, Basis::Newest, 1);
    assert_eq!((made.manifest.files.len(), made.shared_nothing), (1, None));
    // One that reaches less far than the newest rests on what it can.
    let made = back_up(&store, &catalog, Basis::Newest, 2);
    assert_eq!(made.written, 0);
    let empty = MemoryStore::new(ledger_id(2));
    assert_eq!(LogReader::head(&empty).unwrap(), Head::EMPTY);
    let locked = catalog.lock().unwrap();
    assert!(matches!(
        locked.create(&empty, request(Basis::Newest, 3), &|_, _| {}),
        Err(BackupError::Read(_))
    ));
}

#[test]
fn what_was_interrupted_is_never_seen_and_goes_with_the_next() {
    let dir = tempfile::tempdir().unwrap();
    let catalog = Catalog::new(dir.path());
    for name in [
        ".new-20260101T000000.000000Z-1",
        ".old-20260101T000000.000000Z-1",
    ] {
        fs::create_dir(dir.path().join(name)).unwrap();
        fs::write(dir.path().join(name).join(MANIFEST_FILE), "x").unwrap();
    }
    fs::write(dir.path().join("notes.txt"), "mine").unwrap();
    assert!(catalog.list().unwrap().is_empty());
    let locked = catalog.lock().unwrap();
    assert!(matches!(catalog.lock(), Err(BackupError::InUse(_))));
    drop(locked);
    let names = fs::read_dir(dir.path()).unwrap();
    let names: Vec<_> = names.map(|e| e.unwrap().file_name()).collect();
    assert_eq!(names, ["notes.txt"]);
    // A source that fails in the middle leaves nothing.
    let mut store = ledger();
    grow(&mut store, &[100; 3]);
    let made = back_up(&store, &catalog, Basis::Newest, 0);
    fs::remove_file(made.path.join("blocks-00000000000000000001")).unwrap();
    let broken = BackupReader::open(&made.path).unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    let locked = Catalog::new(elsewhere.path()).lock().unwrap();
    assert!(
        locked
            .create(&broken, request(Basis::Newest, 1), &|_, _| {})
            .is_err()
    );
    assert_eq!(fs::read_dir(elsewhere.path()).unwrap().count(), 0);
}

#[test]
fn a_manifest_of_a_newer_format_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let catalog = Catalog::new(dir.path());
    let mut store = ledger();
    grow(&mut store, &[100]);
    let made = back_up(&store, &catalog, Basis::Newest, 0);
    let newer = made
        .manifest
        .to_text()
        .0
        .replace("{\"format\":1,", "{\"format\":2,\"more\":true,");
    let line = newer.lines().next().unwrap();
    let text = format!("{line}\n{}\n", crate::hash::Hash::of(line.as_bytes()));
    fs::write(made.path.join(MANIFEST_FILE), text).unwrap();
    assert!(matches!(
        verify_backup(&made.path, NonZeroUsize::MIN, &|_, _| {}),
        Err(ManifestError::Newer(2))
    ));
}
