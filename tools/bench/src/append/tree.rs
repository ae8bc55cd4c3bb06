//! What bounds appends that are sustained: the Merkle tree needs a SHA-256 of each event and one more
//! for its inner nodes. How many events a second one thread hashes, beside how many were appended,
//! and beside the same hashes made one at a time.

use std::hint::black_box;
use std::time::Instant;

use ledger_core::merkle::{TreeHash, TreeWriter, leaf_hashes};

use crate::comparison::{Comparison, params};
use crate::error::Failure;
use crate::rounds::{Contestant, interleave};
use crate::samples::{RECORD, Samples};
use crate::settings::Settings;

/// Events that are hashed together, about as many as are sealed in one transaction.
const EVENTS: usize = 3072;

/// Compares the tree's hashing with what was appended while it was made: `appended` has a figure for
/// each round.
///
/// # Errors
/// The first [`Failure`] of a round.
pub(super) fn compare(settings: &Settings, appended: &[f64]) -> Result<Vec<Comparison>, Failure> {
    let records = records();
    let mut contestants = [
        Contestant::new("ours", || {
            Ok(rate(settings, || {
                let mut leaves = Vec::new();
                leaf_hashes(records.chunks_exact(RECORD), &mut leaves);
                black_box(TreeWriter::new().append(&leaves));
            }))
        }),
        Contestant::new("one by one", || {
            Ok(rate(settings, || {
                let leaves = records.chunks_exact(RECORD).map(TreeHash::leaf);
                black_box(root_of(leaves.collect()));
            }))
        }),
    ];
    let figures = interleave("hashes of the tree", settings.rounds, &mut contestants)?;
    let row = |peer, theirs: &[f64]| {
        let name = ("tree hash", "events/s");
        Comparison::of_rounds(name, params([]), &figures[0], (peer, theirs), None)
    };
    Ok(vec![
        row("one by one", &figures[1]),
        row("append", appended),
    ])
}

/// Sample records one after another, as long as encoded events are.
fn records() -> Vec<u8> {
    let mut samples = Samples::new(0);
    let mut records = Vec::with_capacity(EVENTS * RECORD);
    for _ in 0..EVENTS {
        records.extend_from_slice(samples.payload().as_bytes());
        records.resize(records.len().next_multiple_of(RECORD), b'h');
    }
    records
}

/// The hash over leaves, made pair by pair.
fn root_of(mut level: Vec<TreeHash>) -> Option<TreeHash> {
    while level.len() > 1 {
        level = level
            .chunks(2)
            .map(|pair| match pair {
                [left, right] => TreeHash::node(left, right),
                rest => rest[0],
            })
            .collect();
    }
    level.pop()
}

/// Events a second, hashed again and again for a tenth of a round.
fn rate(settings: &Settings, mut hash: impl FnMut()) -> f64 {
    let (begun, span) = (Instant::now(), settings.span / 10);
    let mut hashed = 0.0;
    while begun.elapsed() < span {
        hash();
        hashed += 1.0;
    }
    #[expect(clippy::cast_precision_loss, reason = "a few thousand")]
    let events = hashed * EVENTS as f64;
    events / begun.elapsed().as_secs_f64()
}
