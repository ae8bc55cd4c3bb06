//! `ledger verify` and its three verdicts: each is found by its own exit code and said apart from the
//! others, with heads that are this ledger's and heads that are not.

use std::path::{Path, PathBuf};

use insta::assert_snapshot;
use ledger_core::ids::LedgerId;
use ledger_core::store::LogReader;
use ledger_core::store::durable::OfflineReader;
use ledger_core::tree_head::{KeyName, SignedNote, SignerKey, TreeHead, UnixSeconds, VerifierKey};
use serde_json::Value;

use crate::sample::{LEDGER_ID, Ran, Sample};
use crate::support::{Ledger, named, script, text};

/// The key that signs a sample's heads: it was made without one of its own.
pub fn log_key() -> SignerKey {
    let ledger: LedgerId = LEDGER_ID.parse().unwrap();
    SignerKey::from_seed(TreeHead::key_name(ledger), &[1; 32])
}

pub fn head_of(dir: &Path) -> TreeHead {
    let reader = OfflineReader::open(dir).unwrap();
    let head = reader.tree().unwrap().head(reader.ledger_id());
    assert_eq!(head.chain, reader.head().unwrap().hash);
    head
}

/// Writes a note, or anything else, into the sample's room.
fn write(sample: &Sample, name: &str, content: &dyn std::fmt::Display) -> String {
    std::fs::write(sample.room.path().join(name), content.to_string()).unwrap();
    name.to_owned()
}

fn against(sample: &Sample, key: &VerifierKey, heads: &[&str], more: &[&str]) -> Ran {
    let key = key.to_string();
    let mut arguments = vec!["verify", "--key", &key];
    for head in heads {
        arguments.extend(["--against", head]);
    }
    arguments.extend(more);
    sample.run(&arguments)
}

#[test]
fn heads_of_its_own_anchor_a_ledger_and_witnesses_are_named() {
    let (sample, before) = (Sample::with_process(), Sample::new());
    let (log, old) = (log_key(), head_of(&before.dir));
    let witness = SignerKey::from_seed(KeyName::new("witness.example/w1").unwrap(), &[2; 32]);
    let mut cosigned = old.sign(&log);
    let at = UnixSeconds(1_706_688_060);
    cosigned.add(witness.cosign(&old.checkpoint(), at)).unwrap();
    write(&sample, "old", &cosigned);
    write(&sample, "new", &head_of(&sample.dir).sign(&log));
    let vkey = witness.witness_verifier().to_string();
    let ran = against(
        &sample,
        &log.verifier(),
        &["old", "new"],
        &["--witness", &vkey],
    );
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""), "{ran:?}");
    assert_snapshot!("verify_anchored", ran.stdout);
    // A quorum that is there, and one that is not.
    let quorum = &["--witness", &vkey, "--quorum", "1"];
    let ran = against(&sample, &log.verifier(), &["old"], quorum);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let ran = against(&sample, &log.verifier(), &["new"], quorum);
    assert_eq!(ran.code, Some(4), "{ran:?}");
    assert!(ran.stdout.contains("0 of the 1 witnesses"), "{ran:?}");
}

#[test]
fn heads_that_it_does_not_extend_are_told_apart() {
    let sample = Sample::new();
    let (log, head) = (log_key(), head_of(&sample.dir));
    let longer = head_of(&Sample::with_process().dir);
    let mut other_root = head;
    other_root.tree.hash.0[0] ^= 1;
    let mut other_chain = head;
    other_chain.chain.0[0] ^= 1;
    let other_ledger = TreeHead {
        ledger: "0198c1f2-0000-7000-8000-000000000002".parse().unwrap(),
        ..head
    };
    let stranger = SignerKey::from_seed(log.name().clone(), &[9; 32]);
    let tampered = head.sign(&log).to_string().replace("\n13\n", "\n12\n");
    write(&sample, "good", &head.sign(&log));
    write(&sample, "longer", &longer.sign(&log));
    write(&sample, "root", &other_root.sign(&log));
    write(&sample, "chain", &other_chain.sign(&log));
    write(&sample, "ledger", &other_ledger.sign(&log));
    write(&sample, "stranger", &head.sign(&stranger));
    write(&sample, "tampered", &tampered);
    let all = [
        "good", "longer", "root", "chain", "ledger", "stranger", "tampered",
    ];
    let ran = against(&sample, &log.verifier(), &all, &[]);
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(4), ""), "{ran:?}");
    assert_snapshot!("verify_not_anchored", ran.stdout);
    for name in all {
        let expected = if name == "good" { 0 } else { 4 };
        let ran = against(&sample, &log.verifier(), &[name], &["--json"]);
        assert_eq!(ran.code, Some(expected), "{name}: {ran:?}");
        let shown: Value = serde_json::from_str(&ran.stdout).unwrap();
        let what = &shown["anchored"]["heads"][0]["fault"]["what"];
        let expected = match name {
            "good" => Value::Null,
            "longer" => "rolled_back".into(),
            "root" => "replaced".into(),
            "chain" => "chain".into(),
            "ledger" => "other_ledger".into(),
            _ => "untrusted".into(),
        };
        assert_eq!(*what, expected, "{name}");
        assert_eq!(shown["intact"]["verdict"], "intact");
        assert_eq!(shown["complete"]["verdict"], "complete");
    }
}

