//! Every flipped byte and every cut of a journal: found, or harmless because it changes nothing
//! that is read. Of a store that was closed and of one whose writer was killed.

use std::fs::{self, OpenOptions};
use std::num::NonZeroUsize;
use std::ops::ControlFlow;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::{DurableStore, JOURNAL_DIR, OfflineReader, SealIn, Settings, Structure};
use crate::hash::Hash;
use crate::ids::{Seq, Term};
use crate::store::redb::{HEAD_FILE, STORE_FILE};
use crate::store::samples::{batch, genesis, ledger_id};
use crate::store::{LogWriter, for_each_event};
use crate::verify::verify_offline;
use tempfile::TempDir;

/// Small enough that every byte can be tried, large enough that several segments and blocks are
/// filled and used again.
const TINY: Settings = Settings {
    segment_bytes: 4096,
    seal_bytes: 4096,
    block_cap: 2048,
    lag_bytes: 64 * 1024,
    sealing: SealIn::Foreground,
    structure: Structure::Trusted,
};

/// A store with sealed blocks and a tail, and the hashes of its events.
struct Sample {
    dir: TempDir,
    hashes: Vec<Hash>,
    /// Bytes of the events that only the journal has.
    unsealed: u64,
}

/// How the store came to be as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ended {
    Closed,
    Killed,
}

fn sample(ended: Ended) -> Sample {
    let dir = TempDir::new().unwrap();
    let id = ledger_id(1);
    drop(DurableStore::create(dir.path(), id, &genesis(id)).unwrap());
    let mut store = DurableStore::open_with(dir.path(), TINY).unwrap();
    for n in 0..45 {
        let batch = batch(id, store.head(), Term(1), &vec![120; 1 + n % 3]);
        store.append(&batch).unwrap();
    }
    assert!(
        store.reader().sealed() > Seq(40),
        "several blocks are sealed"
    );
    let (tail, ()) = store.tail.snapshot(|_| ());
    let unsealed = tail.head.event_bytes - tail.sealed.event_bytes;
    let mut hashes = Vec::new();
    let walk = for_each_event(&store.reader(), Seq::FIRST, |e| -> ControlFlow<()> {
        hashes.push(e.hash);
        ControlFlow::Continue(())
    });
    assert!(walk.is_ok());
    let dir = match ended {
        Ended::Closed => {
            store.close().unwrap();
            dir
        }
        Ended::Killed => copy(dir.path()),
    };
    Sample {
        dir,
        hashes,
        unsealed,
    }
}

fn copy(from: &Path) -> TempDir {
    let to = TempDir::new().unwrap();
    for name in [STORE_FILE, HEAD_FILE] {
        fs::copy(from.join(name), to.path().join(name)).unwrap();
    }
    fs::create_dir(to.path().join(JOURNAL_DIR)).unwrap();
    for path in segments(from) {
        let name = Path::new(JOURNAL_DIR).join(path.file_name().unwrap());
        fs::copy(path, to.path().join(name)).unwrap();
    }
    to
}

fn segments(dir: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<_> = fs::read_dir(dir.join(JOURNAL_DIR))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.sort();
    paths
}

/// What came of damage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answer {
    Found,
    Harmless,
}

impl Sample {
    /// Reads everything. A wrong answer fails the test.
    fn judge(&self, what: &str) -> Answer {
        let Ok(reader) = OfflineReader::open(self.dir.path()) else {
            return Answer::Found;
        };
        let mut hashes = Vec::new();
        let walk = for_each_event(&reader, Seq::FIRST, |e| -> ControlFlow<()> {
            hashes.push(e.hash);
            ControlFlow::Continue(())
        });
        if walk.is_err() || reader.check_head().is_err() {
            assert!(self.hashes.starts_with(&hashes), "{what}: a wrong answer");
            return Answer::Found;
        }
        assert_eq!(hashes, self.hashes, "{what}: a wrong answer");
        Answer::Harmless
    }

    /// Whether verification, and opening for writing, say the same.
    fn confirm(&self, answer: Answer, what: &str) {
        let report = verify_offline(self.dir.path(), NonZeroUsize::MIN, &|_, _| {});
        let intact = report.is_ok_and(|report| report.is_intact());
        assert_eq!(intact, answer == Answer::Harmless, "{what}");
        let copy = copy(self.dir.path());
        match (DurableStore::open_with(copy.path(), TINY), answer) {
            (Err(_), Answer::Found) => {}
            (Ok(store), Answer::Harmless) => {
                assert_eq!(store.head().seq.0, self.hashes.len() as u64, "{what}");
            }
            (opened, answer) => panic!("{what}: {answer:?}, opened: {:?}", opened.err()),
        }
    }
}

fn flip_every_byte(ended: Ended) {
    let sample = sample(ended);
    let (mut found, mut harmless) = (0, 0);
    for path in segments(sample.dir.path()) {
        let sound = fs::read(&path).unwrap();
        let file = OpenOptions::new().write(true).open(&path).unwrap();
        for (at, byte) in sound.iter().enumerate() {
            let what = format!("byte {at} of {}", path.display());
            let bad = byte ^ (1 << (at % 8));
            file.write_all_at(&[bad], at as u64).unwrap();
            let answer = sample.judge(&what);
            if at % 101 == 0 {
                sample.confirm(answer, &what);
            }
            match answer {
                Answer::Found => found += 1,
                Answer::Harmless => harmless += 1,
            }
            file.write_all_at(&[*byte], at as u64).unwrap();
        }
    }
    assert_eq!(sample.judge("mended"), Answer::Harmless);
    assert!(
        found > sample.unsealed,
        "{found} found; the journal alone has {} bytes of events",
        sample.unsealed
    );
    assert!(
        harmless > 512,
        "what lies behind the last frame is not read"
    );
}

#[test]
fn every_flipped_byte_of_a_closed_journal_is_found_or_harmless() {
    flip_every_byte(Ended::Closed);
}

#[test]
fn every_flipped_byte_of_a_killed_journal_is_found_or_harmless() {
    flip_every_byte(Ended::Killed);
}

#[test]
fn a_journal_cut_at_any_length_is_found_or_whole() {
    let sample = sample(Ended::Killed);
    let mut found: u64 = 0;
    for path in segments(sample.dir.path()) {
        let sound = fs::read(&path).unwrap();
        for len in 0..sound.len() {
            let what = format!("{} cut at {len}", path.display());
            fs::write(&path, &sound[..len]).unwrap();
            let answer = sample.judge(&what);
            if len % 101 == 0 {
                sample.confirm(answer, &what);
            }
            found += u64::from(answer == Answer::Found);
        }
        fs::write(&path, &sound).unwrap();
    }
    assert!(found > sample.unsealed, "{found}");
}
