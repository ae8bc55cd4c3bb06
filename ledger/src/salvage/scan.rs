//! The last resort: going through a file byte by byte for events that stand one behind the other.
//!
//! Neither redb's pages nor the frames of a journal are needed for that, because blocks and frames
//! hold their events in the same way: each behind its length, their seqs without a gap. What stands
//! in front of the first of them are hashes, which later tell what the events must lead to.
//!
//! Nothing that is found here is believed: it only says where to look (`search.rs` believes).

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use crate::codec::{self, FIXED, MAX_EVENT};
use crate::hash::Hash;
use crate::ids::Seq;
use crate::store::BLOCK_HEADER;
use crate::store::journal::{FRAME_HEADER, SegmentHeader};

/// How much is read at a time.
const WINDOW: usize = 4 * 1024 * 1024;
/// What fails to be read is tried again in pieces of this size, and taken for zeros where that fails
/// too: a disk with a bad sector loses that sector.
const SECTOR: usize = 4096;
/// A length, and the largest event behind it.
const LONGEST: usize = 4 + MAX_EVENT;

/// Bytes at rest.
pub(super) trait Bytes: std::fmt::Debug {
    /// How many there are.
    fn len(&self) -> io::Result<u64>;
    /// Fills `out` from `at`.
    fn read(&self, at: u64, out: &mut [u8]) -> io::Result<()>;
}

impl Bytes for File {
    fn len(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn read(&self, at: u64, out: &mut [u8]) -> io::Result<()> {
        self.read_exact_at(out, at)
    }
}

/// What a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Holds {
    /// Blocks, in pages of redb.
    Blocks,
    /// Frames of the journal, in this use of the file if it says which.
    Frames(Option<SegmentHeader>),
}

impl Holds {
    /// Bytes in front of the first event that belong to it.
    pub(super) fn header(self) -> u64 {
        match self {
            Self::Blocks => BLOCK_HEADER as u64,
            Self::Frames(_) => FRAME_HEADER as u64,
        }
    }
}

/// What stands around a run of events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    /// A block whose header fits the events.
    Block,
    /// A frame whose checksum is right.
    Frame,
    /// Neither, or not any more.
    Bare,
}

/// Events that stand one behind the other.
#[derive(Debug, Clone)]
pub(super) struct Run {
    /// Which file.
    pub(super) source: usize,
    /// Where the length of the first begins.
    pub(super) at: u64,
    /// Bytes from there to the end of the last.
    pub(super) len: u64,
    /// Seq of the first.
    pub(super) first: Seq,
    /// Seq of the last.
    pub(super) last: Seq,
    /// The 64 bytes in front: of a block its two edges, of a frame at the end its only one.
    pub(super) before: [Hash; 2],
    /// What it is part of.
    pub(super) shape: Shape,
}

/// What a scan has found.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) runs: Vec<Run>,
    /// Bytes that the disk did not give.
    pub(super) unreadable: u64,
}

/// Looks through a file. `progress` is told how many bytes were gone through.
///
/// # Errors
/// If not even the file's length can be told.
pub(super) fn scan(
    bytes: &dyn Bytes,
    source: usize,
    holds: Holds,
    progress: &mut dyn FnMut(u64),
) -> io::Result<Found> {
    let mut window = Window::new(bytes)?;
    let mut runs = Vec::new();
    let (len, mut at) = (window.len, 0);
    while at < len {
        let shown = window.from(at, LONGEST);
        // Behind this, an event may not be shown whole.
        let sure = if at + shown.len() as u64 == len {
            shown.len()
        } else {
            shown.len() - LONGEST + 1
        };
        let Some(offset) = (0..sure).find(|&i| is_likely(&shown[i..])) else {
            at += sure as u64;
            progress(at);
            continue;
        };
        at += offset as u64;
        match run(&mut window, source, holds, at) {
            Some(run) => {
                at += run.len;
                progress(at);
                runs.push(run);
            }
            None => at += 1,
        }
    }
    Ok(Found {
        runs,
        unreadable: window.unreadable,
    })
}

/// Whether a length and an event may begin here: a sieve that lets next to nothing else through,
/// and is cheap.
fn is_likely(bytes: &[u8]) -> bool {
    // The fixed part's high bytes, and the length of the kind: no kind is longer than 64.
    let Some(b) = bytes.first_chunk::<{ 4 + FIXED + 1 }>() else {
        return false;
    };
    b[4] == codec::ENCODING
        && b[2] == 0
        && b[3] == 0
        && b[5] < 0x20
        && b[4 + 11] == 0
        && b[4 + 27] == 0
        && (1..=64).contains(&b[4 + FIXED])
}

