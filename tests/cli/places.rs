//! Where things may be put and where not, and what is done where only parts of a ledger are left.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use insta::assert_snapshot;

use crate::sample::{Ran, Sample, bare};
use nix::sys::stat::Mode;

fn names(dir: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(dir).unwrap();
    entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect()
}

/// With another data directory than the sample's.
fn elsewhere(sample: &Sample, dir: &str, arguments: &[&str]) -> Ran {
    let mut command = bare(sample.room.path());
    let output = command.args(["--data-dir", dir]).args(arguments).output();
    sample.ran(output.unwrap())
}

fn refused(sample: &Sample, code: i32, arguments: &[&str]) -> String {
    let ran = sample.run(arguments);
    assert_eq!(ran.code, Some(code), "{arguments:?}: {ran:?}");
    assert_eq!(ran.stdout, "", "{arguments:?}");
    format!("$ ledger {}\n{}", arguments.join(" "), ran.stderr)
}

/// Damages the first event in the journal that holds this kind.
fn spoil(sample: &Sample) {
    for entry in fs::read_dir(sample.dir.join("journal")).unwrap() {
        let path = entry.unwrap().path();
        let mut bytes = fs::read(&path).unwrap();
        if let Some(at) = bytes.windows(10).position(|w| w == b"app.deploy") {
            bytes[at] ^= 1;
            fs::write(&path, bytes).unwrap();
        }
    }
}

