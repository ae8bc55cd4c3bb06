//! State from a checkpoint and the events behind it is state from the first event, and nothing that is
//! done to a file changes that.

mod compare;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use ledger_core::event::{CheckpointCause, CheckpointCreated, CheckpointEvent};
use ledger_core::hash::sha256_hex;
use ledger_core::ids::{Id, Seq};
use ledger_core::store::LogReader;
use ledger_core::time::Timestamp;
use projections::framework::{Fold, View, rebuild, unwatched};
use projections::testkit::History;
use proptest::prelude::*;

use super::dir::{CheckpointDir, CheckpointFile};
use super::file::{self, CheckpointError};
use super::fold::recorded;
use super::{Files, Recovered, Wish, fold_state, fold_upto, make_file, path_of};
use crate::node::core::checkpoint_subject;
use crate::node::decision::Decision;

fn id(name: &str) -> Id {
    Id::new(name).unwrap()
}

fn at(dir: &tempfile::TempDir) -> CheckpointDir {
    CheckpointDir::new(dir.path())
}

fn rows(fold: &Fold<Decision>) -> Vec<(String, String)> {
    let mut rows = Vec::new();
    View::rows(fold, &mut |k, v| rows.push((k.to_owned(), v.to_owned())));
    rows
}

/// Makes a checkpoint of a history as it stands, without an event that tells of it.
fn unrecorded(dir: &Path, history: &History, name: &str) -> (CheckpointFile, CheckpointCreated) {
    let wish = Wish {
        cause: CheckpointCause::Operator,
        name: None,
        extra: Some(serde_json::json!({ "why": name })),
    };
    let dir = CheckpointDir::new(dir);
    make_file(&dir, history.store(), &wish, &id(name), Timestamp(1)).unwrap()
}

fn make(dir: &Path, history: &mut History, name: &str) -> CheckpointFile {
    let (file, facts) = unrecorded(dir, history, name);
    let event = CheckpointEvent::Created(facts);
    history.append(vec![(checkpoint_subject(&id(name)), event.into())]);
    file
}

fn used(recovered: &Recovered) -> Option<&str> {
    recovered.report.checkpoint.as_ref().map(|from| &*from.name)
}

fn same_as_from_the_first_event(recovered: &Recovered, history: &History) {
    let plain = rebuild::<Decision>(history.store(), None, &mut unwatched).unwrap();
    assert_eq!(recovered.fold.position(), plain.position());
    assert_eq!(recovered.fold.health(), plain.health());
    assert!(rows(&recovered.fold) == rows(&plain), "byte by byte");
    assert_eq!(
        recovered.fold.state().part_digests(),
        plain.state().part_digests()
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    #[test]
    fn state_from_a_checkpoint_is_state_from_the_first_event(
        before in prop::collection::vec(any::<u32>(), 0..120),
        between in prop::collection::vec(any::<u32>(), 0..60),
        after in prop::collection::vec(any::<u32>(), 0..60),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let mut history = History::drawn(&before);
        make(dir.path(), &mut history, "first");
        between.iter().for_each(|choice| history.step(*choice));
        // Made from the first, not from the beginning.
        let second = make(dir.path(), &mut history, "second");
        after.iter().for_each(|choice| history.step(*choice));
        let recovered = fold_state(&at(&dir), history.store()).unwrap();
        prop_assert_eq!(used(&recovered), Some("second"));
        prop_assert_eq!(recovered.report.replayed, history.head().seq.0 - second.seq.0);
        same_as_from_the_first_event(&recovered, &history);
        // As of a position before the second one.
        let upto = Seq(second.seq.0 - 1);
        let as_of = fold_upto(&at(&dir), history.store(), Some(upto)).unwrap();
        let plain = rebuild::<Decision>(history.store(), Some(upto), &mut unwatched).unwrap();
        prop_assert_ne!(used(&as_of), Some("second"));
        prop_assert!(rows(&as_of.fold) == rows(&plain));
    }
}

/// Two checkpoints of a history, the second of which is to be damaged.
struct Pair {
    dir: tempfile::TempDir,
    history: History,
    newer: CheckpointFile,
}

impl Pair {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut history = History::seeded(11, 60);
        make(dir.path(), &mut history, "older");
        (0..30).for_each(|n| history.step(n * 13));
        let newer = make(dir.path(), &mut history, "newer");
        (0..10).for_each(|n| history.step(n * 7));
        Self {
            dir,
            history,
            newer,
        }
    }

    fn path(&self) -> PathBuf {
        path_of(self.dir.path(), self.newer.seq, &self.newer.name)
    }

    /// The newer one is passed over for this reason, and the older one serves.
    fn is_passed_over(&self, reason: &str) {
        let recovered = fold_state(&at(&self.dir), self.history.store()).unwrap();
        let passed = &recovered.report.passed_over;
        assert_eq!(passed.len(), 1, "{passed:?}");
        assert_eq!(passed[0].file, self.newer);
        assert!(passed[0].reason.contains(reason), "{}", passed[0].reason);
        assert_eq!(used(&recovered), Some("older"));
        same_as_from_the_first_event(&recovered, &self.history);
    }

    /// A newer one of other bytes that the ledger nonetheless tells of.
    fn forged(change: impl FnOnce(String) -> String) -> Self {
        let mut pair = Self::new();
        let good = fs::read(pair.path()).unwrap();
        let end = good.iter().position(|b| *b == b'\n').unwrap();
        let line = good[..end].trim_ascii_end().to_vec();
        let mut bad = change(String::from_utf8(line).unwrap()).into_bytes();
        bad.resize(end, b' ');
        bad.extend_from_slice(&good[end..]);
        let facts = recorded(pair.history.store(), &pair.newer).unwrap();
        fs::remove_file(pair.path()).unwrap();
        let head = pair.history.head();
        pair.newer = CheckpointFile {
            seq: head.seq,
            name: id("forged"),
        };
        fs::write(pair.path(), &bad).unwrap();
        let event = CheckpointEvent::Created(CheckpointCreated {
            seq: head.seq,
            hash: head.hash,
            sha256: sha256_hex(&bad),
            bytes: bad.len() as u64,
            ..facts
        });
        let subject = checkpoint_subject(&pair.newer.name);
        pair.history.append(vec![(subject, event.into())]);
        pair
    }
}

