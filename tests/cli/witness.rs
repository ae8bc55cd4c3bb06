//! `ledger witness`: cosigns what has grown, refuses what contradicts it, and never forgets.

use std::path::{Path, PathBuf};

use ledger_core::tree_head::{SignedNote, Trust, VerifierKey};

use crate::support::{Ledger, Node, named, script, show, text};
use crate::verdicts::copy;

/// A ledger whose node runs, and a witness of it that lives elsewhere.
struct Watched {
    ledger: Ledger,
    state: PathBuf,
    vkey: String,
}

/// What a command said: exit code, standard output, standard error.
type Said = (Option<i32>, String, String);

impl Watched {
    fn new() -> Self {
        let ledger = Ledger::new();
        let state = ledger.path("w1.state");
        let made = ledger.cli(&[
            "witness",
            "init",
            "witness.example/w1",
            "--state",
            show(&state),
        ]);
        assert!(made.status.success(), "{made:?}");
        Self {
            vkey: text(&made.stdout).trim_end().to_owned(),
            ledger,
            state,
        }
    }

    fn run(&self, arguments: &[&str]) -> Said {
        let ran = self.ledger.cli(arguments);
        (ran.status.code(), text(&ran.stdout), text(&ran.stderr))
    }

    fn sign(&self, more: &[&str]) -> Said {
        let mut arguments = vec!["witness", "sign", "--state", show(&self.state)];
        arguments.extend(more);
        self.run(&arguments)
    }

    /// Signs what must be signed; returns where the cosigned head is kept.
    fn signs(&self, name: &str, more: &[&str]) -> PathBuf {
        let (code, note, said) = self.sign(more);
        assert_eq!(code, Some(0), "{said}");
        self.keep(name, &note)
    }

    fn keep(&self, name: &str, content: &str) -> PathBuf {
        let path = self.ledger.path(name);
        std::fs::write(&path, content).unwrap();
        path
    }

    fn head(&self, name: &str) -> PathBuf {
        let (code, note, said) = self.run(&["head"]);
        assert_eq!(code, Some(0), "{said}");
        self.keep(name, &note)
    }

    fn remembered(&self) -> String {
        std::fs::read_to_string(&self.state).unwrap()
    }

    /// A refusal leaves what is remembered as it was.
    fn refuses(&self, code: i32, why: &str, more: &[&str]) {
        let before = self.remembered();
        let (found, stdout, said) = self.sign(more);
        assert_eq!((found, stdout.as_str()), (Some(code), ""), "{said}");
        assert!(said.contains(why), "{said}");
        assert_eq!(self.remembered(), before);
    }
}

async fn grow(node: &Node, task: &str) {
    node.run(named(task, script("exit 0"))).await;
}

fn opened(watched: &Watched, note: &Path) -> (u64, usize) {
    let note = SignedNote::parse(&std::fs::read(note).unwrap()).unwrap();
    let public = watched.ledger.dir.join("keys/ledger.pub");
    let log: VerifierKey = std::fs::read_to_string(public)
        .unwrap()
        .trim_end()
        .parse()
        .unwrap();
    let witness = watched.vkey.parse().unwrap();
    let opened = Trust::new(vec![log], vec![witness], 1)
        .unwrap()
        .open(&note)
        .unwrap();
    (opened.head.seq().0, opened.cosigned.len())
}

#[tokio::test]
async fn a_ledger_that_grows_is_cosigned_and_verifies_against_it() {
    let watched = Watched::new();
    let node = watched.ledger.up().await;
    // Straight from the node, from a file, and once more the same.
    let first = watched.signs("first", &[]);
    grow(&node, "a").await;
    let head = watched.head("head");
    let second = watched.signs("second", &[show(&head)]);
    let again = watched.signs("again", &[show(&head)]);
    let (seq, cosigned) = opened(&watched, &second);
    assert_eq!((opened(&watched, &again), cosigned), ((seq, 1), 1));
    assert!(opened(&watched, &first).0 < seq);
    assert!(
        watched
            .remembered()
            .ends_with(&std::fs::read_to_string(&again).unwrap())
    );
    // By a proof, from wherever: nothing of the ledger is needed.
    grow(&node, "b").await;
    let (code, proof, said) = watched.run(&["prove", "--since", show(&again)]);
    assert_eq!(code, Some(0), "{said}");
    let proof = watched.keep("proof", &proof);
    let elsewhere = tempfile::tempdir().unwrap();
    let sign = std::process::Command::new(crate::support::LEDGER)
        .args(["--data-dir", show(elsewhere.path()), "witness", "sign"])
        .args(["--state", show(&watched.state), "--proof", show(&proof)])
        .output()
        .unwrap();
    assert!(sign.status.success(), "{sign:?}");
    let third = watched.keep("third", &text(&sign.stdout));
    assert!(opened(&watched, &third).0 > seq);
    node.stop_well();
    // From the files.
    let fourth = watched.signs("fourth", &[]);
    let mut arguments = vec!["verify", "--witness", &watched.vkey, "--quorum", "1"];
    for head in [&first, &second, &third, &fourth] {
        arguments.extend(["--against", show(head)]);
    }
    let (code, said, error) = watched.run(&arguments);
    assert_eq!(code, Some(0), "{said}{error}");
    assert_eq!(
        said.matches(", cosigned by witness.example/w1 at ").count(),
        4,
        "{said}"
    );
}

