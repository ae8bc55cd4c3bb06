//! Every engine of this machine hashes as `sha2` does, whatever the lengths and their order.

use proptest::prelude::*;

use super::super::TreeHash;
use super::super::hash::{leaf_hashes_by, parents_by};
use super::*;

fn check_leaves(events: &[&[u8]]) {
    let expected: Vec<TreeHash> = events.iter().map(|event| TreeHash::leaf(event)).collect();
    for engine in all() {
        // Behind what is there already.
        let mut out = vec![TreeHash([9; 32])];
        leaf_hashes_by(engine, events.iter().copied(), &mut out);
        assert_eq!(out[0], TreeHash([9; 32]));
        assert_eq!(out[1..], expected, "{engine:?}");
    }
}

#[test]
fn every_length_alone_and_beside_others() {
    let bytes: Vec<u8> = (0..400_u32).map(|n| (n * 7 % 251) as u8).collect();
    for len in 0..bytes.len() {
        check_leaves(&[&bytes[..len]]);
    }
    let all: Vec<&[u8]> = (0..bytes.len()).map(|len| &bytes[..len]).collect();
    check_leaves(&all);
    let longest_first: Vec<&[u8]> = all.iter().rev().copied().collect();
    check_leaves(&longest_first);
    check_leaves(&[]);
}

#[test]
fn the_longest_event_beside_the_shortest() {
    let long = vec![0xa5; crate::codec::MAX_EVENT];
    let mut events: Vec<&[u8]> = vec![b"x"; 40];
    events[3] = &long;
    events[39] = &long;
    check_leaves(&events);
}

#[test]
fn every_number_of_pairs() {
    let leaves: Vec<TreeHash> = (0..300_u32)
        .map(|n| TreeHash::leaf(&n.to_le_bytes()))
        .collect();
    for pairs in 0..150 {
        let expected: Vec<TreeHash> = (0..pairs)
            .map(|n| TreeHash::node(&leaves[2 * n], &leaves[2 * n + 1]))
            .collect();
        for engine in all() {
            let mut nodes = leaves[..2 * pairs].to_vec();
            assert_eq!(*parents_by(engine, &mut nodes), expected, "{engine:?}");
        }
    }
}

proptest! {
    #[test]
    fn any_events(events in proptest::collection::vec(
        proptest::collection::vec(any::<u8>(), 0..600), 0..80,
    )) {
        let events: Vec<&[u8]> = events.iter().map(Vec::as_slice).collect();
        check_leaves(&events);
    }
}
