//! What is in the log, with its chain checked, in a shape that assertions read well on.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::path::Path;

use ledger_core::envelope::ChainedEvent;
use ledger_core::event::Event;
use ledger_core::hash::Hash;
use ledger_core::ids::Seq;
use ledger_core::store::Offline as _;
use ledger_core::store::durable::OfflineReader;
use ledger_core::store::{LogReader, for_each_event};
use ledger_core::time::Timestamp;
use serde_json::Value;

/// One event.
#[derive(Debug, Clone)]
pub struct Logged {
    pub seq: u64,
    pub term: u64,
    pub recorded_at: Timestamp,
    pub kind: String,
    /// The id part of the subject.
    pub of: String,
    pub actor: String,
    pub cause: Option<Seq>,
    pub key: Option<String>,
    pub hash: Hash,
    pub data: Value,
    pub event: Event,
}

impl From<&ChainedEvent<'_>> for Logged {
    fn from(chained: &ChainedEvent<'_>) -> Self {
        let (event, header) = (&chained.event, &chained.event.header);
        Self {
            seq: header.seq.0,
            term: header.term.0,
            recorded_at: header.recorded_at,
            kind: header.kind.to_owned(),
            of: header.subject_id().to_owned(),
            actor: header.actor.to_owned(),
            cause: header.cause,
            key: header.idempotency_key.map(str::to_owned),
            hash: chained.hash,
            data: serde_json::from_str(event.data).unwrap(),
            event: Event::decode(event).unwrap_or(Event::Unknown),
        }
    }
}

/// All events, in order.
#[derive(Debug)]
pub struct Log(pub Vec<Logged>);

impl Log {
    pub(super) fn read(dir: &Path) -> Self {
        let reader = OfflineReader::open(dir).unwrap();
        reader.check_head().unwrap();
        reader.check_structure().unwrap();
        let mut all = Vec::new();
        let walked = for_each_event(&reader, Seq::FIRST, |chained| {
            all.push(Logged::from(&chained));
            ControlFlow::<()>::Continue(())
        });
        assert!(walked.unwrap().is_continue());
        assert_eq!(
            all.last().map(|e| e.hash),
            Some(reader.head().unwrap().hash)
        );
        Self(all)
    }

    pub fn last(&self) -> &Logged {
        self.0.last().unwrap()
    }

    /// The events of a kind, or of a family if it ends with a dot.
    pub fn of_kind<'l>(&'l self, kind: &str) -> Vec<&'l Logged> {
        let fits =
            |e: &&Logged| e.kind == kind || (kind.ends_with('.') && e.kind.starts_with(kind));
        self.0.iter().filter(fits).collect()
    }

    /// How many events of a kind there are.
    pub fn count(&self, kind: &str) -> usize {
        self.of_kind(kind).len()
    }

    /// The only event of a kind.
    pub fn only<'l>(&'l self, kind: &str) -> &'l Logged {
        let found = self.of_kind(kind);
        assert_eq!(found.len(), 1, "{kind}: {found:#?}");
        found[0]
    }

    /// A task's own events, in order.
    pub fn of_task<'l>(&'l self, task: &str) -> Vec<&'l Logged> {
        let mut events = self.of_kind("task.");
        events.retain(|e| e.of == task);
        events
    }

    /// The kinds of a task's own events, in order.
    pub fn life<'l>(&'l self, task: &str) -> Vec<&'l str> {
        self.of_task(task).iter().map(|e| e.kind.as_str()).collect()
    }

    /// The last event of a task.
    pub fn end_of<'l>(&'l self, task: &str) -> &'l Logged {
        self.of_task(task).last().unwrap()
    }

    /// The events of the processes of a task, in order.
    pub fn processes_of(&self, task: &str) -> Vec<&Logged> {
        let mut subjects = BTreeSet::new();
        let mut found = Vec::new();
        for event in self.of_kind("process.") {
            if event.data["task"] == task {
                subjects.insert(event.of.as_str());
            }
            if subjects.contains(event.of.as_str()) {
                found.push(event);
            }
        }
        found
    }

    /// What must be true of every log: see [`super::Ledger::assert_sound`].
    pub fn assert_sound(&self) {
        let mut term = 0;
        let mut ordered = BTreeSet::new();
        for event in &self.0 {
            if event.term != term {
                assert_eq!(event.term, term + 1, "terms rise one by one: {event:?}");
                assert_eq!(event.kind, "lease.acquired", "a term begins with its lease");
                term = event.term;
            } else if event.seq > 1 {
                assert_ne!(event.kind, "lease.acquired", "a term is acquired once");
            }
            if event.kind == "task.started" {
                let attempt = (event.of.clone(), event.data["attempt"].as_u64());
                assert!(ordered.insert(attempt), "ordered twice: {event:?}");
            }
        }
    }
}
