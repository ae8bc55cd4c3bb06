//! Copying, keeping and restoring on real directories, with what goes wrong there.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use ledger_core::hash::Hash;
use ledger_core::ids::{Id, LedgerId};
use ledger_core::time::{Millis, Timestamp};
use proptest::prelude::*;

use super::store::expendable;
use super::*;

const START: u64 = 1_767_225_600_000_000;
const HOUR: u64 = 3_600_000_000;

struct Room {
    room: tempfile::TempDir,
    set: FileSet,
    recorded: BTreeMap<Id, Hash>,
}

fn id(text: &str) -> Id {
    Id::new(text).unwrap()
}

fn ledger() -> LedgerId {
    "0198c1f2-0000-7000-8000-000000000001".parse().unwrap()
}

impl Room {
    fn new(patterns: &[&str]) -> Self {
        let room = tempfile::tempdir().unwrap();
        for dir in ["data", "app"] {
            fs::create_dir(room.path().join(dir)).unwrap();
        }
        let set = FileSet {
            name: id("configs"),
            root: room.path().join("app"),
            files: patterns.iter().map(|p| PathGlob::new(p).unwrap()).collect(),
            max_files: 100,
            max_bytes: 1 << 20,
            keep: Keep {
                keep_for: Millis(24 * 3_600_000),
                newest: 5,
            },
        };
        Self {
            room,
            set,
            recorded: BTreeMap::new(),
        }
    }

    fn at(&self, path: &str) -> PathBuf {
        self.room.path().join(path)
    }