/// The event behind the length at the beginning of `bytes`, its seq and its length.
fn event(bytes: &[u8]) -> Option<(Seq, usize)> {
    let (len, rest) = bytes.split_first_chunk::<4>()?;
    let len = usize::try_from(u32::from_le_bytes(*len)).ok()?;
    let event = codec::decode(rest.get(..len)?).ok()?;
    Some((event.header.seq, len))
}

/// The run that begins here, if one does.
fn run(window: &mut Window<'_>, source: usize, holds: Holds, at: u64) -> Option<Run> {
    let (first, _) = event(window.from(at, LONGEST)).filter(|(seq, _)| *seq >= Seq::FIRST)?;
    let (mut last, mut end) = (first, at);
    let mut next = Some(first);
    while let Some(expected) = next
        && let Some((seq, len)) = event(window.from(end, LONGEST))
        && seq == expected
    {
        last = seq;
        end += 4 + len as u64;
        next = seq.0.checked_add(1).map(Seq);
    }
    let header = at.saturating_sub(holds.header());
    let before = window.exactly(at.checked_sub(64), 64);
    let word = |i: usize| before.get(i..i + 32).and_then(|w| w.try_into().ok());
    let mut run = Run {
        source,
        at,
        len: end - at,
        first,
        last,
        before: [0, 32].map(|i| word(i).map_or(Hash::ZERO, Hash)),
        shape: Shape::Bare,
    };
    run.shape = match holds {
        Holds::Blocks => {
            let found = window.exactly(at.checked_sub(holds.header()), 16);
            let count = last.0 - first.0 + 1;
            let told = [count & 0xffff_ffff, first.0]
                .map(u64::to_le_bytes)
                .concat();
            if count <= u64::from(u32::MAX) && found == told {
                Shape::Block
            } else {
                Shape::Bare
            }
        }
        Holds::Frames(Some(used)) => {
            let frame = window.exactly(Some(header), usize::try_from(end - header).ok()?);
            if used.is_frame(header, &frame) {
                Shape::Frame
            } else {
                Shape::Bare
            }
        }
        Holds::Frames(None) => Shape::Bare,
    };
    Some(run)
}

/// A part of a file in memory, which moves along.
struct Window<'a> {
    bytes: &'a dyn Bytes,
    len: u64,
    start: u64,
    shown: Vec<u8>,
    unreadable: u64,
}

impl<'a> Window<'a> {
    fn new(bytes: &'a dyn Bytes) -> io::Result<Self> {
        Ok(Self {
            bytes,
            len: bytes.len()?,
            start: 0,
            shown: Vec::new(),
            unreadable: 0,
        })
    }

    /// What is shown from `at` on: at least `need` bytes, or all up to the end of the file.
    fn from(&mut self, at: u64, need: usize) -> &[u8] {
        let end = self.start + self.shown.len() as u64;
        let enough = at >= self.start && (at + need as u64 <= end || end == self.len);
        if !enough {
            let size = (self.len.saturating_sub(at)).min(WINDOW as u64);
            let mut shown = std::mem::take(&mut self.shown);
            shown.resize(usize::try_from(size).unwrap_or(0), 0);
            self.unreadable += fill(self.bytes, at, &mut shown);
            (self.start, self.shown) = (at, shown);
        }
        let offset = usize::try_from(at - self.start).unwrap_or(usize::MAX);
        self.shown.get(offset..).unwrap_or_default()
    }

    /// These bytes, without moving; nothing if they are not all there.
    fn exactly(&self, at: Option<u64>, len: usize) -> Vec<u8> {
        let Some(at) = at.filter(|at| at + len as u64 <= self.len) else {
            return Vec::new();
        };
        let mut out = vec![0; len];
        fill(self.bytes, at, &mut out);
        out
    }
}

/// Reads what can be read, zeros for the rest; returns how many bytes that are.
pub(super) fn fill(bytes: &dyn Bytes, at: u64, out: &mut [u8]) -> u64 {
    if bytes.read(at, out).is_ok() {
        return 0;
    }
    let mut lost = 0;
    let mut at = at;
    for piece in out.chunks_mut(SECTOR) {
        if bytes.read(at, piece).is_err() {
            piece.fill(0);
            lost += piece.len() as u64;
        }
        at += piece.len() as u64;
    }
    lost
}

#[cfg(any(test, feature = "fuzzing"))]
impl Bytes for &[u8] {
    fn len(&self) -> io::Result<u64> {
        Ok((**self).len() as u64)
    }

