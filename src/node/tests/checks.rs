//! What must hold once a history has come to its end.

use std::collections::BTreeMap;

use ledger_core::chain::ChainKey;
use ledger_core::event::{Event, JobEvent};
use ledger_core::hash::Hash;
use ledger_core::ids::Seq;
use ledger_core::store::LogReader;
use ledger_core::verify::Examine;
use projections::framework::Projection;
use projections::lives::{Lives, LivesNotes};
use projections::subjects::Version;

use super::super::decision::Decision;
use super::world::{World, fold};

impl World {
    pub(super) fn check(&self, seed: u64) {
        let durable = fold(&self.store);
        for (task, seq) in &self.acknowledged {
            let task = durable.tasks.get(task);
            let task = task.unwrap_or_else(|| panic!("seed {seed}: an acknowledged task is gone"));
            assert_eq!(task.submitted, *seq);
            assert!(task.is_ended(), "seed {seed}: {} has not ended", task.id);
        }
        assert_eq!(
            rows(&durable),
            rows(self.core.state()),
            "seed {seed}: the fold differs"
        );
        let restored = Decision::from_rows(&mut rows(&durable).into_iter()).unwrap();
        assert_eq!(rows(&restored), rows(&durable));
        self.check_versions(seed);
        self.check_jobs(seed);
        assert_eq!(self.check_lives(seed), ["term", "node"], "seed {seed}");
        let key = ChainKey::new(self.ledger);
        let mut prev = Hash::ZERO;
        let mut term = None;
        for block in self.store.blocks(Seq::FIRST).unwrap() {
            let block = block.unwrap();
            assert_eq!(block.prev_hash(), prev);
            block.check(&key).unwrap();
            prev = block.last_hash();
            for event in block.events() {
                let header = event.unwrap().header;
                if Some(header.term) != term {
                    assert!(term.is_none_or(|before| header.term > before));
                    assert_eq!(
                        header.kind, "lease.acquired",
                        "a term begins with its lease"
                    );
                    term = Some(header.term);
                }
            }
        }
    }

    /// Everything that began has ended or is accounted for; returns which families have open lives.
    pub(super) fn check_lives(&self, seed: u64) -> Vec<&'static str> {
        let (examiner, mut lives) = Lives::begin(LogReader::head(&self.store).unwrap().seq);
        for block in self.store.blocks(Seq::FIRST).unwrap() {
            let (block, mut notes) = (block.unwrap(), LivesNotes::default());
            for event in block.events() {
                examiner.event(&event.unwrap(), &mut notes);
            }
            lives.fold(notes);
        }
        let outcome = lives.end();
        assert!(
            outcome.is_complete(),
            "seed {seed}: {:#?}",
            outcome.findings
        );
        let open = outcome.lives.iter().filter(|tally| tally.open > 0);
        open.map(|tally| tally.family).collect()
    }

    /// No due time of a job is submitted twice, and each is behind the one before.
    fn check_jobs(&self, seed: u64) {
        let mut last = BTreeMap::new();
        for block in self.store.blocks(Seq::FIRST).unwrap() {
            let block = block.unwrap();
            for event in block.events() {
                let event = event.unwrap();
                if let Ok(Event::Job(JobEvent::Due(due))) = Event::decode(&event) {
                    let before = last.insert(event.header.subject.to_owned(), due.due_at);
                    assert!(before < Some(due.due_at), "seed {seed}: {due:?}");
                }
            }
        }
    }

    /// Whatever was appended on the strength of a version came right after it.
    fn check_versions(&self, seed: u64) {
        let mut told = Vec::new();
        for block in self.store.blocks(Seq::FIRST).unwrap() {
            let block = block.unwrap();
            let events = block.events().map(|event| event.unwrap().header);
            let apps = events.filter(|header| header.kind.starts_with("app."));
            told.extend(apps.map(|header| (header.seq, header.subject.to_owned())));
        }
        for (last, events) in &self.appended {
            let first = Seq(last.0 + 1 - u64::try_from(events.len()).unwrap());
            for event in events {
                let before = told
                    .iter()
                    .rfind(|(seq, subject)| *seq < first && *subject == event.subject.as_str());
                let version = before.map_or(Version::New, |(seq, _)| Version::At(*seq));
                assert!(
                    event.expected.is_none_or(|expected| expected == version),
                    "seed {seed}: {:?} expected of {} at {last}, not {version}",
                    event.expected,
                    event.subject
                );
            }
        }
    }
}

fn rows(state: &Decision) -> Vec<(String, String)> {
    let mut rows = Vec::new();
    state.rows(&mut |key, value| rows.push((key.to_owned(), value.to_owned())));
    rows
}