#[tokio::test]
async fn what_contradicts_what_was_signed_is_refused() {
    let watched = Watched::new();
    let ledger = &watched.ledger;
    let node = ledger.up().await;
    let small = watched.head("small");
    grow(&node, "a").await;
    node.stop_well();
    let before = ledger.path("before");
    copy(&ledger.dir, &before);
    let node = ledger.up().await;
    grow(&node, "b").await;
    let signed = watched.signs("signed", &[]);
    let size = opened(&watched, &signed).0;
    watched.refuses(4, "was cosigned before", &[show(&small)]);
    node.stop_well();

    // Rolled back, and grown into something else: smaller, and then larger.
    std::fs::rename(&ledger.dir, ledger.path("true")).unwrap();
    std::fs::rename(&before, &ledger.dir).unwrap();
    watched.refuses(4, "was cosigned before", &[]);
    let node = ledger.up().await;
    for n in 0..5 {
        grow(&node, &format!("c{n}")).await;
    }
    watched.refuses(4, "only grown", &[]);
    let forked = watched.head("forked");
    assert!(opened_size(&forked) > size);
    node.stop_well();
    watched.refuses(4, "only grown", &[]);
    // A proof between two other heads shows nothing about the one that was signed.
    let (code, proof, said) = watched.run(&["prove", "--since", show(&small)]);
    assert_eq!(code, Some(0), "{said}");
    let proof = watched.keep("proof", &proof);
    watched.refuses(4, "only grown", &["--proof", show(&proof)]);

    // Another ledger in its place, and one beside it.
    std::fs::rename(&ledger.dir, ledger.path("false")).unwrap();
    assert!(ledger.cli(&["init"]).status.success());
    watched.refuses(
        4,
        "it is not a head of the log that this witness watches",
        &[],
    );
    // The true one goes on as if nothing had been.
    std::fs::rename(&ledger.dir, ledger.path("other")).unwrap();
    std::fs::rename(ledger.path("true"), &ledger.dir).unwrap();
    watched.signs("later", &[]);
}

fn opened_size(note: &Path) -> u64 {
    let text = std::fs::read_to_string(note).unwrap();
    text.lines().nth(1).unwrap().parse().unwrap()
}

#[test]
fn a_witness_is_made_once_and_forgets_nothing() {
    let watched = Watched::new();
    let mode = |path: &Path| {
        use std::os::unix::fs::PermissionsExt;
        std::fs::metadata(path).unwrap().permissions().mode() & 0o777
    };
    let key = watched.ledger.path("w1.key");
    assert_eq!(mode(&key), 0o600);
    let init = |name: &str, state: &Path, key: &Path| {
        let (state, key) = (show(state), show(key));
        watched.run(&["witness", "init", name, "--state", state, "--key", key])
    };
    let name = "witness.example/w1";
    let (code, _, said) = init(name, &watched.state, &key);
    assert_eq!(code, Some(8), "{said}");
    // A second state under the same key is for another ledger; under another's name it is a mistake.
    let other = watched.ledger.path("w2.state");
    let (code, _, said) = init("witness.example/w2", &other, &key);
    assert_eq!(code, Some(8), "{said}");
    let (code, vkey, said) = init(name, &other, &key);
    assert_eq!(
        (code, vkey.trim_end()),
        (Some(0), watched.vkey.as_str()),
        "{said}"
    );
    let (code, _, said) = watched.run(&["witness", "init", "a+b", "--state", "x"]);
    assert_eq!(code, Some(2), "{said}");

    let first = watched.signs("first", &[]);
    let good = watched.remembered();
    // Changed, cut, of another: never signed from. Gone: never begun anew.
    let size = format!("\n{}\n", opened_size(&first));
    for bad in [
        good.replace(&size, "\n2\n"),
        good[..good.len() - 10].to_owned(),
        good.replacen("log ", "log x", 1),
        String::new(),
        "\u{0}".to_owned(),
    ] {
        std::fs::write(&watched.state, &bad).unwrap();
        watched.refuses(3, "does not hold a witness's state", &[]);
    }
    std::fs::remove_file(&watched.state).unwrap();
    let (code, _, said) = watched.sign(&[]);
    assert_eq!(code, Some(7), "{said}");
    assert!(!watched.state.exists());
    std::fs::write(&watched.state, &good).unwrap();
    // What was left behind by one that was interrupted is in nobody's way.
    std::fs::write(watched.ledger.path("w1.state.new"), "half").unwrap();
    watched.signs("again", &[]);
    assert!(!watched.ledger.path("w1.state.new").exists());

    // Another witness's key.
    let stranger = watched.ledger.path("w3.key");
    let state = watched.ledger.path("w3.state");
    assert_eq!(init("witness.example/w3", &state, &stranger).0, Some(0));
    watched.refuses(6, "the key is of", &["--key", show(&stranger)]);
    std::fs::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    watched.refuses(6, "has mode 0644", &[]);
}

