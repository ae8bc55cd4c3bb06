//! What of the events that were found is proven: the longest way from a known hash to others.
//!
//! A hash that comes out as one that was written down somewhere proves all events before it: nobody
//! can make events for a given hash. So the way goes from hash to hash ([`Graph::anchors`]: the
//! edges of all blocks and frames, what the head file says), over whatever events stand there:
//! a block whose own header is gone, a frame of a segment that was given up, both. Where no hash is
//! left, as behind the last event of a journal, a frame whose checksum is right counts as it does
//! when a ledger is opened.
//!
//! ```text
//!   (0, zero) ──block──> (46, h) ──block──> (92, h) ──frame──> (93, h) ── no event leads on
//!                           └──────frame, a second copy────> (93, h)
//! ```
//! If there is more than one way on (a write that failed, and others in its place), the one is taken
//! that comes by what the head file says was acknowledged; else the longest.

use std::collections::{BTreeMap, HashSet};
use std::ops::Bound;

use super::scan::{Bytes, Run, Shape, fill};
use crate::chain::{ChainKey, Head, Links};
use crate::codec;
use crate::envelope::EventRef;
use crate::event::{Event, LEDGER_FORMAT, LedgerEvent};
use crate::hash::Hash;
use crate::ids::{LedgerId, Seq, Term};
use crate::store::Edge;

/// Everything that was found, ready to be gone through.
#[derive(Debug)]
pub(super) struct Graph {
    /// In order of their first seq.
    runs: Vec<Run>,
    /// Events in the longest run.
    longest: u64,
    anchors: HashSet<Hash>,
    sources: Vec<Box<dyn Bytes>>,
}

/// A part of a way: the events of this run behind those before, up to here.
#[derive(Debug, Clone, Copy)]
pub(super) struct Step {
    pub(super) run: usize,
    pub(super) to: Head,
}

/// A place that is proven, and how it was come to.
#[derive(Debug, Clone, Copy)]
struct Place {
    head: Head,
    from: Option<((Seq, Hash), usize)>,
}

/// All places that can be come to from one.
#[derive(Debug)]
pub(super) struct Reached(BTreeMap<(Seq, Hash), Place>);

impl Graph {
    pub(super) fn new(
        mut runs: Vec<Run>,
        known: impl IntoIterator<Item = Hash>,
        sources: Vec<Box<dyn Bytes>>,
    ) -> Self {
        runs.sort_by_key(|run| (run.first, run.shape != Shape::Block, run.last));
        let mut anchors: HashSet<Hash> = known.into_iter().collect();
        anchors.extend(runs.iter().flat_map(|run| run.before));
        Self {
            longest: runs.iter().map(count).max().unwrap_or(0),
            runs,
            anchors,
            sources,
        }
    }

    pub(super) fn runs(&self) -> &[Run] {
        &self.runs
    }

    /// The bytes of a run, with `header` bytes in front of them.
    pub(super) fn bytes(&self, run: &Run, header: u64) -> Vec<u8> {
        let header = header.min(run.at);
        let mut out = vec![0; usize::try_from(header + run.len).unwrap_or(0)];
        if let Some(source) = self.sources.get(run.source) {
            // What could not be read when it was found was taken for zeros then too.
            fill(source.as_ref(), run.at - header, &mut out);
        }
        out
    }

    /// The ledgers that the first events that were found begin.
    pub(super) fn beginnings(&self) -> Vec<LedgerId> {
        let mut found = Vec::new();
        for run in self.runs.iter().take_while(|run| run.first == Seq::FIRST) {
            let bytes = self.bytes(run, 0);
            let first = events(&bytes).next().and_then(|b| codec::decode(b).ok());
            let id = first.and_then(|event| genesis(&event));
            found.extend(id.filter(|id| !found.contains(id)));
        }
        found
    }

    /// Goes wherever there is a way from `start`. `progress` is told how far the furthest is.
    pub(super) fn reach(
        &self,
        ledger: LedgerId,
        start: Head,
        progress: &mut dyn FnMut(Seq),
    ) -> Reached {
        let key = ChainKey::new(ledger);
        let mut places = BTreeMap::new();
        let mut at = (start.seq, start.hash);
        places.insert(
            at,
            Place {
                head: start,
                from: None,
            },
        );
        while let Some(place) = places.get(&at).copied() {
            for index in self.holding(place.head.seq.next()) {
                if let Some(head) = self.walk(key, ledger, &self.runs[index], place.head) {
                    let from = Some((at, index));
                    let new = || Place { head, from };
                    places.entry((head.seq, head.hash)).or_insert_with(new);
                }
            }
            let next = places.range((Bound::Excluded(at), Bound::Unbounded)).next();
            let Some((next, _)) = next else { break };
            at = *next;
            progress(at.0);
        }
        Reached(places)
    }

