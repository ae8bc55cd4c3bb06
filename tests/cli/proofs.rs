//! Signed heads and proofs: what the ledger's owner makes, somebody else checks without the ledger.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Output;

use crate::sample::bare;
use crate::support::{Ledger, show, text};

/// What a command printed, which must have worked.
fn works(output: &Output) -> String {
    assert!(output.status.success(), "{}", text(&output.stderr));
    text(&output.stdout)
}

/// How a command that fails does, and what it says.
fn fails(output: &Output) -> (i32, String) {
    assert!(output.stdout.is_empty(), "{}", text(&output.stdout));
    (output.status.code().unwrap(), text(&output.stderr))
}

/// Somebody without the ledger.
struct Auditor(tempfile::TempDir);

impl Auditor {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn file(&self, name: &str, content: &str) -> String {
        let path = self.0.path().join(name);
        fs::write(&path, content).unwrap();
        show(&path).to_owned()
    }

    fn checks(&self, proof: &str, key: &str) -> Output {
        let file = self.file("proof", proof);
        let arguments = ["check-proof", &file, "--key", key];
        bare(self.0.path()).args(arguments).output().unwrap()
    }
}

fn appended(ledger: &Ledger, kinds: &[&str]) {
    for kind in kinds {
        works(&ledger.cli(&["append", kind, "--data", r#"{"of":"proofs"}"#]));
    }
}

#[tokio::test]
async fn heads_and_proofs_are_the_same_with_a_node_and_without() {
    let ledger = Ledger::new();
    let key = works(&ledger.cli(&["head", "--key"]));
    let first = works(&ledger.cli(&["head"]));
    let node = ledger.up().await;
    appended(&ledger, &["app.one", "app.two", "app.three"]);
    assert_eq!(works(&ledger.cli(&["head", "--key"])), key);
    let live = works(&ledger.cli(&["prove", "2"]));
    let grown = works(&ledger.cli(&["prove", "--since", &in_file(&ledger, "first", &first)]));
    node.stop_well();
    let still = works(&ledger.cli(&["prove", "2"]));

    let auditor = Auditor::new();
    for proof in [&live, &still] {
        let proven = works(&auditor.checks(proof, key.trim()));
        assert!(proven.contains("seq 2 is in ledger"), "{proven}");
        assert!(proven.contains("lease.acquired"), "{proven}");
    }
    let proven = works(&auditor.checks(&grown, key.trim()));
    assert!(
        proven.contains("has only grown from seq 1 to seq"),
        "{proven}"
    );
    // The key may stand in a file, as `init` leaves it.
    let public = ledger.dir.join("keys/ledger.pub");
    works(&auditor.checks(&still, show(&public)));
}

fn in_file(ledger: &Ledger, name: &str, content: &str) -> String {
    let path = ledger.path(name);
    fs::write(&path, content).unwrap();
    show(&path).to_owned()
}

#[tokio::test]
async fn what_is_not_so_is_not_proven() {
    let ledger = Ledger::new();
    let node = ledger.up().await;
    appended(&ledger, &["app.one", "app.two"]);
    node.stop_well();
    let key = works(&ledger.cli(&["head", "--key"]));
    let proof = works(&ledger.cli(&["prove", "4"]));
    let auditor = Auditor::new();
    let key = key.trim();
    works(&auditor.checks(&proof, key));

    let (code, why) = fails(&auditor.checks(&proof.replace("index 3", "index 2"), key));
    assert_eq!(code, 3, "{why}");
    // Any changed character of the event, of a hash or of the head.
    for (at, old) in proof
        .char_indices()
        .filter(|(_, c)| c.is_ascii_alphanumeric())
        .step_by(7)
    {
        let new = if old == 'A' { 'B' } else { 'A' };
        let changed = format!("{}{new}{}", &proof[..at], &proof[at + 1..]);
        let (code, why) = fails(&auditor.checks(&changed, key));
        assert!([2, 3, 4].contains(&code), "{at}: {code} {why}");
    }
    let other = Ledger::new();
    let others = works(&other.cli(&["head", "--key"]));
    let (code, why) = fails(&auditor.checks(&proof, others.trim()));
    assert_eq!(code, 4, "{why}");
    let (code, why) = fails(&auditor.checks("nothing", key));
    assert_eq!(code, 2, "{why}");
    let (code, why) = fails(&auditor.checks(&proof, "no-key"));
    assert_eq!(code, 2, "{why}");
    let (code, why) = fails(
        &bare(auditor.0.path())
            .args(["check-proof", "proof"])
            .output()
            .unwrap(),
    );
    assert!(code == 2 || code == 7, "{why}");
}

#[tokio::test]
async fn a_head_that_does_not_fit_the_ledger_is_told() {
    let ledger = Ledger::new();
    let early = Copied::of(&ledger);
    let node = ledger.up().await;
    appended(&ledger, &["app.one"]);
    node.stop_well();
    let head = works(&ledger.cli(&["head"]));

    // Rolled back: the head is of more than there is.
    early.back(&ledger);
    let head = in_file(&ledger, "known", &head);
    let (code, why) = fails(&ledger.cli(&["prove", "--since", &head]));
    assert_eq!(code, 4, "{why}");
    // Another history in its place, as long and longer.
    let node = ledger.up().await;
    appended(&ledger, &["app.other", "app.other", "app.other"]);
    node.stop_well();
    let (code, why) = fails(&ledger.cli(&["prove", "--since", &head]));
    assert_eq!(code, 4, "{why}");
    let (code, why) = fails(&ledger.cli(&["prove", "--since", "/nonexistent"]));
    assert_eq!(code, 7, "{why}");
    let (code, why) = fails(&ledger.cli(&["prove", "99"]));
    assert_eq!(code, 7, "{why}");
}

/// A data directory's files, to be brought back.
struct Copied(tempfile::TempDir);

impl Copied {
    fn of(ledger: &Ledger) -> Self {
        let copy = tempfile::tempdir().unwrap();
        copy_all(&ledger.dir, copy.path());
        Self(copy)
    }

    fn back(&self, ledger: &Ledger) {
        let _ = fs::remove_dir_all(ledger.dir.join("journal"));
        copy_all(self.0.path(), &ledger.dir);
    }
}

fn copy_all(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            fs::create_dir_all(&target).unwrap();
            copy_all(&entry.path(), &target);
        } else if entry.file_type().unwrap().is_file() {
            fs::copy(entry.path(), &target).unwrap();
        }
    }
}

#[tokio::test]
async fn a_key_that_can_not_be_used_is_told_and_stops_nothing() {
    let ledger = Ledger::new();
    let path = ledger.dir.join("keys/ledger.key");
    let own = fs::read(&path).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    let (code, why) = fails(&ledger.cli(&["head"]));
    assert!(code == 6 && why.contains("0644"), "{why}");
    let node = ledger.up().await;
    let (code, why) = fails(&ledger.cli(&["head"]));
    assert!(code == 6 && why.contains("0644"), "{why}");
    let status = works(&ledger.cli(&["status"]));
    assert!(status.contains("heads can't be signed"), "{status}");
    // Put right, it is used at once.
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    works(&ledger.cli(&["head"]));
    fs::write(&path, "PRIVATE+KEY+x").unwrap();
    let (code, why) = fails(&ledger.cli(&["prove", "1"]));
    assert_eq!(code, 6, "{why}");
    fs::write(&path, own).unwrap();
    works(&ledger.cli(&["prove", "1"]));
    node.stop_well();
}
