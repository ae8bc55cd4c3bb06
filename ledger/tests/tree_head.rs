//! Heads, notes and keys: what is printed reads back, nothing else does, and a head is believed
//! only with the right signatures under it.

#![allow(clippy::unwrap_used, reason = "a helper of a test fails the test")]

mod common;

use common::heads::{LEDGER, Ledger, ledger_key, trust, witness_key};
use ledger_core::hash::Hash;
use ledger_core::ids::{LedgerId, Seq, Uuid};
use ledger_core::merkle::{TreeHash, TreeRoot, TreeSize};
use ledger_core::time::Timestamp;
use ledger_core::tree_head::{
    Checkpoint, CheckpointError, KeyName, MAX_CHECKPOINT, MAX_NOTE, MAX_SIGNATURES, NoteError,
    SignedNote, SignerKey, TreeHead, TreeHeadError, Trust, TrustError, UnixSeconds, VerifierKey,
};
use proptest::prelude::*;

const NOW: UnixSeconds = UnixSeconds(1_767_225_600);

fn head() -> TreeHead {
    TreeHead {
        ledger: LEDGER,
        tree: TreeRoot {
            size: TreeSize(42),
            hash: TreeHash([0xab; 32]),
        },
        chain: Hash([0xcd; 32]),
    }
}

fn checkpoint(text: &str) -> Result<TreeHead, TreeHeadError> {
    TreeHead::of_checkpoint(&Checkpoint::parse(text).unwrap())
}

#[test]
fn a_head_has_five_lines_and_a_signature() {
    let note = head().sign(&ledger_key()).to_string();
    let lines: Vec<&str> = note.lines().collect();
    assert_eq!(
        lines[..5],
        [
            "opsledger/01980000-0000-7000-8000-000000000001",
            "42",
            "q6urq6urq6urq6urq6urq6urq6urq6urq6urq6urq6s=",
            &format!("chain {}", "cd".repeat(32)),
            "",
        ]
    );
    assert!(lines[5].starts_with("— opsledger/01980000-0000-7000-8000-000000000001 "));
    assert_eq!(lines.len(), 6);
    let read = SignedNote::parse(note.as_bytes()).unwrap();
    let trusted = trust().open(&read).unwrap();
    assert_eq!(trusted.head, head());
    assert_eq!(trusted.head.seq(), Seq(42));
    assert_eq!(trusted.cosigned, []);
}

#[test]
fn every_changed_bit_of_a_head_is_found() {
    let note = head().sign(&ledger_key()).to_string().into_bytes();
    for at in 0..note.len() {
        for bit in 0..8 {
            let mut bad = note.clone();
            bad[at] ^= 1 << bit;
            let opened = SignedNote::parse(&bad).ok().map(|bad| trust().open(&bad));
            assert!(!matches!(opened, Some(Ok(_))), "byte {at}, bit {bit}");
        }
    }
    for cut in 0..note.len() {
        assert!(SignedNote::parse(&note[..cut]).is_err(), "{cut}");
    }
}

#[test]
fn other_lines_may_follow_but_the_chain_has_one() {
    let text = head().checkpoint().to_string();
    assert_eq!(checkpoint(&text), Ok(head()));
    assert_eq!(checkpoint(&format!("{text}later yes\n")), Ok(head()));
    let chain = text.lines().nth(3).unwrap();
    for bad in [
        text.replace(&format!("{chain}\n"), ""),
        format!("{text}{chain}\n"),
        text.replace("chain cd", "chain CD"),
        text.replace("chain cd", "chain c"),
        text.replace("chain ", "chain  "),
        text.replace("chain ", "Chain "),
    ] {
        assert_eq!(checkpoint(&bad), Err(TreeHeadError::Chain), "{bad}");
    }
    for bad in [
        "opsledger/",
        "opsledger/01980000000070008000000000000001",
        "opsledger/01980000-0000-7000-8000-00000000000A",
        "opsledger/{01980000-0000-7000-8000-000000000001}",
        "opsledger/01980000-0000-7000-8000-000000000001/x",
        "Opsledger/01980000-0000-7000-8000-000000000001",
        "example.com/log",
    ] {
        let text = text.replace("opsledger/01980000-0000-7000-8000-000000000001", bad);
        let origin = Err(TreeHeadError::Origin(bad.to_owned()));
        assert_eq!(checkpoint(&text), origin, "{bad}");
    }
}