    /// The runs that have the event at `seq`.
    fn holding(&self, seq: Seq) -> impl Iterator<Item = usize> {
        let earliest = Seq(seq.0.saturating_sub(self.longest));
        let from = self.runs.partition_point(|run| run.first < earliest);
        let to = self.runs.partition_point(|run| run.first <= seq);
        (from..to).filter(move |&i| self.runs[i].last >= seq)
    }

    /// Goes on from `start` over the events of a run, up to the first hash that is known.
    fn walk(&self, key: ChainKey, ledger: LedgerId, run: &Run, start: Head) -> Option<Head> {
        let bytes = self.bytes(run, 0);
        let mut seq = run.first;
        let mut links = Links::new(key, start.hash);
        let mut edge = Edge {
            term: start.term,
            recorded_at: start.recorded_at,
        };
        // A checksum alone counts only for a frame that agrees with what is before it.
        let mut own = Links::new(key, run.before[1]);
        let framed = run.shape == Shape::Frame;
        let mut agrees = framed && run.first == start.seq.next() && own.last() == start.hash;
        for bytes in events(&bytes) {
            if seq <= start.seq {
                if framed && own.next(bytes) == start.hash {
                    agrees = seq == start.seq;
                }
                seq = seq.next();
                continue;
            }
            let event = codec::decode(bytes).ok().filter(|e| e.header.seq == seq)?;
            let first = seq == Seq::FIRST;
            if first && genesis(&event) != Some(ledger) || !first && event.header.term == Term::ZERO
            {
                return None;
            }
            let here = Edge::of(&event.header);
            edge.meets(here, seq).ok()?;
            edge = here;
            let hash = links.next(bytes);
            if self.anchors.contains(&hash) || (agrees && seq == run.last) {
                return Some(Head {
                    seq,
                    hash,
                    term: edge.term,
                    recorded_at: edge.recorded_at,
                });
            }
            seq = seq.next();
        }
        None
    }
}

impl Reached {
    /// The furthest place, but not one that has another history than `acknowledged` if there are
    /// others.
    pub(super) fn end(&self, acknowledged: Option<(Seq, Hash)>) -> Head {
        let by = acknowledged.filter(|at| self.0.contains_key(at));
        let ends = self.0.iter().rev();
        let mut fitting = ends.filter(|(at, _)| by.is_none_or(|by| self.passes(**at, by)));
        fitting.next().map_or(Head::EMPTY, |(_, place)| place.head)
    }

    /// The steps that lead to an end.
    pub(super) fn way(&self, end: &Head) -> Vec<Step> {
        let mut steps = Vec::new();
        let mut at = (end.seq, end.hash);
        while let Some(place) = self.0.get(&at)
            && let Some((before, run)) = place.from
        {
            steps.push(Step {
                run,
                to: place.head,
            });
            at = before;
        }
        steps.reverse();
        steps
    }

    fn passes(&self, mut at: (Seq, Hash), by: (Seq, Hash)) -> bool {
        while at != by && at.0 > by.0 {
            match self.0.get(&at).and_then(|place| place.from) {
                Some((before, _)) => at = before,
                None => break,
            }
        }
        at == by
    }
}

/// The encoded events of a run.
pub(super) fn events(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let (len, behind) = rest.split_first_chunk::<4>()?;
        let len = usize::try_from(u32::from_le_bytes(*len)).ok()?;
        let (event, behind) = behind.split_at_checked(len)?;
        rest = behind;
        Some(event)
    })
}

/// Events of a run.
pub(super) fn count(run: &Run) -> u64 {
    run.last.0 - run.first.0 + 1
}

/// The ledger that this event begins, if it is a first one.
fn genesis(event: &EventRef<'_>) -> Option<LedgerId> {
    match Event::decode(event) {
        Ok(Event::Ledger(LedgerEvent::Created(created)))
            if event.header.term == Term::ZERO && created.format == LEDGER_FORMAT =>
        {
            Some(created.ledger_id)
        }
        Ok(_) | Err(_) => None,
    }
}