fn backed_up(sample: &Sample) -> String {
    let ran = sample.run(&["backup", "--to", "backups"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let made = names(&sample.room.path().join("backups"));
    format!("backups/{}", made.first().unwrap())
}

#[test]
fn a_journal_without_its_store_is_no_place_for_a_new_ledger() {
    let sample = Sample::new();
    fs::remove_file(sample.dir.join("ledger.redb")).unwrap();
    let mut said = vec![refused(&sample, 3, &["tail"])];
    fs::remove_file(sample.dir.join("head")).unwrap();
    let before = names(&sample.dir);
    for arguments in [&["init"][..], &["tail"], &["up"]] {
        said.push(refused(&sample, 3, arguments));
    }
    assert_eq!(names(&sample.dir), before, "nothing was planted");
    let ran = sample.run(&["verify"]);
    assert_eq!(ran.code, Some(3), "{ran:?}");
    assert!(ran.stdout.contains("its journal is still there"), "{ran:?}");
    assert_snapshot!("parts_of_a_ledger", said.join("\n"));
}

#[test]
fn without_its_head_file_the_way_is_named_once() {
    let sample = Sample::new();
    fs::remove_file(sample.dir.join("head")).unwrap();
    assert_snapshot!("no_head_file", refused(&sample, 3, &["up"]));
}

#[test]
fn what_may_not_be_all_of_a_ledger_is_not_passed_on_as_it() {
    let sample = Sample::new();
    fs::remove_file(sample.dir.join("head")).unwrap();
    for arguments in [
        &["backup", "--to", "backups"][..],
        &["export", "--format", "jsonl", "--to", "lines.jsonl"],
        &["restore", "--at", "5", "--into", "then"],
    ] {
        let said = refused(&sample, 3, arguments);
        assert!(said.contains("`ledger salvage"), "{said}");
    }
    let left = names(sample.room.path());
    assert!(left.iter().all(|name| name == "data"), "{left:?}");
}

#[test]
fn a_journal_that_is_none_is_damage_and_salvage_goes_on_without_it() {
    for put in [
        (|path: &Path| fs::write(path, "x").unwrap()) as fn(&Path),
        |path| symlink("elsewhere", path).unwrap(),
    ] {
        let sample = Sample::new();
        let journal = sample.dir.join("journal");
        fs::rename(&journal, sample.room.path().join("data/elsewhere")).unwrap();
        put(&journal);
        let said = refused(&sample, 3, &["tail"]);
        assert!(said.contains("is not a directory of its own"), "{said}");
        let ran = sample.run(&["salvage", "--into", "new"]);
        assert_eq!(ran.code, Some(0), "{ran:?}");
        assert!(ran.stdout.contains("proven: 1 event of the 13"), "{ran:?}");
    }
}

#[test]
fn an_interrupted_salvage_is_begun_anew() {
    let sample = Sample::new();
    spoil(&sample);
    let new = sample.room.path().join("new");
    // As far as the last step before the store is put in its place.
    fs::create_dir_all(new.join("salvaging")).unwrap();
    fs::write(new.join("salvaging/ledger.redb"), "half").unwrap();
    fs::create_dir(new.join("journal")).unwrap();
    fs::write(new.join("head"), "half").unwrap();
    let stranger = new.join("notes");
    fs::write(&stranger, "mine").unwrap();
    let ran = sample.run(&["salvage", "--into", "new"]);
    assert_eq!(ran.code, Some(8), "{ran:?}");
    assert!(new.join("head").exists(), "nothing was removed");
    fs::remove_file(&stranger).unwrap();
    let ran = sample.run(&["salvage", "--into", "new"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(!new.join("salvaging").exists());
    let ran = elsewhere(&sample, "new", &["verify"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
}

#[test]
fn nothing_is_made_in_what_it_is_made_from() {
    let sample = Sample::new();
    let backup = backed_up(&sample);
    let before = names(&sample.room.path().join(&backup));
    let inside = format!("{backup}/new");
    let said = refused(&sample, 2, &["restore", &backup, "--into", &inside]);
    assert!(said.contains("from which it is to be made"), "{said}");
    assert_eq!(names(&sample.room.path().join(&backup)), before);

    let before = names(&sample.dir);
    let mut said = Vec::new();
    for place in ["", "blobs", "journal/x", "attempts", "views", "keys", "run"] {
        let to = format!("data/{place}");
        said.push(refused(&sample, 2, &["backup", "--to", &to]));
    }
    assert_eq!(names(&sample.dir), before);
    assert_snapshot!("misplaced_backups", said.join("\n"));
}

#[test]
fn what_is_no_file_in_a_backup_is_not_waited_for() {
    let sample = Sample::new();
    let backup = backed_up(&sample);
    let dir = sample.room.path().join(&backup);
    let restore = || refused(&sample, 3, &["restore", &backup, "--into", "new"]);
    let block = names(&dir).into_iter().find(|n| n.starts_with("blocks-"));
    let block = dir.join(block.unwrap());
    fs::remove_file(&block).unwrap();
    let missing = restore();
    nix::unistd::mkfifo(&block, Mode::S_IRWXU).unwrap();
    let pipe = restore();
    fs::remove_file(dir.join("manifest")).unwrap();
    nix::unistd::mkfifo(&dir.join("manifest"), Mode::S_IRWXU).unwrap();
    let manifest = restore();
    assert!(!sample.room.path().join("new").exists());
    let told = [missing, pipe, manifest].join("\n");
    let name = backup.rsplit('/').next().unwrap();
    assert_snapshot!("no_files_in_a_backup", told.replace(name, "[BACKUP]"));
}

#[test]
fn a_file_in_the_place_of_a_directory_is_said_to_be_one() {
    let sample = Sample::new();
    let backup = backed_up(&sample);
    fs::write(sample.room.path().join("file"), "x").unwrap();
    let name = backup.rsplit('/').next().unwrap().to_owned();
    let init = elsewhere(&sample, "file", &["init"]);
    assert_eq!(init.code, Some(8), "{init:?}");
    let mut said = vec![
        init.stderr,
        refused(&sample, 8, &["restore", &backup, "--into", "file"]),
        refused(&sample, 8, &["backup", "--to", "file"]),
        refused(&sample, 2, &["import", "backups", "--into", "new"]),
    ];
    let to = sample.run(&["export", "--format", "jsonl", "--to", "export"]);
    assert_eq!(to.code, Some(0), "{to:?}");
    let import = ["import", "export", "--into", "new", "--blobs", "nono"];
    said.push(refused(&sample, 7, &import));
    spoil(&sample);
    said.push(refused(&sample, 8, &["salvage", "--into", "file"]));
    assert_snapshot!(
        "files_for_directories",
        said.join("\n").replace(&name, "[BACKUP]")
    );
}

#[test]
fn programs_can_read_all_that_is_said_beside_the_result() {
    let sample = Sample::new();
    let ran = sample.run(&["--json", "backup", "--to", "backups"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(ran.stderr.lines().count() > 0, "no node runs");
    for line in ran.stderr.lines() {
        let said: serde_json::Value = serde_json::from_str(line).unwrap();
        assert!(said["note"].is_string(), "{line}");
    }
    let ran = sample.run(&["--json", "export", "--format", "jsonl", "--to", "lines"]);
    let done: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(done["events"], 13, "{ran:?}");
}

#[test]
fn settings_that_can_not_be_used_keep_nobody_from_a_backup() {
    let sample = Sample::new();
    fs::write(sample.dir.join("ledger.toml"), "[backup]\ndri = 1\n").unwrap();
    let said = refused(&sample, 2, &["backup"]);
    assert_snapshot!(said, @r"
    $ ledger backup
    error: [ROOM]/data/ledger.toml:2: there is no key `dri`
    hint: mend the settings, or name the directory of backups with --dir
    ");
    let dir = backed_up(&sample);
    for arguments in [
        &["backup", "list", "--dir", "backups"][..],
        &["backup", "verify", "--dir", "backups"],
        &["restore", &dir, "--into", "again"],
    ] {
        let ran = sample.run(arguments);
        assert_eq!(ran.code, Some(0), "{arguments:?}: {ran:?}");
    }
}