#[test]
fn a_checkpoint_is_told_from_what_is_none() {
    let root = TreeHash([0; 32]);
    let line = |n| Err(CheckpointError::Line(n));
    for (text, expected) in [
        (String::new(), line(1)),
        ("a".to_owned(), line(1)),
        ("a\n".to_owned(), line(2)),
        ("a\n1\n".to_owned(), line(3)),
        (format!("a\n1\n{root}"), line(3)),
        (format!("\n1\n{root}\n"), line(1)),
        (format!("a\n1\n{root}\n\n"), line(4)),
        (format!("a\n1\n{root}\nb\n\nc\n"), line(5)),
        (
            format!("a\r\n1\n{root}\n"),
            Err(CheckpointError::Control(1)),
        ),
        (
            format!("a\n1\n{root}\nb\u{7f}\n"),
            Err(CheckpointError::Control(4)),
        ),
        (format!("a\n01\n{root}\n"), Err(CheckpointError::Size)),
        (format!("a\n+1\n{root}\n"), Err(CheckpointError::Size)),
        (format!("a\n-1\n{root}\n"), Err(CheckpointError::Size)),
        (format!("a\n 1\n{root}\n"), Err(CheckpointError::Size)),
        (
            format!("a\n9223372036854775808\n{root}\n"),
            Err(CheckpointError::Size),
        ),
        (
            format!("a\n99999999999999999999\n{root}\n"),
            Err(CheckpointError::Size),
        ),
        ("a\n1\nAA==\n".to_owned(), Err(CheckpointError::Root)),
        (format!("a\n1\n{root}=\n"), Err(CheckpointError::Root)),
    ] {
        assert_eq!(Checkpoint::parse(&text), expected, "{text:?}");
    }
    let largest = format!("a\n9223372036854775807\n{root}\n");
    assert_eq!(Checkpoint::parse(&largest).unwrap().to_string(), largest);
    let long = format!("a\n1\n{root}\n{}\n", "b".repeat(MAX_CHECKPOINT));
    assert_eq!(
        Checkpoint::parse(&long),
        Err(CheckpointError::Long(long.len()))
    );
    let tree = TreeRoot {
        size: TreeSize(1),
        hash: root,
    };
    let new = |origin: &str, line: &str| Checkpoint::new(origin.into(), tree, vec![line.into()]);
    assert!(new("a", "b").is_ok());
    assert_eq!(new("", "b"), Err(CheckpointError::Line(1)));
    assert_eq!(new("a", ""), Err(CheckpointError::Line(4)));
    assert_eq!(new("a\nb", "c"), Err(CheckpointError::Control(1)));
    let long = new("a", &"b".repeat(MAX_CHECKPOINT));
    assert!(matches!(long, Err(CheckpointError::Long(_))));
}

#[test]
fn a_note_is_told_from_what_is_none() {
    let good = "text\n\n— a AAAAAAA=\n";
    assert_eq!(
        SignedNote::parse(good.as_bytes()).unwrap().to_string(),
        good
    );
    let signature = NoteError::Signature(1);
    for (text, expected) in [
        ("", NoteError::Form),
        ("text\n", NoteError::Form),
        ("text\n\n", NoteError::Form),
        ("\n\n— a AAAAAAA=\n", NoteError::Form),
        ("text\n\n— a AAAAAAA=", NoteError::Form),
        ("text\n\n— a AAAAAAA=\n\n", NoteError::Form),
        ("text\r\n\n— a AAAAAAA=\n", NoteError::Text),
        ("te\u{85}xt\n\n— a AAAAAAA=\n", NoteError::Text),
        ("text\n\n\n", NoteError::Form),
        ("text\n\n- a AAAAAAA=\n", signature),
        ("text\n\n—  AAAAAAA=\n", signature),
        ("text\n\n— a\n", signature),
        ("text\n\n— a+b AAAAAAA=\n", signature),
        ("text\n\n— a\u{a0}b AAAAAAA=\n", signature),
        ("text\n\n— a AAAAAAA\n", signature),
        ("text\n\n— a AAAAAAB=\n", signature),
        ("text\n\n— a AAAAAAA= \n", signature),
        ("text\n\n— a AAAAAA==\n", signature), // an id without a signature
        ("text\n\n— a AAAA\n", signature),
        ("text\n\n— a AAAAAAA=\nx\n", NoteError::Signature(2)),
    ] {
        assert_eq!(
            SignedNote::parse(text.as_bytes()),
            Err(expected),
            "{text:?}"
        );
    }
    assert_eq!(SignedNote::parse(b"te\xffxt\n\n"), Err(NoteError::Text));
    let long = vec![b'a'; MAX_NOTE + 1];
    assert_eq!(SignedNote::parse(&long), Err(NoteError::Long(MAX_NOTE + 1)));
    let line = "— a AAAAAAA=\n";
    let most = format!("text\n\n{}", line.repeat(MAX_SIGNATURES));
    assert!(SignedNote::parse(most.as_bytes()).is_ok());
    let more = SignedNote::parse(format!("{most}{line}").as_bytes());
    assert_eq!(more, Err(NoteError::Signatures));

    let new = |text: &str| SignedNote::new(text.into(), ledger_key().sign(text));
    assert!(new("a\n\nb\n").is_ok());
    for bad in ["", "\n", "a"] {
        assert_eq!(new(bad), Err(NoteError::Form), "{bad:?}");
    }
    assert_eq!(new("a\tb\n"), Err(NoteError::Text));
    let long = new(&format!("{}\n", "a".repeat(MAX_NOTE)));
    assert!(matches!(long, Err(NoteError::Long(_))));
}

