//! Salvage against an independent account of what is damaged: what comes out is always a beginning
//! of the truth, never shorter than what was not damaged, and the original keeps every byte.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::num::NonZeroUsize;
use std::ops::{ControlFlow, Range as Span};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use tempfile::TempDir;

use super::scan::{Holds, Run, Shape, scan};
use super::*;
use crate::blobs::{BlobDir, BlobStore, Limits, MediaType};
use crate::ids::Term;
use crate::store::durable::{DurableStore, SealIn, Settings, Structure};
use crate::store::samples::{batch, batch_of, event, genesis, ledger_id};
use crate::store::{LogWriter, for_each_event};
use crate::verify::verify_offline;

/// Small enough that much can be tried, large enough that several segments and blocks are filled
/// and used again.
const TINY: Settings = Settings {
    segment_bytes: 4096,
    seal_bytes: 4096,
    block_cap: 2048,
    lag_bytes: 64 * 1024,
    sealing: SealIn::Foreground,
    structure: Structure::Trusted,
};

/// How the store came to be as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ended {
    Closed,
    Killed,
}

/// A ledger with sealed blocks and a journal.
struct Sample {
    dir: TempDir,
    hashes: Vec<Hash>,
    files: Vec<PathBuf>,
    /// The blocks, and the frames that count.
    runs: Vec<(PathBuf, Run, u64)>,
}

fn hashes(dir: &Path) -> Result<Vec<Hash>, String> {
    let reader = OfflineReader::open(dir).map_err(|e| e.to_string())?;
    let mut hashes = Vec::new();
    let walk = for_each_event(&reader, Seq::FIRST, |e| -> ControlFlow<()> {
        hashes.push(e.hash);
        ControlFlow::Continue(())
    });
    walk.map(|_| hashes).map_err(|e| e.to_string())
}

fn copy(from: &Path) -> TempDir {
    let to = TempDir::new().unwrap();
    fs::create_dir(to.path().join(JOURNAL_DIR)).unwrap();
    let named = files(from).unwrap().into_iter().map(|(_, name)| name);
    for name in named.chain([HEAD_FILE.to_owned()]) {
        fs::copy(from.join(&name), to.path().join(&name)).unwrap();
    }
    to
}

fn sample(ended: Ended) -> Sample {
    let dir = TempDir::new().unwrap();
    let id = ledger_id(1);
    drop(DurableStore::create(dir.path(), id, &genesis(id)).unwrap());
    let mut store = DurableStore::open_with(dir.path(), TINY).unwrap();
    for n in 0..45 {
        let batch = batch(id, store.head(), Term(1), &vec![120; 1 + n % 3]);
        store.append(&batch).unwrap();
    }
    assert!(
        store.reader().sealed() > Seq(40),
        "several blocks are sealed"
    );
    let dir = match ended {
        Ended::Closed => {
            store.close().unwrap();
            dir
        }
        Ended::Killed => copy(dir.path()),
    };
    let mut runs = Vec::new();
    let mut paths = vec![dir.path().join(HEAD_FILE)];
    for (path, name) in files(dir.path()).unwrap() {
        let file = File::open(&path).unwrap();
        let holds = match name == STORE_FILE {
            true => Holds::Blocks,
            false => Holds::Frames(segment_header(&file)),
        };
        let found = scan(&file, 0, holds, &mut |_| {}).unwrap().runs;
        let sound = found.into_iter().filter(|run| run.shape != Shape::Bare);
        runs.extend(sound.map(|run| (path.clone(), run, holds.header())));
        paths.push(path);
    }
    assert!(
        runs.iter()
            .filter(|(_, run, _)| run.shape == Shape::Block)
            .count()
            > 3
    );
    assert!(
        runs.iter()
            .filter(|(_, run, _)| run.shape == Shape::Frame)
            .count()
            > 3
    );
    Sample {
        hashes: hashes(dir.path()).unwrap(),
        files: paths,
        runs,
        dir,
    }
}

