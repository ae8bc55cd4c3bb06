//! Proof files: what is printed reads back and convinces, and nothing that was changed does.

#![allow(clippy::unwrap_used, reason = "a helper of a test fails the test")]

mod common;

use common::heads::{LEDGER, Ledger, ledger_event, ledger_key, trust, witness_key};
use common::tree::leaf;
use ledger_core::codec::MAX_EVENT;
use ledger_core::hash::Hash;
use ledger_core::ids::{LedgerId, Seq, Uuid};
use ledger_core::merkle::{ProofFault, TreeHash, consistency, inclusion};
use ledger_core::proof::{
    ConsistencyProof, InclusionProof, MAX_HASHES, MAX_PROOF, Proof, ProofError, ProofTextError,
};
use ledger_core::tree_head::{
    NoteError, SignedNote, SignerKey, TreeHead, Trust, TrustError, UnixSeconds,
};
use proptest::prelude::*;

#[test]
fn every_event_of_a_ledger_is_proven_by_a_file() {
    let ledger = Ledger::of(300);
    for seq in (1..40).chain([255, 256, 257, 300]) {
        let text = ledger.inclusion(seq, 300).to_string();
        let read = InclusionProof::parse(text.as_bytes()).unwrap();
        let proven = read.check(&trust()).unwrap();
        assert_eq!(proven.event.header.seq, Seq(seq as u64));
        assert_eq!(proven.event.data, format!("{{\"n\":{seq}}}"));
        assert_eq!(proven.head.head, ledger.head(300));
        assert_eq!(read.seq(), Seq(seq as u64));
        assert_eq!(Proof::parse(text.as_bytes()), Ok(Proof::Inclusion(read)));
    }
}

#[test]
fn growth_is_proven_by_a_file() {
    let ledger = Ledger::of(300);
    for (old, new) in [
        (1, 1),
        (1, 300),
        (128, 256),
        (255, 257),
        (299, 300),
        (300, 300),
    ] {
        let text = ledger.consistency(old, new).to_string();
        let read = ConsistencyProof::parse(text.as_bytes()).unwrap();
        let proven = read.check(&trust()).unwrap();
        assert_eq!(proven.old.head, ledger.head(old));
        assert_eq!(proven.new.head, ledger.head(new));
        assert_eq!(*read.old(), ledger.signed(old));
        assert_eq!(*read.new_head(), ledger.signed(new));
        assert_eq!(Proof::parse(text.as_bytes()), Ok(Proof::Consistency(read)));
    }
}

#[test]
fn every_changed_byte_of_a_file_is_found() {
    let ledger = Ledger::of(300);
    for text in [
        ledger.inclusion(42, 300).to_string(),
        ledger.consistency(100, 300).to_string(),
    ] {
        let check = |bytes: &[u8]| match Proof::parse(bytes) {
            Ok(Proof::Inclusion(proof)) => proof.check(&trust()).is_ok(),
            Ok(Proof::Consistency(proof)) => proof.check(&trust()).is_ok(),
            Err(_) => false,
        };
        assert!(check(text.as_bytes()));
        for at in 0..text.len() {
            for bit in 0..8 {
                let mut bad = text.clone().into_bytes();
                bad[at] ^= 1 << bit;
                assert!(!check(&bad), "byte {at}, bit {bit} of {text}");
            }
            assert!(!check(&text.as_bytes()[..at]), "cut at {at}");
        }
        assert!(!check(format!("{text}\n").as_bytes()));
        assert!(!check(format!("{text}{text}").as_bytes()));
    }
}