    fn write(&self, path: &str, content: &str) {
        let path = self.at("app").join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    fn lock(&self) -> Locked {
        Snapshots::of(&self.at("data")).lock().unwrap()
    }

    fn try_make(&self, hours: u64, between: &dyn Fn(&str)) -> Result<Outcome, SnapshotError> {
        let request = Request {
            ledger: ledger(),
            now: Timestamp(START + hours * HOUR),
            software: "test",
            recorded: &self.recorded,
        };
        self.lock().make_between(&self.set, request, between)
    }

    fn make(&self, hours: u64) -> Outcome {
        self.try_make(hours, &|_| {}).unwrap()
    }

    fn made(&self, hours: u64) -> Made {
        match self.make(hours) {
            Outcome::Made(made) => made,
            Outcome::Unchanged(made) => panic!("unchanged since {}", made.manifest.snapshot),
        }
    }

    fn restore(&self, made: &Made, into: &str) -> Result<Restored, SnapshotError> {
        self.lock()
            .restore(&made.manifest, &self.at(into), &mut |_| {})
    }

    fn read(&self, path: &str) -> String {
        fs::read_to_string(self.at(path)).unwrap()
    }

    /// The file that holds some content in the store.
    fn content(&self, text: &str) -> PathBuf {
        let digest = Hash::of(text.as_bytes()).to_string();
        let (shelf, name) = digest.split_at(2);
        self.at("data/snapshots/blobs").join(shelf).join(name)
    }
}

fn paths(made: &Made) -> Vec<&str> {
    made.manifest.files.iter().map(|f| &*f.path).collect()
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

#[test]
fn what_fits_is_copied_once_and_comes_back_as_it_was() {
    let room = Room::new(&["conf/**/*.toml", "run.sh"]);
    room.write("conf/a.toml", "a");
    room.write("conf/x/b.toml", "b");
    room.write("conf/x/same.toml", "a");
    room.write("conf/x/c.txt", "no");
    room.write("run.sh", "#!/bin/sh");
    fs::set_permissions(room.at("app/run.sh"), fs::Permissions::from_mode(0o4751)).unwrap();
    let made = room.made(0);
    let all = ["conf/a.toml", "conf/x/b.toml", "conf/x/same.toml", "run.sh"];
    assert_eq!(paths(&made), all);
    assert_eq!(
        (made.manifest.bytes(), made.written),
        (12, 11),
        "a is there once"
    );
    assert!(made.manifest.skipped.is_empty() && made.manifest.changing() == 0);
    assert_eq!(
        made.manifest.files[3].mode, 0o751,
        "and does not run as its owner"
    );
    // Elsewhere.
    let done = room.restore(&made, "back/here").unwrap();
    assert_eq!(
        done,
        Restored {
            written: 4,
            replaced: 0
        }
    );
    assert_eq!(room.read("back/here/conf/x/b.toml"), "b");
    assert_eq!(mode(&room.at("back/here/run.sh")), 0o751);
    // In place: what is the same is left alone.
    room.write("conf/a.toml", "changed");
    room.write("conf/new.toml", "stays");
    fs::remove_file(room.at("app/conf/x/b.toml")).unwrap();
    let plan = room.lock().plan(&made.manifest, &room.at("app")).unwrap();
    let changes: Vec<_> = plan.files.iter().map(|file| file.change).collect();
    let expected = [Change::Replaced, Change::New, Change::Same, Change::Mode];
    assert_eq!(changes, expected);
    let done = room.restore(&made, "app").unwrap();
    assert_eq!(
        done,
        Restored {
            written: 3,
            replaced: 1
        }
    );
    assert_eq!(room.read("app/conf/a.toml"), "a");
    assert_eq!(room.read("app/conf/new.toml"), "stays");
    let again = room.lock().plan(&made.manifest, &room.at("app")).unwrap();
    assert_eq!(again.count(|change| change != Change::Same), 0);
}

#[test]
fn where_nothing_has_changed_none_is_made() {
    let mut room = Room::new(&["*"]);
    room.write("a", "1");
    let first = room.made(0);
    assert!(matches!(room.make(1), Outcome::Unchanged(same) if same.hash == first.hash));
    room.write("a", "2");
    let second = room.made(2);
    assert_ne!(second.hash, first.hash);
    fs::set_permissions(room.at("app/a"), fs::Permissions::from_mode(0o600)).unwrap();
    let third = room.made(3);
    assert_eq!(third.written, 0, "the content was there");
    // A manifest that is not the one that was recorded is not what the files were.
    room.recorded
        .insert(third.manifest.snapshot.clone(), Hash::of(b"other"));
    room.made(4);
    let listed = Snapshots::of(&room.at("data"))
        .list(&room.set.name)
        .unwrap();
    assert_eq!(listed.len(), 4);
    let latest = Snapshots::of(&room.at("data")).find(&room.set.name, "latest");
    assert_eq!(latest.unwrap().name, listed[3].name);
}

#[test]
fn a_clock_that_is_set_back_makes_no_old_ones() {
    let room = Room::new(&["*"]);
    room.write("a", "1");
    let first = room.made(10);
    room.write("a", "2");
    let second = room.made(2);
    assert!(second.manifest.snapshot > first.manifest.snapshot);
    assert_eq!(second.manifest.made_at, Timestamp(START + 2 * HOUR));
    assert!(matches!(room.make(3), Outcome::Unchanged(same) if same.hash == second.hash));
}

#[test]
fn links_and_special_files_are_named_and_not_followed() {
    let room = Room::new(&["conf/**"]);
    room.write("conf/a", "a");
    fs::write(room.at("secret"), "s").unwrap();
    symlink(room.at("secret"), room.at("app/conf/link")).unwrap();
    symlink("/etc", room.at("app/conf/dir")).unwrap();
    symlink(room.at("nowhere"), room.at("app/conf/dangling")).unwrap();
    nix::unistd::mkfifo(&room.at("app/conf/pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let _socket = UnixListener::bind(room.at("app/conf/socket")).unwrap();
    let made = room.made(0);
    assert_eq!(paths(&made), ["conf/a"]);
    let skipped: Vec<_> = made
        .manifest
        .skipped
        .iter()
        .map(|s| (&*s.path, &s.reason))
        .collect();
    let expected = [
        ("conf/dangling", &SkipReason::Link),
        ("conf/dir", &SkipReason::Link),
        ("conf/link", &SkipReason::Link),
        ("conf/pipe", &SkipReason::Special),
        ("conf/socket", &SkipReason::Special),
    ];
    assert_eq!(skipped, expected);
    assert_eq!(made.manifest.lost(), 0);
    // Links that lead to nothing that is wanted are not worth a word.
    let other = Room::new(&["conf/**/*.toml"]);
    other.write("conf/a.toml", "a");
    symlink("a.toml", other.at("app/conf/b.txt")).unwrap();
    symlink("/etc", other.at("app/conf/etc")).unwrap();
    let made = other.made(0);
    assert_eq!(
        made.manifest.skipped.len(),
        1,
        "{:?}",
        made.manifest.skipped
    );
}

#[test]
fn nothing_of_the_ledger_is_copied_however_it_is_reached() {
    let mut room = Room::new(&["**"]);
    for (dir, file) in [("keys", "ledger.key"), ("conf", "a.toml"), ("blobs", "b")] {
        fs::create_dir(room.at("data").join(dir)).unwrap();
        fs::write(room.at("data").join(dir).join(file), "x").unwrap();
    }
    fs::write(room.at("data/ledger.redb"), "x").unwrap();
    room.set.root = room.at("data");
    let made = room.made(0);
    assert_eq!(paths(&made), ["conf/a.toml"]);
    let own = |s: &Skipped| s.reason == SkipReason::Ledger;
    assert!(
        made.manifest.skipped.iter().all(own),
        "{:?}",
        made.manifest.skipped
    );
    for within in ["data/keys", "data/../data/keys", "data/blobs/x"] {
        room.set.root = room.at(within);
        let refused = room.try_make(1, &|_| {}).unwrap_err();
        assert!(matches!(refused, SnapshotError::Misplaced(_)), "{refused}");
    }
    // Another name of the same file is the same file.
    fs::hard_link(room.at("data/keys/ledger.key"), room.at("app/key")).unwrap();
    fs::hard_link(room.at("data/ledger.redb"), room.at("app/store")).unwrap();
    room.set.root = room.at("app");
    room.write("a", "a");
    let made = room.made(2);
    assert_eq!(paths(&made), ["a"]);
}

#[test]
fn nothing_is_restored_over_the_ledger() {
    let mut room = Room::new(&["**"]);
    for name in ["head", "keys/ledger.key", "conf/a", "headline"] {
        fs::create_dir_all(room.at("app").join(name).parent().unwrap()).unwrap();
        room.write(name, name);
    }
    let made = room.made(0);
    fs::create_dir(room.at("data/keys")).unwrap();
    fs::write(room.at("data/head"), "the ledger's").unwrap();
    symlink(room.at("data"), room.at("alias")).unwrap();
    for into in [
        "data",
        "alias",
        "app/../data",
        "data/keys",
        "data/snapshots/x",
    ] {
        let refused = room.restore(&made, into).unwrap_err();
        assert!(matches!(refused, SnapshotError::Misplaced(_)), "{refused}");
    }
    assert_eq!(fs::read(room.at("data/head")).unwrap(), b"the ledger's");
    assert!(!room.at("data/conf").exists(), "not even a part of it");
    // What only looks like it is nobody's.
    room.set.files = ["conf/*", "headline"]
        .map(|p| PathGlob::new(p).unwrap())
        .into();
    let made = room.made(1);
    room.restore(&made, "data").unwrap();
    assert!(room.at("data/headline").exists() && room.at("data/conf/a").exists());
}

#[test]
fn limits_are_errors_and_leave_nothing() {
    let mut room = Room::new(&["*"]);
    let none = room.try_make(0, &|_| {}).unwrap_err();
    assert!(matches!(none, SnapshotError::NoFiles(_)), "{none}");
    for n in 0..4 {
        room.write(&n.to_string(), &n.to_string().repeat(100));
    }
    room.set.max_files = 3;
    let many = room.try_make(0, &|_| {}).unwrap_err();
    assert!(
        matches!(many, SnapshotError::TooMany { limit: 3, .. }),
        "{many}"
    );
    (room.set.max_files, room.set.max_bytes) = (4, 399);
    let large = room.try_make(0, &|_| {}).unwrap_err();
    assert!(
        matches!(large, SnapshotError::TooLarge { limit: 399 }),
        "{large}"
    );
    assert!(Snapshots::of(&room.at("data")).sets().unwrap().is_empty());
    assert!(
        room.lock().sweep().unwrap() > 0,
        "what was copied before goes"
    );
    room.set.max_bytes = 400;
    assert_eq!(room.made(0).manifest.bytes(), 400);
}

#[test]
fn a_file_that_changes_is_read_again_or_said_to() {
    let room = Room::new(&["*"]);
    room.write("a", "0");
    let reads = std::cell::Cell::new(0_u32);
    let grow = |until: u32| {
        let (room, reads) = (&room, &reads);
        reads.set(0);
        move |_: &str| {
            reads.set(reads.get() + 1);
            if reads.get() <= until {
                room.write("a", &"x".repeat(1 + reads.get() as usize));
            }
        }
    };
    // It holds still from the second try on.
    let Outcome::Made(made) = room.try_make(0, &grow(2)).unwrap() else {
        panic!("there was none before")
    };
    assert_eq!(
        (
            made.manifest.files[0].changing,
            made.manifest.files[0].bytes
        ),
        (false, 3)
    );
    // It never does: what was read last is taken, and marked.
    let Outcome::Made(made) = room.try_make(1, &grow(u32::MAX)).unwrap() else {
        panic!("it is another one")
    };
    assert!(made.manifest.files[0].changing);
    assert_eq!((made.manifest.changing(), reads.get()), (1, 6));
    room.restore(&made, "back").unwrap();
    let plan = room.lock().plan(&made.manifest, &room.at("back")).unwrap();
    assert!(plan.files[0].changing);
    // One that goes is not there.
    room.write("b", "b");
    let gone = |path: &str| drop((path == "a").then(|| fs::remove_file(room.at("app/b"))));
    let made = room.try_make(2, &gone).unwrap();
    assert_eq!(paths(made.latest()), ["a"]);
}

#[test]
fn damage_is_found_before_anything_is_written_and_healed_by_the_next_copy() {
    let room = Room::new(&["*"]);
    room.write("a", "good");
    room.write("b", "too");
    let made = room.made(0);
    fs::set_permissions(room.content("too"), fs::Permissions::from_mode(0o600)).unwrap();
    fs::write(room.content("too"), "bad").unwrap();
    let refused = room.restore(&made, "back").unwrap_err();
    assert!(
        matches!(&refused, SnapshotError::Content { path, .. } if path == "b"),
        "{refused}"
    );
    assert!(!room.at("back").exists(), "not even the good one");
    let Outcome::Unchanged(again) = room.make(1) else {
        panic!("the files are the same")
    };
    assert_eq!((again.hash, again.written), (made.hash, 3));
    room.restore(&made, "back").unwrap();
    fs::remove_file(room.content("good")).unwrap();
    assert!(room.lock().verify(&made.manifest, &mut |_| {}).is_err());
}

#[test]
fn nothing_is_written_outside_of_the_target() {
    let room = Room::new(&["**"]);
    room.write("conf/a", "new");
    room.write("link", "file");
    let made = room.made(0);
    // A link where a directory should be leads nowhere.
    fs::create_dir(room.at("outside")).unwrap();
    fs::write(room.at("outside/a"), "old").unwrap();
    fs::create_dir(room.at("back")).unwrap();
    symlink(room.at("outside"), room.at("back/conf")).unwrap();
    let refused = room.restore(&made, "back").unwrap_err();
    assert!(
        matches!(&refused, SnapshotError::Blocked { path, .. } if path == "conf/a"),
        "{refused}"
    );
    assert_eq!(room.read("outside/a"), "old");
    // A link in a file's place is replaced, and what it leads to stays.
    fs::remove_file(room.at("back/conf")).unwrap();
    symlink(room.at("outside/a"), room.at("back/link")).unwrap();
    let done = room.restore(&made, "back").unwrap();
    assert_eq!(
        done,
        Restored {
            written: 2,
            replaced: 1
        }
    );
    assert_eq!(room.read("outside/a"), "old");
    assert!(room.at("back/link").symlink_metadata().unwrap().is_file());
    // A directory is not.
    fs::remove_file(room.at("back/link")).unwrap();
    fs::create_dir(room.at("back/link")).unwrap();
    let refused = room.restore(&made, "back").unwrap_err();
    assert!(
        matches!(refused, SnapshotError::Blocked { .. }),
        "{refused}"
    );
}

#[test]
fn what_a_crash_leaves_is_removed_and_taken_for_nothing() {
    let room = Room::new(&["**"]);
    room.write("a", "a");
    room.made(0);
    let set = room.at("data/snapshots/sets/configs");
    fs::write(set.join(".new-20990101T000000.000000Z"), "half").unwrap();
    fs::write(
        room.at("data/snapshots/blobs/incoming/0000000000000009"),
        "half",
    )
    .unwrap();
    room.write(".ledger-new-0123456789abcdef", "half of a restore");
    let listed = Snapshots::of(&room.at("data"))
        .list(&room.set.name)
        .unwrap();
    assert_eq!(listed.len(), 1);
    assert!(
        matches!(room.make(1), Outcome::Unchanged(_)),
        "no file of the set"
    );
    assert_eq!(fs::read_dir(&set).unwrap().count(), 1);
    assert_eq!(
        fs::read_dir(room.at("data/snapshots/blobs/incoming"))
            .unwrap()
            .count(),
        0
    );
    let held = room.lock();
    let busy = Snapshots::of(&room.at("data")).lock().unwrap_err();
    assert!(matches!(busy, SnapshotError::InUse(_)), "{busy}");
    drop(held);
}

#[test]
fn old_ones_go_with_what_only_they_named_and_the_latest_stays() {
    let room = Room::new(&["*"]);
    for n in 0..7 {
        room.write("a", &format!("content {n}"));
        room.write("b", "of all");
        room.made(n);
    }
    let prune = |hours: u64| {
        let locked = room.lock();
        let now = Timestamp(START + hours * HOUR);
        let gone = locked
            .expendable(&room.set.name, room.set.keep, now)
            .unwrap();
        locked.remove(&room.set.name, &gone).unwrap();
        (gone.len(), locked.sweep().unwrap())
    };
    assert_eq!(prune(7), (2, 18), "at most five");
    assert!(!room.content("content 1").exists() && room.content("of all").exists());
    assert_eq!(prune(28), (2, 18), "those of more than a day ago");
    assert_eq!(prune(1000), (2, 18), "all but the latest");
    assert_eq!(prune(10_000), (0, 0));
    // Where a manifest can't be read nobody knows what it names.
    let set = room.at("data/snapshots/sets/configs");
    let only = fs::read_dir(&set).unwrap().next().unwrap().unwrap().path();
    fs::write(&only, "{}").unwrap();
    assert_eq!(room.lock().sweep().unwrap(), 0);
    assert!(room.content("of all").exists());
}

proptest! {
    #[test]
    fn what_goes_is_old_or_one_too_many_and_never_the_latest(
        mut hours in prop::collection::btree_set(0_u64..100, 0..12),
        now in 0_u64..150,
        newest in 1_usize..6,
    ) {
        hours.insert(3);
        let name = |hour: &u64| {
            let time = Timestamp(START + hour * HOUR).to_string();
            id(&time.replace(['-', ':'], ""))
        };
        let names: Vec<Id> = hours.iter().map(name).collect();
        let keep = Keep { keep_for: Millis(24 * 3_600_000), newest };
        let gone = expendable(&names, keep, Timestamp(START + now * HOUR));
        let hours: Vec<u64> = hours.into_iter().collect();
        for (index, (name, hour)) in names.iter().zip(&hours).enumerate() {
            let latest = index + 1 == names.len();
            let too_many = names.len() - index > newest;
            let old = hour + 24 < now;
            prop_assert_eq!(gone.contains(name), !latest && (too_many || old), "{}", hour);
        }
    }
}
