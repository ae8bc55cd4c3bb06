//! A directory of tiles as it is exported, grown in steps, and checked by a script that knows nothing of
//! this code.

#![allow(clippy::unwrap_used, reason = "a helper of a test fails the test")]

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use common::heads::{LEDGER, Ledger, ledger_key, trust};
use common::repo;
use common::tree::{Kept, size};
use ledger_core::export::{CHECKPOINT_FILE, Grown, TileDir, TileDirError};
use ledger_core::ids::{LedgerId, Seq, Uuid};
use ledger_core::merkle::{TileKind, TreeSize, entry_bundle, hash_tile, tiles_between};
use ledger_core::tree_head::{SignedNote, TreeHead};

type Files = BTreeMap<String, Vec<u8>>;

/// Exports the first `n` events.
fn export(dir: &Path, ledger: &Ledger, n: usize) -> Result<Grown, TileDirError> {
    let mut tiles = TileDir::open(dir, LEDGER, Seq(n as u64))?;
    for seq in tiles.next().0..=n as u64 {
        let at = seq as usize;
        tiles.push(Seq(seq), &ledger.tree.events[at - 1], ledger.chain[at])?;
    }
    tiles.finish(|head: &TreeHead| Ok(head.sign(&ledger_key())))
}

/// Every file of a tree of that size, made one by one.
fn expected(tree: &Kept, n: usize) -> Files {
    let files = tiles_between(TreeSize::ZERO, size(n)).map(|id| {
        let range = id.range();
        let bytes = match id.kind() {
            TileKind::Hashes(level) => hash_tile(tree, level, range).unwrap(),
            TileKind::Entries => {
                let events = &tree.events[range.start as usize..range.end as usize];
                entry_bundle(events.iter().map(Vec::as_slice)).unwrap()
            }
        };
        (id.to_string(), bytes)
    });
    files.collect()
}

fn files(dir: &Path) -> Files {
    let mut found = Files::new();
    let mut dirs = vec![dir.to_path_buf()];
    while let Some(next) = dirs.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let path: PathBuf = entry.unwrap().path();
            if path.is_dir() {
                dirs.push(path);
            } else {
                let name = path.strip_prefix(dir).unwrap().to_str().unwrap();
                found.insert(name.to_owned(), fs::read(&path).unwrap());
            }
        }
    }
    found
}

#[test]
fn a_directory_that_grew_holds_what_one_export_would_have_written() {
    let ledger = Ledger::of(1030);
    let dir = tempfile::tempdir().unwrap();
    let mut before = 0;
    for n in [1, 2, 255, 256, 256, 257, 511, 513, 1024, 1030] {
        let grown = export(dir.path(), &ledger, n).unwrap();
        assert_eq!(
            (grown.before, grown.tree),
            (size(before), ledger.head(n).tree)
        );
        before = n;
        let mut found = files(dir.path());
        let note = SignedNote::parse(&found.remove(CHECKPOINT_FILE).unwrap()).unwrap();
        assert_eq!(trust().open(&note).unwrap().head, ledger.head(n));
        for (name, bytes) in expected(&ledger.tree, n) {
            assert_eq!(found.remove(&name), Some(bytes), "{name} of {n}");
        }
        // Besides there are parts of tiles that are not full yet, for readers of older heads.
        for name in found.keys() {
            let (full, _) = name.split_once(".p/").unwrap();
            assert!(!dir.path().join(full).exists(), "{name} of {n}");
        }
    }
}