#[test]
fn a_proof_without_its_event_takes_it_from_elsewhere() {
    let ledger = Ledger::of(20);
    let hashes = inclusion(&ledger.tree, leaf(6), ledger.head(20).tree.size).unwrap();
    let proof = InclusionProof::new(leaf(6), hashes.clone(), None, ledger.signed(20)).unwrap();
    assert!(!proof.to_string().contains("extra"));
    let proof = InclusionProof::parse(proof.to_string().as_bytes()).unwrap();
    assert_eq!(proof.check(&trust()).unwrap_err(), ProofError::NoEvent);
    assert!(proof.check_event(&ledger_event(7), &trust()).is_ok());
    let other = ledger_event(8);
    let found = proof.check_event(&other, &trust());
    assert_eq!(found.unwrap_err(), ProofError::Fault(ProofFault::Root));
    // A proof believes neither its own event nor its own index.
    let lie =
        |index, event| InclusionProof::new(leaf(index), hashes.clone(), event, ledger.signed(20));
    let found = lie(6, Some(ledger_event(8))).unwrap();
    assert_eq!(
        found.check(&trust()).unwrap_err(),
        ProofError::Fault(ProofFault::Root)
    );
    let found = lie(7, Some(ledger_event(7))).unwrap();
    assert_eq!(
        found.check(&trust()).unwrap_err(),
        ProofError::Fault(ProofFault::Root)
    );
}

#[test]
fn what_is_in_the_tree_must_be_the_event_of_its_place() {
    // A ledger that was made wrong: its signer put other things into the tree.
    let mut wrong = Ledger::of(3);
    wrong
        .tree
        .append(vec![b"no event".to_vec(), ledger_event(9)]);
    wrong.chain.extend([Hash::ZERO; 2]);
    let found = wrong.inclusion(4, 5);
    assert!(matches!(found.check(&trust()), Err(ProofError::Event(_))));
    let seq = ProofError::Seq {
        says: Seq(9),
        proven: Seq(5),
    };
    assert_eq!(wrong.inclusion(5, 5).check(&trust()).unwrap_err(), seq);
}

#[test]
fn heads_are_not_believed_for_nothing() {
    let ledger = Ledger::of(10);
    let stranger = SignerKey::from_seed(ledger_key().name().clone(), &[8; 32]);
    let stranger = Trust::in_log(stranger.verifier()).unwrap();
    let found = ledger.inclusion(3, 10).check(&stranger).unwrap_err();
    assert!(matches!(
        found,
        ProofError::Trust(TrustError::Unsigned { .. })
    ));
    let found = ledger.consistency(3, 10).check(&stranger).unwrap_err();
    assert!(matches!(
        found,
        ProofError::Trust(TrustError::Unsigned { .. })
    ));

    let witness = witness_key(1);
    let keys = vec![ledger_key().verifier()];
    let witnessed = Trust::new(keys, vec![witness.witness_verifier()], 1).unwrap();
    let mut head = ledger.signed(10);
    let hashes = inclusion(&ledger.tree, leaf(2), ledger.head(10).tree.size).unwrap();
    let proof = |head: &SignedNote| {
        InclusionProof::new(leaf(2), hashes.clone(), Some(ledger_event(3)), head.clone()).unwrap()
    };
    let found = proof(&head).check(&witnessed).unwrap_err();
    assert!(matches!(
        found,
        ProofError::Trust(TrustError::Witnesses { .. })
    ));
    let checkpoint = ledger.head(10).checkpoint();
    head.add(witness.cosign(&checkpoint, UnixSeconds(5)))
        .unwrap();
    let proof = proof(&head);
    assert_eq!(proof.check(&witnessed).unwrap().head.cosigned.len(), 1);
    assert_eq!(*proof.head(), head);
}