#[test]
fn a_file_that_is_no_head_is_a_mistake() {
    let sample = Sample::new();
    let (log, head) = (log_key(), head_of(&sample.dir));
    write(&sample, "empty", &"");
    write(&sample, "text", &"13 events\n");
    let note = SignedNote::new("hello\n".into(), log.sign("hello\n")).unwrap();
    write(&sample, "note", &note);
    write(&sample, "good", &head.sign(&log));
    for name in ["empty", "text", "note"] {
        let ran = against(&sample, &log.verifier(), &[name], &[]);
        assert_eq!((ran.code, ran.stdout.as_str()), (Some(2), ""), "{ran:?}");
        assert!(
            ran.stderr.contains(&format!("error: {name} does not hold")),
            "{ran:?}"
        );
    }
    let ran = against(&sample, &log.verifier(), &["nowhere"], &[]);
    assert_eq!(ran.code, Some(7), "{ran:?}");
    // Keys that can't sign heads, and nobody to believe.
    let ran = against(&sample, &log.witness_verifier(), &["good"], &[]);
    assert_eq!(ran.code, Some(2), "{ran:?}");
    let ran = sample.run(&["verify", "--against", "good"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(2), ""), "{ran:?}");
    assert!(
        ran.stderr.contains("this ledger was made without a key"),
        "{ran:?}"
    );
    let ran = sample.run(&["verify", "--key", &log.verifier().to_string()]);
    assert_eq!(ran.code, Some(2), "a key is for heads: {ran:?}");
}

#[test]
fn what_is_not_intact_is_judged_no_further() {
    let sample = Sample::new();
    let log = log_key();
    write(&sample, "good", &head_of(&sample.dir).sign(&log));
    std::fs::write(sample.dir.join("head"), b"x").unwrap();
    let ran = against(&sample, &log.verifier(), &["good"], &[]);
    assert_eq!(ran.code, Some(3), "{ran:?}");
    assert_snapshot!("verify_not_intact", ran.stdout);
    let ran = against(&sample, &log.verifier(), &["good"], &["--json"]);
    let shown: Value = serde_json::from_str(&ran.stdout).unwrap();
    for (verdict, expected) in [
        ("intact", "damaged"),
        ("anchored", "not_judged"),
        ("complete", "not_judged"),
    ] {
        assert_eq!(shown[verdict]["verdict"], expected, "{shown}");
    }
}

#[test]
fn lives_that_are_not_accounted_for_are_named() {
    let sample = Sample::with_a_hole();
    let ran = sample.run(&["verify"]);
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(5), ""), "{ran:?}");
    assert_snapshot!("verify_not_complete", ran.stdout);
    let ran = sample.run(&["--json", "verify"]);
    assert_eq!(ran.code, Some(5), "{ran:?}");
    let shown: Value = serde_json::from_str(&ran.stdout).unwrap();
    let complete = &shown["complete"];
    assert_eq!(complete["verdict"], "not_complete");
    assert_eq!(complete["found"], 2);
    assert_eq!(complete["findings"][0]["family"], "process");
    assert_eq!(complete["findings"][0]["problem"], "never_ended");
    assert_eq!(complete["findings"][0]["begun"], 16);
    assert_eq!(shown["intact"]["verdict"], "intact");
    // Of several, the first that applies.
    let log = log_key();
    write(
        &sample,
        "later",
        &head_of(&Sample::with_process().dir).sign(&log),
    );
    assert_eq!(
        against(&sample, &log.verifier(), &["later"], &[]).code,
        Some(4)
    );
}

