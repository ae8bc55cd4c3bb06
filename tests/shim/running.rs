//! What a child gets, and what is recorded of one that ends by itself.

use std::collections::BTreeMap;
use std::fs;

use nix::libc;
use opsledger::shim::{ExitResult, Outcome, StreamRecord};

use crate::harness::{launch, request, script};

fn assert_holds(record: &StreamRecord, bytes: &[u8]) {
    assert_eq!(record.bytes, bytes.len() as u64);
    assert_eq!(record.blake3, blake3::hash(bytes).to_hex().to_string());
}

fn assert_whole(record: &StreamRecord, bytes: &[u8]) {
    assert_holds(record, bytes);
    assert_eq!(record.total_bytes, record.bytes);
    assert_eq!((record.truncated, &record.error), (false, &None));
}

#[test]
fn exit_codes_and_deadly_signals_are_told_apart() {
    let mut node = launch();
    for code in [0, 1, 42, 255] {
        let (outcome, _) = node.run(&script(&format!("exit-{code}"), &format!("exit {code}")));
        assert_eq!(outcome.result, ExitResult::Exited { code });
        assert_eq!(outcome.ladder, None);
    }
    for signal in [libc::SIGKILL, libc::SIGTERM, libc::SIGRTMAX()] {
        let (outcome, _) = node.run(&script(
            &format!("signal-{signal}"),
            &format!("kill -{signal} $$"),
        ));
        assert_eq!(
            outcome.result,
            ExitResult::Signaled {
                signal,
                core: false
            }
        );
        assert_eq!(outcome.ladder, None);
    }
}

#[test]
fn outputs_are_kept_apart_and_hashed() {
    let mut node = launch();
    let (outcome, dir) = node.run(&script("streams", "echo out; echo err >&2; echo more"));
    assert_whole(&outcome.stdout, b"out\nmore\n");
    assert_whole(&outcome.stderr, b"err\n");
    assert_eq!(outcome.stdout.tail, "out\nmore\n");
    assert_eq!(fs::read(dir.stdout_path()).unwrap(), b"out\nmore\n");
    assert_eq!(fs::read(dir.stderr_path()).unwrap(), b"err\n");
    let (outcome, dir) = node.run(&request("silent", &["true"]));
    assert_whole(&outcome.stdout, b"");
    assert_whole(&outcome.stderr, b"");
    assert!(dir.open_stdout().unwrap().is_none());
}

#[test]
fn junk_is_kept_byte_for_byte_and_shown_as_text() {
    let mut node = launch();
    let (outcome, dir) = node.run(&request("junk", &["head", "-c", "3000000", "/dev/urandom"]));
    let kept = fs::read(dir.stdout_path()).unwrap();
    assert_eq!(kept.len(), 3_000_000);
    assert_whole(&outcome.stdout, &kept);
    assert!(!outcome.stdout.tail.is_empty() && outcome.stdout.tail.len() <= 4096);
}

#[test]
fn output_beyond_the_limit_is_counted_and_thrown_away() {
    let mut node = launch();
    let mut loud = script("loud", "head -c 1000000 /dev/zero; echo end >&2; exit 3");
    loud.output_limit = 1000;
    let (outcome, dir) = node.run(&loud);
    assert_eq!(outcome.result, ExitResult::Exited { code: 3 });
    assert_holds(&outcome.stdout, &[0; 1000]);
    assert_eq!(
        (outcome.stdout.truncated, outcome.stdout.total_bytes),
        (true, 1_000_000)
    );
    assert_eq!(fs::read(dir.stdout_path()).unwrap(), [0; 1000]);
    assert_whole(&outcome.stderr, b"end\n");
}

