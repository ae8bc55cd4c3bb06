//! What verification must find, each kind of damage by its name.

use std::io;

use super::*;
use crate::chain::{BatchBuilder, ChainKey, Head};
use crate::hash::Hash;
use crate::ids::{LedgerId, Seq, Term};
use crate::store::samples::{batch, event, genesis, ledger_id};
use crate::store::{Block, Blocks, LogReader, ReadError, pack};
use crate::time::Timestamp;

const THREADS: [usize; 3] = [1, 2, 5];

/// A reader of whatever blocks a test wants.
struct Given {
    ledger_id: LedgerId,
    head: Head,
    blocks: Vec<Result<Block, BlockError>>,
}

#[derive(Clone)]
enum BlockError {
    Frame(Seq),
    Io,
}

impl LogReader for Given {
    fn ledger_id(&self) -> LedgerId {
        self.ledger_id
    }
    fn head(&self) -> Result<Head, ReadError> {
        Ok(self.head)
    }
    fn blocks(&self, _: Seq) -> Result<Blocks<'_>, ReadError> {
        Ok(Box::new(self.blocks.iter().cloned().map(|b| {
            b.map_err(|e| match e {
                BlockError::Frame(seq) => ReadError::Block {
                    seq,
                    fault: crate::store::BlockFault::Header,
                },
                BlockError::Io => ReadError::Io(io::Error::other("gone")),
            })
        })))
    }
}

/// Six blocks: the first event alone, then five of four events, terms 1, 1, 2, 2, 3.
fn sound() -> Given {
    let id = ledger_id(1);
    let first = genesis(id);
    let mut head = first.head();
    let mut blocks = pack(&first, None);
    for term in [1, 1, 2, 2, 3] {
        let batch = batch(id, head, Term(term), &[40; 4]);
        head = batch.head();
        blocks.extend(pack(&batch, None));
    }
    Given {
        ledger_id: id,
        head,
        blocks: blocks.into_iter().map(Ok).collect(),
    }
}

fn block(given: &Given, n: usize) -> &Block {
    given.blocks[n].as_ref().ok().unwrap()
}

fn reparse(given: &mut Given, n: usize, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = block(given, n).as_bytes().to_vec();
    change(&mut bytes);
    given.blocks[n] = Ok(Block::parse(bytes).unwrap());
}

fn verify(given: &Given, known: &[KnownHead]) -> Report {
    let reports = THREADS.map(|threads| {
        let threads = NonZeroUsize::new(threads).unwrap();
        verify_intact(given, known, threads, &|_, _| {})
    });
    for report in &reports[1..] {
        assert_eq!(report.findings, reports[0].findings, "threads don't matter");
        assert_eq!(report.head, reports[0].head);
    }
    reports.into_iter().next().unwrap()
}

/// The one finding that a damaged ledger must give.
fn only_finding(given: &Given) -> Finding {
    let report = verify(given, &[]);
    assert_eq!(report.verdict, Verdict::Damaged);
    assert_eq!(report.findings.len(), 1, "{:#?}", report.findings);
    report.findings[0].clone()
}

#[test]
fn a_sound_ledger_is_intact_and_counted() {
    let given = sound();
    let report = verify(&given, &[]);
    assert!(report.is_intact(), "{:?}", report.findings);
    assert_eq!((report.events, report.blocks), (21, 6));
    assert_eq!(report.head, given.head);
    let bytes: usize = (0..6)
        .flat_map(|n| block(&given, n).iter())
        .map(<[u8]>::len)
        .sum();
    assert_eq!(report.bytes, bytes as u64);
}

#[test]
fn a_flipped_bit_a_broken_link_and_a_wrong_edge_are_told_apart() {
    let mut given = sound();
    reparse(&mut given, 3, |b| {
        let at = b.len() - 4;
        b[at] ^= 1;
    });
    let found = only_finding(&given);
    assert_eq!((found.what, found.seq), (What::Hash, Some(Seq(13))));

    let mut given = sound();
    reparse(&mut given, 3, |b| b[80 + 4] = 9);
    let found = only_finding(&given);
    assert_eq!((found.what, found.seq), (What::Encoding, Some(Seq(10))));
    let at = Some(0);
    assert_eq!(found.place, Place::Block { first: Seq(10), at });

    let mut given = sound();
    reparse(&mut given, 3, |b| b[20] ^= 1);
    let whats: Vec<_> = verify(&given, &[])
        .findings
        .iter()
        .map(|f| f.what)
        .collect();
    assert_eq!(whats, [What::Link, What::Hash]);
}

