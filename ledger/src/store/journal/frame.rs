//! The journal's bytes: a segment's header, and frames of one batch each.
//!
//! ```text
//! segment header                         frame
//!  0  [8]   "OPSLSEGM"                    0  u32   length of the body
//!  8  u32   layout, 1                     4  u32   CRC-32
//! 12  u32   zero                          8  u64   seq of the first event
//! 16  [16]  ledger id                    16  [32]  hash before the first event
//! 32  u64   generation                   48  body: u32 length + encoded event, and so on
//! 40  u32   CRC-32 of bytes 0 to 40
//! ```
//! Integers are little endian. Frames begin at [`SEGMENT_HEADER`] and follow each other without a
//! gap; the first place where no frame is ends the segment. A frame's CRC covers the segment's
//! generation, the frame's place in it, and all of the frame but the CRC itself: what an earlier
//! use of the file has left is never taken for a frame of this one.
//!
//! A CRC finds accidents; that the events are those that were appended is for the chain to say.

use crate::chain::Batch;
use crate::hash::Hash;
use crate::ids::{LedgerId, Seq};

/// Bytes in front of a segment's first frame: a sector of its own, so that no write of a frame
/// writes the header again.
pub(super) const SEGMENT_HEADER: u64 = 512;
const HEADER_LEN: usize = 44;
/// Bytes in front of a frame's body.
pub(crate) const FRAME_HEADER: usize = 48;

const MAGIC: &[u8; 8] = b"OPSLSEGM";
const LAYOUT: u32 = 1;

/// Which use of a segment's file this is: each use of any file has a number of its own, higher
/// than all before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Generation(pub(super) u64);

/// What a segment's header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    pub(super) ledger_id: LedgerId,
    pub(super) generation: Generation,
}

/// What is wrong with a segment's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HeaderFault {
    /// These bytes were never a header, or not all of them: what a crash leaves of a new file.
    None,
    /// It was made by newer software.
    Newer(u32),
}

impl SegmentHeader {
    pub(super) fn encode(&self) -> [u8; HEADER_LEN] {
        let mut out = [0; HEADER_LEN];
        out[..8].copy_from_slice(MAGIC);
        out[8..12].copy_from_slice(&LAYOUT.to_le_bytes());
        out[16..32].copy_from_slice(self.ledger_id.0.as_bytes());
        out[32..40].copy_from_slice(&self.generation.0.to_le_bytes());
        let crc = crc32fast::hash(&out[..40]);
        out[40..].copy_from_slice(&crc.to_le_bytes());
        out
    }

    /// Reads the beginning of a segment.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, HeaderFault> {
        let bytes = bytes.first_chunk::<HEADER_LEN>().ok_or(HeaderFault::None)?;
        let (body, crc) = bytes.split_at(40);
        if !body.starts_with(MAGIC) || crc32fast::hash(body).to_le_bytes() != crc {
            return Err(HeaderFault::None);
        }
        let layout = u32::from_le_bytes(field(body, 8));
        if layout != LAYOUT {
            return Err(HeaderFault::Newer(layout));
        }
        if field::<4>(body, 12) != [0; 4] {
            return Err(HeaderFault::None);
        }
        Ok(Self {
            ledger_id: LedgerId(uuid::Uuid::from_bytes(field(body, 16))),
            generation: Generation(u64::from_le_bytes(field(body, 32))),
        })
    }

    /// Whether `bytes`, which stand at `at` of this segment, are a frame and nothing else.
    pub(crate) fn is_frame(&self, at: u64, bytes: &[u8]) -> bool {
        bytes.first_chunk::<FRAME_HEADER>().is_some_and(|header| {
            let len = u32::from_le_bytes(field(header, 0)) as usize;
            len != 0
                && len == bytes.len() - FRAME_HEADER
                && crc(self.generation, at, bytes).to_le_bytes() == field(header, 4)
        })
    }
}

/// A frame as read: its events are not looked into yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Frame<'a> {
    pub(super) first: Seq,
    pub(super) prev_hash: Hash,
    pub(super) body: &'a [u8],
}

/// Writes the frame of `batch` into `out`, which it replaces. It will stand at `at` of a segment of
/// this generation.
pub(super) fn encode(batch: &Batch, generation: Generation, at: u64, out: &mut Vec<u8>) {
    out.clear();
    out.resize(FRAME_HEADER, 0);
    out.extend_from_slice(batch.framed(0..batch.len()));
    let len = u32::try_from(out.len() - FRAME_HEADER).expect("a batch is far smaller than 4 GiB");
    out[..4].copy_from_slice(&len.to_le_bytes());
    out[8..16].copy_from_slice(&batch.prev().seq.next().0.to_le_bytes());
    out[16..48].copy_from_slice(&batch.prev().hash.0);
    let crc = crc(generation, at, out);
    out[4..8].copy_from_slice(&crc.to_le_bytes());
}