#[test]
fn a_file_that_takes_no_more_stops_the_keeping_and_not_the_child() {
    let mut node = launch();
    let go = node.fifo("go");
    let text = format!("read _ < {}; head -c 1000000 /dev/zero", go.show());
    let dir = node.send(&script("full", &text));
    let started = node.started();
    // As good as a full disk: the shim itself may not make files larger than this.
    let pid = format!("--pid={}", started.shim.pid);
    let limited = std::process::Command::new("prlimit")
        .args([&pid, "--fsize=100000"])
        .status();
    assert!(limited.unwrap().success());
    go.tell("go");
    node.ended();
    let outcome = dir.read_outcome().unwrap().unwrap();
    assert_eq!(outcome.result, ExitResult::Exited { code: 0 });
    assert_holds(&outcome.stdout, &[0; 100_000]);
    assert_eq!(outcome.stdout.total_bytes, 1_000_000);
    assert!(outcome.stdout.error.is_some());
    assert_eq!(fs::read(dir.stdout_path()).unwrap().len(), 100_000);
}

#[test]
fn input_is_what_was_given_or_nothing() {
    let mut node = launch();
    let text = "line ä\n".repeat(25_000);
    let mut fed = request("fed", &["cat"]);
    fed.stdin = Some(text.clone());
    let (outcome, _) = node.run(&fed);
    assert_whole(&outcome.stdout, text.as_bytes());
    let (outcome, _) = node.run(&request("unfed", &["cat"]));
    assert_whole(&outcome.stdout, b"");
}

#[test]
fn the_environment_is_exactly_as_given() {
    let mut node = launch();
    let mut bare = request("bare", &["env"]);
    bare.env.clear();
    let (outcome, _) = node.run(&bare);
    assert_whole(&outcome.stdout, b"");
    let mut given = request("given", &["/usr/bin/env"]);
    given.env = [("A", "1"), ("B", "two words = ä"), ("C", "")]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into_iter()
        .collect::<BTreeMap<_, _>>();
    let (outcome, _) = node.run(&given);
    assert_whole(&outcome.stdout, "A=1\nB=two words = ä\nC=\n".as_bytes());
}

#[test]
fn the_child_starts_clean() {
    // A descriptor that a careless parent left open must not get through.
    let leaked = nix::unistd::dup(std::io::stderr()).unwrap();
    let mut node = launch();
    drop(leaked);
    let text = "pwd; umask; ls /proc/self/fd; grep -E '^Sig(Blk|Ign)' /proc/self/status; \
                ps -o pid=,pgid= -p $$ | (read a b; test $a = $b && echo leader)";
    let mut clean = script("clean", text);
    clean.cwd = "/usr".into();
    let (outcome, _) = node.run(&clean);
    let zero = "0000000000000000";
    let wanted = format!("/usr\n0022\n0\n1\n2\n3\nSigBlk:\t{zero}\nSigIgn:\t{zero}\nleader\n");
    assert_eq!(outcome.stdout.tail, wanted);
    assert_eq!(outcome.stderr.tail, "");
}

#[test]
fn time_and_use_are_recorded() {
    let mut node = launch();
    let text = "i=0; while [ $i -lt 30000 ]; do i=$((i+1)); done";
    let Outcome {
        usage,
        runtime_us,
        started_at_us,
        ended_at_us,
        ..
    } = node.run(&script("busy", text)).0;
    assert!(usage.user_us + usage.sys_us > 0);
    assert!(usage.max_rss_kib > 0);
    assert!(runtime_us > 0);
    assert!(ended_at_us > started_at_us && started_at_us > 1_700_000_000_000_000);
}

#[test]
fn many_at_once_do_not_mix() {
    let mut node = launch();
    let requests: Vec<_> = (0..50)
        .map(|n| script(&format!("many-{n}"), &format!("echo {n}; exit {n}")))
        .collect();
    for request in &requests {
        node.send(request);
    }
    for _ in 0..2 * requests.len() {
        node.report();
    }
    for (n, request) in requests.iter().enumerate() {
        let outcome = node.dir(request).read_outcome().unwrap().unwrap();
        assert_eq!(outcome.result, ExitResult::Exited { code: n as i32 });
        assert_whole(&outcome.stdout, format!("{n}\n").as_bytes());
    }
}
