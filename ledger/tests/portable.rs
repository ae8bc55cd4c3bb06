//! Golden exports and backups are read forever, and written today byte for byte as they were.

#![allow(clippy::unwrap_used, reason = "a helper of a test fails the test")]

mod common;

use std::collections::BTreeSet;
use std::fs;
use std::num::NonZeroUsize;
use std::ops::ControlFlow;

use common::repo;
use ledger_core::backup::{Basis, Catalog, Request, verify_backup};
use ledger_core::blobs::BlobDir;
use ledger_core::event::{Event, LedgerEvent};
use ledger_core::export::{Extent, JsonlWriter, import_jsonl};
use ledger_core::ids::Seq;
use ledger_core::store::durable::DurableStore;
use ledger_core::store::{LogReader, for_each_event};

const HEAD: &str = "ba3f0b8719d4ef02c33fa3865e46b2326902cc55777be8fc82ddfd7fcd12ffe8";

/// Kinds of the family that came after the export was frozen; `golden.rs` reads them.
const LATER: [&str; 1] = ["ledger.forked"];

fn golden() -> String {
    fs::read_to_string(repo("fixtures/v1/portable/export.jsonl")).unwrap()
}

fn imported(dir: &tempfile::TempDir) -> DurableStore {
    import_jsonl(golden().as_bytes(), dir.path(), &|_| {})
        .unwrap()
        .store
}

#[test]
fn the_golden_export_is_imported_and_exported_again() {
    let dir = tempfile::tempdir().unwrap();
    let store = imported(&dir);
    let reader = store.reader();
    let mut kinds = BTreeSet::new();
    let mut lines = JsonlWriter::new(Vec::new());
    let walked = for_each_event(&reader, Seq::FIRST, |event| {
        let typed = Event::decode(&event.event).unwrap();
        let (kind, data) = typed.kind_and_data().unwrap();
        assert_eq!(data, event.event.data, "{kind}: the typed payload, again");
        kinds.insert(kind);
        lines.write(&event).unwrap();
        ControlFlow::<()>::Continue(())
    });
    assert!(walked.unwrap().is_continue());
    let missing = |kind: &&str| !kinds.contains(*kind) && !LATER.contains(kind);
    let missing: Vec<_> = LedgerEvent::KINDS
        .iter()
        .copied()
        .filter(|k| missing(k))
        .collect();
    assert_eq!(missing, [""; 0]);
    let head = reader.head().unwrap();
    assert_eq!(head.hash.to_string(), HEAD);
    let note = golden().lines().last().map(|line| {
        let last: serde_json::Value = serde_json::from_str(line).unwrap();
        last["export"]["checkpoint"].as_str().unwrap().to_owned()
    });
    let again = lines
        .finish(reader.ledger_id(), head, Extent::Complete, note)
        .unwrap();
    assert_eq!(String::from_utf8(again).unwrap(), golden());
}

#[test]
fn a_head_that_is_not_of_the_events_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let golden = golden();
    let (_, note) = golden.split_once("\"checkpoint\":\"").unwrap();
    let root = note.split("\\n").nth(2).unwrap();
    let other = format!("A{}", &root[1..]);
    assert_ne!(root, other);
    let refused = import_jsonl(golden.replace(root, &other).as_bytes(), dir.path(), &|_| {});
    let said = refused.unwrap_err().to_string();
    assert!(
        said.ends_with("its checkpoint is not of these events"),
        "{said}"
    );
}

#[test]
fn the_golden_backups_are_good_and_would_be_written_again() {
    let catalog = Catalog::new(&repo("fixtures/v1/portable/backups"));
    let listed = catalog.list().unwrap();
    assert_eq!(listed.len(), 2);
    for backup in &listed {
        let checked = verify_backup(&backup.path, NonZeroUsize::MIN, &|_, _| {}).unwrap();
        assert!(checked.is_good(), "{:?}", checked.findings);
    }
    let last = listed[1].manifest.as_ref().unwrap();
    assert_eq!(
        (last.files.len(), last.hash.to_string().as_str()),
        (2, HEAD)
    );

    let (dir, again) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let store = imported(&dir);
    for entry in fs::read_dir(&listed[0].path).unwrap() {
        let entry = entry.unwrap();
        let to = again.path().join(listed[0].name.as_str());
        fs::create_dir_all(&to).unwrap();
        fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
    let request = Request {
        made_at: last.made_at,
        software: &last.software,
        basis: Basis::Newest,
        blobs: &BlobDir::open(dir.path()).unwrap(),
        threads: NonZeroUsize::MIN,
    };
    let locked = Catalog::new(again.path()).lock().unwrap();
    let made = locked.create(&store.reader(), request, &|_, _| {}).unwrap();
    for entry in fs::read_dir(&listed[1].path).unwrap() {
        let entry = entry.unwrap();
        let new = fs::read(made.path.join(entry.file_name())).unwrap();
        assert_eq!(fs::read(entry.path()).unwrap(), new, "{entry:?}");
    }
}
