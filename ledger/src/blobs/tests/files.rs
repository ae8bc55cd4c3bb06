//! On real files: what they look like, what is found wrong with them, limits and ages.

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use super::{LIMITS, ledger, naming};
use crate::blobs::{
    BlobError, BlobFault, BlobRef, BlobStore, CollectError, Collecting, Limits, MediaType,
    named_in, verify,
};
use crate::hash::Hash;
use crate::ids::Seq;
use crate::store::LogWriter as _;
use crate::time::{Millis, Timestamp};

fn path(dir: &Path, named: &BlobRef) -> PathBuf {
    let hex = named.blake3.to_string();
    dir.join("blobs").join(&hex[..2]).join(&hex[2..])
}

fn read(store: &BlobStore, named: &BlobRef) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let mut blob = store.read(named.blake3).map_err(|e| e.to_string())?;
    blob.read_to_end(&mut bytes).map_err(|e| e.to_string())?;
    Ok(bytes)
}

fn incoming(dir: &Path) -> usize {
    fs::read_dir(dir.join("blobs/incoming")).unwrap().count()
}

#[test]
fn a_blob_is_a_private_file_named_by_its_content() {
    let dir = tempfile::tempdir().unwrap();
    let store = BlobStore::open(dir.path(), LIMITS).unwrap();
    assert!(!dir.path().join("blobs").exists(), "made when it is needed");
    let bytes: Vec<u8> = (0..200_000_u32).map(|n| n as u8).collect();
    let mut upload = store.begin().unwrap();
    for chunk in bytes.chunks(777) {
        upload.write(chunk).unwrap();
    }
    let stored = upload.finish("text/plain".parse().unwrap()).unwrap();
    assert_eq!(stored.reference.blake3, Hash::of(&bytes));
    assert_eq!(stored.reference.bytes, 200_000);
    let file = path(dir.path(), &stored.reference);
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&file), 0o600);
    assert_eq!(mode(file.parent().unwrap()), 0o700);
    assert_eq!(mode(&dir.path().join("blobs")), 0o700);
    assert_eq!(read(&store, &stored.reference).unwrap(), bytes);
    // Once more, it is the same one; and nothing unfinished is left.
    let again = store.put(&bytes, MediaType::unknown()).unwrap();
    assert_eq!(again.reference.blake3, stored.reference.blake3);
    drop(store.begin().unwrap());
    assert_eq!(incoming(dir.path()), 0);
    let listed: Vec<_> = store.list().map(|e| e.unwrap().digest).collect();
    assert_eq!(listed, [stored.reference.blake3]);
    // An empty one is one like others.
    let empty = store.put(b"", MediaType::unknown()).unwrap();
    assert_eq!(read(&store, &empty.reference).unwrap(), b"");
}

#[test]
fn a_damaged_blob_is_an_error_and_its_last_bytes_never_come() {
    let dir = tempfile::tempdir().unwrap();
    let store = BlobStore::open(dir.path(), LIMITS).unwrap();
    let bytes = vec![7; 100_000];
    let named = store.put(&bytes, MediaType::unknown()).unwrap().reference;
    let file = path(dir.path(), &named);
    for at in [0, 50_000, 99_999] {
        let mut bad = bytes.clone();
        bad[at] ^= 1;
        fs::write(&file, &bad).unwrap();
        let mut got = Vec::new();
        let error = store.read(named.blake3).unwrap().read_to_end(&mut got);
        let error = error.unwrap_err().downcast::<BlobError>().unwrap();
        assert!(matches!(error, BlobError::Damaged { .. }), "{error}");
        assert!(got.len() < bytes.len());
    }
    fs::write(&file, &bytes[1..]).unwrap();
    assert!(read(&store, &named).unwrap_err().contains("damaged"));
    // A second upload of the same content heals it.
    store.put(&bytes, MediaType::unknown()).unwrap();
    assert_eq!(read(&store, &named).unwrap(), bytes);
}

#[test]
fn links_are_not_followed_and_pipes_not_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    symlink(elsewhere.path(), dir.path().join("blobs")).unwrap();
    let store = BlobStore::open(dir.path(), LIMITS);
    let refused = store.and_then(|store| store.put(b"x", MediaType::unknown()).map(drop));
    assert!(matches!(refused, Err(BlobError::Io { .. })), "{refused:?}");
    assert_eq!(fs::read_dir(elsewhere.path()).unwrap().count(), 0);

    fs::remove_file(dir.path().join("blobs")).unwrap();
    let store = BlobStore::open(dir.path(), LIMITS).unwrap();
    let named = store.put(b"x", MediaType::unknown()).unwrap().reference;
    let file = path(dir.path(), &named);
    let secret = elsewhere.path().join("secret");
    fs::write(&secret, b"x").unwrap();
    fs::remove_file(&file).unwrap();
    symlink(&secret, &file).unwrap();
    assert!(matches!(
        store.read(named.blake3),
        Err(BlobError::Io { .. })
    ));
    fs::remove_file(&file).unwrap();
    fs::create_dir(&file).unwrap();
    assert!(matches!(
        store.read(named.blake3),
        Err(BlobError::Io { .. })
    ));
}

