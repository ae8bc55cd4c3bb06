//! `kill -9` of backups, restores and imports at work: what is under a name is whole, and what was
//! interrupted is no hindrance to the next.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use crate::support::{DEADLINE, LEDGER, Ledger, show, text};

/// A ledger that takes a while to copy.
fn large() -> Ledger {
    use ledger_core::chain::{BatchBuilder, ChainKey};
    use ledger_core::envelope::{Draft, Origin};
    use ledger_core::ids::{EventId, Term, Uuid};
    use ledger_core::store::LogWriter;
    use ledger_core::store::durable::DurableStore;

    let ledger = Ledger::new();
    let mut store = DurableStore::open(&ledger.dir).unwrap();
    let key = ChainKey::new(LogWriter::ledger_id(&store));
    for _ in 0..40 {
        let head = LogWriter::head(&store);
        let mut builder = BatchBuilder::new(key, head, Term(1));
        let drafts: Vec<Draft> = (0..1000)
            .map(|n| Draft {
                event_id: EventId(Uuid::from_u128(u128::from(head.seq.0) + n)),
                kind: "app.x".parse().unwrap(),
                version: 1,
                subject: "app/x".parse().unwrap(),
                origin: Origin::of("uid/0".parse().unwrap()),
                idempotency_key: None,
                data: format!("{{\"x\":\"{}\"}}", "x".repeat(400)),
            })
            .collect();
        builder.push(&drafts, head.recorded_at).unwrap();
        store.append(&builder.take()).unwrap();
    }
    store.close().unwrap();
    ledger
}

pub(crate) fn spawn(ledger: &Ledger, arguments: &[&str]) -> Child {
    let mut command = ledger.command(arguments);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().unwrap()
}

/// Entries of a directory whose names begin like this; none if it is not there.
fn entries(dir: &Path, prefix: &str) -> usize {
    let Ok(entries) = fs::read_dir(dir) else {
        return 0;
    };
    let names = entries.filter_map(|e| e.ok()?.file_name().into_string().ok());
    names.filter(|name| name.starts_with(prefix)).count()
}

/// Bytes below a directory, as far as they can be seen.
pub(crate) fn bytes(dir: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(dir) else {
        return 0;
    };
    let each = entries
        .filter_map(Result::ok)
        .map(|entry| match entry.metadata() {
            Ok(meta) if meta.is_dir() => bytes(&entry.path()),
            Ok(meta) => meta.len(),
            Err(_) => 0,
        });
    each.sum()
}

/// Kills a command once `reached` is, or it has ended.
pub(crate) fn kill_when(mut child: Child, reached: impl Fn() -> bool) {
    let begun = Instant::now();
    while !reached() && child.try_wait().unwrap().is_none() {
        assert!(begun.elapsed() < DEADLINE, "it neither gets there nor ends");
        std::thread::yield_now();
    }
    let _ = child.kill();
    child.wait().unwrap();
}

#[test]
fn a_backup_that_was_killed_is_never_seen() {
    let ledger = large();
    let dir = ledger.path("backups");
    let to = ["backup", "--full", "--to", show(&dir)];
    let mut interrupted = 0;
    for step in 0..6_u64 {
        // A little further each time: begun, a part written, all written, being verified.
        let wanted = step * 5_000_000;
        kill_when(spawn(&ledger, &to), || {
            entries(&dir, ".new-") > 0 && bytes(&dir) >= wanted
        });
        interrupted += entries(&dir, ".new-");
        let checked = ledger.cli(&["backup", "verify", "all", "--dir", show(&dir)]);
        assert!(checked.status.success(), "{}", text(&checked.stdout));
    }
    assert!(interrupted > 2, "hardly any was interrupted: {interrupted}");
    let done = ledger.cli(&to);
    assert!(done.status.success(), "{}", text(&done.stderr));
    assert_eq!(entries(&dir, "."), 0, "what was interrupted is gone");
    assert!(
        ledger
            .cli(&["backup", "verify", "--dir", show(&dir)])
            .status
            .success()
    );
}

#[test]
fn a_restore_that_was_killed_leaves_no_ledger() {
    let ledger = large();
    let dir = ledger.path("backups");
    let made = ledger.cli(&["backup", "--to", show(&dir)]);
    assert!(made.status.success(), "{}", text(&made.stderr));
    let into = ledger.path("new");
    let restore = [
        "restore",
        "latest",
        "--dir",
        show(&dir),
        "--into",
        show(&into),
    ];
    let room = ledger.room.path();
    let mut interrupted = 0;
    for step in 0..5_u64 {
        let before = bytes(room);
        kill_when(spawn(&ledger, &restore), || {
            entries(room, ".new.new-") > 0 && bytes(room) >= before + step * 8_000_000
        });
        interrupted += entries(room, ".new.new-");
        if into.exists() {
            let verified = Command::new(LEDGER)
                .arg("--data-dir")
                .arg(&into)
                .arg("verify")
                .output();
            let verified = verified.unwrap();
            // Not complete: what is copied here was appended without a lease.
            let code = verified.status.code();
            assert_eq!(code, Some(5), "{}", text(&verified.stdout));
            fs::remove_dir_all(&into).unwrap();
        }
    }
    assert!(interrupted > 2, "hardly any was interrupted: {interrupted}");
    let done = ledger.cli(&restore);
    assert!(done.status.success(), "{}", text(&done.stderr));
    assert_eq!(
        entries(room, ".new.new-"),
        0,
        "what was interrupted is gone"
    );
}

#[test]
fn an_import_that_was_killed_leaves_no_ledger() {
    let ledger = large();
    let lines = ledger.cli(&["export", "--format", "jsonl"]).stdout;
    let into = ledger.path("new");
    for share in [1, 2, 3] {
        let mut command = ledger.command(&["import", "-", "--into", show(&into)]);
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(&lines[..lines.len() / 4 * share]).unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(!into.exists());
        assert_eq!(entries(ledger.room.path(), ".new.new-"), 1);
    }
    let file = ledger.path("lines");
    fs::write(&file, &lines).unwrap();
    let done = ledger.cli(&["import", show(&file), "--into", show(&into)]);
    assert!(done.status.success(), "{}", text(&done.stderr));
    assert_eq!(entries(ledger.room.path(), ".new.new-"), 0);
}
