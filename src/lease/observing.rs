//! The observer's side: whether whoever holds the lock still shows signs of life.
//!
//! | must hold | why |
//! |---|---|
//! | silence is counted by the observer's own clock, from when *it* saw the beat last change | clocks that are set, and records with times in them, change nothing |
//! | a record that can't be read is no sign of anything | the holder writes it anew with its next beat |
//! | nobody is named unless a record of this boot named him | other numbers mean other processes by now |
//!
//! The idea is that of leader election in Kubernetes' client-go, which trusts no clock but its own.

use ledger_core::time::Micros;

use super::record::{Beat, Record, RecordFault};
use super::uptime::Uptime;

/// What a look at the record file showed.
pub type Sight = Result<(Record, Beat), RecordFault>;

/// What an observer thinks of the holder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It beats, or has not been silent for long enough.
    Lives {
        /// For how long the beat has not moved.
        silent: Micros,
    },
    /// It has been silent for its TTL: it may be ended.
    Expired {
        /// Who.
        record: Box<Record>,
        /// For how long.
        silent: Micros,
    },
    /// Somebody holds the lock and nothing says who.
    Unknown {
        /// What is wrong with the record.
        fault: RecordFault,
        /// For how long it has been so.
        silent: Micros,
    },
}

/// An observer of the lease.
#[derive(Debug, Clone)]
pub struct Observer {
    boot_id: String,
    /// The last record of this boot that could be read.
    known: Option<Record>,
    beat: Option<Beat>,
    /// When this observer began to look, or the beat last changed.
    since: Uptime,
}

impl Observer {
    /// An observer that begins to look now, under this boot.
    pub fn new(boot_id: String, now: Uptime) -> Self {
        Self {
            boot_id,
            known: None,
            beat: None,
            since: now,
        }
    }

    /// The last record of this boot that could be read.
    pub fn holder(&self) -> Option<&Record> {
        self.known.as_ref()
    }

    /// The last beat of that holder.
    pub fn beat(&self) -> Option<&Beat> {
        self.beat.as_ref()
    }

    /// Looks at what the file showed at `now`.
    pub fn look(&mut self, now: Uptime, sight: Sight) -> Verdict {
        let mut wrong = None;
        match sight {
            Ok((record, _)) if record.process.boot_id != self.boot_id => {
                wrong = Some(RecordFault::Damaged("it is of an earlier boot".to_owned()));
            }
            Ok((record, beat)) => {
                let moved = self.beat.as_ref() != Some(&beat)
                    || self.known.as_ref().map(|known| &known.incarnation)
                        != Some(&record.incarnation);
                if moved {
                    self.since = now;
                    self.beat = Some(beat);
                }
                self.known = Some(record);
            }
            Err(fault) => wrong = Some(fault),
        }
        let silent = now.since(self.since);
        match (&self.known, wrong) {
            (Some(record), _) if silent >= Micros(record.ttl.0 * 1000) => Verdict::Expired {
                record: Box::new(record.clone()),
                silent,
            },
            (None, Some(fault)) => Verdict::Unknown { fault, silent },
            (Some(_), _) | (None, None) => Verdict::Lives { silent },
        }
    }

    /// Forgets the holder, because another one has the lock by now.
    pub fn forget(&mut self, now: Uptime) {
        *self = Self::new(std::mem::take(&mut self.boot_id), now);
    }
}

#[cfg(test)]
mod tests {
    use ledger_core::ids::Id;
    use ledger_core::time::Millis;

    use super::*;
    use crate::shim::ProcessIdentity;

    fn at(ms: u64) -> Uptime {
        Uptime(Micros(ms * 1000))
    }

    fn record(boot: &str, incarnation: &str) -> Record {
        let process = ProcessIdentity {
            pid: 71,
            start_time: 9,
            boot_id: boot.into(),
        };
        let holder = Id::new("primary").unwrap();
        Record::new(holder, process, incarnation.into(), None, Millis(3000))
    }

    fn sight(boot: &str, incarnation: &str, beat: u64) -> Sight {
        Record::parse(record(boot, incarnation).text(beat).as_bytes())
    }

    fn silent(verdict: &Verdict) -> u64 {
        match verdict {
            Verdict::Lives { silent } => silent.0 / 1000,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_holder_lives_while_its_beat_moves_and_expires_when_it_stands_still() {
        let mut observer = Observer::new("b".into(), at(0));
        assert_eq!(silent(&observer.look(at(10), sight("b", "i", 1))), 0);
        assert_eq!(silent(&observer.look(at(2_000), sight("b", "i", 1))), 1_990);
        assert_eq!(silent(&observer.look(at(3_000), sight("b", "i", 2))), 0);
        assert_eq!(silent(&observer.look(at(5_999), sight("b", "i", 2))), 2_999);
        let expired = observer.look(at(6_000), sight("b", "i", 2));
        let record = Box::new(record("b", "i"));
        let silent = Micros(3_000_000);
        assert_eq!(expired, Verdict::Expired { record, silent });
        // Another tenure whose beat happens to be the same.
        let next = observer.look(at(6_001), sight("b", "j", 2));
        assert!(matches!(next, Verdict::Lives { silent: Micros(0) }));
    }

    #[test]
    fn a_record_that_cannot_be_read_neither_renews_nor_names_anybody_new() {
        let mut observer = Observer::new("b".into(), at(0));
        let fault = || Err(RecordFault::Empty);
        let unknown = observer.look(at(9_000), fault());
        assert!(matches!(unknown, Verdict::Unknown { .. }), "{unknown:?}");
        observer.look(at(9_000), sight("b", "i", 1));
        assert_eq!(silent(&observer.look(at(10_000), fault())), 1_000);
        let expired = observer.look(at(12_000), fault());
        assert!(matches!(expired, Verdict::Expired { record, .. } if record.incarnation == "i"));
    }

    #[test]
    fn a_record_of_an_earlier_boot_names_nobody() {
        let mut observer = Observer::new("b".into(), at(0));
        for ms in [0, 3_000, 100_000] {
            let verdict = observer.look(at(ms), sight("a", "i", 1));
            assert!(matches!(verdict, Verdict::Unknown { .. }), "{verdict:?}");
        }
        observer.look(at(100_000), sight("b", "j", 1));
        observer.forget(at(100_001));
        assert_eq!(observer.holder(), None);
    }
}
