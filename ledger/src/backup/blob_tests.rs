//! A backup has the blobs that its events name, says which it lacks, and is found out if one is
//! damaged.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::tests::{findings, ledger, request};
use super::*;
use crate::blobs::{BlobFault, BlobRef, BlobStore, Limits, MediaType};
use crate::hash::Hash;
use crate::ids::{LedgerId, Seq, Term};
use crate::store::memory::MemoryStore;
use crate::store::samples::{batch_of, event};
use crate::store::{LogReader, LogWriter};
use crate::time::{Millis, Timestamp};

struct Sample {
    store: MemoryStore,
    data: TempDir,
    blobs: BlobStore,
    backups: TempDir,
    catalog: Catalog,
}

fn place(dir: &Path, digest: Hash) -> PathBuf {
    dir.join(blobs::shown(digest))
}

impl Sample {
    fn new() -> Self {
        let (data, backups) = (TempDir::new().unwrap(), TempDir::new().unwrap());
        Self {
            store: ledger(),
            blobs: BlobStore::open(data.path(), Limits::default()).unwrap(),
            catalog: Catalog::new(backups.path()),
            data,
            backups,
        }
    }

    fn id(&self) -> LedgerId {
        LogWriter::ledger_id(&self.store)
    }

    /// Stores content, and appends an event that names it.
    fn name(&mut self, content: &[u8]) -> Hash {
        let stored = self.blobs.put(content, MediaType::unknown()).unwrap();
        self.append(&stored.reference);
        stored.reference.blake3
    }

    fn append(&mut self, named: &BlobRef) {
        let head = LogWriter::head(&self.store);
        let mut draft = event(head.seq.0 + 1, 30);
        draft.data = named.to_payload();
        let batch = batch_of(self.id(), head, Term(1), &[draft]);
        self.store.append(&batch).unwrap();
    }

    fn back_up(&self, basis: Basis, at: u64) -> Made {
        let request = Request {
            blobs: &self.blobs,
            ..request(basis, at)
        };
        let watch = |done, total| assert!(done <= total);
        let locked = self.catalog.lock().unwrap();
        locked.create(&self.store, request, &watch).unwrap()
    }
}

#[test]
fn blobs_are_carried_shared_and_never_the_ledgers_own_files() {
    let mut sample = Sample::new();
    let first = sample.name(b"first");
    sample.blobs.put(b"nobody's", MediaType::unknown()).unwrap();
    let one = sample.back_up(Basis::Newest, 0);
    let second = sample.name(&[2; 100_000]);
    sample.name(b"first");
    let two = sample.back_up(Basis::Newest, 1);
    assert!(two.lost.is_empty() && two.shared_nothing.is_none());
    let mut listed: Vec<_> = two
        .manifest
        .blobs
        .iter()
        .map(|b| (b.bytes, b.blake3))
        .collect();
    listed.sort();
    assert_eq!(listed, [(5, first), (100_000, second)]);
    let inode = |dir: &Path, digest| fs::metadata(place(dir, digest)).unwrap().ino();
    assert_eq!(inode(&one.path, first), inode(&two.path, first));
    assert_ne!(inode(&two.path, first), inode(sample.data.path(), first));
    assert!((100_000..101_000).contains(&two.written), "{}", two.written);
    assert_eq!(findings(&two.path), [""; 0]);
    // Shared files count once, and go with the last backup that has them.
    let bytes = sample.catalog.disk_bytes().unwrap();
    assert_eq!(bytes, two.manifest.bytes());
    let locked = sample.catalog.lock().unwrap();
    locked.remove(&one.manifest.name).unwrap();
    assert_eq!(findings(&two.path), [""; 0]);
}