#[test]
fn what_is_too_much_is_refused_and_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let limits = Limits {
        bytes: 1000,
        in_flight: 1500,
    };
    let store = BlobStore::open(dir.path(), limits).unwrap();
    let mut first = store.begin().unwrap();
    first.write(&[1; 1000]).unwrap();
    let more = first.write(&[1]).unwrap_err();
    assert!(matches!(more, BlobError::TooLarge { limit: 1000 }));
    let mut second = store.begin().unwrap();
    second.write(&[2; 500]).unwrap();
    let more = second.write(&[2]).unwrap_err();
    assert!(matches!(more, BlobError::Busy { limit: 1500 }));
    drop(first);
    second.write(&[2]).unwrap();
    drop(second);
    assert_eq!(incoming(dir.path()), 0);
    store.put(&[3; 1000], MediaType::unknown()).unwrap();
    // What an earlier life has left unfinished is removed.
    std::mem::forget(store.begin().unwrap());
    assert_eq!(incoming(dir.path()), 1);
    BlobStore::open(dir.path(), limits).unwrap();
    assert_eq!(incoming(dir.path()), 0);
}

#[test]
fn what_is_named_must_be_there_as_it_is_said() {
    let dir = tempfile::tempdir().unwrap();
    let store = BlobStore::open(dir.path(), LIMITS).unwrap();
    let named = store.put(b"abc", MediaType::unknown()).unwrap().reference;
    let now = Timestamp(5_000_000);
    store.lease(&named, now).unwrap();
    let modified = store.entry(named.blake3).unwrap().modified;
    assert_eq!(modified, now, "it is as young as the wish for it");
    let longer = BlobRef { bytes: 4, ..named };
    let refused = store.lease(&longer, now).unwrap_err();
    assert!(matches!(refused, BlobError::Size { found: 3, .. }));
    let other = BlobRef {
        blake3: Hash::of(b"other"),
        ..longer
    };
    assert!(matches!(
        store.lease(&other, now),
        Err(BlobError::Missing(_))
    ));
}

#[test]
fn only_what_is_old_and_not_named_goes() {
    let dir = tempfile::tempdir().unwrap();
    let store = BlobStore::open(dir.path(), LIMITS).unwrap();
    let mut log = ledger();
    let put = |content: &str| {
        let stored = store.put(content.as_bytes(), MediaType::unknown());
        stored.unwrap().reference
    };
    let age = |named: &BlobRef, at: u64| drop(store.lease(named, Timestamp(at)).unwrap());
    let (named, old, young, future) = (put("named"), put("old"), put("young"), put("future"));
    for (blob, at) in [
        (&named, 1),
        (&old, 1),
        (&young, 900_001),
        (&future, 9_000_000),
    ] {
        age(blob, at);
    }
    log.append(&naming(log.head(), std::slice::from_ref(&named)))
        .unwrap();
    fs::write(dir.path().join("blobs/notes"), "no shelf").unwrap();
    let now = Timestamp(1_000_001);
    let run = |how| {
        store
            .collect(&log, now, Millis(1000), how, &|| true)
            .unwrap()
    };
    let dry = run(Collecting::DryRun);
    assert_eq!((dry.named, dry.removed, dry.young), (1, 1, 2));
    assert!(path(dir.path(), &old).exists());
    assert_eq!(run(Collecting::Remove), dry);
    assert!(!path(dir.path(), &old).exists());
    for kept in [&named, &young, &future] {
        assert!(path(dir.path(), kept).exists());
    }
    assert_eq!(run(Collecting::Remove).removed, 0);
    let late = Timestamp(20_000_000);
    let stopped = store.collect(&log, late, Millis(0), Collecting::Remove, &|| false);
    assert!(matches!(stopped, Err(CollectError::Stopped)), "{stopped:?}");
    assert!(path(dir.path(), &young).exists());
}

#[test]
fn the_check_finds_what_is_missing_damaged_or_of_another_size() {
    let dir = tempfile::tempdir().unwrap();
    let store = BlobStore::open(dir.path(), LIMITS).unwrap();
    let mut log = ledger();
    let contents = ["good", "missing", "damaged", "short", "unnamed"];
    let blobs = contents.map(|content| {
        let stored = store.put(content.as_bytes(), MediaType::unknown());
        stored.unwrap().reference
    });
    let [good, missing, damaged, short, unnamed] = &blobs;
    let said = BlobRef {
        bytes: 3,
        ..good.clone()
    };
    let named = [good, missing, damaged, short, good, &said, missing].map(Clone::clone);
    log.append(&naming(log.head(), &named)).unwrap();
    let whole = verify(&log.clone(), &store, &|_| {}).unwrap();
    assert_eq!((whole.blobs, whole.found), (4, 1));

    fs::remove_file(path(dir.path(), missing)).unwrap();
    fs::remove_file(path(dir.path(), unnamed)).unwrap();
    fs::write(path(dir.path(), damaged), "damageD").unwrap();
    let mut cut = fs::File::create(path(dir.path(), short)).unwrap();
    cut.write_all(b"sho").unwrap();
    let report = verify(&log.clone(), &store, &|_| {}).unwrap();
    let found: Vec<_> = report
        .findings
        .iter()
        .map(|f| (f.seq.0, &f.fault))
        .collect();
    let hash = |text: &str| Hash::of(text.as_bytes());
    let faults = [
        (3, BlobFault::Missing),
        (
            4,
            BlobFault::Hash {
                found: hash("damageD"),
            },
        ),
        (5, BlobFault::Hash { found: hash("sho") }),
        (
            7,
            BlobFault::Size {
                expected: 3,
                found: 4,
            },
        ),
    ];
    assert_eq!(found, faults.each_ref().map(|(seq, fault)| (*seq, fault)));
    assert!(!report.is_intact());
    assert_eq!(
        report.findings[0].to_string(),
        format!("seq 3 names blob {}: it is missing", missing.blake3)
    );

    let some = named_in(&log.clone(), Seq(3)..=Seq(4)).unwrap();
    assert_eq!(some, [(Seq(3), missing.clone()), (Seq(4), damaged.clone())]);
    assert_eq!(named_in(&log.clone(), Seq(9)..=Seq(100)).unwrap(), []);
}