#[test]
fn signatures_are_added_once_and_within_limits() {
    let mut note = head().sign(&ledger_key());
    let checkpoint = head().checkpoint();
    note.add(witness_key(1).cosign(&checkpoint, NOW)).unwrap();
    let later = UnixSeconds(NOW.0 + 60);
    note.add(witness_key(1).cosign(&checkpoint, later)).unwrap();
    assert_eq!(note.signatures().len(), 2);
    assert_eq!(note.signatures()[1].bytes()[..8], later.0.to_be_bytes());
    for number in 2..MAX_SIGNATURES as u8 {
        note.add(witness_key(number).cosign(&checkpoint, NOW))
            .unwrap();
    }
    let before = note.clone();
    let one_more = note.add(witness_key(99).cosign(&checkpoint, NOW));
    assert_eq!(one_more, Err(NoteError::Signatures));
    assert_eq!(note, before);
    assert_eq!(SignedNote::parse(note.to_string().as_bytes()), Ok(note));
}

#[test]
fn a_head_is_believed_only_from_its_own_key() {
    let note = head().sign(&ledger_key());
    let other = SignerKey::from_seed(TreeHead::key_name(LEDGER), &[8; 32]);
    let unsigned = TrustError::Unsigned {
        named: ledger_key().name().to_string(),
    };
    let stranger = Trust::in_log(other.verifier()).unwrap();
    assert_eq!(stranger.open(&note), Err(unsigned));
    // A stranger's signature beside the right one does no harm.
    let mut both = note.clone();
    both.add(other.sign(note.text())).unwrap();
    assert!(trust().open(&both).is_ok());

    // The key of one ledger says nothing of another.
    let elsewhere = LedgerId(Uuid::from_u128(9));
    let second = SignerKey::from_seed(TreeHead::key_name(elsewhere), &[9; 32]);
    let trust = Trust::new(vec![ledger_key().verifier(), second.verifier()], vec![], 0).unwrap();
    let origin = TrustError::Origin {
        signed: second.name().clone(),
        origin: TreeHead::origin(LEDGER),
    };
    assert_eq!(trust.open(&head().sign(&second)), Err(origin));
    let mut both = head().sign(&second);
    both.add(ledger_key().sign(note.text())).unwrap();
    assert!(trust.open(&both).is_ok());

    // A signature that names a known key and is not by it spoils the note.
    let name = ledger_key().name().clone();
    let forged = note.to_string().replace("\n42\n", "\n43\n");
    let forged = SignedNote::parse(forged.as_bytes()).unwrap();
    assert_eq!(trust.open(&forged), Err(TrustError::Forged(name)));

    // What is signed must be a head.
    let sign = |text: &str| SignedNote::new(text.into(), ledger_key().sign(text)).unwrap();
    let found = trust.open(&sign("no checkpoint\n"));
    assert_eq!(found, Err(CheckpointError::Line(2).into()));
    let text = note.text().replace("chain", "change");
    let found = trust.open(&sign(&text));
    assert_eq!(found, Err(TreeHeadError::Chain.into()));
}

#[test]
fn witnesses_are_counted_by_their_keys() {
    let witness = |n| witness_key(n).witness_verifier();
    let log = ledger_key().verifier();
    let trust = |keys: &[VerifierKey], quorum| Trust::new(vec![log.clone()], keys.to_vec(), quorum);
    let two_of_three = trust(&[witness(1), witness(2), witness(3)], 2).unwrap();
    let checkpoint = head().checkpoint();
    let mut note = head().sign(&ledger_key());
    let needed = |found| Err(TrustError::Witnesses { needed: 2, found });
    assert_eq!(two_of_three.open(&note), needed(0));
    note.add(witness_key(3).cosign(&checkpoint, NOW)).unwrap();
    note.add(witness_key(4).cosign(&checkpoint, NOW)).unwrap();
    assert_eq!(two_of_three.open(&note), needed(1));
    let later = UnixSeconds(NOW.0 + 1);
    note.add(witness_key(1).cosign(&checkpoint, later)).unwrap();
    let trusted = two_of_three.open(&note).unwrap();
    let cosigned: Vec<_> = trusted
        .cosigned
        .iter()
        .map(|by| (by.witness.as_str(), by.at))
        .collect();
    assert_eq!(
        cosigned,
        [("witness.example/1", later), ("witness.example/3", NOW)]
    );

    // A cosignature of another head, or with another time on it.
    let mut other = head();
    other.tree.size = TreeSize(41);
    let mut bad = head().sign(&ledger_key());
    bad.add(witness_key(1).cosign(&other.checkpoint(), NOW))
        .unwrap();
    let name = witness(1).name().clone();
    assert_eq!(
        two_of_three.open(&bad),
        Err(TrustError::Forged(name.clone()))
    );
    // An ordinary signature by a witness's key is no cosignature, and names another key.
    let mut plain = head().sign(&ledger_key());
    plain.add(witness_key(1).sign(note.text())).unwrap();
    assert_eq!(two_of_three.open(&plain), needed(0));

    // One key is one witness, under however many names.
    let twin = witness_key(1).named(KeyName::new("twin").unwrap());
    let known = Err(TrustError::Quorum {
        quorum: 2,
        known: 1,
    });
    assert_eq!(trust(&[witness(1), twin.witness_verifier()], 2), known);
    let kind = Err(TrustError::Kind(log.name().clone()));
    assert_eq!(trust(std::slice::from_ref(&log), 0), kind);
    assert_eq!(Trust::in_log(witness(1)), Err(TrustError::Kind(name)));
}

