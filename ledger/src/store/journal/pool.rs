//! The files of segments that are not being written: those whose events are not all sealed yet,
//! and those that are free. Shared by the writer, which takes free ones, and the sealer, which
//! frees them and keeps one ready.

use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::disk::{SegmentDir, SegmentFile};
use crate::ids::Seq;

/// Free segments beyond these are removed: a burst should not keep the disk for good.
const MAX_FREE: usize = 4;

/// A segment's file.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) number: u32,
    pub(super) file: Box<dyn SegmentFile>,
    pub(super) len: u64,
}

fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}

/// All segments but the one being written.
#[derive(Debug)]
pub(crate) struct Pool {
    dir: Box<dyn SegmentDir>,
    /// Length of the segments that are made ready.
    segment_bytes: u64,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    free: Vec<Slot>,
    /// With the last event in each.
    used: Vec<(Slot, Seq)>,
    next_number: u32,
}

impl Pool {
    /// A pool of what was found: `slots` with the last event that each holds, or nothing if it
    /// holds none.
    pub(super) fn new(
        dir: Box<dyn SegmentDir>,
        segment_bytes: u64,
        slots: Vec<(Slot, Option<Seq>)>,
    ) -> Self {
        let mut state = State::default();
        for (slot, last) in slots {
            state.next_number = state.next_number.max(slot.number.saturating_add(1));
            match last {
                Some(last) => state.used.push((slot, last)),
                None => state.free.push(slot),
            }
        }
        Self {
            dir,
            segment_bytes,
            state: Mutex::new(state),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Slots are moved whole, so the lists are sound at every moment.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A free segment of at least this length; made now if there is none.
    pub(super) fn take(&self, len: u64) -> io::Result<Slot> {
        {
            let mut state = self.state();
            if let Some(index) = state.free.iter().position(|slot| slot.len >= len) {
                return Ok(state.free.swap_remove(index));
            }
        }
        let least = len.next_multiple_of(4096);
        match self.make(self.segment_bytes.max(least)) {
            // What room is left is for what must be recorded.
            Err(error) if is_full(&error) => self.make(least),
            made => made,
        }
    }

    fn make(&self, len: u64) -> io::Result<Slot> {
        let number = {
            let mut state = self.state();
            let number = state.next_number;
            state.next_number = number
                .checked_add(1)
                .ok_or_else(|| io::Error::other("the journal has used up its numbers"))?;
            number
        };
        let file = self.dir.create(number, len)?;
        Ok(Slot { number, file, len })
    }

    /// Takes back a segment that is full, whose last event is `last`.
    pub(super) fn retire(&self, slot: Slot, last: Seq) {
        self.state().used.push((slot, last));
    }

    /// Everything up to `sealed` stands elsewhere durably: frees the segments that hold no more,
    /// and removes those that are too many.
    pub(crate) fn release(&self, sealed: Seq) {
        let surplus = {
            let mut state = self.state();
            let (done, used) = std::mem::take(&mut state.used)
                .into_iter()
                .partition(|(_, last)| *last <= sealed);
            state.used = used;
            let done: Vec<(Slot, Seq)> = done;
            state.free.extend(done.into_iter().map(|(slot, _)| slot));
            // One made for a huge batch or on a full disk, or left half made, is worth keeping
            // only while there is no other.
            let usual = |slot: &Slot| slot.len == self.segment_bytes;
            state.free.sort_by_key(|slot| (!usual(slot), slot.len));
            let keep = match state.free.iter().filter(|slot| usual(slot)).count() {
                0 => state.free.len(),
                some => some,
            };
            state.free.split_off(keep.min(MAX_FREE))
        };
        for slot in surplus {
            // One that stays is found free by the next opening.
            let _ = self.dir.remove(slot.number);
        }
    }

    /// Sees to it that an append finds a free segment and need not make one. If that fails, it will
    /// try for itself, and tell.
    pub(crate) fn make_ready(&self) {
        let usual = |slot: &Slot| slot.len >= self.segment_bytes;
        if !self.state().free.iter().any(usual)
            && let Ok(slot) = self.make(self.segment_bytes)
        {
            self.state().free.push(slot);
        }
    }
}
