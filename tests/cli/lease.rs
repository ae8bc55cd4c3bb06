//! `ledger lease` and what `ledger status` says of it, with real nodes.

use nix::sys::signal::Signal;

use crate::support::{Ledger, Member, text};

/// What a command prints and how it exits, without what differs from run to run.
fn ran(ledger: &Ledger, arguments: &[&str]) -> String {
    let ran = ledger.cli(arguments);
    let code = ran.status.code().unwrap();
    format!(
        "$ ledger {}\n{}{}exit code {code}\n",
        arguments.join(" "),
        text(&ran.stdout),
        text(&ran.stderr)
    )
}

/// Numbers of processes, times and durations are not the same twice.
fn assert_said(name: &str, said: &[String]) {
    let filters = [
        // Columns are as wide as the numbers of processes happen to be.
        (r" {2,}", "  "),
        (r"pid \d+ on [^\n]+", "pid [PID] on [HOST]"),
        (r"pid \d+", "pid [PID]"),
        (r"process \d+", "process [PID]"),
        (r"(?m)^(\w)  \d+  ", "$1  [PID]  "),
        (r"\d{4}-\d\d-\d\dT[0-9:.]+Z", "[TIME]"),
        (r"\(\d[\d.ms µ]*\)", "([AGE])"),
        (r"\d[\d.]* (µs|ms|s) ago", "[AGE] ago"),
        (r"after \d[\d.]* (µs|ms|s)\b", "after [TIME]"),
        (r"(for|up) \d[\d.]* (µs|ms|s)", "$1 [AGE]"),
        (r"on [\w.-]+\n", "on [HOST]\n"),
    ];
    insta::with_settings!({filters => filters}, {
        insta::assert_snapshot!(name, said.join("\n"));
    });
}

/// The lines of `ledger status` about who leads; the host's own warnings are left out.
fn leadership(ledger: &Ledger) -> String {
    let shown = ran(ledger, &["status"]);
    let about = ["$", "leader", "standby", "node", "warning: node "];
    let lines = shown.lines();
    let mut kept: Vec<_> = lines
        .filter(|line| about.iter().any(|word| line.starts_with(word)))
        .collect();
    kept.push("");
    kept.join("\n")
}

/// Waits until a node stands by and has all that there is.
async fn caught_up(ledger: &Ledger, member: &Member) {
    let head = ledger.cli(&["query", "--count"]);
    let head: u64 = text(&head.stdout).trim().parse().unwrap();
    member.stands(|standing| standing.seq.0 >= head).await;
}

#[tokio::test]
async fn the_lease_is_shown_and_handed_over() {
    let ledger = Ledger::new();
    let status = ["lease", "status"];
    let mut said = vec![ran(&ledger, &status)];
    let mut a = Member::leader(&ledger, "a").await;
    a.stands(|standing| standing.seq.0 >= 4).await;
    for command in [
        &status[..],
        &["lease", "step-down", "--yes"],
        &["lease", "acquire"],
        &["lease", "acquire", "--force"],
    ] {
        said.push(ran(&ledger, command));
    }
    said.push(leadership(&ledger));
    let b = Member::standby(&ledger, "b").await;
    caught_up(&ledger, &b).await;
    said.push(ran(&ledger, &status));
    said.push(leadership(&ledger));
    for command in [
        &["step-down"][..],
        &["step-down", "--dry-run"],
        &["acquire"],
        &["acquire", "--node", "a"],
        &["acquire", "--node", "c"],
        &["acquire", "--force"],
        &["acquire", "--force", "--dry-run"],
        &["step-down", "--yes"],
    ] {
        said.push(ran(&ledger, &[&["lease"], command].concat()));
    }
    a.says(" stands by; ").await;
    b.stands(|standing| standing.seq.0 >= 9).await;
    caught_up(&ledger, &a).await;
    said.push(ran(&ledger, &status));
    let forced = ["acquire", "--force", "--reason", "b is odd", "--yes"];
    said.push(ran(&ledger, &[&["lease"], &forced[..]].concat()));
    assert_said("lease", &said);
    a.stop_well();
    drop(b);

    let log = ledger.assert_sound();
    let kinds: Vec<_> = log.of_kind("lease.").iter().map(|e| &*e.kind).collect();
    let expected = [
        "acquired", "released", "acquired", "acquired", "fenced", "released",
    ];
    assert_eq!(kinds, expected.map(|kind| format!("lease.{kind}")));
    let fenced = &log.only("lease.fenced").data;
    assert_eq!(fenced["cause"], "forced");
    assert_eq!(fenced["reason"], "b is odd");
}