/// Every file with its content and time of change.
fn tree(dir: &Path) -> BTreeMap<PathBuf, (Vec<u8>, std::time::SystemTime)> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let modified = path.symlink_metadata().unwrap().modified().unwrap();
        if path.is_dir() {
            found.extend(tree(&path));
            found.insert(path, (Vec::new(), modified));
        } else {
            let content = fs::read(&path).unwrap();
            found.insert(path, (content, modified));
        }
    }
    found
}

fn look(dir: &Path) -> Result<Salvage, SalvageError> {
    Salvage::look(dir, NonZeroUsize::MIN, &|_, _, _| {})
}

/// Writes it, with one event behind what is proven.
fn write(salvage: &Salvage, into: &Path) -> Result<Head, SalvageError> {
    salvage.write(into, NonZeroUsize::MIN, &|_, _, _| {}, |_, mut store| {
        let good = store.head();
        assert_eq!((good.seq, good.hash), (salvage.good.seq, salvage.good.hash));
        let told = batch(salvage.ledger_id, good, good.term.next(), &[50]);
        let head = store.append(&told).unwrap();
        store.close().unwrap();
        Ok(head)
    })
}

impl Sample {
    /// The length of the beginning that stands whole somewhere, if these bytes are not to be relied
    /// on: by blocks and frames that were not touched.
    fn untouched(&self, damage: &[(PathBuf, Span<u64>)]) -> u64 {
        let hit = |path: &Path, span: Span<u64>| {
            let meets = |d: &Span<u64>| d.start < span.end && span.start < d.end;
            damage.iter().any(|(p, d)| p == path && meets(d))
        };
        let whole = |(path, run, header): &&(PathBuf, Run, u64)| {
            let header_is_whole = run.shape == Shape::Block || !hit(path, 0..44);
            header_is_whole && !hit(path, run.at - header..run.at + run.len)
        };
        let whole: Vec<_> = self.runs.iter().filter(whole).collect();
        let mut reached = 0;
        while let Some((_, run, _)) = whole
            .iter()
            .find(|(_, run, _)| run.first.0 <= reached + 1 && run.last.0 > reached)
        {
            reached = run.last.0;
        }
        reached
    }

    /// Looks at the damaged ledger and holds what comes of it against the truth.
    fn check(&self, damage: &[(PathBuf, Span<u64>)], what: &str) -> Option<Salvage> {
        let expected = self.untouched(damage);
        match look(self.dir.path()) {
            Ok(salvage) => {
                let good = salvage.good.seq.0;
                assert!(good >= expected, "{what}: {good} instead of {expected}");
                assert_eq!(salvage.good.hash, self.hashes[good as usize - 1], "{what}");
                self.check_left(&salvage, what);
                return Some(salvage);
            }
            Err(SalvageError::Intact(seq)) => {
                assert_eq!(seq.0, self.hashes.len() as u64, "{what}");
            }
            Err(SalvageError::Nothing { .. }) => assert_eq!(expected, 0, "{what}"),
            Err(SalvageError::Open(OpenError::Missing(_) | OpenError::Newer { .. })) => {}
            Err(error) => panic!("{what}: {error}"),
        }
        None
    }

    /// What is said of what was left behind is true, and nothing is forgotten.
    fn check_left(&self, salvage: &Salvage, what: &str) {
        let hash = |seq: Seq| self.hashes.get(seq.0 as usize - 1).copied();
        for chained in &salvage.left.chained {
            assert_eq!(Some(chained.last_hash), hash(chained.last), "{what}");
            assert_eq!(
                Some(chained.prev_hash),
                hash(Seq(chained.first.0 - 1)),
                "{what}"
            );
        }
        let missing: u64 = salvage
            .left
            .missing
            .iter()
            .map(|range| range.last.0 - range.first.0 + 1)
            .sum();
        if let Some(claim) = salvage
            .claimed
            .filter(|claim| claim.seq >= salvage.good.seq)
        {
            let all = claim.seq.0 - salvage.good.seq.0;
            assert!(salvage.left.events + missing >= all, "{what}");
        }
    }

