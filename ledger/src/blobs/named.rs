//! Which blobs the log names: a scan of the events, from where the last one ended.

use std::collections::HashSet;
use std::ops::{ControlFlow, RangeInclusive};

use super::reference::{BlobRef, in_payload};
use crate::chain::Head;
use crate::hash::Hash;
use crate::ids::Seq;
use crate::store::{LogReader, ReadError, for_each_event};

/// What the events up to a position name. About 50 bytes for each blob.
#[derive(Debug, Clone)]
pub struct Named {
    /// The last event that was looked at.
    upto: Seq,
    /// Where the ledger ended then, or further on.
    head: Head,
    digests: HashSet<Hash>,
}

/// Events that are looked at before it is asked whether to go on.
const STEP: u64 = 20_000;

impl Default for Named {
    /// Before the first event.
    fn default() -> Self {
        Self {
            upto: Seq::ZERO,
            head: Head::EMPTY,
            digests: HashSet::new(),
        }
    }
}

impl Named {
    /// The last event that was looked at.
    pub fn upto(&self) -> Seq {
        self.upto
    }

    /// Whether one of them names this blob.
    pub fn contains(&self, digest: Hash) -> bool {
        self.digests.contains(&digest)
    }

    /// How many different blobs they name.
    pub fn len(&self) -> usize {
        self.digests.len()
    }

    /// Whether they name none.
    pub fn is_empty(&self) -> bool {
        self.digests.is_empty()
    }

    /// Looks at the events behind those that it knows, up to the head that the ledger has now, for as
    /// long as `going` says so. Returns whether it came there.
    ///
    /// # Errors
    /// [`ReadError`]; it then stands where it stood, or further on.
    pub fn extend(
        &mut self,
        reader: &dyn LogReader,
        going: &dyn Fn() -> bool,
    ) -> Result<bool, ReadError> {
        let head = reader.head()?;
        let before = self.head;
        if head.seq < before.seq || (head.seq == before.seq && head.hash != before.hash) {
            let what = "the ledger ends before what was read of it, or was rewritten";
            return Err(ReadError::Damaged(what.to_owned()));
        }
        while self.upto < head.seq {
            if !going() {
                return Ok(false);
            }
            let last = Seq(self.upto.0.saturating_add(STEP)).min(head.seq);
            let digests = &mut self.digests;
            each_named(reader, self.upto.next()..=last, &mut |_, named| {
                digests.insert(named.blake3);
            })?;
            self.upto = last;
        }
        self.head = head;
        Ok(true)
    }
}

/// The blobs that the events of a range name, in order, with the event that names each. One that
/// several name stands there several times.
///
/// # Errors
/// [`ReadError`] at the first event that is not as it was written.
pub fn named_in(
    reader: &dyn LogReader,
    range: RangeInclusive<Seq>,
) -> Result<Vec<(Seq, BlobRef)>, ReadError> {
    let mut found = Vec::new();
    each_named(reader, range, &mut |seq, named| found.push((seq, named)))?;
    Ok(found)
}

/// Shows every reference in a range of events. What uses the key otherwise, in ledgers from before
/// it was reserved, names nothing.
pub(super) fn each_named(
    reader: &dyn LogReader,
    range: RangeInclusive<Seq>,
    f: &mut dyn FnMut(Seq, BlobRef),
) -> Result<(), ReadError> {
    let (first, last) = range.into_inner();
    if first > last {
        return Ok(());
    }
    let _ = for_each_event(reader, first, |e| {
        let seq = e.event.header.seq;
        if seq > last {
            return ControlFlow::Break(());
        }
        if let Ok(Some(named)) = in_payload(e.event.data) {
            f(seq, named);
        }
        if seq == last {
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    })?;
    Ok(())
}