#[test]
fn files_that_are_no_heads_or_proofs_are_mistakes() {
    let watched = Watched::new();
    let nothing = watched.keep("nothing", "nothing\n");
    watched.refuses(2, "does not hold a signed head", &[show(&nothing)]);
    watched.refuses(
        2,
        "does not hold a consistency proof",
        &["--proof", show(&nothing)],
    );
    watched.refuses(7, "can't be read", &["/nowhere/head"]);
    let head = watched.head("head");
    watched.refuses(
        2,
        "does not hold a consistency proof",
        &["--proof", show(&head)],
    );
}

#[tokio::test]
async fn cosignatures_of_many_witnesses_come_together() {
    let watched = Watched::new();
    let second = watched.ledger.path("w2.state");
    let (code, vkey, said) = watched.run(&[
        "witness",
        "init",
        "witness.example/w2",
        "--state",
        show(&second),
    ]);
    assert_eq!(code, Some(0), "{said}");
    let first = watched.signs("first", &[]);
    let (code, both, said) =
        watched.run(&["witness", "sign", show(&first), "--state", show(&second)]);
    assert_eq!(code, Some(0), "{said}");
    let both = watched.keep("both", &both);
    let (code, said, error) = watched.run(&[
        "--json",
        "verify",
        "--against",
        show(&both),
        "--witness",
        vkey.trim_end(),
        "--witness",
        &watched.vkey,
        "--quorum",
        "2",
    ]);
    assert_eq!(code, Some(0), "{said}{error}");
    let shown: serde_json::Value = serde_json::from_str(&said).unwrap();
    let cosigned = shown["anchored"]["heads"][0]["cosigned"]
        .as_array()
        .unwrap();
    let names: Vec<_> = cosigned
        .iter()
        .map(|by| by["witness"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["witness.example/w2", "witness.example/w1"]);
}

#[tokio::test]
async fn the_last_head_is_kept_in_a_file_and_in_the_state() {
    let watched = Watched::new();
    let node = watched.ledger.up().await;
    let (code, _, said) = watched.run(&["witness", "head", "--state", show(&watched.state)]);
    assert_eq!(code, Some(7), "{said}");
    let head = watched.head("head");
    let last = watched.ledger.path("last");
    let (code, told, said) = watched.sign(&[show(&head), "--out", show(&last)]);
    assert_eq!(code, Some(0), "{said}");
    assert!(told.contains("is cosigned, in "), "{told}");
    let first = std::fs::read_to_string(&last).unwrap();
    // A refusal leaves the file as it was.
    let proof = watched.keep("proof", "nothing");
    watched.refuses(2, "proof", &["--proof", show(&proof), "--out", show(&last)]);
    assert_eq!(std::fs::read_to_string(&last).unwrap(), first);
    grow(&node, "a").await;
    let (code, proof, said) = watched.run(&["prove", "--since", show(&last)]);
    assert_eq!(code, Some(0), "{said}");
    let proof = watched.keep("proof", &proof);
    let (code, _, said) = watched.sign(&["--proof", show(&proof), "--out", show(&last)]);
    assert_eq!(code, Some(0), "{said}");
    let (code, again, _) = watched.run(&["witness", "head", "--state", show(&watched.state)]);
    assert_eq!(code, Some(0));
    assert_eq!(again, std::fs::read_to_string(&last).unwrap());
    assert_ne!(again, first);
    node.stop_well();
}
