//! Nodes that must not come up: each refusal has its exit code and says why, and changes nothing.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::Command;

use ledger_core::chain::{BatchBuilder, ChainKey};
use ledger_core::envelope::{Draft, Origin};
use ledger_core::ids::{Entity, EventId, Uuid};
use ledger_core::store::durable::DurableStore;
use ledger_core::store::{LogReader, LogWriter};

use crate::support::{LEDGER, Ledger, exec, fails_to_start, named, show, text};

#[tokio::test]
async fn a_second_node_of_the_same_name() {
    let ledger = Ledger::new();
    let node = ledger.up().await;
    let refused = fails_to_start(&mut ledger.command(&["up"]));
    assert_eq!(refused.status.code(), Some(6), "{refused:?}");
    for told in ["a node named primary runs", "ledger up --node NAME"] {
        assert!(refused.stderr.contains(told), "{refused:?}");
    }
    // The first one's socket is still its own.
    assert_eq!(
        node.run(named("x", exec(&["true"]))).await.exit_code,
        Some(0)
    );
    assert_eq!(node.client.head().await.unwrap().term.0, 1);
    node.stop_well();
    ledger.assert_sound();
}

#[test]
fn a_directory_without_a_ledger() {
    let room = tempfile::tempdir().unwrap();
    for dir in [room.path().join("missing"), room.path().to_owned()] {
        let mut command = Command::new(LEDGER);
        command.arg("--data-dir").arg(&dir).arg("up");
        let refused = fails_to_start(&mut command);
        assert_eq!(refused.status.code(), Some(7), "{refused:?}");
        assert!(refused.stderr.contains("ledger init"), "{refused:?}");
    }
    assert!(!room.path().join("missing").exists());
    assert_eq!(
        fs::read_dir(room.path()).unwrap().count(),
        0,
        "nothing was made"
    );
}

#[test]
fn a_directory_that_may_not_be_written_to() {
    let ledger = Ledger::new();
    let mut command = if nix::unistd::geteuid().is_root() {
        // Permissions don't bind root, so somebody else tries, with a program within his reach.
        let nobody = 65_534;
        fs::set_permissions(ledger.room.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let program = ledger.path("program");
        fs::copy(LEDGER, &program).unwrap();
        for entry in [
            ledger.dir.clone(),
            ledger.dir.join("ledger.redb"),
            ledger.dir.join("head"),
        ] {
            std::os::unix::fs::chown(entry, Some(nobody), Some(nobody)).unwrap();
        }
        let mut command = Command::new(program);
        command
            .uid(nobody)
            .gid(nobody)
            .arg("--data-dir")
            .arg(&ledger.dir)
            .arg("up");
        command
    } else {
        ledger.command(&["up"])
    };
    let mode = |path: &std::path::Path, mode| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    };
    mode(&ledger.dir.join("ledger.redb"), 0o400);
    mode(&ledger.dir.join("head"), 0o400);
    mode(&ledger.dir, 0o500);
    let before = fs::read(ledger.dir.join("ledger.redb")).unwrap();
    let refused = fails_to_start(&mut command);
    mode(&ledger.dir, 0o700);
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    assert!(refused.stderr.contains("Permission denied"), "{refused:?}");
    assert_eq!(fs::read(ledger.dir.join("ledger.redb")).unwrap(), before);
}

#[tokio::test]
async fn a_damaged_store() {
    let ledger = Ledger::new();
    let node = ledger.up().await;
    node.run(named("x", exec(&["true"]))).await;
    node.stop_well();
    let store = ledger.dir.join("ledger.redb");
    let segment = ledger.dir.join("journal/00000000.segment");
    let head = fs::read(ledger.dir.join("head")).unwrap();
    for (path, text) in [(&store, "ledger.created"), (&segment, "lease.released")] {
        let sound = fs::read(path).unwrap();
        for (what, bytes) in [
            ("a flipped bit", flipped(&sound, text.as_bytes())),
            ("a cut file", sound[..sound.len() / 5000].to_vec()),
            ("nothing", Vec::new()),
            ("something else", b"hello".repeat(10_000)),
        ] {
            fs::write(path, &bytes).unwrap();
            let refused = fails_to_start(&mut ledger.command(&["up"]));
            let what = format!("{what} for {}: {refused:?}", show(path));
            assert_eq!(refused.status.code(), Some(3), "{what}");
            assert!(refused.stderr.contains("damaged"), "{what}");
            assert!(!refused.stderr.contains("panicked"), "{what}");
        }
        // Gone altogether.
        fs::remove_file(path).unwrap();
        let refused = fails_to_start(&mut ledger.command(&["up"]));
        assert_eq!(refused.status.code(), Some(3), "{refused:?}");
        fs::write(path, &sound).unwrap();
    }
    assert_eq!(
        fs::read(ledger.dir.join("head")).unwrap(),
        head,
        "none of them touched it"
    );
    ledger.up().await.stop_well();
    ledger.assert_sound();
}

