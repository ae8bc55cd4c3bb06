//! Keys in their text forms: what is printed reads back, nothing else does, and secrets stay so.

#![allow(clippy::unwrap_used, reason = "a helper of a test fails the test")]

mod common;

use common::heads::ledger_key;
use ledger_core::hash::Hash;
use ledger_core::tree_head::{
    KeyError, KeyName, MAX_KEY_NAME, SignatureKind, SignerKey, VerifierKey,
};

#[test]
fn keys_read_back_and_damaged_ones_do_not() {
    let key = ledger_key();
    let secret = key.to_text();
    let again = SignerKey::parse(&secret).unwrap();
    assert_eq!(*again.to_text(), *secret);
    assert_eq!(again.verifier(), key.verifier());
    for verifier in [key.verifier(), key.witness_verifier()] {
        let text = verifier.to_string();
        assert_eq!(text.parse(), Ok(verifier.clone()));
        for at in 0..text.len() {
            let mut bad = text.clone().into_bytes();
            bad[at] ^= 1;
            if let Ok(bad) = String::from_utf8(bad) {
                assert!(bad.parse::<VerifierKey>().is_err(), "{bad}");
            }
            assert!(text[..at].parse::<VerifierKey>().is_err());
        }
        assert!(format!("{text}\n").parse::<VerifierKey>().is_err());
    }
    for at in 0..secret.len() {
        let mut bad = secret.as_bytes().to_vec();
        bad[at] ^= 1;
        if let Ok(bad) = str::from_utf8(&bad) {
            assert!(SignerKey::parse(bad).is_err(), "{bad}");
        }
        assert!(SignerKey::parse(&secret[..at]).is_err());
    }
    assert_ne!(key.verifier().id(), key.witness_verifier().id());
    assert_eq!(key.verifier().kind(), SignatureKind::Note);
    let fingerprint = Hash::of(&key.verifier().public_key());
    assert_eq!(key.verifier().fingerprint(), fingerprint);
    let renamed = key.named(KeyName::new("other").unwrap());
    assert_eq!(renamed.verifier().fingerprint(), fingerprint);
    assert_ne!(renamed.verifier().id(), key.verifier().id());
    let new = |name: &str| SignerKey::generate(KeyName::new(name).unwrap()).unwrap();
    assert_ne!(*new("a").to_text(), *new("a").to_text());
}

#[test]
fn what_is_wrong_with_a_key_is_named() {
    for (text, expected) in [
        (
            "",
            KeyError::Form("it consists of a name, an id and content, with '+' between"),
        ),
        (
            "a+00000000+AQ==",
            KeyError::Form("its content is a byte for the kind and 32 more, in base64"),
        ),
        (
            "a+0000000+AQ==",
            KeyError::Form("its id is eight hex digits"),
        ),
        (
            "a+0000000g+AQ==",
            KeyError::Form("its id is eight hex digits"),
        ),
        ("a b+00000000+AQ==", KeyError::Name),
        ("+00000000+AQ==", KeyError::Name),
        ("a+00000000+Ag==", KeyError::Kind(2)),
        ("a+00000000+Bg==", KeyError::Kind(6)),
        // The identity, which anybody can sign for, and a point that is not on the curve.
        (
            "a+00000000+AQEAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
            KeyError::Content,
        ),
        (
            "a+00000000+AQIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
            KeyError::Content,
        ),
    ] {
        assert_eq!(text.parse::<VerifierKey>(), Err(expected), "{text}");
    }
    let text = ledger_key().verifier().to_string();
    let id = ledger_key().verifier().id().to_string();
    let found = text.replace(&id, "00000000").parse::<VerifierKey>();
    assert_eq!(found, Err(KeyError::Id));
    let upper = text.replace(&id, &id.to_uppercase());
    assert_ne!(upper, text);
    assert!(upper.parse::<VerifierKey>().is_err());
    for bad in ["", "a b", "a+b", "a\nb", "a\0b", "a\u{a0}b", "a\u{2003}b"] {
        assert_eq!(KeyName::new(bad), Err(KeyError::Name), "{bad:?}");
    }
    assert!(KeyName::new(&"a".repeat(MAX_KEY_NAME)).is_ok());
    assert!(KeyName::new(&"a".repeat(MAX_KEY_NAME + 1)).is_err());
}

#[test]
fn secrets_are_not_shown() {
    let key = ledger_key();
    let shown = format!("{key:?}");
    assert_eq!(shown, format!("SignerKey({})", key.name()));
}
