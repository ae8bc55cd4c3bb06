//! Texts: payloads, and what stands for trust.

use serde_json::Value;

use crate::codec::{MAX_DEPTH, minify_object};
use crate::proof::{ConsistencyProof, InclusionProof, Proof};
use crate::tree_head::{Checkpoint, SignedNote, SignerKey, TreeHead, Trust, VerifierKey};

/// The key of FORMAT.md's ledger, by which the heads among the seeds are signed.
pub(super) const VERIFIER: &str = "opsledger/01980000-0000-7000-8000-000000000001+81a86368+\
    AQOhB7/zzhC+HXDdGOdLwJln5NYwm6UNXx3chmQSVTG4";

/// A payload as an application sends it.
pub(super) fn payload(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let Ok(taken) = minify_object(text) else {
        return;
    };
    assert!(taken.len() <= text.len());
    assert!(taken.starts_with('{') && taken.ends_with('}'));
    let again = minify_object(&taken).map(|again| again == *taken);
    assert!(matches!(again, Ok(true)), "minified once and for all");
    let value = |text: &str| serde_json::from_str::<Value>(text);
    let (sent, kept) = (value(text), value(&taken));
    let sent = sent.unwrap_or_else(|e| panic!("it is not JSON: {e}"));
    assert_eq!(sent, kept.unwrap_or_default(), "it says the same");
    assert!(depth(&sent) <= MAX_DEPTH);
}

fn depth(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Value::Object(fields) => 1 + fields.values().map(depth).max().unwrap_or(0),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 0,
    }
}

/// Proofs, notes, checkpoints and keys: whatever of them it is.
pub(super) fn proof(data: &[u8]) {
    let text = std::str::from_utf8(data);
    let same = |written: String| assert_eq!(Ok(&*written), text, "there is one text for each");
    let trust = VERIFIER
        .parse()
        .ok()
        .and_then(|key| Trust::in_log(key).ok());
    let trust = trust.expect("the constant is a log's key");
    if let Ok(proof) = Proof::parse(data) {
        same(proof.to_string());
        // Most is not to be believed; what is, must be so by the text alone.
        match &proof {
            Proof::Inclusion(proof) => {
                if let Ok(proven) = proof.check(&trust) {
                    assert_eq!(proven.event.header.seq, proof.seq());
                }
            }
            Proof::Consistency(proof) => drop(proof.check(&trust)),
        }
    }
    if let Ok(proof) = InclusionProof::parse(data) {
        same(proof.to_string());
    }
    if let Ok(proof) = ConsistencyProof::parse(data) {
        same(proof.to_string());
    }
    if let Ok(note) = SignedNote::parse(data) {
        same(note.to_string());
        drop(trust.open(&note));
    }
    let Ok(text) = text else { return };
    if let Ok(checkpoint) = Checkpoint::parse(text) {
        same(checkpoint.to_string());
        if let Ok(head) = TreeHead::of_checkpoint(&checkpoint) {
            assert_eq!(head.checkpoint().tree(), checkpoint.tree());
        }
    }
    if let Ok(key) = text.parse::<VerifierKey>() {
        same(key.to_string());
    }
    if let Ok(key) = SignerKey::parse(text) {
        same(key.to_text().to_string());
    }
}
