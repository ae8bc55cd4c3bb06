//! Power failures at every moment: what was acknowledged is there, nothing is there by halves, and
//! the store goes on.

use super::super::*;
use super::world::{TINY, hashes, new_ledger, next, offline, on_two_threads, open, verified};
use crate::hash::Hash;
use crate::store::sim::{Chance, Disk, Image, Op, Platter};

/// How a part of the run ends.
#[derive(Clone, Copy)]
enum End {
    Close,
    /// The process is killed; the files are as they are.
    Kill,
}

/// A run of appends in several lives of the store.
struct Run {
    base: Image,
    record: Vec<Op>,
    /// The heads it went through, and the operation at which each was known outside.
    known: Vec<(Head, usize)>,
    hashes: Vec<Hash>,
}

/// Sealed so late that many segments become free at the same time.
const LATE: Settings = Settings {
    seal_bytes: 30 * 1024,
    ..TINY
};

fn run() -> Run {
    // One event alone, blocks filled in passing, a batch larger than a segment, one event that is
    // larger than a block.
    let lives: [(Settings, &[&[usize]], End); 5] = [
        (
            TINY,
            &[&[30], &[30, 300], &[200; 3], &[100; 9], &[30], &[150; 5]],
            End::Close,
        ),
        (
            TINY,
            &[&[30], &[200; 30], &[10], &[30, 2000, 30]],
            End::Kill,
        ),
        (
            TINY,
            &[&[250; 4], &[250; 4], &[250; 4], &[250; 4], &[30]],
            End::Kill,
        ),
        (LATE, &[&[250; 8][..]; 12], End::Kill),
        (TINY, &[&[100; 12], &[90; 12], &[80; 12], &[30]], End::Close),
    ];
    let base = new_ledger();
    let mut disk = Disk::holding(&base);
    let mut run = Run {
        known: vec![(head_of(&base), 0)],
        base,
        record: Vec::new(),
        hashes: Vec::new(),
    };
    for (settings, batches, end) in lives {
        let mut store = open(&disk, settings).unwrap();
        for sizes in batches {
            let head = store.append(&next(&store, sizes)).unwrap();
            run.known.push((head, disk.ops()));
        }
        run.hashes = hashes(&store.reader());
        match end {
            End::Close => store.close().unwrap(),
            End::Kill => disk = disk.fork(),
        }
    }
    run.record = disk.record();
    run
}

fn head_of(image: &Image) -> Head {
    offline(&Disk::holding(image)).unwrap().head().unwrap()
}

impl Run {
    /// The last head that was known when `at` operations were done.
    fn known(&self, at: usize) -> Head {
        let known = self.known.iter().rev().find(|(_, done)| *done <= at);
        known.unwrap().0
    }

    /// The head that was being made then.
    fn in_flight(&self, at: usize) -> Option<Head> {
        let next = self.known.iter().find(|(_, done)| *done > at);
        next.map(|(head, _)| *head)
    }

    /// The image verifies, opens with everything up to `least` and at most one batch more, and goes
    /// on.
    fn check(&self, image: &Image, least: Head, more: Option<Head>, what: &str) {
        let disk = Disk::holding(image);
        let report = verified(&disk);
        assert!(report.is_intact(), "{what}: {:?}", report.findings);
        let mut store = match open(&disk, TINY) {
            Ok(store) => store,
            Err(error) => panic!("{what}: {error}"),
        };
        let head = store.head();
        assert_eq!(report.head, head, "{what}");
        assert!(
            head.seq >= least.seq,
            "{what}: acknowledged events are gone"
        );
        assert!(head == least || Some(head) == more, "{what}: half a batch");
        let found = hashes(&store.reader());
        assert!(self.hashes.starts_with(&found), "{what}: other events");
        assert_eq!(found.len() as u64, head.seq.0, "{what}");
        for sizes in [&[20; 5][..], &[200; 12]] {
            store.append(&next(&store, sizes)).unwrap();
        }
        let (head, found) = (store.head(), hashes(&store.reader()));
        store.close().unwrap();
        let store = open(&disk, TINY).unwrap();
        assert_eq!(store.head(), head, "{what}");
        assert!(hashes(&store.reader()) == found, "{what}: other events");
    }
}