#[test]
fn every_flipped_byte_is_found_by_the_hash_that_the_ledger_has() {
    let pair = Pair::new();
    let said = recorded(pair.history.store(), &pair.newer).unwrap();
    let good = fs::read(pair.path()).unwrap();
    assert_eq!(said.sha256, sha256_hex(&good));
    assert_eq!(said.bytes, good.len() as u64);
    // The padding behind the first line is long and all alike: a part of it will do.
    let end = good.iter().position(|b| *b == b'\n').unwrap();
    let line = good[..end].trim_ascii_end().len();
    let ledger = pair.history.store().ledger_id();
    for at in (0..good.len()).filter(|at| *at < line || *at >= end || at % 101 == 0) {
        let mut bad = good.clone();
        bad[at] ^= 1 << (at % 8);
        let found = file::load(&bad, ledger, &said).map(|_| ());
        let is_found =
            matches!(&found, Err(CheckpointError::Damaged(why)) if why.contains("SHA-256"));
        assert!(is_found, "byte {at}: {found:?}");
    }
    let mut bad = good.clone();
    bad[line / 2] ^= 1;
    fs::write(pair.path(), bad).unwrap();
    pair.is_passed_over("its SHA-256 is ");
    fs::write(pair.path(), good).unwrap();
    let recovered = fold_state(&at(&pair.dir), pair.history.store()).unwrap();
    assert_eq!(used(&recovered), Some("newer"));
}

#[test]
fn a_file_that_is_cut_empty_too_long_or_no_file_is_named_and_passed_over() {
    let pair = Pair::new();
    let good = fs::read(pair.path()).unwrap();
    for len in [0, 1, 1000, good.len() - 1] {
        fs::write(pair.path(), &good[..len]).unwrap();
        pair.is_passed_over(&format!("it has {len} bytes, not {}", good.len()));
    }
    fs::write(pair.path(), [&good[..], b"x"].concat()).unwrap();
    pair.is_passed_over(&format!("it has {} bytes", good.len() + 1));
    fs::remove_file(pair.path()).unwrap();
    symlink("elsewhere", pair.path()).unwrap();
    pair.is_passed_over("can't be used");
    fs::remove_file(pair.path()).unwrap();
    fs::create_dir(pair.path()).unwrap();
    pair.is_passed_over("no regular file");
}

