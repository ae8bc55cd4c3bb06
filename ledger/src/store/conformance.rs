//! What every store must do. A new implementation calls [`run`] with a way to make empty stores
//! of its kind, and [`reopens`] if its contents outlive it.
//!
//! A store may begin with events of its own (a durable one has its `ledger.created`).

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::samples::{batch, batch_of, event, largest_event, ledger_id};
use super::{AppendError, BLOCK_CAP, LogReader, LogWriter, for_each_event};
use crate::chain::{Batch, ChainKey, Head, Links};
use crate::hash::Hash;
use crate::ids::{Seq, Term};
use crate::merkle::{
    Frontier, LeafIndex, TreeSize, check_consistency, check_inclusion, leaf_hashes,
};

/// A store's two halves.
pub type Opened = (Box<dyn LogWriter>, Arc<dyn LogReader>);

/// Makes a new, independent store each time.
pub type Make<'a> = &'a mut dyn FnMut() -> Opened;

/// Runs the whole suite.
///
/// # Panics
/// If the store breaks the contract.
pub fn run(make: Make<'_>) {
    appended_events_are_read_back(make());
    an_empty_batch_changes_nothing(make());
    what_does_not_fit_is_refused_and_leaves_no_trace(make());
    a_superseded_writer_is_fenced(make());
    many_small_batches_stay_contiguous(make());
    one_batch_may_span_many_blocks(make());
    the_largest_events_fit(make());
    reading_starts_anywhere(make());
    a_reader_keeps_its_snapshot(make());
    readers_beside_the_writer_see_whole_batches(make());
}

/// Opens the same ledger again and again: each `open` follows the drop of what the one before
/// returned.
///
/// # Panics
/// If it isn't the same ledger each time.
pub fn reopens(open: Make<'_>) {
    let mut model = Model::default();
    for round in 0..4u64 {
        let (mut writer, reader) = open();
        if round == 0 {
            model.note_existing(reader.as_ref());
        }
        model.check(reader.as_ref(), writer.head());
        for n in 0..3 * round {
            let size = usize::try_from(n * 1000).expect("small");
            model.append(writer.as_mut(), Term(round + 1), &[size, 10, 3]);
        }
        model.check(reader.as_ref(), writer.head());
    }
}

/// What the store should hold.
#[derive(Default)]
struct Model {
    events: Vec<(Vec<u8>, Hash)>,
    head: Option<Head>,
}

impl Model {
    fn of(reader: &dyn LogReader) -> Self {
        let mut model = Self::default();
        model.note_existing(reader);
        model
    }

    fn note_existing(&mut self, reader: &dyn LogReader) {
        self.events = read(reader, Seq::FIRST);
        self.head = Some(reader.head().expect("the head reads"));
    }

    fn append(&mut self, writer: &mut dyn LogWriter, term: Term, sizes: &[usize]) {
        let batch = batch(writer.ledger_id(), writer.head(), term, sizes);
        self.append_batch(writer, &batch);
    }

    fn append_batch(&mut self, writer: &mut dyn LogWriter, batch: &Batch) {
        let head = writer.append(batch).expect("a sound batch is appended");
        assert_eq!(head, batch.head(), "the new head is the batch's");
        assert_eq!(writer.head(), head);
        let new = batch.events().map(|(bytes, hash)| (bytes.to_vec(), hash));
        self.events.extend(new);
        self.head = Some(head);
    }

    /// The store holds exactly this, blocks included.
    fn check(&self, reader: &dyn LogReader, head: Head) {
        assert_eq!(Some(head), self.head);
        assert_eq!(reader.head().expect("the head reads"), head);
        assert!(read(reader, Seq::FIRST) == self.events, "events differ");
        let mut events = self.events.iter();
        let mut next = Seq::FIRST;
        let mut prev = Hash::ZERO;
        let key = ChainKey::new(reader.ledger_id());
        for block in reader.blocks(Seq::ZERO).expect("blocks read") {
            let block = block.expect("a sound block");
            assert_eq!((block.first(), block.prev_hash()), (next, prev));
            assert!(block.as_bytes().len() <= BLOCK_CAP || block.count() == 1);
            block.check(&key).expect("the block checks out");
            for bytes in block.iter() {
                assert_eq!(Some(bytes), events.next().map(|(b, _)| b.as_slice()));
            }
            (next, prev) = (block.last().next(), block.last_hash());
        }
        assert!(events.next().is_none());
        self.check_tree(reader);
    }