#[test]
fn removed_swapped_replayed_and_inserted_blocks_are_found() {
    let mut removed = sound();
    let _ = removed.blocks.remove(2);
    let found = only_finding(&removed);
    assert_eq!((found.what, found.seq), (What::Missing, Some(Seq(6))));

    let mut swapped = sound();
    swapped.blocks.swap(2, 3);
    assert!(!verify(&swapped, &[]).is_intact());

    let mut replayed = sound();
    let again = replayed.blocks[3].clone();
    replayed.blocks.insert(4, again);
    assert!(!verify(&replayed, &[]).is_intact());

    // An inserted block with sound hashes of its own, by someone who knows the ledger id.
    let mut inserted = sound();
    let before = Head {
        seq: Seq(5),
        hash: block(&inserted, 1).last_hash(),
        term: Term(1),
        recorded_at: Timestamp(1_700_000_000_001_000),
    };
    let forged = batch(ledger_id(1), before, Term(1), &[10; 4]);
    inserted.blocks[2] = Ok(pack(&forged, None).remove(0));
    let found = verify(&inserted, &[]).findings;
    assert_eq!((found[0].what, found[0].seq), (What::Link, Some(Seq(10))));

    let mut foreign = sound();
    foreign.ledger_id = ledger_id(2);
    let report = verify(&foreign, &[]);
    assert_eq!(report.findings[0].what, What::Hash);
}

#[test]
fn a_cut_tail_is_found_by_the_head_and_by_what_is_known() {
    let mut cut = sound();
    cut.blocks.pop();
    let found = only_finding(&cut);
    assert_eq!((found.what, found.place), (What::Cut, Place::Head));

    let whole = sound();
    let known = |seq: u64, hash: Hash| KnownHead {
        place: Place::HeadFile,
        seq: Seq(seq),
        hash,
    };
    assert!(verify(&whole, &[known(9, block(&whole, 2).last_hash())]).is_intact());
    let wrong = verify(&whole, &[known(8, Hash([3; 32]))]);
    assert_eq!(wrong.findings[0].what, What::Replaced);
    assert_eq!(wrong.findings[0].seq, Some(Seq(8)));
    let ahead = verify(&whole, &[known(22, Hash([3; 32]))]);
    assert_eq!(ahead.findings[0].what, What::Cut);
    assert_eq!(ahead.findings[0].place, Place::HeadFile);

    let mut empty = sound();
    empty.blocks.clear();
    assert_eq!(only_finding(&empty).what, What::Cut);
}

#[test]
fn a_wrong_head_is_found() {
    let wrong: [fn(&mut Head); 3] = [
        |h| h.hash.0[0] ^= 1,
        |h| h.term = Term(9),
        |h| h.recorded_at = Timestamp(1),
    ];
    for change in wrong {
        let mut given = sound();
        change(&mut given.head);
        let found = only_finding(&given);
        assert_eq!((found.what, found.place), (What::Replaced, Place::Head));
    }
    // A head behind the blocks is what a reader beside a writer sees.
    let mut behind = sound();
    behind.head.seq = Seq(9);
    behind.head.hash = block(&behind, 2).last_hash();
    assert!(verify(&behind, &[]).is_intact());
}

