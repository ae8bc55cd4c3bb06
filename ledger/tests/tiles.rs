//! Tiles: their paths, which of them a tree has, and what is in them.

#![allow(clippy::unwrap_used, reason = "a helper of a test fails the test")]

mod common;

use std::collections::BTreeSet;

use common::tree::{Kept, naive_root, size};
use ledger_core::codec::MAX_EVENT;
use ledger_core::merkle::{
    BundleError, TileId, TileIdError, TileKind, TreeHash, TreeSize, entry_bundle, hash_tile,
    tiles_between,
};
use proptest::prelude::*;

fn paths(old: usize, new: usize) -> Vec<String> {
    let tiles = tiles_between(size(old), size(new));
    tiles.map(|tile| tile.to_string()).collect()
}

#[test]
fn paths_are_written_in_threes() {
    let huge = TreeSize::MAX;
    for (index, path) in [
        (0, "tile/0/000"),
        (7, "tile/0/007"),
        (999, "tile/0/999"),
        (1000, "tile/0/x001/000"),
        (1_234_067, "tile/0/x001/x234/067"),
        (1_000_000_000, "tile/0/x001/x000/x000/000"),
        (u64::MAX >> 10, "tile/0/x018/x014/x398/x509/x481/983"),
    ] {
        let tile = TileId::at(TileKind::Hashes(0), index, huge).unwrap();
        assert_eq!(tile.to_string(), path);
        assert_eq!(path.parse(), Ok(tile));
    }
    let tile = TileId::at(TileKind::Entries, 3, size(3 * 256 + 17)).unwrap();
    assert_eq!(tile.to_string(), "tile/entries/003.p/17");
    assert_eq!(tile.to_string().parse(), Ok(tile));
    assert_eq!(tile.range(), 768..785);
}

#[test]
fn no_tile_has_a_second_path() {
    for bad in [
        "",
        "tile",
        "tile/0",
        "tile/0/",
        "tile/0/0",
        "tile/0/0000",
        "tile/0/x000/001",
        "tile/0/001/002",
        "tile/0/x001",
        "tile/0/x001/x002",
        "tile/0/001/",
        "tile/0//001",
        "/tile/0/001",
        "tile/00/001",
        "tile/+1/001",
        "tile/64/001",
        "tile/-1/001",
        "tile/data/001",
        "tile/8/001",
        "tile/0/001.p",
        "tile/0/001.p/",
        "tile/0/001.p/0",
        "tile/0/001.p/01",
        "tile/0/001.p/256",
        "tile/0/001.p/+1",
        "tile/0/001.p/1/2",
        "tile/0/00١",
        "tile/entries/x018/x446/x744/x073/x709/x551/615",
        "tile/entries/x999/x999/x999/x999/x999/x999/x999/999",
    ] {
        // A level of 8 is beyond what a tree can have, but it has one path.
        let expected = if bad == "tile/8/001" {
            None
        } else {
            Some(TileIdError)
        };
        assert_eq!(bad.parse::<TileId>().err(), expected, "{bad:?}");
    }
}

#[test]
fn a_tree_has_the_tiles_of_the_specification() {
    assert_eq!(paths(0, 0), [""; 0]);
    assert_eq!(paths(0, 1), ["tile/0/000.p/1", "tile/entries/000.p/1"]);
    assert_eq!(
        paths(0, 256),
        ["tile/0/000", "tile/1/000.p/1", "tile/entries/000"]
    );
    let all = paths(0, 70_000);
    let of = |start: &str| all.iter().filter(|path| path.starts_with(start)).count();
    assert_eq!(of("tile/0/"), 274);
    assert!(all.contains(&"tile/0/273.p/112".to_owned()));
    assert_eq!(of("tile/1/"), 2);
    assert!(all.contains(&"tile/1/000".to_owned()));
    assert!(all.contains(&"tile/1/001.p/17".to_owned()));
    assert_eq!(of("tile/2/"), 1);
    assert!(all.contains(&"tile/2/000.p/1".to_owned()));
    assert_eq!(of("tile/entries/"), 274);
    assert_eq!(all.len(), 274 + 2 + 1 + 274);
}

#[test]
fn tiles_hold_the_hashes_of_their_level() {
    let count = 65_536 + 300;
    let kept = Kept::of(count);
    let leaves = kept.leaves();
    for tile in tiles_between(TreeSize::ZERO, size(count)) {
        let TileKind::Hashes(level) = tile.kind() else {
            continue;
        };
        // Some of level 0 and all above.
        if level == 0 && tile.index() % 100 != 0 && tile.width() == 256 {
            continue;
        }
        let bytes = hash_tile(&kept, level, tile.range()).unwrap();
        assert_eq!(bytes.len(), usize::from(tile.width()) * 32);
        let span = 256_usize.pow(u32::from(level));
        for (hash, at) in bytes.chunks_exact(32).zip(tile.range()) {
            let at = at as usize * span;
            assert_eq!(hash, naive_root(&leaves[at..at + span]).0, "{tile}");
        }
    }
}

#[test]
fn bundles_hold_events_behind_their_lengths() {
    let long = vec![7; MAX_EVENT];
    let bundle = entry_bundle([&b"ab"[..], b"", &long]).unwrap();
    assert_eq!(bundle[..6], [0, 2, b'a', b'b', 0, 0]);
    assert_eq!(bundle[6..8], [0xff, 0xff]);
    assert_eq!(bundle[8..], long);
    assert_eq!(entry_bundle([&b"x"[..]; 256]).unwrap().len(), 768);
    assert_eq!(entry_bundle([]), Err(BundleError::Count));
    assert_eq!(entry_bundle([&b"x"[..]; 257]), Err(BundleError::Count));
    let longer = vec![7; MAX_EVENT + 1];
    let found = entry_bundle([longer.as_slice()]);
    assert_eq!(found, Err(BundleError::Length(MAX_EVENT + 1)));
}

proptest! {
    #[test]
    fn an_export_grows_by_the_tiles_that_are_new(old in 0_usize..200_000, more in 0_usize..1000) {
        let new = old + more;
        let before: BTreeSet<String> = paths(0, old).into_iter().collect();
        let after: BTreeSet<String> = paths(0, new).into_iter().collect();
        let added: BTreeSet<String> = paths(old, new).into_iter().collect();
        prop_assert_eq!(&added, &after.difference(&before).cloned().collect());
    }

    #[test]
    fn any_path_is_refused_or_the_one_that_is_written(path in "tile/[0-9a-z]{1,7}(/x?[0-9]{3}){1,4}(\\.p/[0-9]{1,3})?") {
        if let Ok(tile) = path.parse::<TileId>() {
            prop_assert_eq!(tile.to_string(), path);
        }
    }

    #[test]
    fn any_text_is_a_path_or_not(text in any::<String>()) {
        let _ = text.parse::<TileId>();
        let _ = text.parse::<TreeHash>();
    }
}