    /// The store's tree is the one over these events, now and as it was, and proves them.
    fn check_tree(&self, reader: &dyn LogReader) {
        let mut leaves = Vec::new();
        leaf_hashes(self.events.iter().map(|(b, _)| b.as_slice()), &mut leaves);
        let over = |size: usize| {
            let mut tree = Frontier::new();
            tree.extend(&leaves[..size], &mut |_| {});
            tree.root()
        };
        let (all, tree) = (leaves.len(), reader.tree().expect("the tree reads"));
        assert_eq!(tree.root(), over(all));
        let chain = self.events.last().map_or(Hash::ZERO, |(_, hash)| *hash);
        assert_eq!(tree.head(reader.ledger_id()).chain, chain);
        let sizes = [1, all / 3, all / 2, all.saturating_sub(1), all];
        for size in sizes.into_iter().filter(|&size| (1..=all).contains(&size)) {
            let (old, new) = (over(size), over(all));
            assert_eq!(tree.root_at(old.size).expect("an older root"), old);
            let proof = tree.consistency(old.size, new.size).expect("a proof");
            check_consistency(&old, &new, &proof).expect("it has only grown");
            let index = LeafIndex(size as u64 - 1);
            let proof = tree.inclusion(index, new.size).expect("a proof");
            check_inclusion(&leaves[size - 1], index, &new, &proof).expect("it is included");
        }
        let beyond = TreeSize(all as u64 + 1);
        assert!(tree.root_at(beyond).is_err(), "a tree it never had");
    }
}

/// The events from `from` on, with the hash each has in the chain.
fn read(reader: &dyn LogReader, from: Seq) -> Vec<(Vec<u8>, Hash)> {
    let mut shown = Vec::new();
    let walked = for_each_event(reader, from, |e| -> ControlFlow<()> {
        shown.push((e.event.header.seq, e.hash));
        ControlFlow::Continue(())
    });
    assert!(
        matches!(walked, Ok(ControlFlow::Continue(()))),
        "{walked:?}"
    );
    let mut events = Vec::new();
    let key = ChainKey::new(reader.ledger_id());
    for block in reader.blocks(from).expect("blocks read") {
        let block = block.expect("a sound block");
        let mut links = Links::new(key, block.prev_hash());
        for (bytes, seq) in block.iter().zip(block.first().0..) {
            let hash = links.next(bytes);
            if seq >= from.0 {
                events.push((bytes.to_vec(), hash));
            }
        }
    }
    let walked: Vec<_> = (from.0.max(1)..)
        .map(Seq)
        .zip(events.iter().map(|e| e.1))
        .collect();
    assert_eq!(shown, walked, "the walk shows what the blocks hold");
    events
}

fn appended_events_are_read_back((mut writer, reader): Opened) {
    let mut model = Model::of(reader.as_ref());
    assert_eq!(writer.ledger_id(), reader.ledger_id());
    model.check(reader.as_ref(), writer.head());
    for sizes in [&[100][..], &[20, 5000, 1], &[300; 40]] {
        model.append(writer.as_mut(), Term(1), sizes);
        model.check(reader.as_ref(), writer.head());
    }
}

fn an_empty_batch_changes_nothing((mut writer, reader): Opened) {
    let mut model = Model::of(reader.as_ref());
    model.append(writer.as_mut(), Term(3), &[10]);
    let before = writer.head();
    let empty = batch(writer.ledger_id(), before, Term(9), &[]);
    assert_eq!(writer.append(&empty).expect("nothing to refuse"), before);
    model.check(reader.as_ref(), before);
}

fn what_does_not_fit_is_refused_and_leaves_no_trace((mut writer, reader): Opened) {
    let mut model = Model::of(reader.as_ref());
    let (id, old) = (writer.ledger_id(), writer.head());
    model.append(writer.as_mut(), Term(2), &[50, 50]);
    let head = writer.head();
    let stale = batch(id, old, Term(2), &[10]);
    let ahead = batch(id, batch(id, head, Term(2), &[1]).head(), Term(2), &[10]);
    let forked = Head {
        hash: Hash([1; 32]),
        ..head
    };
    for bad in [stale, ahead, batch(id, forked, Term(2), &[10])] {
        let refused = writer.append(&bad);
        assert!(
            matches!(refused, Err(AppendError::HeadMismatch { store, .. }) if store == head.seq),
            "{refused:?}"
        );
        model.check(reader.as_ref(), head);
    }
    let foreign = batch(ledger_id(987_654), head, Term(2), &[10]);
    assert!(matches!(
        writer.append(&foreign),
        Err(AppendError::OtherLedger)
    ));
    model.check(reader.as_ref(), head);
    model.append(writer.as_mut(), Term(2), &[10]);
    model.check(reader.as_ref(), writer.head());
}

