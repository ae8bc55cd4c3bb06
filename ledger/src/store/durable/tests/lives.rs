//! Many lives of one ledger, all from a seed: appends, failing disks, closings, kills and power
//! failures, one after the other.
//!
//! What must hold: an open store shows everything that was acknowledged or that an open store has
//! shown before, and beside that at most the batch that was being appended when the last life
//! ended, whole.

use std::io;

use super::super::*;
use super::world::{TINY, hashes, new_ledger, next, on_two_threads, open, try_hashes, verified};
use crate::hash::Hash;
use crate::store::ReadError;
use crate::store::sim::{Chance, Disk, Fails, Image, Platter};

/// What is known of the ledger from some operation of the disk on.
#[derive(Clone)]
struct Known {
    from: usize,
    /// So many events are there.
    sure: usize,
    /// These may be there behind them.
    maybe: Vec<Hash>,
}

struct World {
    chance: Chance,
    settings: Settings,
    /// What was on the disk before anything of its record was done.
    base: Image,
    disk: Disk,
    /// All events of the current life.
    events: Vec<Hash>,
    /// What was known in the course of the current life; the last is what is known now.
    known: Vec<Known>,
    /// What happened, in words.
    story: Vec<String>,
}

impl Drop for World {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("{}", self.story.join("\n"));
        }
    }
}

const KINDS: [io::ErrorKind; 2] = [io::ErrorKind::StorageFull, io::ErrorKind::Other];
const FAILS: [Fails; 4] = [Fails::Once, Fails::ForGood, Fails::Syncs, Fails::Growth];

impl World {
    fn new(seed: usize) -> Self {
        let base = new_ledger();
        let mut chance = Chance::new(seed as u64);
        let settings = Settings {
            seal_bytes: [2048, 12 * 1024][chance.below(2)],
            block_cap: [600, 1024][chance.below(2)],
            ..TINY
        };
        let disk = Disk::holding(&base);
        let events = hashes(&open(&disk, settings).unwrap().reader());
        Self {
            chance,
            settings,
            disk: Disk::holding(&base),
            base,
            known: vec![Known {
                from: 0,
                sure: events.len(),
                maybe: Vec::new(),
            }],
            events,
            story: vec![format!("seed {seed}")],
        }
    }

    fn tell(&mut self, what: impl Into<String>) {
        self.story.push(what.into());
    }

    fn now(&self) -> &Known {
        self.known.last().unwrap()
    }

    fn know(&mut self, sure: usize, maybe: Vec<Hash>) {
        let from = self.disk.ops();
        self.known.push(Known { from, sure, maybe });
    }

    /// From now on a few calls work, and then some don't.
    fn break_disk(&mut self, within: usize) {
        let fails = FAILS[self.chance.below(FAILS.len())];
        let kind = KINDS[self.chance.below(KINDS.len())];
        let calls = self.chance.below(within);
        self.tell(format!(
            "after {calls} calls the disk fails: {fails:?}, {kind:?}"
        ));
        self.disk.fail_after(calls, fails, kind);
    }

    /// One life, from opening on.
    fn live(&mut self) {
        if self.chance.below(4) == 0 {
            self.disk.reads_fail_too();
            self.break_disk(40);
        }
        let opened = open(&self.disk, self.settings);
        let failed = self.disk.heal();
        let mut store = match opened {
            Ok(store) => store,
            Err(error) => {
                assert!(failed.is_some(), "{error}");
                assert!(!matches!(error, OpenError::Damaged(_)), "{error}");
                self.tell(format!("opening failed: {error}"));
                self.end(None);
                return;
            }
        };
        match try_hashes(&store.reader()) {
            Ok(found) => self.look(found),
            // It could not seal what it found, and redb reads no more after a failed write.
            Err(ReadError::Io(error)) if failed.is_some() => {
                self.tell(format!("opened; reading failed: {error}"));
                self.end(Some(store));
                return;
            }
            Err(error) => panic!("{error}"),
        }
        if self.chance.coin() {
            self.break_disk(60);
        }
        for _ in 0..self.chance.below(14) {
            if !self.append(&mut store) {
                break;
            }
        }
        match try_hashes(&store.reader()) {
            Ok(found) => assert!(found == self.events),
            Err(ReadError::Io(_)) if self.disk.has_failed() => {}
            Err(error) => panic!("{error}"),
        }
        self.end(Some(store));
    }

