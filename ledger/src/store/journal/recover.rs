//! Reading a journal back: which batches behind the sealed ones it holds.
//!
//! Segments are read from the newest use to the oldest, until one begins with what is sealed
//! already; their frames then give the batches in order. A segment ends where no frame is; that
//! this is not too early is for the head file to say. Nothing is changed.

use std::io;

use super::disk::SegmentDir;
use super::frame::{self, Frame, Generation, HeaderFault, SEGMENT_HEADER, SegmentHeader};
use super::pool::{Pool, Slot};
use crate::chain::{Batch, ChainKey, Head};
use crate::hash::Hash;
use crate::ids::{LedgerId, Seq};
use crate::store::OpenError;

/// Bytes of a segment that are read at once.
const STEP: usize = 512 * 1024;
/// Segments that are fetched at once: as many as may hold what is not sealed, but for very long ones.
const FETCHED: usize = 4;

/// Where a journal stops making sense, though its frames are whole.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("journal segment {segment}, byte {at}: {what}")]
pub(crate) struct JournalFault {
    /// Number of the segment.
    pub(crate) segment: u32,
    /// Where the frame begins.
    pub(crate) at: u64,
    /// What is wrong.
    pub(crate) what: String,
}

/// What a journal holds.
#[derive(Debug)]
pub(crate) struct Recovered {
    /// The batches behind the sealed events, in order. The first may begin among those.
    pub(crate) batches: Vec<Batch>,
    /// The first fault; what stands behind it was not looked at.
    pub(crate) fault: Option<JournalFault>,
    /// Where it ends: in which segment, at which byte there is no frame. Nothing if no segment is in
    /// use.
    pub(crate) end: Option<(u32, u64)>,
    /// Each segment's number, and the last event in it if it holds any that may count.
    slots: Vec<(u32, Option<Seq>)>,
    generation: Generation,
}

impl Recovered {
    /// The newest use of any segment.
    pub(super) fn generation(&self) -> Generation {
        self.generation
    }

    /// Hands the files over to whoever goes on writing.
    ///
    /// # Errors
    /// If one can't be opened for writing.
    pub(crate) fn pool(&self, dir: Box<dyn SegmentDir>, segment_bytes: u64) -> io::Result<Pool> {
        // A process that ended while it made a segment has left one whose name may not be on disk;
        // what is written into it would go with the name.
        dir.sync()?;
        let reopen = |&(number, last): &(u32, Option<Seq>)| -> io::Result<_> {
            let file = dir.open(number)?;
            let len = file.len()?;
            Ok((Slot { number, file, len }, last))
        };
        let slots: Vec<_> = self.slots.iter().map(reopen).collect::<Result<_, _>>()?;
        for (slot, _) in &slots {
            if let Some((number, at)) = self.end
                && number == slot.number
            {
                end_at(slot, at)?;
            }
        }
        Ok(Pool::new(dir, segment_bytes, slots))
    }
}

/// Makes a segment end at `at` on disk, where it seems to end: after a sync that failed, the disk may
/// hold a frame there that is not shown now. It would come back after a power failure, beside what
/// was written in its place.
fn end_at(slot: &Slot, at: u64) -> io::Result<()> {
    let room = slot.len.saturating_sub(at).min(frame::FRAME_HEADER as u64);
    let zeros = [0; frame::FRAME_HEADER];
    slot.file
        .write_at(at, &zeros[..usize::try_from(room).unwrap_or(0)])?;
    slot.file.sync()
}

/// A segment in use, read.
struct Used {
    slot: Slot,
    generation: Generation,
    bytes: Vec<u8>,
}

/// Reads the journal in `dir` behind the event at which the sealed part of the ledger ends.
///
/// # Errors
/// [`OpenError`] if the disk fails, or for a segment of another ledger or of newer software.
pub(crate) fn recover(
    dir: &dyn SegmentDir,
    ledger_id: LedgerId,
    sealed: Head,
) -> Result<Recovered, OpenError> {
    let io = |error| OpenError::Io {
        what: "reading the journal".into(),
        error,
    };
    let mut found = Vec::new();
    for number in dir.list().map_err(io)? {
        let file = dir.open(number).map_err(io)?;
        let len = file.len().map_err(io)?;
        file.expect(SEGMENT_HEADER);
        found.push(Slot { number, file, len });
    }
    let mut slots = Vec::new();
    let mut headers = Vec::new();
    for slot in found {
        let number = slot.number;
        match header(&slot).map_err(io)? {
            Ok(header) if header.ledger_id != ledger_id => {
                return Err(OpenError::Damaged(format!(
                    "journal segment {number} belongs to ledger {}, the sealed events to ledger \
                     {ledger_id}: one of them was put in the other's place",
                    header.ledger_id
                )));
            }
            Ok(header) => headers.push((header.generation, slot)),
            Err(HeaderFault::None) => slots.push((slot.number, None)),
            Err(HeaderFault::Newer(found)) => return Err(OpenError::Newer { found, known: 1 }),
        }
    }
    headers.sort_by_key(|(generation, _)| *generation);
    let generation = headers.last().map_or(Generation(0), |(newest, _)| *newest);
    for (_, slot) in headers.iter().rev().take(FETCHED) {
        slot.file.expect(slot.len);
    }
    let mut used = Vec::new();
    while let Some((generation, slot)) = headers.pop() {
        let bytes = read(&slot, generation).map_err(io)?;
        let first = frame::decode(&bytes, generation, SEGMENT_HEADER).map(|(f, _)| f.first);
        used.push(Used {
            slot,
            generation,
            bytes,
        });
        if first.is_some_and(|first| first <= sealed.seq.next()) {
            break;
        }
    }
    // What is older holds nothing that isn't sealed.
    slots.extend(headers.into_iter().map(|(_, slot)| (slot.number, None)));
    let mut walk = Walk {
        key: ChainKey::new(ledger_id),
        sealed,
        batches: Vec::new(),
        end: None,
    };
    let mut fault = None;
    for segment in used.into_iter().rev() {
        if fault.is_none() {
            fault = walk.segment(&segment).err();
        }
        // Free once the sealer says so: it is asked for what it has sealed right after opening.
        slots.push((segment.slot.number, Some(walk.head().seq)));
    }
    Ok(Recovered {
        batches: walk.batches,
        fault,
        end: walk.end,
        slots,
        generation,
    })
}