fn a_superseded_writer_is_fenced((mut writer, reader): Opened) {
    let mut model = Model::of(reader.as_ref());
    model.append(writer.as_mut(), Term(5), &[10]);
    let head = writer.head();
    let late = batch(writer.ledger_id(), head, Term(4), &[10, 10]);
    let refused = writer.append(&late);
    assert!(
        matches!(
            refused,
            Err(AppendError::Fenced {
                store: Term(5),
                writer: Term(4)
            })
        ),
        "{refused:?}"
    );
    model.check(reader.as_ref(), head);
    model.append(writer.as_mut(), Term(6), &[10]);
    assert_eq!(writer.head().term, Term(6));
    model.check(reader.as_ref(), writer.head());
}

fn many_small_batches_stay_contiguous((mut writer, reader): Opened) {
    let mut model = Model::of(reader.as_ref());
    for n in 0..300 {
        model.append(writer.as_mut(), Term(1), &[n]);
    }
    model.check(reader.as_ref(), writer.head());
}

fn one_batch_may_span_many_blocks((mut writer, reader): Opened) {
    let mut model = Model::of(reader.as_ref());
    model.append(writer.as_mut(), Term(1), &[10]);
    model.append(writer.as_mut(), Term(1), &[900; 700]);
    model.append(writer.as_mut(), Term(1), &[10]);
    model.check(reader.as_ref(), writer.head());
    let blocks = reader.blocks(Seq::FIRST).expect("blocks read").count();
    assert!(blocks > 5, "{blocks}");
}

fn the_largest_events_fit((mut writer, reader): Opened) {
    let mut model = Model::of(reader.as_ref());
    for around in 0..3u64 {
        let head = writer.head();
        let n = head.seq.0;
        let drafts = [
            event(n, 10),
            largest_event(n),
            largest_event(n),
            event(n, 9),
        ];
        let drafts = &drafts[usize::try_from(around).expect("small")..];
        let batch = batch_of(writer.ledger_id(), head, Term(1), drafts);
        model.append_batch(writer.as_mut(), &batch);
    }
    model.check(reader.as_ref(), writer.head());
}

fn reading_starts_anywhere((mut writer, reader): Opened) {
    let mut model = Model::of(reader.as_ref());
    for sizes in [&[10; 7][..], &[30_000; 5], &[500; 90], &[1]] {
        model.append(writer.as_mut(), Term(1), sizes);
    }
    let last = writer.head().seq;
    for from in 0..=last.0 + 3 {
        let expected = model.events.get(from.saturating_sub(1) as usize..);
        let found = read(reader.as_ref(), Seq(from));
        assert!(found == expected.unwrap_or_default(), "from seq {from}");
        let first = reader.blocks(Seq(from)).expect("blocks read").next();
        match first {
            None => assert!(from > last.0),
            Some(block) => assert!(block.expect("sound").last().0 >= from),
        }
    }
    let stopped = for_each_event(reader.as_ref(), Seq(3), |e| {
        ControlFlow::Break(e.event.header.seq)
    });
    assert!(matches!(stopped, Ok(ControlFlow::Break(Seq(3)))));
}

fn a_reader_keeps_its_snapshot((mut writer, reader): Opened) {
    let mut model = Model::of(reader.as_ref());
    model.append(writer.as_mut(), Term(1), &[100; 5]);
    let before = model.events.len();
    let blocks = reader.blocks(Seq::FIRST).expect("blocks read");
    model.append(writer.as_mut(), Term(1), &[100; 500]);
    let seen: u32 = blocks.map(|b| b.expect("sound").count()).sum();
    assert_eq!(seen as usize, before);
    model.check(reader.as_ref(), writer.head());
}

fn readers_beside_the_writer_see_whole_batches((mut writer, reader): Opened) {
    const BATCH: usize = 7;
    let mut model = Model::of(reader.as_ref());
    let begun = writer.head().seq.0;
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let looks = scope.spawn(|| {
            let mut looks = 0;
            // The last look comes after the last append.
            loop {
                let last_look = done.load(Ordering::Acquire);
                let least = reader.head().expect("the head reads").seq.0;
                let mut last = 0;
                let walked = for_each_event(reader.as_ref(), Seq::FIRST, |e| -> ControlFlow<()> {
                    last = e.event.header.seq.0;
                    ControlFlow::Continue(())
                });
                assert!(walked.is_ok(), "{walked:?}");
                assert!(last >= least, "what was shown stays");
                assert_eq!((last - begun) % BATCH as u64, 0, "whole batches only");
                looks += 1;
                if last_look {
                    return looks;
                }
            }
        });
        for _ in 0..60 {
            model.append(writer.as_mut(), Term(1), &[400; BATCH]);
        }
        done.store(true, Ordering::Release);
        assert!(looks.join().expect("the reader is content") > 0);
    });
    model.check(reader.as_ref(), writer.head());
}