    /// What a store that was just opened shows is what it should, and will stay.
    fn look(&mut self, found: Vec<Hash>) {
        let (sure, maybe) = (self.now().sure, self.now().maybe.clone());
        let seen = format!(
            "opened: {} events; {sure} are sure, and maybe {}",
            found.len(),
            maybe.len()
        );
        self.tell(seen);
        assert!(found.len() >= sure, "events are gone");
        assert!(found[..sure] == self.events[..sure], "other events");
        let more = &found[sure..];
        assert!(
            more.is_empty() || more == maybe,
            "half a batch, or an old one"
        );
        self.know(found.len(), Vec::new());
        self.events = found;
    }

    /// Whether it worked.
    fn append(&mut self, store: &mut DurableStore) -> bool {
        let (count, size) = match self.chance.below(8) {
            0 => (1, 3000),
            1 => (1 + self.chance.below(40), 100),
            _ => (1 + self.chance.below(4), 20 + self.chance.below(400)),
        };
        let batch = next(store, &vec![size; count]);
        let hashes: Vec<Hash> = batch.events().map(|(_, hash)| hash).collect();
        let sure = self.events.len();
        self.know(sure, hashes.clone());
        match store.append(&batch) {
            Ok(_) => {
                self.tell(format!("appended {count} events of {size} bytes"));
                self.events.extend(hashes);
                self.know(self.events.len(), Vec::new());
                true
            }
            Err(error) => {
                self.tell(format!("appending {count} events of {size} bytes: {error}"));
                assert!(matches!(error, AppendError::Full(_) | AppendError::Io(_)));
                assert!(store.append(&batch).is_err(), "it goes on after a failure");
                false
            }
        }
    }

    fn end(&mut self, mut store: Option<DurableStore>) {
        let begun = self.known[0].from;
        match self.chance.below(3) {
            0 => {
                self.tell("closed");
                // With a failed disk it has nothing more to lose.
                let _ = store.take().map(DurableStore::close);
                self.disk.heal();
                self.known = vec![self.now().clone()];
            }
            1 => {
                self.tell("killed");
                self.disk = self.disk.fork();
                self.known = vec![self.now().clone()];
            }
            _ => {
                let at = begun + self.chance.below(self.disk.ops() + 1 - begun);
                self.crash(at);
            }
        }
        self.known[0].from = self.disk.ops();
        self.events.truncate(self.known[0].sure);
        drop(store);
    }

    /// The power failed at operation `at`.
    fn crash(&mut self, at: usize) {
        let keep = self.chance.below(3);
        self.tell(format!(
            "the power failed at operation {at} of {}; of what was not synced, {} is left",
            self.disk.ops(),
            ["nothing", "everything", "some"][keep]
        ));
        let record = self.disk.record();
        let mut platter = Platter::new(&self.base, &record);
        platter.advance(at);
        let chance = &mut self.chance;
        self.base = platter.image(&mut || match keep {
            0 => false,
            1 => true,
            _ => chance.coin(),
        });
        self.disk = Disk::holding(&self.base);
        let known = self.known.iter().rev().find(|known| known.from <= at);
        self.known = vec![known.unwrap().clone()];
        let report = verified(&self.disk);
        assert!(report.is_intact(), "{:?}", report.findings);
    }
}

#[test]
fn a_ledger_lives_on() {
    on_two_threads(400, |seeds| {
        for seed in seeds {
            let mut world = World::new(seed);
            for _ in 0..8 {
                world.live();
            }
        }
    });
}