#[test]
fn cosignatures_count_whole_seconds() {
    assert_eq!(UnixSeconds::from(Timestamp(1_999_999)), UnixSeconds(1));
    let huge = witness_key(1).cosign(&head().checkpoint(), UnixSeconds(u64::MAX));
    assert_eq!(huge.bytes()[..8], UnixSeconds::MAX.0.to_be_bytes());
}

/// Lines as checkpoints have them, whatever is in them.
fn line() -> impl Strategy<Value = String> {
    "[^\\p{Cc}]{1,40}"
}

prop_compose! {
    fn any_checkpoint()(
        origin in line(),
        size in 0..=TreeSize::MAX.0,
        root in any::<[u8; 32]>(),
        extensions in prop::collection::vec(line(), 0..4),
    ) -> Checkpoint {
        let tree = TreeRoot { size: TreeSize(size), hash: TreeHash(root) };
        Checkpoint::new(origin, tree, extensions).unwrap()
    }
}

fn any_name() -> impl Strategy<Value = KeyName> {
    "[^\\p{Cc}\\s+]{1,30}".prop_filter_map("a name", |name| KeyName::new(&name).ok())
}

proptest! {
    #[test]
    fn what_is_printed_reads_back(
        checkpoint in any_checkpoint(),
        names in prop::collection::vec((any_name(), any::<[u8; 32]>()), 1..5),
        time in any::<u64>(),
    ) {
        let text = checkpoint.to_string();
        prop_assert_eq!(Checkpoint::parse(&text), Ok(checkpoint.clone()));
        let keys = names.into_iter().map(|(name, seed)| SignerKey::from_seed(name, &seed));
        let keys: Vec<SignerKey> = keys.collect();
        let mut note = SignedNote::new(text.clone(), keys[0].sign(&text)).unwrap();
        for key in &keys {
            note.add(key.cosign(&checkpoint, UnixSeconds(time))).unwrap();
            let verifier = key.witness_verifier();
            prop_assert_eq!(verifier.to_string().parse(), Ok(verifier));
            let again = SignerKey::parse(&key.to_text()).unwrap();
            prop_assert_eq!(again.to_text(), key.to_text());
        }
        prop_assert_eq!(SignedNote::parse(note.to_string().as_bytes()), Ok(note));
    }

    #[test]
    fn any_bytes_are_refused_or_read_as_they_are(
        bytes in prop::collection::vec(any::<u8>(), 0..300),
        at in any::<prop::sample::Index>(),
        text in "[a-zA-Z0-9+/= \n—]{0,80}",
    ) {
        let mut note = Ledger::of(1).signed(1).to_string().into_bytes();
        let range = at.index(note.len());
        note.splice(range..(range + bytes.len() / 8).min(note.len()), bytes.iter().copied());
        let with_text = format!("text\n\n— {text}\n").into_bytes();
        for bytes in [bytes, note, text.clone().into_bytes(), with_text] {
            if let Ok(note) = SignedNote::parse(&bytes) {
                prop_assert_eq!(note.to_string().into_bytes(), bytes.clone());
                let _ = trust().open(&note);
            }
            if let Ok(text) = str::from_utf8(&bytes) {
                if let Ok(checkpoint) = Checkpoint::parse(text) {
                    prop_assert_eq!(checkpoint.to_string(), text);
                    let _ = TreeHead::of_checkpoint(&checkpoint);
                }
                if let Ok(key) = text.parse::<VerifierKey>() {
                    prop_assert_eq!(key.to_string(), text);
                }
                let _ = SignerKey::parse(text);
            }
        }
    }
}