#[test]
fn a_damaged_missing_or_strange_blob_is_found() {
    let mut sample = Sample::new();
    let digest = sample.name(b"content");
    let made = sample.back_up(Basis::Newest, 0);
    let (file, name) = (place(&made.path, digest), blobs::shown(digest));
    for (harm, what) in [
        (Some(&b"contenT"[..]), "its bytes have the hash"),
        (Some(b"content and more"), "its bytes have the hash"),
        (Some(b""), "its bytes have the hash"),
        (None, "it is missing"),
    ] {
        match harm {
            Some(bytes) => fs::write(&file, bytes).unwrap(),
            None => fs::remove_file(&file).unwrap(),
        }
        let found = findings(&made.path);
        assert!(
            found[0].starts_with(&name) && found[0].contains(what),
            "{found:?}"
        );
    }
    fs::write(&file, b"content").unwrap();
    let stranger = place(&made.path, Hash::of(b"x"));
    fs::create_dir_all(stranger.parent().unwrap()).unwrap();
    fs::write(&stranger, b"x").unwrap();
    let found = findings(&made.path);
    assert!(
        found[0].ends_with("it is no part of the backup"),
        "{found:?}"
    );
    fs::remove_file(stranger).unwrap();
    assert_eq!(findings(&made.path), [""; 0]);
    // A manifest that is silent about a blob is sound in itself.
    let mut manifest = made.manifest;
    manifest.blobs.clear();
    fs::write(made.path.join(MANIFEST_FILE), manifest.to_text().0).unwrap();
    fs::remove_file(&file).unwrap();
    let found = findings(&made.path);
    assert!(
        found[0].ends_with("of which the manifest is silent"),
        "{found:?}"
    );
}

#[test]
fn a_damaged_blob_is_not_shared_again() {
    let mut sample = Sample::new();
    let digest = sample.name(b"content");
    let one = sample.back_up(Basis::Newest, 0);
    fs::write(place(&one.path, digest), b"contenT").unwrap();
    let two = sample.back_up(Basis::Newest, 1);
    let why = two.shared_nothing.unwrap();
    assert!(why.contains("its bytes have the hash"), "{why}");
    assert_eq!(findings(&two.path), [""; 0]);
    assert_ne!(findings(&one.path), [""; 0]);
    // What is not good is no reason to let the good one go.
    let keep = Keep {
        keep_for: Some(Millis(0)),
        at_least: 0,
        max_size: None,
    };
    let now = Timestamp(1_800_000_000_000_000);
    let threads = std::num::NonZeroUsize::MIN;
    let gone = sample.catalog.expendable(keep, now, threads).unwrap();
    assert_eq!(gone, [one.manifest.name]);
}

#[test]
fn what_the_ledger_has_lost_comes_from_another_backup_or_is_written_down() {
    let mut sample = Sample::new();
    let kept = sample.name(b"kept");
    sample.back_up(Basis::Newest, 0);
    let (damaged, missing) = (sample.name(b"damaged"), sample.name(b"missing"));
    fs::write(place(sample.data.path(), damaged), b"damageD").unwrap();
    for gone in [kept, missing] {
        fs::remove_file(place(sample.data.path(), gone)).unwrap();
    }
    for (at, basis) in [(1, Basis::Newest), (2, Basis::Nothing)] {
        let made = sample.back_up(basis, at);
        assert_eq!(made.manifest.blobs.len(), 1, "the first backup has it");
        assert_eq!(made.manifest.blobs[0].blake3, kept);
        let mut lost: Vec<_> = made
            .manifest
            .lost
            .iter()
            .map(|l| (l.seq, l.blake3))
            .collect();
        lost.sort();
        assert_eq!(lost, [(Seq(3), damaged), (Seq(4), missing)]);
        let fault = |of| {
            made.lost
                .iter()
                .find(|f| f.digest == of)
                .unwrap()
                .fault
                .clone()
        };
        assert_eq!(fault(missing), BlobFault::Missing);
        assert!(matches!(fault(damaged), BlobFault::Hash { .. }));
        // It is what was written, and says what it lacks.
        assert_eq!(findings(&made.path), [""; 0]);
        let read = Manifest::read(&made.path).unwrap().0;
        assert_eq!(read.lost, made.manifest.lost);
    }
    // Brought back, it is in the next.
    sample.blobs.put(b"damaged", MediaType::unknown()).unwrap();
    let made = sample.back_up(Basis::Newest, 3);
    assert_eq!(
        (made.manifest.blobs.len(), made.manifest.lost.len()),
        (2, 1)
    );
    assert_eq!(
        made.manifest.seq,
        LogReader::head(&sample.store).unwrap().seq
    );
    assert!(sample.backups.path().is_dir());
}
