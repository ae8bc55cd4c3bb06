//! The fold against a plain recount, and what it refuses.

use std::collections::BTreeMap;

use ledger_core::envelope::Header;
use ledger_core::event::*;
use ledger_core::ids::{Id, Seq, Term};
use ledger_core::time::{Micros, Millis, Timestamp};
use proptest::prelude::*;

use super::*;
use crate::framework::Projection;
use crate::testkit::{History, Recorded};

const ID: &str = "boot.7.9";

fn header(seq: u64, kind: &'static str) -> Header<'static> {
    Header {
        seq: Seq(seq),
        term: Term(1),
        recorded_at: Timestamp(seq),
        event_id: ledger_core::ids::EventId(ledger_core::ids::Uuid::nil()),
        kind,
        version: 1,
        subject: "process/boot.7.9",
        actor: "uid/1000",
        claimed_actor: None,
        cause: None,
        correlation: None,
        traceparent: None,
        idempotency_key: None,
    }
}

#[derive(Default)]
struct Told {
    processes: Processes,
    seq: u64,
}

impl Told {
    fn tell(&mut self, event: ProcessEvent) -> Result<(), String> {
        self.seq += 1;
        let header = header(self.seq, event.kind());
        let applied = self.processes.apply(&header, &event.into());
        applied.map_err(|error| error.reason)
    }

    fn stage(&self) -> Option<&Stage> {
        let process = self.processes.get(ID)?;
        process.foreign().map(|foreign| &foreign.stage)
    }
}

fn watched() -> ProcessEvent {
    ProcessEvent::Watched(ProcessWatched {
        pid: 7,
        start_time: 9,
        boot_id: "boot".into(),
        pgid: 7,
        uid: 1000,
        command: "sleep 1".into(),
        started_at: Timestamp(1),
        max_runtime_ms: Millis(60_000),
        stall_after_ms: None,
        grace_ms: Millis(5_000),
    })
}

fn reaping() -> ProcessEvent {
    ProcessEvent::Reaping(ProcessReaping {
        cause: ReapCause::MaxRuntime,
        runtime_us: Micros(60_000_001),
        idle_us: None,
    })
}

fn terminated() -> ProcessEvent {
    ProcessEvent::Terminated(ProcessTerminated {
        cause: ReapCause::MaxRuntime,
        steps: Vec::new(),
        runtime_us: Micros(60_100_000),
    })
}

fn survived() -> ProcessEvent {
    ProcessEvent::Survived(ProcessSurvived {
        steps: Vec::new(),
        survivors: Vec::new(),
    })
}

fn ended() -> ProcessEvent {
    ProcessEvent::Ended(ProcessEnded {
        seen: EndSeen::AtOnce,
        runtime_us: None,
    })
}

fn unwatched(reason: UnwatchReason) -> ProcessEvent {
    ProcessEvent::Unwatched(ProcessUnwatched { reason })
}

fn registered() -> ProcessEvent {
    ProcessEvent::Registered(ProcessRegistered {
        pid: 7,
        start_time: 11,
        boot_id: "boot".into(),
        pgid: 7,
        shim_pid: 6,
        shim_start_time: 10,
        task: Id::new("t").unwrap(),
        attempt: Attempt::FIRST,
        max_runtime_ms: Millis(60_000),
    })
}

fn unkillable() -> ProcessEvent {
    ProcessEvent::Unkillable(ProcessUnkillable {
        task: Id::new("t").unwrap(),
        attempt: Attempt::FIRST,
        steps: Vec::new(),
        survivors: Vec::new(),
        processes: 1,
    })
}

fn exited() -> ProcessEvent {
    ProcessEvent::Exited(ProcessExited {
        end: ProcessEnd::Exited { code: 0 },
        usage: Usage::default(),
    })
}

#[test]
fn a_watch_goes_through_its_stages_and_leaves_with_its_end() {
    let mut told = Told::default();
    told.tell(watched()).unwrap();
    assert_eq!(told.stage(), Some(&Stage::Watched));
    told.tell(reaping()).unwrap();
    told.tell(survived()).unwrap();
    let Some(Stage::Reaping {
        ordered, survived, ..
    }) = told.stage()
    else {
        panic!("{:?}", told.stage());
    };
    assert_eq!((*ordered, survived.is_some()), (Seq(2), true));
    told.tell(terminated()).unwrap();
    assert_eq!(told.processes.get(ID), None);
    for reason in [UnwatchReason::Asked, UnwatchReason::Recycled] {
        told.tell(watched()).unwrap();
        told.tell(unwatched(reason)).unwrap();
    }
    let c = told.processes.counters();
    assert_eq!(
        (c.watched, c.reaping, c.survived, c.terminated),
        (3, 1, 1, 1)
    );
    assert_eq!((c.unwatched, c.recycled, c.ended), (1, 1, 0));
    assert_eq!(told.processes.foreign_count(), 0);
}

#[test]
fn an_attempt_that_outlives_sigkill_is_told_of_until_it_ends() {
    let mut told = Told::default();
    assert!(told.tell(unkillable()).is_err());
    told.tell(registered()).unwrap();
    told.tell(unkillable()).unwrap();
    let Some(Purpose::Attempt(of)) = told.processes.get(ID).map(|process| &process.purpose) else {
        panic!("no attempt");
    };
    assert_eq!(of.unkillable, Some(Seq(3)));
    told.tell(exited()).unwrap();
    assert_eq!(told.processes.get(ID), None);
    let c = told.processes.counters();
    assert_eq!((c.unkillable, c.all_unkillable(), c.exited), (1, 1, 1));
    told.tell(watched()).unwrap();
    assert!(told.tell(unkillable()).is_err(), "of somebody else");
}

#[test]
fn what_can_not_follow_is_refused_and_changes_nothing() {
    let mut told = Told::default();
    for event in [reaping(), survived(), terminated(), ended(), exited()] {
        let kind = event.kind();
        assert!(told.tell(event).is_err(), "{kind}");
    }
    told.tell(watched()).unwrap();
    for event in [watched(), survived(), terminated(), exited()] {
        let kind = event.kind();
        assert!(told.tell(event).is_err(), "{kind}");
    }
    told.tell(reaping()).unwrap();
    assert!(told.tell(reaping()).is_err());
    let c = told.processes.counters();
    assert_eq!((c.watched, c.reaping), (1, 1));
    assert_eq!(told.processes.foreign_count(), 1);
}

/// What is open at the end, recounted event by event without any state in between.
fn open(events: &[Recorded]) -> BTreeMap<&str, bool> {
    let mut open = BTreeMap::new();
    for e in events {
        match e.kind.as_str() {
            "process.registered" => drop(open.insert(e.subject.as_str(), false)),
            "process.watched" => drop(open.insert(e.subject.as_str(), true)),
            "process.reaping" | "process.survived" | "process.unkillable" => {}
            kind if kind.starts_with("process.") => drop(open.remove(e.subject.as_str())),
            _ => {}
        }
    }
    open
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn it_holds_what_is_open_and_counts_what_was(
        choices in prop::collection::vec(any::<u32>(), 0..250),
    ) {
        let history = History::drawn(&choices);
        let mut processes = Processes::default();
        for e in history.events() {
            if let (Event::Process(event), Ok(subject)) = (&e.event, ledger_core::ids::Entity::of("process", &e.subject)) {
                let header = Header {
                    subject: &subject,
                    ..header(e.seq.0, event.kind())
                };
                processes.apply(&header, &e.event).unwrap();
            }
        }
        let open = open(history.events());
        let held: BTreeMap<_, _> = processes
            .iter()
            .map(|(id, process)| (id, process.foreign().is_some()))
            .collect();
        prop_assert_eq!(&held, &open);
        let count = |kind: &str| history.events().iter().filter(|e| e.kind == kind).count() as u64;
        let c = processes.counters();
        for (told, kind) in [
            (c.registered, "process.registered"),
            (c.exited, "process.exited"),
            (c.reaped, "process.reaped"),
            (c.lost, "process.lost"),
            (c.watched, "process.watched"),
            (c.reaping, "process.reaping"),
            (c.survived, "process.survived"),
            (c.unkillable, "process.unkillable"),
            (c.terminated, "process.terminated"),
            (c.ended, "process.ended"),
            (c.recycled + c.unwatched, "process.unwatched"),
        ] {
            prop_assert_eq!(told, count(kind), "{}", kind);
        }
        let kept = processes.kept();
        prop_assert_eq!(kept.foreign, open.values().filter(|foreign| **foreign).count() as u64);
        prop_assert_eq!(kept.attempts + kept.foreign, open.len() as u64);
        prop_assert_eq!(processes.views().len(), open.len());
    }
}
