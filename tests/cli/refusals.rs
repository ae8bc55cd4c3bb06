//! What goes wrong, how it is said, and with which exit code.

use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;

use insta::assert_snapshot;
use ledger_core::store::durable::DurableStore;
use ledger_core::tree_head::{KeyName, SignerKey, create_key_file};

use crate::sample::{Ran, Sample, bare};

/// What a command that must fail says, as a snapshot has it.
fn refused(sample: &Sample, code: i32, arguments: &[&str]) -> String {
    let ran = sample.run(arguments);
    assert_eq!(ran.code, Some(code), "{arguments:?}: {ran:?}");
    assert_eq!(ran.stdout, "", "{arguments:?}");
    format!("$ ledger {}\n{}", arguments.join(" "), ran.stderr)
}

#[test]
fn wrong_usage_names_what_would_be_right() {
    let sample = Sample::new();
    let said: Vec<_> = [
        &["tail", "-k", "Ä"][..],
        &["tail", "--seq", "9..2"],
        &["tail", "--since", "soon"],
        &["tail", "-w", "priority=0"],
        &["tail", "-g", "("],
        &["tail", "-n", "few"],
        &["tail", "-f", "-o", "json"],
        &["tail", "--until-match", "colour=red", "-f"],
        &["tail", "-f", "--timeout", "5"],
        &["tail", "-o", "xml"],
        &["task", "list", "--state", "asleep"],
        &["exec", "-p", "9", "--", "true"],
        &["exec", "--env", "=x", "--", "true"],
        &["exec", "--cwd", "/nowhere", "--", "true"],
        &["append", "app.x", "--data", "[1]"],
        &["append", "App.X"],
        &["append", "app.x", "--expect-version", "0"],
        &["append"],
        &["rebuild", "--at", "3", "--check"],
        &["show", "abc"],
        &["prove", "abc"],
        &["query", "-n", "few"],
        &["query", "-r", "--limit", "3"],
        &["queue", "pause", "nosuch"],
        &["job", "show", "a b"],
        &["task", "show", "a b"],
        &["task", "submit", "--rate-key", "a b", "--", "true"],
        &["task", "submit", "--max-attempts", "0", "--", "true"],
        &["task", "submit", "--stall-after", "1ms", "--", "true"],
        &["exec", "--max-runtime", "31d", "--", "true"],
        &["exec", "--not-before", "2026-02-30", "--", "true"],
        &["exec", "--not-before", "999999d", "--", "true"],
        &["exec", "--expires", "2020-01-01T00:00:00Z", "--", "true"],
        &["status", "--watch", "--interval", "0s"],
        &["reap", "watch", "1"],
    ]
    .iter()
    .map(|arguments| refused(&sample, 2, arguments))
    .collect();
    assert_snapshot!("usage", said.join("\n"));
}

#[test]
fn what_is_not_there_is_said_to_be_not_there() {
    let sample = Sample::new();
    let said: Vec<_> = [
        &["show", "0"][..],
        &["show", "14"],
        &["task", "show", "nobody"],
        &["task", "logs", "later"],
        &["status", "--at", "99"],
        &["status", "--at", "2020-01-01"],
        &["rebuild", "taks"],
        &["--config", "/nowhere/ledger.toml", "up"],
        &["--config", "/nowhere/ledger.toml", "query"],
        &["append", "app.x", "--data", "@/nowhere/data"],
    ]
    .iter()
    .map(|arguments| refused(&sample, 7, arguments))
    .collect();
    assert_snapshot!("not_there", said.join("\n"));
}

#[test]
fn a_name_that_no_socket_can_have_is_refused() {
    let sample = Sample::new();
    let ran = sample.run(&["up", "--node", &"n".repeat(81)]);
    assert_eq!(ran.code, Some(2), "{ran:?}");
    let said =
        "error: the name of a node has at most 80 characters, not 81\nhint: give it a shorter one";
    assert!(ran.stderr.starts_with(said), "{ran:?}");
}

#[test]
fn without_a_ledger_the_way_to_one_is_named() {
    let room = tempfile::tempdir().unwrap();
    let run = |arguments: &[&str]| {
        let output = bare(room.path()).args(arguments).output().unwrap();
        Ran::of(&output, room.path())
    };
    for arguments in [
        &["tail"][..],
        &["status"],
        &["verify"],
        &["up"],
        &["exec", "--", "true"],
    ] {
        let ran = run(arguments);
        assert_eq!(ran.code, Some(7), "{arguments:?}: {ran:?}");
        assert!(
            ran.stderr
                .contains("there is no ledger in [ROOM]/.local/state/ledger"),
            "{ran:?}"
        );
        assert!(
            ran.stderr.contains("hint: make one with `ledger init`"),
            "{ran:?}"
        );
    }
    let made = run(&["init", "--name", "fleet"]);
    assert_eq!(made.code, Some(0), "{made:?}");
    assert!(made.stdout.contains("start a node with `ledger up`"));
    let dir = room.path().join(".local/state/ledger");
    assert_eq!(
        std::fs::metadata(&dir).unwrap().permissions().mode() & 0o777,
        0o700
    );
    let again = run(&["init"]);
    assert_eq!(
        (again.code, again.stdout.as_str()),
        (Some(8), ""),
        "{again:?}"
    );
    assert_eq!(run(&["verify"]).code, Some(0));
}