    /// Writes it, and holds the new ledger against the truth.
    fn confirm(&self, salvage: &Salvage, what: &str) {
        let room = TempDir::new().unwrap();
        let into = room.path().join("new");
        let written = write(salvage, &into).unwrap_or_else(|e| panic!("{what}: {e}"));
        let report = verify_offline(&into, NonZeroUsize::MIN, &|_, _| {}).unwrap();
        assert!(report.is_intact(), "{what}");
        let found = hashes(&into).unwrap();
        let good = salvage.good.seq.0 as usize;
        assert_eq!(
            found.len(),
            good + 1,
            "{what}: and the event that tells of it"
        );
        assert_eq!(found[..good], self.hashes[..good], "{what}");
        assert_eq!(written.hash, found[good], "{what}");
        let left = into.join(LEFT_BEHIND);
        assert_eq!(left.exists(), salvage.left.events > 0, "{what}");
        for piece in &salvage.left.pieces {
            let mut kept = vec![0; piece.length as usize];
            let pieces = File::open(left.join(PIECES_FILE)).unwrap();
            pieces.read_exact_at(&mut kept, piece.at).unwrap();
            let original = fs::read(self.dir.path().join(&piece.file)).unwrap();
            let from = piece.offset as usize;
            assert_eq!(kept, original[from..from + kept.len()], "{what}");
        }
        let store = DurableStore::open(&into).unwrap();
        assert_eq!(store.head().seq, written.seq, "{what}: it can be led again");
    }
}

fn flip_bytes(ended: Ended) {
    let sample = sample(ended);
    let (mut lost, mut whole) = (0, 0);
    for path in &sample.files {
        let sound = fs::read(path).unwrap();
        let file = OpenOptions::new().write(true).open(path).unwrap();
        // Everything near what is known, and a part of what is mostly empty.
        let near = |at: u64| {
            let close = |r: &(PathBuf, Run, u64)| r.0 == *path && at.abs_diff(r.1.at) < 90;
            sample.runs.iter().any(close)
        };
        for (at, byte) in sound.iter().enumerate() {
            let at = at as u64;
            if !(at.is_multiple_of(97) || near(at) && at.is_multiple_of(3)) {
                continue;
            }
            let what = format!("byte {at} of {}", path.display());
            file.write_all_at(&[byte ^ (1 << (at % 8))], at).unwrap();
            let damage = [(path.clone(), at..at + 1)];
            if let Some(salvage) = sample.check(&damage, &what) {
                match salvage.good.seq.0 == sample.hashes.len() as u64 {
                    true => whole += 1,
                    false => lost += 1,
                }
                if at.is_multiple_of(9 * 97) {
                    sample.confirm(&salvage, &what);
                }
            }
            file.write_all_at(&[*byte], at).unwrap();
        }
    }
    assert!(lost > 20, "{lost} flips cost events");
    assert!(whole > 20, "{whole} flips that made it damaged cost none");
}

#[test]
fn flipped_bytes_of_a_closed_ledger_cost_no_more_than_their_block() {
    flip_bytes(Ended::Closed);
}

#[test]
fn flipped_bytes_of_a_killed_ledger_cost_no_more_than_their_block() {
    flip_bytes(Ended::Killed);
}

/// A kind of damage, to a file, from a place given as a part of its length.
#[derive(Debug, Clone)]
enum Damage {
    Noise(Vec<u8>),
    Zeros(u16),
    Cut,
    Gone,
}

fn damage() -> impl Strategy<Value = Vec<(prop::sample::Index, u16, Damage)>> {
    let one = prop_oneof![
        4 => prop::collection::vec(any::<u8>(), 1..40).prop_map(Damage::Noise),
        4 => (1u16..9000).prop_map(Damage::Zeros),
        1 => Just(Damage::Cut),
        1 => Just(Damage::Gone),
    ];
    prop::collection::vec((any::<prop::sample::Index>(), any::<u16>(), one), 1..5)
}

