//! `kill -9` of snapshots of files and of their restoring: a snapshot is whole or not there, a file the
//! old one or the new one, and what was interrupted is gone after the next.

use std::fs;
use std::path::Path;

use crate::copies::{bytes, kill_when, spawn};
use crate::support::{Ledger, show, text};

const FILES: usize = 24;
const SIZE: usize = 256 * 1024;

fn content(file: usize, version: usize) -> Vec<u8> {
    let mut content = format!("file {file} version {version}\n").into_bytes();
    content.resize(SIZE, b'0' + u8::try_from(version % 10).unwrap());
    content
}

fn write(dir: &Path, version: usize) {
    fs::create_dir_all(dir).unwrap();
    for file in 0..FILES {
        fs::write(dir.join(file.to_string()), content(file, version)).unwrap();
    }
}

fn temporaries(dir: &Path) -> usize {
    let entries = fs::read_dir(dir).into_iter().flatten();
    let names = entries.map(|entry| entry.unwrap().file_name());
    names
        .filter(|n| n.to_string_lossy().starts_with('.'))
        .count()
}

#[test]
fn a_snapshot_that_was_killed_is_whole_or_not_there() {
    let ledger =
        Ledger::configured("[snapshots.w]\nroot = \"../app\"\nfiles = [\"*\"]\nkeep = 2\n");
    let (app, store) = (ledger.path("app"), ledger.dir.join("snapshots"));
    let run = ["snapshot", "run"];
    let mut interrupted = 0;
    for step in 0..6 {
        write(&app, step);
        let wanted = bytes(&store) + (step * SIZE * FILES / 6) as u64;
        kill_when(spawn(&ledger, &run), || bytes(&store) >= wanted.max(1));
        interrupted += fs::read_dir(store.join("blobs/incoming")).map_or(0, Iterator::count);
        let checked = ledger.cli(&["snapshot", "verify"]);
        assert!(checked.status.success(), "{}", text(&checked.stdout));
    }
    assert!(interrupted > 0, "none was interrupted on its way");
    let done = ledger.cli(&run);
    assert!(done.status.success(), "{}", text(&done.stderr));
    assert_eq!(
        fs::read_dir(store.join("blobs/incoming")).unwrap().count(),
        0
    );
    assert_eq!(temporaries(&store.join("sets/w")), 0);
    let held = bytes(&store);
    let most = (2 * SIZE * FILES + 64 * 1024) as u64;
    assert!(held <= most, "{held} bytes are held for two snapshots");
}

#[test]
fn a_restore_that_was_killed_leaves_whole_files() {
    let ledger = Ledger::configured("[snapshots.w]\nroot = \"../app\"\nfiles = [\"*\"]\n");
    let app = ledger.path("app");
    write(&app, 1);
    let made = ledger.cli(&["snapshot", "run"]);
    assert!(made.status.success(), "{}", text(&made.stderr));
    let into = ledger.path("back");
    let restore = [
        "snapshot",
        "restore",
        "w",
        "--unrecorded",
        "--yes",
        "--into",
        show(&into),
    ];
    let mut mixed = 0;
    for step in 0..5 {
        write(&into, 2);
        let is_new =
            |file: usize| fs::read(into.join(file.to_string())).unwrap() == content(file, 1);
        let wanted = step * FILES / 5;
        kill_when(spawn(&ledger, &restore), || is_new(wanted));
        let new = (0..FILES).filter(|file| is_new(*file)).count();
        for file in 0..FILES {
            let found = fs::read(into.join(file.to_string())).unwrap();
            let whole = found == content(file, 1) || found == content(file, 2);
            assert!(whole, "file {file} is neither the old one nor the new one");
        }
        mixed += usize::from(new > 0 && new < FILES);
    }
    assert!(mixed > 0, "none was interrupted on its way");
    let done = ledger.cli(&restore);
    assert!(done.status.success(), "{}", text(&done.stderr));
    for file in 0..FILES {
        assert_eq!(
            fs::read(into.join(file.to_string())).unwrap(),
            content(file, 1)
        );
    }
    // Each name has one temporary, which the next restore of that file takes away.
    write(&into, 2);
    assert!(ledger.cli(&restore).status.success());
    assert_eq!(temporaries(&into), 0);
}