#[test]
fn the_run_has_all_that_is_to_be_interrupted() {
    let run = run();
    let count = |which: fn(&Op) -> bool| run.record.iter().filter(|op| which(op)).count();
    let made = count(|op| matches!(op, Op::Create(..)));
    let removed = count(|op| matches!(op, Op::Remove(_)));
    let begun = count(|op| matches!(op, Op::Write(_, 0, bytes) if bytes.starts_with(b"OPSLSEGM")));
    let sealed = count(|op| matches!(op, Op::Write(0, 0, _)));
    let what = format!(
        "{} operations: {made} segments made, {removed} removed, {begun} begun, {sealed} headers \
         of redb's file written",
        run.record.len()
    );
    println!("{what}");
    assert!(
        made > 8 && removed > 1 && begun > made + 4 && sealed > 20,
        "{what}"
    );
}

#[test]
fn nothing_acknowledged_is_lost_in_a_crash_at_any_moment() {
    let run = run();
    on_two_threads(run.record.len() + 1, |moments| {
        let mut platter = Platter::new(&run.base, &run.record);
        for at in moments {
            platter.advance(at);
            let check = |what: &str, keep: &mut dyn FnMut() -> bool| {
                let what = format!("crash at operation {at}, {what}");
                run.check(
                    &platter.image(keep),
                    run.known(at),
                    run.in_flight(at),
                    &what,
                );
            };
            check("nothing unsynced", &mut || false);
            check("all written", &mut || true);
            // Just before a sync the most is in flight.
            let rounds = match run.record.get(at) {
                Some(Op::Sync(_)) => 6,
                _ => 1,
            };
            for seed in 0..rounds {
                let mut some = Chance::new(at as u64 * 100 + seed);
                check(&format!("seed {seed}"), &mut || some.coin());
            }
        }
    });
}

#[test]
fn a_crash_while_opening_loses_nothing_either() {
    let run = run();
    on_two_threads(run.record.len() + 1, |moments| {
        let mut platter = Platter::new(&run.base, &run.record);
        for at in moments {
            platter.advance(at);
            if at % 7 != 0 && !matches!(run.record.get(at), Some(Op::Sync(_))) {
                continue;
            }
            let mut some = Chance::new(at as u64);
            let image = platter.image(&mut || some.coin());
            run.crash_while_opening(&image, at, &mut some);
        }
    });
}

impl Run {
    fn crash_while_opening(&self, image: &Image, at: usize, some: &mut Chance) {
        let disk = Disk::holding(image);
        let store = open(&disk, TINY).unwrap();
        let (shown, opened) = (store.head(), disk.ops());
        drop(store);
        let record = disk.record();
        let mut platter = Platter::new(image, &record);
        for again in 0..=record.len() {
            platter.advance(again);
            let what = format!("crash at operation {at}, and at {again} of opening");
            // What an open store has shown stays.
            let (least, more) = match again >= opened {
                true => (shown, None),
                false => (self.known(at), self.in_flight(at)),
            };
            self.check(&platter.image(&mut || false), least, more, &what);
            self.check(&platter.image(&mut || some.coin()), least, more, &what);
        }
    }
}

#[test]
fn what_a_crash_has_taken_does_not_come_back() {
    let run = run();
    on_two_threads(run.record.len(), |moments| {
        let mut platter = Platter::new(&run.base, &run.record);
        for at in moments {
            platter.advance(at);
            // The most is in flight just before a sync; of the store's file all of it counts or
            // nothing.
            if !matches!(run.record[at], Op::Sync(file) if file > 1) {
                continue;
            }
            for seed in 0..6 {
                let mut some = Chance::new(at as u64 * 100 + seed);
                let image = platter.image(&mut || some.coin());
                crash_while_going_on(&image, &mut some, &format!("at {at}, seed {seed}"));
            }
        }
    });
}

/// Opens, appends, and crashes at each moment of it: the next opening must not know better than
/// this one.
fn crash_while_going_on(image: &Image, some: &mut Chance, what: &str) {
    let disk = Disk::holding(image);
    let mut store = open(&disk, TINY).unwrap();
    let before = hashes(&store.reader());
    let opened = disk.ops();
    store.append(&next(&store, &[35])).unwrap();
    let after = hashes(&store.reader());
    let record = disk.fork().record();
    let mut platter = Platter::new(image, &record);
    for again in opened..=record.len() {
        platter.advance(again);
        for keep in 0..3 {
            let image = platter.image(&mut || keep == 0 || some.coin());
            let found = hashes(&open(&Disk::holding(&image), TINY).unwrap().reader());
            let known = found == before && again < record.len() || found == after;
            assert!(
                known,
                "crash {what}, and at operation {again} of the next life"
            );
        }
    }
}