    fn read(&self, at: u64, out: &mut [u8]) -> io::Result<()> {
        let from = usize::try_from(at).map_err(io::Error::other)?;
        let found = self.get(from..from + out.len());
        out.copy_from_slice(found.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }
}
/// What must hold of a scan of any bytes; see [`crate::fuzz`].
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) fn check_scan(data: &[u8]) {
    let used = SegmentHeader::decode(data).ok();
    for holds in [Holds::Blocks, Holds::Frames(used)] {
        let found = scan(&data, 0, holds, &mut |_| {}).expect("memory can be read");
        let mut behind = 0;
        for run in found.runs {
            assert!(run.at >= behind, "they follow each other");
            behind = run.at + run.len;
            let bytes = &data[run.at as usize..behind as usize];
            let mut rest = bytes;
            for seq in run.first.0..=run.last.0 {
                let (found, len) = event(rest).expect("it was found");
                assert_eq!(found, Seq(seq));
                rest = &rest[4 + len..];
            }
            assert!(rest.is_empty());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::Term;
    use crate::store::pack;
    use crate::store::samples::{batch, genesis, ledger_id};

    #[derive(Debug)]
    struct Image {
        bytes: Vec<u8>,
        /// What can't be read.
        bad: std::ops::Range<u64>,
    }

    impl Bytes for Image {
        fn len(&self) -> io::Result<u64> {
            Ok(self.bytes.len() as u64)
        }

        fn read(&self, at: u64, out: &mut [u8]) -> io::Result<()> {
            let end = at + out.len() as u64;
            if at < self.bad.end && self.bad.start < end {
                return Err(io::Error::other("a bad sector"));
            }
            out.copy_from_slice(&self.bytes[at as usize..end as usize]);
            Ok(())
        }
    }

    fn found(bytes: Vec<u8>, bad: std::ops::Range<u64>) -> Found {
        scan(&Image { bytes, bad }, 3, Holds::Blocks, &mut |_| {}).unwrap()
    }

    /// A file with two blocks at odd places, one of them across the edge of a window.
    fn image() -> (Vec<u8>, [u64; 2], u64) {
        let id = ledger_id(1);
        let first = batch(id, genesis(id).head(), Term(1), &[200; 40]);
        let second = batch(id, first.head(), Term(1), &[60_000, 100]);
        let blocks = [pack(&first, None), pack(&second, None)].concat();
        assert_eq!(blocks.len(), 2);
        let places = [777, WINDOW as u64 - 20_001];
        let mut bytes = vec![0x01; WINDOW + 100_000];
        for (block, at) in blocks.iter().zip(places) {
            let at = at as usize;
            bytes[at..at + block.as_bytes().len()].copy_from_slice(block.as_bytes());
        }
        (bytes, places, second.head().seq.0)
    }

    #[test]
    fn blocks_are_found_wherever_they_stand() {
        let (bytes, places, last) = image();
        let runs = found(bytes, 0..0).runs;
        assert_eq!(runs.len(), 2);
        for (run, at) in runs.iter().zip(places) {
            assert_eq!(run.at, at + BLOCK_HEADER as u64);
            assert_eq!((run.source, run.shape), (3, Shape::Block));
        }
        assert_eq!((runs[0].first, runs[0].last), (Seq(2), Seq(41)));
        assert_eq!((runs[1].first, runs[1].last), (Seq(42), Seq(last)));
        assert_eq!(runs[0].before[1], runs[1].before[0], "their edges meet");
    }

    #[test]
    fn a_bad_sector_takes_only_what_stands_in_it() {
        let (bytes, places, last) = image();
        let bad = places[1] + 2 * SECTOR as u64..places[1] + 2 * SECTOR as u64 + 1;
        let found = found(bytes, bad);
        assert!(found.unreadable >= SECTOR as u64);
        let seqs: Vec<_> = found.runs.iter().map(|r| (r.first.0, r.last.0)).collect();
        // Of the large event only its payload is hit, which no scan looks into.
        assert_eq!(seqs[0], (2, 41));
        assert_eq!(seqs.last().map(|s| s.1), Some(last));
    }

    #[test]
    fn an_event_that_is_broken_ends_a_run_and_the_next_begins_one() {
        let (mut bytes, places, _) = image();
        let at = places[0] as usize + BLOCK_HEADER;
        bytes[at + 4] = 9;
        let runs = found(bytes, 0..0).runs;
        assert_eq!((runs[0].first, runs[0].last), (Seq(3), Seq(41)));
        assert_eq!(runs[0].shape, Shape::Bare);
    }
}