#[tokio::test]
async fn who_could_not_start_anew_gives_nothing_back() {
    let ledger = Ledger::new();
    let a = Member::leader(&ledger, "a").await;
    let settings = ledger.dir.join("ledger.toml");
    let before = std::fs::read(&settings).unwrap_or_default();
    std::fs::write(&settings, "nonsense = 1\n").unwrap();
    for how in ["--yes", "--dry-run"] {
        let said = ran(&ledger, &["lease", "step-down", "--alone", how]);
        let why = "error: the node could not start itself anew, so it gives nothing back\ncause: ";
        assert!(said.contains(why), "{said}");
        assert!(said.contains("ledger.toml:1: "), "{said}");
        assert!(said.ends_with("exit code 6\n"), "{said}");
    }
    std::fs::write(&settings, before).unwrap();
    assert_eq!(a.standing().await.term.0, 1);
    a.stop_well();
    assert_eq!(ledger.assert_sound().count("lease.released"), 1);
}

#[tokio::test]
async fn who_can_not_take_over_is_shown() {
    let ledger = Ledger::new();
    let a = Member::leader(&ledger, "a").await;
    let (b, c) = (
        Member::standby(&ledger, "b").await,
        Member::standby(&ledger, "c").await,
    );
    a.stands(|standing| standing.seq.0 >= 4).await;
    caught_up(&ledger, &b).await;
    let several = ran(&ledger, &["lease", "acquire", "--force", "--yes"]);
    assert!(
        several.contains("error: b and c stand by: say which"),
        "{several}"
    );
    assert!(several.ends_with("exit code 2\n"), "{several}");
    c.signal(Signal::SIGSTOP);
    let mut said = vec![ran(&ledger, &["lease", "status"]), leadership(&ledger)];
    c.signal(Signal::SIGCONT);
    c.stop_well();
    // Its TTL is long, so nobody ends it for its silence yet.
    a.signal(Signal::SIGSTOP);
    said.push(ran(&ledger, &["lease", "status"]));
    let json = ledger.cli(&["lease", "status", "--json"]);
    let json: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(json["holder"], serde_json::Value::Null);
    assert_eq!(json["record"]["process"], "stopped");
    assert_eq!(json["nodes"].as_array().unwrap().len(), 2);
    let watched = first_screen(&ledger);
    assert!(watched.starts_with("leader   nobody leads\n"), "{watched}");
    a.signal(Signal::SIGCONT);
    b.stop_well();
    // One that was removed would be made anew; this is in the way of that.
    let held = std::fs::File::open(ledger.dir.join("run")).unwrap();
    let held = nix::fcntl::Flock::lock(held, nix::fcntl::FlockArg::LockExclusive).unwrap();
    std::fs::remove_file(ledger.dir.join("run/a.sock")).unwrap();
    said.push(ran(&ledger, &["lease", "status"]));
    said.push(ran(&ledger, &["status"]));
    a.crash();
    drop(held);
    said.push(ran(&ledger, &["lease", "status"]));
    assert_said("lease_troubled", &said);
    ledger.assert_sound();
}

/// What `ledger status --watch` shows first.
fn first_screen(ledger: &Ledger) -> String {
    use std::io::{BufRead, BufReader};
    let mut child = ledger
        .command(&["status", "--watch"])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut shown = String::new();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    while !shown.contains("\nb ") {
        assert_ne!(stdout.read_line(&mut shown).unwrap(), 0, "{shown}");
    }
    child.kill().unwrap();
    child.wait().unwrap();
    shown
}