#[test]
fn two_histories_are_not_one() {
    let ledger = Ledger::of(20);
    let mut forked = Ledger::of(9);
    forked.tree.append((30..41).map(ledger_event).collect());
    forked.chain.extend([Hash::ZERO; 11]);
    // The fork's head with the true proof, and with its own.
    let sizes = (ledger.head(10).tree.size, ledger.head(20).tree.size);
    for source in [&ledger.tree, &forked.tree] {
        let hashes = consistency(source, sizes.0, sizes.1).unwrap();
        let proof = ConsistencyProof::new(hashes, ledger.signed(10), forked.signed(20)).unwrap();
        assert!(matches!(proof.check(&trust()), Err(ProofError::Fault(_))));
    }
    let proof = ConsistencyProof::new(vec![], ledger.signed(20), forked.signed(20)).unwrap();
    let forked = ProofFault::Forked(sizes.1);
    assert_eq!(proof.check(&trust()), Err(ProofError::Fault(forked)));
    // Backwards in time.
    let hashes = consistency(&ledger.tree, sizes.0, sizes.1).unwrap();
    let proof = ConsistencyProof::new(hashes, ledger.signed(20), ledger.signed(10)).unwrap();
    let shrunk = ProofFault::Shrunk {
        old: sizes.1,
        new: sizes.0,
    };
    assert_eq!(proof.check(&trust()), Err(ProofError::Fault(shrunk)));
    // One tree, two chains.
    let mut other = ledger.head(20);
    other.chain = Hash::ZERO;
    let proof = ConsistencyProof::new(vec![], ledger.signed(20), other.sign(&ledger_key()));
    assert_eq!(proof.unwrap().check(&trust()), Err(ProofError::Chains));
    // Two ledgers with the same tree.
    let id = LedgerId(Uuid::from_u128(5));
    let key = SignerKey::from_seed(TreeHead::key_name(id), &[5; 32]);
    let elsewhere = TreeHead {
        ledger: id,
        ..ledger.head(20)
    };
    let both = Trust::new(vec![key.verifier(), ledger_key().verifier()], vec![], 0).unwrap();
    let proof = ConsistencyProof::new(vec![], ledger.signed(20), elsewhere.sign(&key)).unwrap();
    assert_eq!(proof.check(&both), Err(ProofError::Ledgers));
    assert_ne!(id, LEDGER);
}

#[test]
fn what_is_no_proof_is_told_apart() {
    let head = Ledger::of(1).signed(1).to_string();
    let hash = TreeHash([0; 32]);
    let proof = |text: &str| Proof::parse(text.as_bytes()).map(|_| ());
    let inclusion = |rest: &str| proof(&format!("c2sp.org/tlog-proof@v1\n{rest}"));
    let line = |n| Err(ProofTextError::Line(n));
    assert_eq!(inclusion(&format!("index 0\n\n{head}")), Ok(()));
    for (rest, expected) in [
        (String::new(), line(2)),
        ("index 0".to_owned(), line(2)),
        ("index 0\n".to_owned(), line(3)),
        (format!("index 0\n{hash}\n"), line(4)),
        (format!("index 0\n{hash}=\n\n{head}"), line(3)),
        (format!("index 0\nAA==\n\n{head}"), line(3)),
        (format!("index 01\n\n{head}"), line(2)),
        (format!("index -1\n\n{head}"), line(2)),
        (format!("index 9223372036854775807\n\n{head}"), line(2)),
        (format!("Index 0\n\n{head}"), line(2)),
        (format!("index 0 \n\n{head}"), line(2)),
        (format!("extra !\nindex 0\n\n{head}"), line(2)),
        (
            format!("extra AA==\nextra AA==\nindex 0\n\n{head}"),
            line(3),
        ),
        (format!("index 0\nextra AA==\n\n{head}"), line(3)),
        (
            format!("extra \nindex 0\n\n{head}"),
            Err(ProofTextError::Event(0)),
        ),
        ("index 0\n\n".to_owned(), Err(NoteError::Form.into())),
        (format!("index 0\n\n\n{head}"), Err(ProofTextError::Heads)),
        (format!("index 0\n\n{head}\n"), Err(NoteError::Form.into())),
    ] {
        assert_eq!(inclusion(&rest), expected, "{rest}");
    }
    let many = |n: usize| format!("index 0\n{}\n{head}", format!("{hash}\n").repeat(n));
    assert_eq!(inclusion(&many(MAX_HASHES)), Ok(()));
    assert_eq!(
        inclusion(&many(MAX_HASHES + 1)),
        Err(ProofTextError::Hashes)
    );

    let growth = |rest: &str| proof(&format!("opsledger/consistency-proof@v1\n{rest}"));
    assert_eq!(growth(&format!("\n{head}\n{head}")), Ok(()));
    for (rest, expected) in [
        (String::new(), line(2)),
        (format!("{hash}x\n\n{head}\n{head}"), line(2)),
        (format!("\n{head}"), Err(ProofTextError::Heads)),
        (
            format!("\n{head}{head}"),
            Err(NoteError::Signature(2).into()),
        ),
        (
            format!("\n{head}\n{head}\n{head}"),
            Err(ProofTextError::Heads),
        ),
        (format!("\n{head}\n\n{head}"), Err(ProofTextError::Heads)),
        (format!("\n\n{head}\n{head}"), Err(ProofTextError::Heads)),
        (format!("\n{head}\n{head}\n"), Err(NoteError::Form.into())),
    ] {
        assert_eq!(growth(&rest), expected, "{rest}");
    }
    for bad in [
        "",
        "\n",
        "c2sp.org/tlog-proof@v2\n",
        "c2sp.org/tlog-proof@v1\r\n",
        "x",
    ] {
        assert_eq!(proof(bad), Err(ProofTextError::Header), "{bad:?}");
    }
    assert_eq!(proof("c2sp.org/tlog-proof@v1"), Err(ProofTextError::Header));
    let not_text = Proof::parse(b"c2sp.org/tlog-proof@v1\n\xff").map(|_| ());
    assert_eq!(not_text, Err(ProofTextError::Text));
    let long = format!("c2sp.org/tlog-proof@v1\n{}", "x".repeat(MAX_PROOF));
    assert_eq!(proof(&long), Err(ProofTextError::Long(long.len())));
}

