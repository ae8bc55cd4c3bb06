//! What people see of checkpoints and of a recovery.

use crate::support::{Ledger, exec, named, text};

/// What a command prints, without what differs from run to run.
fn shown(ledger: &Ledger, arguments: &[&str]) -> String {
    let ran = ledger.cli(&[&["--utc"], arguments].concat());
    format!(
        "$ ledger {}\n{}{}exit code {}\n\n",
        arguments.join(" "),
        text(&ran.stdout),
        text(&ran.stderr),
        ran.status.code().unwrap()
    )
}

#[tokio::test]
async fn checkpoints_are_made_listed_shown_verified_and_used() {
    let ledger = Ledger::new();
    let node = ledger.up().await;
    node.run(named("one", exec(&["true"]))).await;
    let extra = "{\"release\":\"1.2\\u001b[1A\"}";
    let commands: [&[&str]; 6] = [
        &["checkpoint", "create", "first"],
        &["checkpoint", "create", "second", "--extra", extra],
        &["checkpoint", "create", "second"],
        &["checkpoint", "show", "second"],
        &["checkpoint", "show", "secund"],
        &["checkpoint", "prune", "--dry-run"],
    ];
    let mut told: String = commands.iter().map(|c| shown(&ledger, c)).collect();
    node.crash();
    let dir = ledger.dir.join("checkpoints");
    let files = std::fs::read_dir(&dir).unwrap().map(|f| f.unwrap().path());
    let newest = files.max().unwrap();
    std::fs::write(&newest, "cut").unwrap();
    for command in [
        &["checkpoint", "list"][..],
        &["checkpoint", "verify"],
        &["recover", "--dry-run"],
        &["recover"],
    ] {
        told.push_str(&shown(&ledger, command));
    }
    assert!(!told.contains('\u{1b}'), "{told:?}");
    for line in told.lines().filter(|line| !line.starts_with('$')) {
        let long = line.contains("hint: ") || line.contains(ledger.dir.to_str().unwrap());
        assert!(long || line.chars().count() <= 100, "{line}");
    }
    let room = ledger.room.path().to_str().unwrap();
    let filters = [
        (room, "[ROOM]"),
        (r"\b[0-9a-f]{64}\b", "[SHA256]"),
        (r"(hash|digest) [0-9a-f]{8,16}…?", "$1 [HASH]"),
        (r"\d{4}-\d{2}-\d{2}[ T][0-9:.]+( UTC|Z)?", "[WHEN]"),
        (r"\b\d+(\.\d+)? ?(µs|us|ms|s|min|m)\b", "[TIME]"),
        (r"\b\d+(\.\d+)? ?[KM]iB\b", "[SIZE]"),
        (r"not \d{5}\b", "not [BYTES]"),
        (r"  +", "  "),
    ];
    insta::with_settings!({filters => filters}, {
        insta::assert_snapshot!("checkpoints", told);
    });
}
