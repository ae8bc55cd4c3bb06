//! The check of what a journal is recovered from; see [`crate::fuzz`].

use std::io;

use super::frame::{self, FRAME_HEADER, Generation, SEGMENT_HEADER, SegmentHeader};
use super::{SegmentDir, SegmentFile, recover};
use crate::chain::{Batch, Head};
use crate::hash::Hash;
use crate::ids::{LedgerId, Seq, Term, Uuid};
use crate::time::Timestamp;

/// The ledger that segments are of.
const LEDGER: LedgerId = LedgerId(Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0001));
/// Where its sealed events end.
const SEALED: Head = Head {
    seq: Seq(1),
    hash: Hash([0x5E; 32]),
    term: Term(0),
    recorded_at: Timestamp(1_700_000_000_000_000),
};

/// Segments in memory, which nobody writes to.
#[derive(Debug)]
struct Segments(Vec<Vec<u8>>);

#[derive(Debug)]
struct Segment(Vec<u8>);

fn refused<T>() -> io::Result<T> {
    Err(io::Error::other("reading changes nothing"))
}

impl SegmentDir for Segments {
    fn list(&self) -> io::Result<Vec<u32>> {
        Ok((0..).zip(&self.0).map(|(number, _)| number).collect())
    }

    fn open(&self, number: u32) -> io::Result<Box<dyn SegmentFile>> {
        Ok(Box::new(Segment(self.0[number as usize].clone())))
    }

    fn create(&self, _: u32, _: u64) -> io::Result<Box<dyn SegmentFile>> {
        refused()
    }

    fn remove(&self, _: u32) -> io::Result<()> {
        refused()
    }

    fn sync(&self) -> io::Result<()> {
        refused()
    }
}

impl SegmentFile for Segment {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.len() as u64)
    }

    fn read_at(&self, at: u64, out: &mut [u8]) -> io::Result<()> {
        let from = usize::try_from(at).map_err(io::Error::other)?;
        let found = self.0.get(from..from + out.len());
        out.copy_from_slice(found.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn write_at(&self, _: u64, _: &[u8]) -> io::Result<()> {
        refused()
    }

    fn sync(&self) -> io::Result<()> {
        refused()
    }
}

/// The first byte says how many segments there are, and whether their checksums are to be mended;
/// the others are cut into so many.
pub(crate) fn check(data: &[u8]) {
    let Some((how, rest)) = data.split_first() else {
        return;
    };
    let count = usize::from(how & 3).max(1);
    let mut segments: Vec<Vec<u8>> = rest
        .chunks(rest.len().div_ceil(count).max(1))
        .map(<[u8]>::to_vec)
        .collect();
    if how & 4 != 0 {
        segments.iter_mut().for_each(|segment| mend(segment));
    }
    segments.iter().for_each(|segment| check_frames(segment));
    let Ok(recovered) = recover(&Segments(segments), LEDGER, SEALED) else {
        return;
    };
    let mut head = SEALED;
    for batch in &recovered.batches {
        assert!(batch.prev().seq <= head.seq, "there is no gap");
        assert!(batch.head().seq > head.seq, "it holds something new");
        if let Some(hash) = batch.hash_at(head.seq) {
            assert_eq!(hash, head.hash, "it follows");
        }
        head = batch.head();
    }
    let generation = Generation(recovered.generation().0.saturating_add(1));
    let again = recover(
        &Segments(vec![written(&recovered.batches, generation)]),
        LEDGER,
        SEALED,
    );
    let again = again.expect("it was written just now");
    assert_eq!(again.fault, None);
    let ends = |batches: &[Batch]| batches.iter().map(Batch::head).collect::<Vec<_>>();
    assert_eq!(ends(&again.batches), ends(&recovered.batches));
}

/// A segment of these batches.
fn written(batches: &[Batch], generation: Generation) -> Vec<u8> {
    let header = SegmentHeader {
        ledger_id: LEDGER,
        generation,
    };
    let mut segment = header.encode().to_vec();
    assert_eq!(SegmentHeader::decode(&segment), Ok(header));
    segment.resize(SEGMENT_HEADER as usize, 0);
    let mut out = Vec::new();
    for batch in batches {
        frame::encode(batch, generation, segment.len() as u64, &mut out);
        segment.extend_from_slice(&out);
    }
    segment
}

/// Every frame lies in its segment, and is one by either way of asking.
fn check_frames(segment: &[u8]) {
    let Ok(header) = SegmentHeader::decode(segment) else {
        return;
    };
    assert_eq!(SegmentHeader::decode(&header.encode()), Ok(header));
    let mut at = SEGMENT_HEADER;
    while let Some((frame, end)) = frame::decode(segment, header.generation, at) {
        let span = usize::try_from(at).unwrap_or(0)..usize::try_from(end).unwrap_or(0);
        let bytes = segment.get(span).expect("it lies in its segment");
        assert_eq!(bytes.len(), FRAME_HEADER + frame.body.len());
        assert!(header.is_frame(at, bytes));
        at = end;
    }
}

/// Puts the right checksums in, as far as there are frames.
fn mend(segment: &mut [u8]) {
    if segment.len() < SEGMENT_HEADER as usize {
        return;
    }
    let generation = segment[32..40].try_into().map_or(0, u64::from_le_bytes);
    let header = SegmentHeader {
        ledger_id: LEDGER,
        generation: Generation(generation),
    };
    let encoded = header.encode();
    segment[..encoded.len()].copy_from_slice(&encoded);
    let mut at = SEGMENT_HEADER as usize;
    while let Some(len) = segment.get(at..).and_then(|rest| rest.first_chunk::<4>()) {
        let len = u32::from_le_bytes(*len) as usize;
        let Some(bytes) = segment
            .get_mut(at..)
            .and_then(|b| b.get_mut(..FRAME_HEADER + len))
        else {
            return;
        };
        let crc = frame::crc(header.generation, at as u64, bytes);
        bytes[4..8].copy_from_slice(&crc.to_le_bytes());
        at += bytes.len();
        if len == 0 {
            return;
        }
    }
}

/// A journal to begin with: the second batch of the first segment stands in the second once more.
#[cfg(test)]
pub(crate) fn seed() -> Vec<u8> {
    use crate::store::samples::batch;
    let first = batch(LEDGER, SEALED, Term(1), &[20, 30]);
    let second = batch(LEDGER, first.head(), Term(1), &[40]);
    let third = batch(LEDGER, second.head(), Term(2), &[0]);
    let mut older = written(&[first, second.clone()], Generation(3));
    let mut newer = written(&[second, third], Generation(4));
    let len = older.len().max(newer.len());
    older.resize(len, 0);
    newer.resize(len, 0);
    [vec![4 + 2], older, newer].concat()
}