fn inflict(path: &Path, place: u16, damage: &Damage) -> Option<Span<u64>> {
    let len = fs::metadata(path).ok()?.len();
    let from = len * u64::from(place) / (u64::from(u16::MAX) + 1);
    let file = OpenOptions::new().write(true).open(path).unwrap();
    let noise = match damage {
        Damage::Noise(noise) => noise.clone(),
        Damage::Zeros(n) => vec![0; usize::from(*n)],
        Damage::Cut => {
            file.set_len(from).unwrap();
            return Some(from..u64::MAX);
        }
        Damage::Gone => {
            fs::remove_file(path).unwrap();
            return Some(0..u64::MAX);
        }
    };
    let end = len.min(from + noise.len() as u64);
    file.write_all_at(&noise[..(end - from) as usize], from)
        .unwrap();
    Some(from..end)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn any_damage_leaves_a_beginning_of_the_truth(
        damages in damage(),
        ended in prop_oneof![Just(Ended::Closed), Just(Ended::Killed)],
    ) {
        let sample = sample(ended);
        let mut inflicted = Vec::new();
        for (which, place, damage) in &damages {
            let path = which.get(&sample.files);
            let span = inflict(path, *place, damage);
            inflicted.extend(span.map(|span| (path.clone(), span)));
        }
        let before = tree(sample.dir.path());
        let what = format!("{damages:?}");
        if let Some(salvage) = sample.check(&inflicted, &what) {
            sample.confirm(&salvage, &what);
        }
        prop_assert_eq!(tree(sample.dir.path()), before, "the original keeps every byte");
    }
}

#[test]
fn an_intact_ledger_is_left_alone() {
    let sample = sample(Ended::Closed);
    let last = sample.hashes.len() as u64;
    let refused = look(sample.dir.path());
    assert!(matches!(refused, Err(SalvageError::Intact(seq)) if seq.0 == last));
}

#[test]
fn a_store_without_a_single_page_of_redb_is_salvaged_whole() {
    let sample = sample(Ended::Killed);
    let path = sample.dir.path().join(STORE_FILE);
    let blocks = sample
        .runs
        .iter()
        .filter(|(_, run, _)| run.shape == Shape::Block);
    let mut shuffled: Vec<u8> = vec![0; 777];
    let sound = fs::read(&path).unwrap();
    let mut blocks: Vec<_> = blocks.collect();
    blocks.reverse();
    for (_, run, header) in blocks {
        shuffled.extend(&sound[(run.at - header) as usize..(run.at + run.len) as usize]);
        shuffled.extend([0xAB; 13]);
    }
    fs::write(&path, shuffled).unwrap();
    fs::remove_file(sample.dir.path().join(HEAD_FILE)).unwrap();
    let salvage = look(sample.dir.path()).unwrap();
    assert_eq!(salvage.good.seq.0, sample.hashes.len() as u64);
    assert_eq!(salvage.left, Left::default());
    sample.confirm(&salvage, "blocks in any order");
}

#[test]
fn what_stands_behind_a_gap_is_kept_and_said_to_hang_together() {
    let sample = sample(Ended::Closed);
    let nth = |n: usize| {
        let mut blocks = sample
            .runs
            .iter()
            .filter(|(_, r, _)| r.shape == Shape::Block);
        blocks.nth(n).unwrap()
    };
    // All copies of one block's events: old frames of them may still stand in the journal.
    let (path, hit, header) = nth(1);
    let first = hit.first;
    let file = OpenOptions::new().write(true).open(path).unwrap();
    let zeros = vec![0; (hit.len + header) as usize];
    file.write_all_at(&zeros, hit.at - header).unwrap();
    let mut salvage = look(sample.dir.path()).unwrap();
    for path in &sample.files[2..] {
        fs::remove_file(path).unwrap();
        salvage = look(sample.dir.path()).unwrap();
    }
    assert_eq!(salvage.good.seq, Seq(first.0 - 1));
    let (missing, chained) = (&salvage.left.missing, &salvage.left.chained);
    let (first, last) = (hit.first, hit.last);
    assert_eq!(missing.first(), Some(&Range { first, last }));
    assert_eq!(chained.len(), 1, "{chained:?}");
    assert_eq!(chained[0].first, hit.last.next());
    assert_eq!(chained[0].prev_hash, sample.hashes[hit.last.0 as usize - 1]);
    let behind = |piece: &Piece| (piece.kind, piece.why) == (PieceKind::Block, Why::BehindGap);
    assert!(
        salvage.left.pieces.iter().all(behind),
        "{:?}",
        salvage.left.pieces
    );
    sample.confirm(&salvage, "a gap");
}