/// A bit flipped wherever the text of an event stands.
fn flipped(sound: &[u8], text: &[u8]) -> Vec<u8> {
    let places = sound.windows(text.len()).enumerate();
    let places: Vec<_> = places.filter(|(_, window)| *window == text).collect();
    assert!(!places.is_empty());
    let mut damaged = sound.to_vec();
    for (at, _) in places {
        damaged[at] ^= 1;
    }
    damaged
}

#[tokio::test]
async fn a_store_that_was_rolled_back() {
    let ledger = Ledger::new();
    ledger.up().await.stop_well();
    let journal = ledger.dir.join("journal");
    let old: Vec<_> = fs::read_dir(&journal)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| (path.clone(), fs::read(path).unwrap()))
        .collect();
    ledger.up().await.stop_well();
    fs::remove_dir_all(&journal).unwrap();
    fs::create_dir(&journal).unwrap();
    for (path, bytes) in old {
        fs::write(path, bytes).unwrap();
    }
    let refused = fails_to_start(&mut ledger.command(&["up"]));
    assert_eq!(refused.status.code(), Some(3), "{refused:?}");
    assert!(refused.stderr.contains("missing"), "{refused:?}");
}

/// Appends an event by hand, as software of another version might have.
fn append_foreign(ledger: &Ledger, kind: &str, version: u16) {
    let mut store = DurableStore::open(&ledger.dir).unwrap();
    let head = LogReader::head(&store.reader()).unwrap();
    let draft = Draft {
        event_id: EventId(Uuid::from_u128(7)),
        kind: kind.parse().unwrap(),
        version,
        subject: Entity::new("cell/a").unwrap(),
        origin: Origin::of(Entity::new("node/other").unwrap()),
        idempotency_key: None,
        data: "{}".into(),
    };
    let key = ChainKey::new(LogWriter::ledger_id(&store));
    let mut builder = BatchBuilder::new(key, head, head.term);
    builder.push(&[draft], head.recorded_at).unwrap();
    store.append(&builder.take()).unwrap();
    store.close().unwrap();
}

#[tokio::test]
async fn a_log_with_events_that_this_binary_does_not_know() {
    for (kind, version) in [("cell.started", 1), ("task.completed", 2)] {
        let ledger = Ledger::new();
        ledger.up().await.stop_well();
        append_foreign(&ledger, kind, version);
        let refused = fails_to_start(&mut ledger.command(&["up"]));
        assert_eq!(refused.status.code(), Some(6), "{refused:?}");
        assert!(refused.stderr.contains(kind), "{refused:?}");
        let log = ledger.log();
        assert_eq!(
            log.last().kind,
            kind,
            "nothing was appended: {}",
            show(&ledger.dir)
        );
        let read = ledger.cli(&["tail"]);
        assert!(
            text(&read.stdout).contains(kind),
            "it can be read: {read:?}"
        );
    }
}

#[tokio::test]
async fn a_log_that_does_not_fold() {
    let ledger = Ledger::new();
    ledger.up().await.stop_well();
    append_foreign(&ledger, "task.completed", 1);
    let refused = fails_to_start(&mut ledger.command(&["up"]));
    assert_eq!(refused.status.code(), Some(3), "{refused:?}");
    assert!(refused.stderr.contains("at seq 7"), "{refused:?}");
}

#[test]
fn a_configuration_that_makes_no_sense() {
    let ledger = Ledger::configured("[scheduler]\nmax_runing = 1\n");
    let refused = fails_to_start(&mut ledger.command(&["up"]));
    assert_eq!(refused.status.code(), Some(2), "{refused:?}");
    assert!(
        refused.stderr.contains("did you mean `max_running`?"),
        "{refused:?}"
    );
    assert_eq!(ledger.log().0.len(), 1);
}