#[test]
fn a_directory_found_here_is_used_only_if_it_is_ones_own() {
    let sample = Sample::new();
    let local = sample.room.path().join(".ledger");
    std::fs::rename(&sample.dir, &local).unwrap();
    let run =
        |arguments: &[&str]| sample.ran(bare(sample.room.path()).args(arguments).output().unwrap());
    assert_eq!(run(&["query", "--count"]).stdout, "13\n");
    std::fs::set_permissions(&local, PermissionsExt::from_mode(0o777)).unwrap();
    let ran = run(&["query", "--count"]);
    assert_eq!(ran.code, Some(6), "{ran:?}");
    assert_snapshot!("untrusted_directory", ran.stderr);
    // Named, it is used.
    assert_eq!(
        run(&["--data-dir", ".ledger", "query", "--count"]).stdout,
        "13\n"
    );
    let mut command = bare(sample.room.path());
    command
        .env("LEDGER_DATA_DIR", &local)
        .args(["query", "--count"]);
    assert_eq!(sample.ran(command.output().unwrap()).stdout, "13\n");
}

#[test]
fn what_changes_the_ledger_says_how_to_start_a_node() {
    let sample = Sample::new();
    let mut said = Vec::new();
    for arguments in [
        &["exec", "--", "true"][..],
        &["task", "submit", "--", "true"],
        &["task", "cancel", "later"],
        &["task", "retry", "evil"],
        &["append", "app.x"],
    ] {
        said.push(refused(&sample, 6, arguments));
    }
    assert_snapshot!("no_node", said.join("\n"));
}

#[test]
fn a_ledger_in_use_by_nobody_who_answers_is_said_to_be() {
    let sample = Sample::new();
    let held = DurableStore::open(&sample.dir).unwrap();
    assert_snapshot!("in_use", refused(&sample, 6, &["tail"]));
    drop(held);
    assert_eq!(sample.run(&["tail"]).code, Some(0));
}

#[test]
fn a_store_that_is_none_is_damage() {
    let sample = Sample::new();
    std::fs::write(sample.dir.join("ledger.redb"), b"not a store").unwrap();
    assert_snapshot!("no_store", refused(&sample, 3, &["tail"]));
    let ran = sample.run(&["verify"]);
    assert_eq!(ran.code, Some(3), "{ran:?}");
    assert!(ran.stdout.contains("NOT INTACT: 1 finding"), "{ran:?}");
}