/// Length of the frame of `batch`.
pub(super) fn len(batch: &Batch) -> u64 {
    (FRAME_HEADER + 4 * batch.len() + batch.byte_len()) as u64
}

/// The frame at `at` of a segment's bytes, and where the next one begins; `None` if there is none.
pub(super) fn decode(segment: &[u8], generation: Generation, at: u64) -> Option<(Frame<'_>, u64)> {
    let rest = segment.get(usize::try_from(at).ok()?..)?;
    let header = rest.first_chunk::<FRAME_HEADER>()?;
    let len = u32::from_le_bytes(field(header, 0)) as usize;
    let frame = rest.get(..FRAME_HEADER.checked_add(len)?)?;
    if len == 0 || crc(generation, at, frame).to_le_bytes() != field(header, 4) {
        return None;
    }
    let read = Frame {
        first: Seq(u64::from_le_bytes(field(header, 8))),
        prev_hash: Hash(field(header, 16)),
        body: &frame[FRAME_HEADER..],
    };
    Some((read, at + frame.len() as u64))
}

/// Whether a frame may begin at `at` whose end is not among the first bytes of a segment of this
/// length, which are all that was read.
pub(super) fn may_begin(read: &[u8], at: u64, segment: u64) -> bool {
    let Some(rest) = usize::try_from(at).ok().and_then(|at| read.get(at..)) else {
        return at < segment;
    };
    let Some(header) = rest.first_chunk::<FRAME_HEADER>() else {
        return true;
    };
    let len = u64::from(u32::from_le_bytes(field(header, 0)));
    let end = at + FRAME_HEADER as u64 + len;
    len != 0 && end > read.len() as u64 && end <= segment
}

pub(super) fn crc(generation: Generation, at: u64, frame: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&generation.0.to_le_bytes());
    hasher.update(&at.to_le_bytes());
    hasher.update(&frame[..4]);
    hasher.update(&frame[8..]);
    hasher.finalize()
}

fn field<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes[at..at + N]
        .try_into()
        .expect("offsets lie inside the fixed length")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::Term;
    use crate::store::samples::{batch, genesis, ledger_id};

    fn sample() -> Batch {
        let id = ledger_id(1);
        batch(id, genesis(id).head(), Term(1), &[30, 300])
    }

    #[test]
    fn a_frame_reads_back_at_its_place_and_nowhere_else() {
        let (batch, generation) = (sample(), Generation(7));
        let mut frame = Vec::new();
        encode(&batch, generation, 600, &mut frame);
        assert_eq!(frame.len() as u64, len(&batch));
        let mut segment = vec![0; 600];
        segment.extend_from_slice(&frame);
        let (read, end) = decode(&segment, generation, 600).unwrap();
        assert_eq!((read.first, read.prev_hash), (Seq(2), batch.prev().hash));
        assert_eq!(end, segment.len() as u64);
        assert_eq!(decode(&segment, generation, 0), None, "zeros are no frame");
        assert_eq!(decode(&segment, generation, end), None, "nothing is left");
        assert_eq!(decode(&segment, generation, end + 1), None);
        assert_eq!(decode(&segment, Generation(8), 600), None, "of another use");
        segment.insert(0, 0);
        assert_eq!(decode(&segment, generation, 601), None, "at another place");
    }

    #[test]
    fn no_flipped_bit_and_no_cut_leaves_a_frame() {
        let (batch, generation) = (sample(), Generation(7));
        let mut frame = Vec::new();
        encode(&batch, generation, 0, &mut frame);
        for bit in 0..frame.len() * 8 {
            let mut bad = frame.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(decode(&bad, generation, 0), None, "bit {bit}");
        }
        for cut in 0..frame.len() {
            assert_eq!(decode(&frame[..cut], generation, 0), None, "cut {cut}");
        }
    }

    #[test]
    fn a_header_reads_back_and_no_flipped_bit_leaves_one() {
        let header = SegmentHeader {
            ledger_id: ledger_id(3),
            generation: Generation(12),
        };
        let bytes = header.encode();
        assert_eq!(SegmentHeader::decode(&bytes), Ok(header));
        for bit in 0..bytes.len() * 8 {
            let mut bad = bytes;
            bad[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(SegmentHeader::decode(&bad), Err(HeaderFault::None));
        }
        for cut in 0..bytes.len() {
            assert_eq!(SegmentHeader::decode(&bytes[..cut]), Err(HeaderFault::None));
        }
        let mut newer = bytes;
        newer[8] = 2;
        let crc = crc32fast::hash(&newer[..40]);
        newer[40..].copy_from_slice(&crc.to_le_bytes());
        assert_eq!(SegmentHeader::decode(&newer), Err(HeaderFault::Newer(2)));
    }
}