#[test]
fn nothing_is_made_that_would_not_read_back() {
    let head = Ledger::of(1).signed(1);
    let long = vec![TreeHash([0; 32]); MAX_HASHES + 1];
    let made = InclusionProof::new(leaf(0), long.clone(), None, head.clone());
    assert_eq!(made, Err(ProofTextError::Hashes));
    let made = ConsistencyProof::new(long, head.clone(), head.clone());
    assert_eq!(made, Err(ProofTextError::Hashes));
    let event = |len| InclusionProof::new(leaf(0), vec![], Some(vec![0; len]), head.clone());
    assert_eq!(event(0), Err(ProofTextError::Event(0)));
    assert_eq!(
        event(MAX_EVENT + 1),
        Err(ProofTextError::Event(MAX_EVENT + 1))
    );
    let largest = event(MAX_EVENT).unwrap();
    let read = InclusionProof::parse(largest.to_string().as_bytes());
    assert_eq!(read, Ok(largest));
    let text = "two\n\nparts\n".to_owned();
    let note = SignedNote::new(text.clone(), ledger_key().sign(&text)).unwrap();
    let made = InclusionProof::new(leaf(0), vec![], None, note.clone());
    assert_eq!(made, Err(ProofTextError::Heads));
    let made = ConsistencyProof::new(vec![], head, note);
    assert_eq!(made, Err(ProofTextError::Heads));
}

proptest! {
    #[test]
    fn any_bytes_are_refused_or_read_as_they_are(
        bytes in prop::collection::vec(any::<u8>(), 0..200),
        text in "[a-zA-Z0-9+/= \n—]{0,60}",
        at in any::<prop::sample::Index>(),
    ) {
        let ledger = Ledger::of(7);
        for proof in [ledger.inclusion(3, 7).to_string(), ledger.consistency(3, 7).to_string()] {
            for part in [&bytes, text.as_bytes()] {
                let mut bad = proof.clone().into_bytes();
                let from = at.index(bad.len());
                bad.splice(from..(from + part.len() / 4).min(bad.len()), part.iter().copied());
                match Proof::parse(&bad) {
                    Ok(read) => prop_assert_eq!(read.to_string().into_bytes(), bad),
                    Err(_) => prop_assert_ne!(bad, proof.clone().into_bytes()),
                }
                let _ = Proof::parse(part);
            }
        }
    }
}