#[test]
fn what_an_interrupted_export_left_is_used_and_what_differs_is_not() {
    let ledger = Ledger::of(600);
    let dir = tempfile::tempdir().unwrap();
    export(dir.path(), &ledger, 300).unwrap();
    let checkpoint = fs::read(dir.path().join(CHECKPOINT_FILE)).unwrap();
    export(dir.path(), &ledger, 600).unwrap();
    // As if it had ended before its last step.
    fs::write(dir.path().join(CHECKPOINT_FILE), &checkpoint).unwrap();
    fs::write(dir.path().join(".new-0"), "half").unwrap();
    for (name, bytes) in expected(&ledger.tree, 300) {
        let path = dir.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
    export(dir.path(), &ledger, 600).unwrap();
    let note = fs::read(dir.path().join(CHECKPOINT_FILE)).unwrap();
    let head = trust()
        .open(&SignedNote::parse(&note).unwrap())
        .unwrap()
        .head;
    assert_eq!(head, ledger.head(600));

    // The ledger was rolled back, or goes on otherwise.
    let error = export(dir.path(), &ledger, 20).unwrap_err().to_string();
    assert_eq!(
        error,
        "the tiles reach to seq 600, the ledger only to seq 20"
    );
    let mut fork = Ledger::of(600);
    fork.chain[600] = fork.chain[1];
    let error = export(dir.path(), &fork, 600).unwrap_err();
    assert!(
        matches!(error, TileDirError::Forked { seq: Seq(600), .. }),
        "{error}"
    );
    let other = TileDir::open(dir.path(), LedgerId(Uuid::nil()), Seq(u64::MAX)).unwrap_err();
    assert!(matches!(other, TileDirError::OtherLedger { .. }), "{other}");

    let path = dir.path().join("tile/0/002.p/88");
    let mut bytes = fs::read(&path).unwrap();
    bytes[9] ^= 1;
    fs::write(&path, bytes).unwrap();
    let error = TileDir::open(dir.path(), LEDGER, Seq(u64::MAX)).unwrap_err();
    assert!(matches!(error, TileDirError::Damaged { .. }), "{error}");

    let strange = tempfile::tempdir().unwrap();
    fs::write(strange.path().join("mine"), "x").unwrap();
    let error = TileDir::open(strange.path(), LEDGER, Seq(u64::MAX)).unwrap_err();
    assert!(matches!(error, TileDirError::Foreign(_)), "{error}");
}

#[test]
fn a_directory_that_lacks_something_is_not_extended() {
    let ledger = Ledger::of(600);
    let whole = tempfile::tempdir().unwrap();
    export(whole.path(), &ledger, 520).unwrap();
    for name in [
        "tile/0/000",
        "tile/entries/000",
        "tile/entries/002.p/8",
        "tile/1/000.p/2",
    ] {
        let path = whole.path().join(name);
        let bytes = fs::read(&path).unwrap();
        for spoiled in [None, Some(&bytes[..bytes.len() - 1]), Some(&[][..])] {
            match spoiled {
                Some(cut) => fs::write(&path, cut).unwrap(),
                None => fs::remove_file(&path).unwrap(),
            }
            let error = export(whole.path(), &ledger, 600).unwrap_err();
            assert!(matches!(error, TileDirError::Damaged { .. }), "{error}");
            assert!(error.to_string().contains(name), "{error}");
        }
        fs::write(&path, bytes).unwrap();
    }
    export(whole.path(), &ledger, 600).unwrap();
}

#[test]
fn tiles_and_their_head_are_equally_public() {
    use std::os::unix::fs::PermissionsExt;
    let room = tempfile::tempdir().unwrap();
    let dir = room.path().join("tiles");
    export(&dir, &Ledger::of(3), 3).unwrap();
    let mode = |name: &str| fs::metadata(dir.join(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(""), mode("tile"));
    assert_eq!(mode(CHECKPOINT_FILE), mode("tile/0/000.p/3"));
}

/// Runs the auditor's script; `None` where there is no Python, which CI does not accept.
fn audit(dir: &Path, arguments: &[&str]) -> Option<Output> {
    let run = Command::new("python3")
        .arg(repo("tools/verify_tiles.py"))
        .arg(dir)
        .args(arguments)
        .output();
    match run {
        Ok(output) => Some(output),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            assert!(std::env::var_os("CI").is_none(), "CI needs python3");
            None
        }
        Err(error) => panic!("python3: {error}"),
    }
}

#[test]
fn an_auditor_who_knows_nothing_of_this_code_agrees() {
    let ledger = Ledger::of(700);
    let dir = tempfile::tempdir().unwrap();
    export(dir.path(), &ledger, 300).unwrap();
    export(dir.path(), &ledger, 700).unwrap();
    let key = ledger_key().verifier().to_string();
    let with_key = ["--key", &key];
    for arguments in [&with_key[..], &["--key", &key, "--plain"]] {
        let Some(output) = audit(dir.path(), arguments) else {
            return;
        };
        assert!(output.status.success(), "{output:?}");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let root = ledger.head(700).tree.hash;
        assert!(said.contains(&format!("700 events, root {root}")), "{said}");
    }
    let harms = [
        ("tile/entries/001", 77),
        ("tile/entries/002.p/188", 3),
        ("tile/0/000", 8191),
        ("tile/1/000.p/2", 0),
        (CHECKPOINT_FILE, 60),
        (CHECKPOINT_FILE, 300),
    ];
    for (file, at) in harms {
        let path = dir.path().join(file);
        let sound = fs::read(&path).unwrap();
        let mut bytes = sound.clone();
        let at = at.min(bytes.len() - 4);
        bytes[at] ^= 1;
        fs::write(&path, bytes).unwrap();
        let Some(output) = audit(dir.path(), &with_key) else {
            return;
        };
        assert_eq!(output.status.code(), Some(3), "{file} {at}: {output:?}");
        fs::write(&path, sound).unwrap();
    }
    let other = common::heads::witness_key(1).verifier().to_string();
    let Some(output) = audit(dir.path(), &["--key", &other]) else {
        return;
    };
    assert_eq!(output.status.code(), Some(3), "{output:?}");
}