#[test]
fn a_pipe_is_no_file_of_settings_and_is_not_waited_for() {
    let sample = Sample::new();
    let settings = sample.dir.join("ledger.toml");
    nix::unistd::mkfifo(&settings, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let ran = sample.run(&["up"]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.stderr.contains("it is no regular file"), "{ran:?}");
    // Whoever only reads is told, and reads.
    for reading in [&["status"][..], &["task", "list"], &["snapshot", "list"]] {
        let ran = sample.run(reading);
        assert_eq!(ran.code, Some(0), "{ran:?}");
        assert!(ran.stderr.starts_with("warning: "), "{ran:?}");
        assert!(ran.stderr.contains("it is no regular file"), "{ran:?}");
    }
    let named = sample.run(&["status", "--config", "nono.toml"]);
    assert_eq!(named.code, Some(7), "{named:?}");
    std::fs::remove_file(&settings).unwrap();
    std::os::unix::fs::symlink("nowhere", &settings).unwrap();
    let ran = sample.run(&["status"]);
    assert!(
        ran.stderr.contains("it is a link that leads nowhere"),
        "{ran:?}"
    );
}

#[test]
fn settings_that_are_wrong_name_their_line() {
    let sample = Sample::new();
    std::fs::write(
        sample.dir.join("ledger.toml"),
        "[tasks]\nmax_runtme = \"5s\"\n",
    )
    .unwrap();
    assert_snapshot!("settings", refused(&sample, 2, &["up"]));
    // All that is wrong is said at once, each in its place.
    let many = "[tasks]\nmax_runtme = \"5s\"\ngrace = 5\n[jobs.sync]\nevery = \"5m\"\n\
                cron = \"61 * * * *\"\ncommand = [\"true\"]\n";
    std::fs::write(sample.dir.join("ledger.toml"), many).unwrap();
    assert_snapshot!("settings_all", refused(&sample, 2, &["up"]));
    let ran = sample.run(&["up", "--json"]);
    let error: serde_json::Value = serde_json::from_str(&ran.stderr).unwrap();
    assert_eq!(error["error"]["more_causes"].as_array().unwrap().len(), 3);
    std::fs::write(sample.dir.join("ledger.toml"), "[tasks]\ngrace = 5s\n").unwrap();
    assert_snapshot!("settings_no_toml", refused(&sample, 2, &["up"]));
}

#[test]
fn warnings_are_beside_what_is_listed() {
    let sample = Sample::new();
    let jobs = sample.dir.join("jobs.d");
    std::fs::create_dir(&jobs).unwrap();
    std::fs::write(jobs.join("x.toml"), "[jobs.x]\nevery = \"5m\"\nevry = 1\n").unwrap();
    let ran = sample.run(&["job", "list"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(!ran.stdout.contains("warning"), "{ran:?}");
    assert_snapshot!("job_list_warnings", ran.stderr);
    let ran = sample.run(&["job", "list", "--json"]);
    let list: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(list["warnings"].as_array().unwrap().len(), 1);
    assert_eq!(ran.stderr, "");
}

#[test]
fn programs_get_errors_as_objects() {
    let sample = Sample::new();
    for (code, word, arguments) in [
        (7, "not_found", &["--json", "show", "99"][..]),
        (2, "usage", &["--json", "tail", "-k", "Ä"]),
        (2, "usage", &["tail", "--json", "-n", "few"]),
        (6, "refused", &["append", "app.x", "--json"]),
        (2, "usage", &["--json", "man", "pages"]),
        (2, "usage", &["completions", "bash", "--json"]),
    ] {
        let ran = sample.run(arguments);
        assert_eq!((ran.code, ran.stdout.as_str()), (Some(code), ""), "{ran:?}");
        let error: serde_json::Value = serde_json::from_str(&ran.stderr).unwrap();
        assert_eq!(error["error"]["code"], word, "{ran:?}");
        assert!(error["error"]["message"].is_string());
    }
}

#[test]
fn a_closed_pipe_ends_quietly_and_a_full_disk_does_not() {
    let sample = Sample::new();
    let run = |arguments: &[&str], stdout: Stdio| {
        let mut command = bare(sample.room.path());
        command
            .arg("--data-dir")
            .arg(&sample.dir)
            .args(arguments)
            .stdout(stdout);
        sample.ran(command.output().unwrap())
    };
    let closed = || {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        Stdio::from(writer)
    };
    let ran = run(&["query"], closed());
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""), "{ran:?}");
    // An answer that is an exit code is given all the same.
    std::fs::write(sample.dir.join("head"), b"x").unwrap();
    let ran = run(&["verify"], closed());
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(3), ""), "{ran:?}");
    let full = std::fs::OpenOptions::new()
        .write(true)
        .open("/dev/full")
        .unwrap();
    let ran = run(&["query"], Stdio::from(full));
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(
        ran.stderr
            .starts_with("error: the output can't be written\ncause: "),
        "{ran:?}"
    );
}

#[test]
fn a_private_key_is_never_shown() {
    let sample = Sample::new();
    let key = SignerKey::generate(KeyName::new("w1").unwrap()).unwrap();
    let file = sample.room.path().join("w1.key");
    create_key_file(&file, &key).unwrap();
    let secret = std::fs::read_to_string(&file).unwrap();
    let secret = secret.trim_end();
    let head = sample.room.path().join("head");
    std::fs::write(&head, "x\n").unwrap();
    for (option, key) in [
        ("--key", secret),
        ("--witness", secret),
        ("--key", "w1.key"),
    ] {
        let said = refused(&sample, 2, &["verify", "--against", "head", option, key]);
        let said = said.lines().skip(1).collect::<String>();
        assert!(!said.contains(&secret[20..]), "{said}");
        // What is wrong with the head may come first.
        assert!(
            said.contains("private key") || said.contains("head does not"),
            "{said}"
        );
    }
    for arguments in [
        &["check-proof", "head", "--key", secret][..],
        &["init", "--key", secret],
        &["witness", "sign", "--state", "w1.state", "--key", secret],
        &[
            "witness", "init", "w1", "--state", "w1.state", "--log", secret,
        ],
    ] {
        let ran = sample.run(arguments);
        assert!(matches!(ran.code, Some(2)), "{ran:?}");
        assert!(!ran.stderr.contains(&secret[20..]), "{ran:?}");
    }
    let said = refused(
        &sample,
        2,
        &["witness", "init", "w2", "--state", "s", "--log", "w1.key"],
    );
    assert!(said.contains("w1.key is a private key"), "{said}");
}