#[test]
fn targets_that_hold_something_or_lie_in_the_original_are_refused() {
    let sample = sample(Ended::Closed);
    fs::remove_file(sample.dir.path().join(HEAD_FILE)).unwrap();
    let salvage = look(sample.dir.path()).unwrap();
    let before = tree(sample.dir.path());
    let occupied = TempDir::new().unwrap();
    fs::write(occupied.path().join("x"), "x").unwrap();
    let refused = write(&salvage, occupied.path());
    assert!(matches!(refused, Err(SalvageError::Occupied(_))));
    for inside in ["", "a/b", "journal/x"] {
        let refused = write(&salvage, &sample.dir.path().join(inside));
        assert!(matches!(refused, Err(SalvageError::Inside(_))), "{inside}");
    }
    assert_eq!(tree(sample.dir.path()), before);
    let missing = look(&sample.dir.path().join("none"));
    assert!(matches!(
        missing,
        Err(SalvageError::Open(OpenError::Missing(_)))
    ));
}

#[test]
fn blobs_that_are_whole_come_along_and_the_others_are_listed() {
    let dir = TempDir::new().unwrap();
    let id = ledger_id(1);
    let mut store = DurableStore::create(dir.path(), id, &genesis(id)).unwrap();
    let blobs = BlobStore::open(dir.path(), Limits::default()).unwrap();
    let mut digests = Vec::new();
    for content in [&b"whole"[..], b"damaged", b"missing", b"whole"] {
        let stored = blobs.put(content, MediaType::unknown()).unwrap();
        let mut draft = event(store.head().seq.0 + 1, 30);
        draft.data = stored.reference.to_payload();
        let batch = batch_of(id, store.head(), Term(1), &[draft]);
        store.append(&batch).unwrap();
        digests.push(stored.reference.blake3);
    }
    store.close().unwrap();
    fs::remove_file(dir.path().join(HEAD_FILE)).unwrap();
    let path = |dir: &Path, digest: Hash| {
        let name = digest.to_string();
        dir.join("blobs").join(&name[..2]).join(&name[2..])
    };
    fs::write(path(dir.path(), digests[1]), "damageD").unwrap();
    fs::remove_file(path(dir.path(), digests[2])).unwrap();
    let salvage = look(dir.path()).unwrap();
    let listed: Vec<_> = salvage.blobs.iter().map(|b| (b.seq, b.digest)).collect();
    assert_eq!(listed, [(Seq(3), digests[1]), (Seq(4), digests[2])]);
    let room = TempDir::new().unwrap();
    let into = room.path().join("new");
    write(&salvage, &into).unwrap();
    assert_eq!(fs::read(path(&into, digests[0])).unwrap(), b"whole");
    assert!(!path(&into, digests[1]).exists() && !path(&into, digests[2]).exists());
    let reader = OfflineReader::open(&into).unwrap();
    let there = BlobDir::open(&into).unwrap();
    let report = crate::blobs::verify(&reader, &there, &|_| {}).unwrap();
    assert_eq!((report.blobs, report.found), (3, 2));
    let manifest = fs::read(into.join(LEFT_BEHIND).join(MANIFEST_FILE)).unwrap();
    let manifest: serde_json::Value = serde_json::from_slice(&manifest).unwrap();
    let lost = manifest["lost_blobs"].as_array().unwrap();
    assert_eq!(lost[0]["digest"], digests[1].to_string());
    assert_eq!(
        (&lost[0]["fault"], &lost[1]["fault"]),
        (&"hash".into(), &"missing".into())
    );
}
