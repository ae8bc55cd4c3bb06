//! What is not in the proven history: everything that was found behind its end, as evidence. It is
//! kept byte for byte, with a manifest that says what it is.
//!
//! Of events behind a gap nobody can say that they belong to what is before it. But most of them hang
//! together among themselves ([`Left::chained`]), and their first edge names the hash of the event
//! that is missing: should a copy of the missing ones turn up, everything fits again.

use serde::Serialize;

use super::scan::{Holds, Run, Shape};
use super::search::Graph;
use crate::chain::Head;
use crate::hash::Hash;
use crate::ids::{LedgerId, Seq};

/// Neighboring events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Range {
    /// The first.
    pub first: Seq,
    /// The last.
    pub last: Seq,
}

/// Neighboring events that hash from one known hash to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Chained {
    /// The first.
    pub first: Seq,
    /// The last.
    pub last: Seq,
    /// What the event before the first must hash to.
    pub prev_hash: Hash,
    /// What the last hashes to.
    pub last_hash: Hash,
}

/// What a piece is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PieceKind {
    /// A block with its header.
    Block,
    /// A frame of the journal with its header.
    Frame,
    /// Events whose header is damaged or stands elsewhere; what stood in front of them is with them.
    Events,
}

/// Why a piece was left behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Why {
    /// It holds the event that should come next, and does not hash to anything that is known.
    Broken,
    /// Sound, but events before it are missing.
    BehindGap,
    /// Behind a gap, and it does not hash to anything that is known.
    Unproven,
}

/// Bytes that were left behind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Piece {
    /// The file that they stand in, below the data directory.
    pub file: String,
    /// Where in it.
    pub offset: u64,
    /// How many.
    pub length: u64,
    /// Where they begin in the file `pieces`.
    pub at: u64,
    /// What they are.
    pub kind: PieceKind,
    /// The first event in them.
    pub first: Seq,
    /// The last.
    pub last: Seq,
    /// Why they are here.
    pub why: Why,
    /// The run, to read them again.
    #[serde(skip)]
    pub(super) run: usize,
}

/// Everything that was left behind.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Left {
    /// Different events in the pieces, all behind the proven ones.
    pub events: u64,
    /// Bytes of all pieces.
    pub bytes: u64,
    /// Events that are in no piece, up to the last that is known of.
    pub missing: Vec<Range>,
    /// Which of the events hang together.
    pub chained: Vec<Chained>,
    /// The pieces, in order of their first event.
    pub pieces: Vec<Piece>,
}

/// A file that was looked through.
#[derive(Debug, Clone)]
pub(super) struct Origin {
    pub(super) name: String,
    pub(super) holds: Holds,
}

/// Finds what lies behind `good`. `known` is the last event that is known to have been there.
pub(super) fn find(
    graph: &Graph,
    origins: &[Origin],
    ledger: LedgerId,
    good: Seq,
    known: Seq,
) -> Left {
    let behind = |(_, run): &(usize, &Run)| run.last > good;
    let runs: Vec<(usize, &Run)> = graph.runs().iter().enumerate().filter(behind).collect();
    let mut left = Left {
        chained: chained(graph, &runs, ledger, good),
        ..Left::default()
    };
    let mut next = good.next();
    for (index, run) in runs {
        if run.first > next {
            left.missing.push(Range {
                first: next,
                last: Seq(run.first.0 - 1),
            });
        }
        let new = run.first.max(next);
        left.events += (run.last.0 + 1).saturating_sub(new.0);
        next = next.max(run.last.next());
        let Some(origin) = origins.get(run.source) else {
            continue;
        };
        let header = origin.holds.header().min(run.at);
        let length = header + run.len;
        left.pieces.push(Piece {
            file: origin.name.clone(),
            offset: run.at - header,
            length,
            at: left.bytes,
            kind: match (run.shape, origin.holds) {
                (Shape::Block, _) => PieceKind::Block,
                (Shape::Frame, _) => PieceKind::Frame,
                (Shape::Bare, _) => PieceKind::Events,
            },
            first: run.first,
            last: run.last,
            why: why(run, good, &left.chained),
            run: index,
        });
        left.bytes += length;
    }
    if known >= next {
        left.missing.push(Range {
            first: next,
            last: known,
        });
    }
    left
}

fn why(run: &Run, good: Seq, chained: &[Chained]) -> Why {
    let holds = |c: &Chained| c.first <= run.first && run.last <= c.last;
    if run.first <= good.next() {
        Why::Broken
    } else if chained.iter().any(holds) {
        Why::BehindGap
    } else {
        Why::Unproven
    }
}

/// Which runs hang together: from each that is behind the last one so far, as far as it goes.
fn chained(graph: &Graph, runs: &[(usize, &Run)], ledger: LedgerId, good: Seq) -> Vec<Chained> {
    let mut found: Vec<Chained> = Vec::new();
    let mut reached = good;
    for (_, run) in runs {
        if run.last <= reached || run.first <= good.next() {
            continue;
        }
        let from = |hash: Hash| {
            let start = Head {
                seq: Seq(run.first.0 - 1),
                hash,
                ..Head::EMPTY
            };
            let end = graph.reach(ledger, start, &mut |_| {}).end(None);
            (end.seq > start.seq).then_some(Chained {
                first: run.first,
                last: end.seq,
                prev_hash: hash,
                last_hash: end.hash,
            })
        };
        let ways = run.before.into_iter().filter_map(from);
        if let Some(longest) = ways.max_by_key(|way| way.last).filter(|c| c.last > reached) {
            reached = longest.last;
            found.push(longest);
        }
    }
    found
}