#[test]
fn terms_and_times_are_held_across_blocks() {
    let id = ledger_id(1);
    let chain = |steps: &[(u64, u64)]| {
        let first = genesis(id);
        let mut head = first.head();
        let mut blocks = pack(&first, None);
        for &(term, at) in steps {
            // A builder would refuse neither: it is told that it begins in the past.
            let begin = Head {
                recorded_at: Timestamp(0),
                ..head
            };
            let mut builder = BatchBuilder::new(ChainKey::new(id), begin, Term(term));
            builder.push(&[event(1, 30)], Timestamp(at)).unwrap();
            let batch = builder.take();
            head = batch.head();
            blocks.extend(pack(&batch, None));
        }
        Given {
            ledger_id: id,
            head,
            blocks: blocks.into_iter().map(Ok).collect(),
        }
    };
    let t = 1_700_000_000_000_001;
    assert!(verify(&chain(&[(1, t), (1, t), (4, t + 1)]), &[]).is_intact());
    let found = only_finding(&chain(&[(2, t), (1, t)]));
    assert_eq!((found.what, found.seq), (What::Term, Some(Seq(3))));
    let found = only_finding(&chain(&[(1, t), (1, t - 1)]));
    assert_eq!((found.what, found.seq), (What::Time, Some(Seq(3))));
    let found = only_finding(&chain(&[(0, t)]));
    assert_eq!((found.what, found.seq), (What::Term, Some(Seq(2))));
}

#[test]
fn the_first_event_must_be_this_ledgers_creation() {
    let id = ledger_id(1);
    let ordinary = batch(id, Head::EMPTY, Term(1), &[10]);
    let mut given = sound();
    given.blocks = pack(&ordinary, None).into_iter().map(Ok).collect();
    given.head = ordinary.head();
    assert_eq!(only_finding(&given).what, What::Genesis);

    // The creation of another ledger under this one's key.
    let stolen = genesis(ledger_id(2));
    let stolen = stolen.events().next().unwrap().0;
    let data = crate::codec::decode(stolen).unwrap().data.to_owned();
    let mut draft = event(1, 10);
    draft.kind = crate::ids::Kind::new("ledger.created").unwrap();
    draft.data = data;
    let mut builder = BatchBuilder::new(ChainKey::new(id), Head::EMPTY, Term::ZERO);
    builder.push(&[draft], Timestamp(1)).unwrap();
    let batch = builder.take();
    given.blocks = pack(&batch, None).into_iter().map(Ok).collect();
    given.head = batch.head();
    let found = only_finding(&given);
    assert_eq!(found.what, What::Genesis);
    assert!(found.found.contains(&ledger_id(2).to_string()), "{found}");
}

#[test]
fn unreadable_places_are_findings_and_the_rest_is_still_checked() {
    let mut given = sound();
    given.blocks[2] = Err(BlockError::Frame(Seq(6)));
    reparse(&mut given, 4, |b| {
        let at = b.len() - 4;
        b[at] ^= 1;
    });
    let whats: Vec<_> = verify(&given, &[])
        .findings
        .iter()
        .map(|f| f.what)
        .collect();
    assert!(whats.contains(&What::Frame) && whats.contains(&What::Missing));
    assert!(whats.contains(&What::Hash));
    given.blocks.truncate(3);
    given.blocks[2] = Err(BlockError::Io);
    let whats: Vec<_> = verify(&given, &[])
        .findings
        .iter()
        .map(|f| f.what)
        .collect();
    assert_eq!(whats, [What::Unreadable, What::Cut]);
}

#[test]
fn a_large_ledger_goes_through_the_workers_in_order() {
    let id = ledger_id(1);
    let first = genesis(id);
    let mut blocks = pack(&first, None);
    let big = batch(id, first.head(), Term(1), &[700; 4000]);
    blocks.extend(pack(&big, None));
    assert!(blocks.len() > 40);
    let mut given = Given {
        ledger_id: id,
        head: big.head(),
        blocks: blocks.into_iter().map(Ok).collect(),
    };
    let report = verify(&given, &[]);
    assert!(report.is_intact(), "{:?}", report.findings);
    assert_eq!(report.events, 4001);
    for n in [3, 20, 37] {
        reparse(&mut given, n, |b| {
            let at = b.len() - 4;
            b[at] ^= 1;
        });
    }
    let report = verify(&given, &[]);
    let seqs: Vec<_> = report.findings.iter().filter_map(|f| f.seq).collect();
    let damaged = [3, 20, 37].map(|n| block(&given, n).last());
    assert_eq!(seqs, damaged, "in the ledger's order");
}