/// A copy of a data directory, as it lies there.
pub fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let (from, to) = (
            entry.as_ref().unwrap().path(),
            to.join(entry.unwrap().file_name()),
        );
        let kind = std::fs::symlink_metadata(&from).unwrap().file_type();
        if kind.is_dir() {
            copy(&from, &to);
        } else if kind.is_file() {
            std::fs::copy(&from, &to).unwrap();
        }
    }
}

fn verify_against(ledger: &Ledger, head: &Path) -> (Option<i32>, String) {
    let ran = ledger.cli(&["verify", "--against", head.to_str().unwrap()]);
    (ran.status.code(), text(&ran.stdout) + &text(&ran.stderr))
}

fn keep_head(ledger: &Ledger, name: &str) -> PathBuf {
    let made = ledger.cli(&["head"]);
    assert!(made.status.success(), "{made:?}");
    let path = ledger.path(name);
    std::fs::write(&path, made.stdout).unwrap();
    path
}

#[tokio::test]
async fn a_ledger_that_was_rolled_back_or_replaced_is_found_out() {
    let ledger = Ledger::new();
    let node = ledger.up().await;
    node.run(named("a", script("exit 0"))).await;
    let first = keep_head(&ledger, "first");
    // Through a node and without one it says the same, but for what the node records as it stops.
    assert_eq!(verify_against(&ledger, &first).0, Some(0));
    node.stop_well();
    let (code, said) = verify_against(&ledger, &first);
    assert_eq!(code, Some(0), "{said}");
    let old = ledger.path("old");
    copy(&ledger.dir, &old);

    let node = ledger.up().await;
    node.run(named("b", script("exit 0"))).await;
    let second = keep_head(&ledger, "second");
    node.stop_well();
    assert_eq!(verify_against(&ledger, &second).0, Some(0));

    // Everything as it was before, the head file too: nothing inside it shows that.
    let current = ledger.path("current");
    std::fs::rename(&ledger.dir, &current).unwrap();
    std::fs::rename(&old, &ledger.dir).unwrap();
    assert_eq!(ledger.cli(&["verify"]).status.code(), Some(0));
    assert_eq!(verify_against(&ledger, &first).0, Some(0));
    let (code, said) = verify_against(&ledger, &second);
    assert_eq!(code, Some(4), "{said}");
    assert!(
        said.contains("NOT ANCHORED") && said.contains("the ledger ends at seq"),
        "{said}"
    );
    // It goes on from there, as far as it had got and farther: another history.
    let node = ledger.up().await;
    for n in 0..5 {
        node.run(named(&format!("c{n}"), script("exit 0"))).await;
    }
    let through_node = verify_against(&ledger, &second);
    node.stop_well();
    for (code, said) in [through_node, verify_against(&ledger, &second)] {
        assert_eq!(code, Some(4), "{said}");
        assert!(
            said.contains("the tree over the events up to seq"),
            "{said}"
        );
    }

    // Another ledger of the same name, with a key of its own.
    std::fs::remove_dir_all(&ledger.dir).unwrap();
    assert!(ledger.cli(&["init"]).status.success());
    let (code, said) = verify_against(&ledger, &second);
    assert_eq!(code, Some(4), "{said}");
    assert!(said.contains("the head is of ledger"), "{said}");
    // And with the old one's key put beside it.
    let key = current.join("keys/ledger.pub");
    let key = std::fs::read_to_string(key).unwrap();
    let ran = ledger.cli(&[
        "verify",
        "--against",
        second.to_str().unwrap(),
        "--key",
        key.trim(),
    ]);
    assert_eq!(ran.status.code(), Some(4), "{ran:?}");
}

#[tokio::test]
async fn a_ledger_whose_node_was_killed_is_complete() {
    let ledger = Ledger::new();
    let (told, gate) = (ledger.fifo("told"), ledger.fifo("gate"));
    let mut told = told;
    let node = ledger.up().await;
    let runs = format!("echo $$ > {}; read x < {}", told.show(), gate.show());
    node.submit(named("runs", script(&runs))).await;
    told.pid();
    node.registered("runs", 1).await;
    let verify = |open: &str| {
        let ran = ledger.cli(&["verify"]);
        let said = text(&ran.stdout) + &text(&ran.stderr);
        assert_eq!(ran.status.code(), Some(0), "{said}");
        assert!(said.contains(open), "{said}");
    };
    let open = "(1 term, 1 node, 1 task, 1 attempt, 1 process)";
    verify(open);
    node.crash();
    verify(open);
    let node = ledger.up().await;
    node.recovered().await;
    verify(open);
    gate.tell("end");
    node.end_of("runs").await;
    verify("(1 term, 1 node)");
    node.stop_well();
    verify(", 0 still open\n");
}
