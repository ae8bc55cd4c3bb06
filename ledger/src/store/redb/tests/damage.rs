//! Every byte flipped, every length cut: each must be found, or change nothing.
//!
//! "Found" is an error on opening or a finding of the verification. "Nothing" means that the
//! verification says intact *and* a full scan shows exactly the original events and head. What may
//! never happen is a panic that gets out, a wrong answer, or a hang.

use std::collections::BTreeMap;
use std::fs;
use std::num::NonZeroUsize;
use std::ops::ControlFlow;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use tempfile::TempDir;

use super::super::offline::OfflineReader;
use super::super::overlay::{Source, past_the_end};
use super::super::*;
use crate::hash::Hash;
use crate::ids::{Seq, Term};
use crate::store::for_each_event;
use crate::store::samples::{batch, genesis, ledger_id};
use crate::verify::verify_reader;

/// A store's two files, and what they hold.
struct Image {
    store: Arc<[u8]>,
    head: Vec<u8>,
    hashes: Vec<Hash>,
    end: Head,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Ended {
    Closed,
    Killed,
}

/// A small store of several blocks.
fn image(ended: Ended) -> Image {
    let dir = TempDir::new().unwrap();
    let id = ledger_id(1);
    let first = genesis(id);
    let mut store = RedbStore::create(dir.path(), id, &first).unwrap();
    let mut hashes: Vec<Hash> = first.events().map(|(_, hash)| hash).collect();
    let sizes = [
        (1, 30, 3),
        (1, 60, 2),
        (2, 10, 4),
        (3, 40, 1),
        (3, 9, 2),
        (3, 8, 1),
    ];
    for (term, size, count) in sizes {
        // Not joined, so that each batch is a block of its own.
        store.writer.tail = None;
        let batch = batch(id, store.head(), Term(term), &vec![size; count]);
        store.append(&batch).unwrap();
        hashes.extend(batch.events().map(|(_, hash)| hash));
    }
    let end = store.head();
    let files = || {
        let read = |name: &str| fs::read(dir.path().join(name)).unwrap();
        (read(STORE_FILE), read(HEAD_FILE))
    };
    let killed = files();
    store.close().unwrap();
    let (store, head) = match ended {
        Ended::Closed => files(),
        Ended::Killed => killed,
    };
    Image {
        store: store.into(),
        head,
        hashes,
        end,
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Answer {
    /// Opening failed.
    Refused,
    /// The verification had a finding.
    Found,
    /// All is as it was.
    Harmless,
}

/// A store's bytes with one of them changed, or cut short, without copying them.
#[derive(Debug, Clone, Default)]
struct View {
    bytes: Arc<[u8]>,
    /// Offset and the bits to flip there.
    flip: Option<(usize, u8)>,
    /// Length, if shorter.
    cut: Option<usize>,
    /// Which bytes were ever read.
    seen: Option<Arc<Mutex<Vec<bool>>>>,
}

impl Source for View {
    fn len(&self) -> io::Result<u64> {
        Ok(self.cut.unwrap_or(self.bytes.len()) as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let from = usize::try_from(offset).map_err(|_| past_the_end())?;
        let to = from.checked_add(out.len()).ok_or_else(past_the_end)?;
        if to as u64 > self.len()? {
            return Err(past_the_end());
        }
        out.copy_from_slice(&self.bytes[from..to]);
        if let Some((at, bits)) = self.flip
            && (from..to).contains(&at)
        {
            out[at - from] ^= bits;
        }
        if let Some(seen) = &self.seen {
            seen.lock().unwrap()[from..to].fill(true);
        }
        Ok(())
    }
}

/// What becomes of damaged files.
///
/// # Panics
/// If the answer is wrong.
fn judge(image: &Image, store: View, head: &[u8]) -> Answer {
    let what = format!("flip {:?}, cut {:?}", store.flip, store.cut);
    let Ok(reader) = OfflineReader::over(Arc::new(store), HeadFile::decode(head)) else {
        return Answer::Refused;
    };
    let report = match verify_reader(&reader, NonZeroUsize::MIN, &|_, _| {}) {
        Ok(report) => report,
        Err(error) => panic!("{what}: an image can't be in use: {error}"),
    };
    if !report.is_intact() {
        return Answer::Found;
    }
    let mut expected = image.hashes.iter();
    let scan = for_each_event(&reader, Seq::FIRST, |event| match expected.next() {
        Some(hash) if *hash == event.hash => ControlFlow::Continue(()),
        _ => ControlFlow::Break(()),
    });
    let scanned = matches!(scan, Ok(ControlFlow::Continue(())));
    assert!(scanned, "{what}: intact, and the scan says {scan:?}");
    assert!(
        expected.next().is_none(),
        "{what}: intact, and events are missing"
    );
    assert_eq!(reader.head().unwrap(), image.end, "{what}");
    assert!(reader.check_head().is_ok(), "{what}");
    Answer::Harmless
}

/// Judges many cases on two threads and counts the answers.
fn judge_all<T: Sync>(cases: &[T], judge: impl Fn(&T) -> Answer + Sync) -> BTreeMap<Answer, usize> {
    let next = AtomicUsize::new(0);
    let answers = Mutex::new(BTreeMap::new());
    let work = || {
        while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
            *answers.lock().unwrap().entry(judge(case)).or_default() += 1;
        }
    };
    std::thread::scope(|scope| {
        scope.spawn(work);
        work();
    });
    answers.into_inner().unwrap()
}

/// The bytes that opening, verifying, checking and scanning this store read. The same code on the
/// same bytes takes the same path, so the others can't make a difference.
fn bytes_read(image: &Image) -> Vec<bool> {
    let seen = Arc::new(Mutex::new(vec![false; image.store.len()]));
    let view = View {
        bytes: Arc::clone(&image.store),
        seen: Some(Arc::clone(&seen)),
        ..View::default()
    };
    assert_eq!(judge(image, view, &image.head), Answer::Harmless);
    let seen = seen.lock().unwrap().clone();
    // That they make no difference is tried once, all of them at once.
    let mut others = image.store.to_vec();
    for (byte, seen) in others.iter_mut().zip(&seen) {
        if !seen {
            *byte ^= 0xFF;
        }
    }
    let others = View {
        bytes: others.into(),
        ..View::default()
    };
    assert_eq!(judge(image, others, &image.head), Answer::Harmless);
    seen
}

fn flip_every_byte(ended: Ended) {
    let image = image(ended);
    let seen = bytes_read(&image);
    let read = (0..seen.len()).filter(|&at| seen[at]);
    // The header and what the tables hold bit by bit, the rest byte by byte.
    let cases: Vec<(usize, u8)> = read
        .flat_map(|at| {
            let bits = (at < HEADER_LEN).then(|| (0..8).map(move |n| (at, 1 << n)));
            std::iter::once((at, 0xFF)).chain(bits.into_iter().flatten())
        })
        .collect();
    let answers = judge_all(&cases, |&flip| {
        let view = View {
            bytes: Arc::clone(&image.store),
            flip: Some(flip),
            ..View::default()
        };
        judge(&image, view, &image.head)
    });
    println!(
        "{} of {} bytes are read: {answers:?}",
        cases.len(),
        seen.len()
    );
    assert!(answers[&Answer::Found] > 1000 && answers[&Answer::Refused] > 100);
}

#[test]
fn every_flipped_byte_of_a_closed_store_is_found_or_harmless() {
    flip_every_byte(Ended::Closed);
}

#[test]
fn every_flipped_byte_of_a_killed_store_is_found_or_harmless() {
    flip_every_byte(Ended::Killed);
}

#[test]
fn a_store_cut_at_any_length_is_found() {
    for ended in [Ended::Closed, Ended::Killed] {
        let image = image(ended);
        let cases: Vec<usize> = (0..image.store.len()).collect();
        let answers = judge_all(&cases, |&cut| {
            let view = View {
                bytes: Arc::clone(&image.store),
                cut: Some(cut),
                ..View::default()
            };
            judge(&image, view, &image.head)
        });
        println!("{answers:?}");
        // A killed store has pages at its end that nothing uses yet.
        let spare = answers.get(&Answer::Harmless).copied().unwrap_or_default();
        assert!(ended == Ended::Killed || spare == 0, "{answers:?}");
        assert!(spare < 100, "{answers:?}");
    }
}

#[test]
fn every_flipped_bit_and_cut_of_the_head_file_is_found() {
    for ended in [Ended::Closed, Ended::Killed] {
        let image = image(ended);
        let view = || View {
            bytes: Arc::clone(&image.store),
            ..View::default()
        };
        for bit in 0..image.head.len() * 8 {
            let mut head = image.head.clone();
            head[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(judge(&image, view(), &head), Answer::Found, "bit {bit}");
        }
        for len in 0..image.head.len() {
            assert_eq!(judge(&image, view(), &image.head[..len]), Answer::Found);
        }
    }
}