#[test]
fn one_of_another_version_ledger_or_history_is_named_and_passed_over() {
    let pair = Pair::forged(|line| line.replace("\"format\":1", "\"format\":2"));
    pair.is_passed_over("it has format 2, this binary reads format 1");
    let pair = Pair::forged(|line| {
        let of = "\"name\":\"tasks\",\"version\":";
        let (before, rest) = line.split_once(of).unwrap();
        let (_, rest) = rest.split_once(',').unwrap();
        format!("{before}{of}99,{rest}")
    });
    pair.is_passed_over("the part has version 99, this binary has version");
    let ledger = pair.history.store().ledger_id().to_string();
    let pair = Pair::forged(|line| line.replace(&ledger, "00000000-0000-7000-8000-000000000001"));
    pair.is_passed_over("it is of ledger 00000000");
    // What it says of its position is not what the ledger says.
    let pair = Pair::forged(|line| line);
    pair.is_passed_over("it is of another history");
}

#[test]
fn a_file_that_nothing_tells_of_is_passed_over() {
    let mut pair = Pair::new();
    let (orphan, _) = unrecorded(pair.dir.path(), &pair.history, "orphan");
    fs::remove_file(pair.path()).unwrap();
    pair.newer = orphan;
    pair.is_passed_over("no event tells of it");
}

#[test]
fn one_that_is_named_by_the_last_of_all_positions_is_passed_over() {
    let mut pair = Pair::new();
    let from = pair.path();
    pair.newer.seq = Seq(u64::MAX);
    fs::rename(from, pair.path()).unwrap();
    pair.is_passed_over("no event tells of it");
}

#[test]
fn one_that_stands_behind_the_end_of_the_ledger_is_passed_over() {
    let pair = Pair::new();
    let short = History::new();
    let recovered = fold_state(&at(&pair.dir), short.store()).unwrap();
    assert_eq!(used(&recovered), None);
    assert_eq!(recovered.report.passed_over.len(), 2);
    assert_eq!(recovered.report.replayed, short.head().seq.0);
    same_as_from_the_first_event(&recovered, &short);
}

#[test]
fn without_checkpoints_all_is_folded() {
    let dir = tempfile::tempdir().unwrap();
    let history = History::seeded(3, 50);
    let recovered = fold_state(&at(&dir), history.store()).unwrap();
    assert_eq!(used(&recovered), None);
    assert!(recovered.report.passed_over.is_empty());
    assert_eq!(recovered.report.replayed, history.head().seq.0);
}

#[test]
fn what_is_no_name_of_a_checkpoint_is_not_looked_at() {
    let temp = tempfile::tempdir().unwrap();
    let dir = CheckpointDir::new(temp.path());
    assert_eq!(dir.list().unwrap(), []);
    drop(dir.create().unwrap());
    for name in [
        ".new",
        "00000000000000000001-a",
        "1-a.checkpoint",
        "0000000000000000000x-a.checkpoint",
        "+0000000000000000001-a.checkpoint",
        "00000000000000000001-.checkpoint",
        "00000000000000000001-a b.checkpoint",
        "99999999999999999999-a.checkpoint",
    ] {
        fs::write(dir.path().join(name), "").unwrap();
    }
    assert_eq!(dir.list().unwrap(), []);
    let file = |seq, name: &str| CheckpointFile {
        seq: Seq(seq),
        name: id(name),
    };
    let (b, a) = (file(2, "b"), file(10, "a.checkpoint-1"));
    for one in [&a, &b] {
        fs::write(dir.file(one), "").unwrap();
    }
    assert_eq!(dir.list().unwrap(), [b.clone(), a.clone()]);
    dir.reject(&a).unwrap();
    assert_eq!(dir.list().unwrap(), std::slice::from_ref(&b));
    assert_eq!(dir.set_aside().unwrap(), std::slice::from_ref(&a));
    assert_eq!(dir.strangers().unwrap().len(), 7, "all but the new one");
    dir.remove(&a).unwrap();
    assert_eq!(dir.set_aside().unwrap().len(), 1, "it stands aside");
    for one in [&a, &a] {
        dir.remove_aside(one).unwrap();
    }
    for one in [&b, &b] {
        dir.remove(one).unwrap();
    }
    dir.clear().unwrap();
    assert!(dir.list().unwrap().is_empty() && dir.set_aside().unwrap().is_empty());
    assert!(!dir.path().join(".new").exists());
}

#[test]
fn a_link_in_the_place_of_the_directory_is_refused() {
    let temp = tempfile::tempdir().unwrap();
    let other = tempfile::tempdir().unwrap();
    symlink(other.path(), temp.path().join("checkpoints")).unwrap();
    let history = History::seeded(3, 10);
    let wish = Wish {
        cause: CheckpointCause::Operator,
        name: None,
        extra: None,
    };
    let made = make_file(&at(&temp), history.store(), &wish, &id("a"), Timestamp(1));
    assert!(made.is_err());
    assert_eq!(fs::read_dir(other.path()).unwrap().count(), 0);
}
