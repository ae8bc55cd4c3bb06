//! What is decided, against rules written down once more as simply as can be; trees and ladders on
//! real processes.

mod model;
mod refusals;
mod trees;
mod verdicts;
mod working;

use ledger_core::envelope::Header;
use ledger_core::event::{
    Attempt, Event, ProcessEnd, ProcessEvent, ProcessExited, ProcessRegistered, Usage,
};
use ledger_core::ids::{Entity, Id, Seq, Term};
use ledger_core::time::{Millis, Timestamp};
use projections::framework::Projection;
use projections::processes::Processes;

use super::candidate::{Candidate, Kin};
use super::decide::Terms;
use crate::decided::Decided;
use crate::shim::ProcessIdentity;

const BOOT: &str = "boot";

/// Processes, folded from what was decided.
#[derive(Debug, Default)]
struct Folded {
    processes: Processes,
    seq: u64,
}

impl Folded {
    fn fold(&mut self, decided: &Decided) {
        self.seq += 1;
        let (kind, _) = decided.event.kind_and_data().unwrap();
        let header = Header {
            seq: Seq(self.seq),
            term: Term(1),
            recorded_at: Timestamp(self.seq),
            event_id: ledger_core::ids::EventId(ledger_core::ids::Uuid::nil()),
            kind,
            version: 1,
            subject: &decided.subject,
            actor: "uid/1000",
            claimed_actor: None,
            cause: None,
            correlation: None,
            traceparent: None,
            idempotency_key: None,
        };
        self.processes.apply(&header, &decided.event).unwrap();
    }

    fn fold_event(&mut self, id: &str, event: ProcessEvent) {
        let subject = Entity::of("process", id).unwrap();
        self.fold(&Decided::new(subject, Event::from(event)));
    }

    /// Attempt 1 of task `t` runs as this pid, below shim 50.
    fn register(&mut self, pid: i32) {
        let registered = ProcessRegistered {
            pid,
            start_time: 9,
            boot_id: BOOT.into(),
            pgid: pid,
            shim_pid: 50,
            shim_start_time: 9,
            task: Id::new("t").unwrap(),
            attempt: Attempt(1),
            max_runtime_ms: Millis(1),
        };
        self.fold_event(&id(pid), ProcessEvent::Registered(registered));
    }

    fn exit(&mut self, pid: i32) {
        let exited = ProcessExited {
            end: ProcessEnd::Exited { code: 0 },
            usage: Usage::default(),
        };
        self.fold_event(&id(pid), ProcessEvent::Exited(exited));
    }
}

fn id(pid: i32) -> String {
    super::decide::id_of(BOOT, pid, 9)
}

fn uid(uid: u32) -> Entity {
    Entity::of("uid", &uid.to_string()).unwrap()
}

const fn terms(max_runtime: u64) -> Terms {
    Terms {
        max_runtime: Millis(max_runtime),
        stall_after: None,
        grace: Millis(5),
    }
}

/// A process of uid 1000 that ran for a second, on a host where the node runs as the same.
fn candidate(pid: i32) -> Candidate {
    Candidate {
        identity: ProcessIdentity {
            pid,
            start_time: 9,
            boot_id: BOOT.into(),
        },
        pgid: pid,
        uid: 1000,
        effective_uid: 1000,
        node_uid: 1000,
        room: 3,
        command: "sleep 1".into(),
        is_kernel_thread: false,
        has_ended: false,
        kin: Kin::Stranger,
        ancestors: vec![(40, 9), (1, 1)],
        runtime: std::time::Duration::from_secs(1),
    }
}