fn header(slot: &Slot) -> io::Result<Result<SegmentHeader, HeaderFault>> {
    let mut bytes = [0; SEGMENT_HEADER as usize];
    if slot.len < SEGMENT_HEADER {
        return Ok(Err(HeaderFault::None));
    }
    slot.file.read_at(0, &mut bytes)?;
    Ok(SegmentHeader::decode(&bytes))
}

/// Reads a segment up to where its frames end, or somewhat further.
fn read(slot: &Slot, generation: Generation) -> io::Result<Vec<u8>> {
    let len = usize::try_from(slot.len).map_err(io::Error::other)?;
    let (mut bytes, mut at) = (Vec::new(), SEGMENT_HEADER);
    while bytes.len() < len {
        let from = bytes.len();
        bytes.resize(len.min(from + STEP), 0);
        slot.file.read_at(from as u64, &mut bytes[from..])?;
        while let Some((_, end)) = frame::decode(&bytes, generation, at) {
            at = end;
        }
        if !frame::may_begin(&bytes, at, slot.len) {
            break;
        }
    }
    Ok(bytes)
}

/// Puts batches together.
struct Walk {
    key: ChainKey,
    sealed: Head,
    batches: Vec<Batch>,
    end: Option<(u32, u64)>,
}

impl Walk {
    fn head(&self) -> Head {
        self.batches.last().map_or(self.sealed, Batch::head)
    }

    fn segment(&mut self, segment: &Used) -> Result<(), JournalFault> {
        let mut at = SEGMENT_HEADER;
        while let Some((frame, end)) = frame::decode(&segment.bytes, segment.generation, at) {
            self.frame(frame).map_err(|what| JournalFault {
                segment: segment.slot.number,
                at,
                what,
            })?;
            at = end;
        }
        self.end = Some((segment.slot.number, at));
        Ok(())
    }

    fn frame(&mut self, frame: Frame<'_>) -> Result<(), String> {
        let head = self.head();
        if frame.first > head.seq.next() {
            return Err(format!(
                "it goes on with seq {} where seq {} belongs",
                frame.first,
                head.seq.next()
            ));
        }
        let prev = if frame.first == head.seq.next() {
            Head {
                hash: frame.prev_hash,
                ..head
            }
        } else {
            Head {
                seq: Seq(frame.first.0.saturating_sub(1)),
                hash: frame.prev_hash,
                ..Head::EMPTY
            }
        };
        let batch = Batch::restore(self.key, prev, frame.body).map_err(|e| e.to_string())?;
        self.agrees(&batch)?;
        // Else it was sealed already, or written a second time when the journal was opened.
        if batch.head().seq > head.seq {
            self.batches.push(batch);
        }
        Ok(())
    }

    /// Whether a batch has, where it meets what is known, the same history.
    fn agrees(&self, batch: &Batch) -> Result<(), String> {
        let seq = batch.head().seq.min(self.head().seq);
        match (batch.hash_at(seq), self.known(seq)) {
            (Some(found), Some(known)) if found != known => Err(format!(
                "it does not follow: seq {seq} has hash {} here and {} before",
                found.short(),
                known.short()
            )),
            // What lies before the sealed events' end is not known here.
            _ => Ok(()),
        }
    }

    /// The hash of an event from the last sealed one on.
    fn known(&self, seq: Seq) -> Option<Hash> {
        if seq == self.sealed.seq {
            return Some(self.sealed.hash);
        }
        let holds = self.batches.partition_point(|batch| batch.head().seq < seq);
        let batch = self.batches.get(holds).filter(|_| seq > self.sealed.seq);
        batch?.hash_at(seq)
    }
}
