//! What is kept, what is gone, and what is refused.

use ledger_core::envelope::Header;
use ledger_core::event::{
    CheckpointCause, CheckpointCreated, CheckpointEvent, CheckpointFailed, CheckpointPruned,
    CheckpointRejected, Event,
};
use ledger_core::hash::Hash;
use ledger_core::ids::{EventId, Seq, Term, Uuid};
use ledger_core::time::Timestamp;

use super::{Checkpoints, REMEMBERED};
use crate::framework::Projection;

fn tell(all: &mut Checkpoints, seq: u64, name: &str, event: CheckpointEvent) -> Result<(), String> {
    let subject = format!("checkpoint/{name}");
    let header = Header {
        seq: Seq(seq),
        term: Term(1),
        recorded_at: Timestamp(seq),
        event_id: EventId(Uuid::nil()),
        kind: event.kind(),
        version: 1,
        subject: &subject,
        actor: "node/a",
        claimed_actor: None,
        cause: None,
        correlation: None,
        traceparent: None,
        idempotency_key: None,
    };
    let applied = all.apply(&header, &Event::Checkpoint(event));
    applied.map_err(|e| e.reason)
}

fn created(seq: u64) -> CheckpointEvent {
    CheckpointEvent::Created(CheckpointCreated {
        seq: Seq(seq),
        hash: Hash::ZERO,
        sha256: "0".repeat(64),
        bytes: 1,
        term: None,
        cause: Some(CheckpointCause::Operator),
        made_at: None,
        took_us: None,
        system: None,
        parts: Vec::new(),
        tasks: [].into(),
        extra: None,
    })
}

fn rejected(reason: &str) -> CheckpointEvent {
    CheckpointEvent::Rejected(CheckpointRejected {
        reason: reason.into(),
        seq: None,
    })
}

fn pruned() -> CheckpointEvent {
    CheckpointEvent::Pruned(CheckpointPruned {})
}

#[test]
fn a_name_is_kept_once_and_free_again_when_it_is_gone() {
    let mut all = Checkpoints::default();
    tell(&mut all, 10, "b", created(9)).unwrap();
    tell(&mut all, 12, "a", created(11)).unwrap();
    assert!(tell(&mut all, 13, "a", created(12)).is_err());
    let kept: Vec<_> = all.kept().map(|c| (&*c.name, c.facts.seq.0)).collect();
    assert_eq!(kept, [("b", 9), ("a", 11)], "by position, not by name");
    assert_eq!(all.latest().map(|c| c.recorded), Some(Seq(12)));
    tell(&mut all, 14, "a", pruned()).unwrap();
    assert!(tell(&mut all, 15, "a", pruned()).is_err());
    assert!(all.get("a").is_none());
    assert_eq!(all.gone().map(|g| &*g.name).collect::<Vec<_>>(), ["a"]);
    tell(&mut all, 16, "a", created(15)).unwrap();
    assert_eq!(all.get("a").map(|c| c.facts.seq), Some(Seq(15)));
}

#[test]
fn what_was_passed_over_is_known_and_so_is_a_file_that_nothing_tells_of() {
    let mut all = Checkpoints::default();
    tell(&mut all, 10, "a", created(9)).unwrap();
    tell(&mut all, 11, "a", rejected("cut")).unwrap();
    tell(&mut all, 12, "orphan", rejected("not recorded")).unwrap();
    let a = all.get("a").unwrap();
    assert_eq!(a.rejected.as_deref(), Some("cut"));
    let refused: Vec<_> = all.refused().map(|(_, r)| &*r.name).collect();
    assert_eq!(refused, ["a", "orphan"]);
    for seq in 13..13 + 2 * REMEMBERED as u64 {
        tell(&mut all, seq, "orphan", rejected("again")).unwrap();
    }
    assert_eq!(all.refused().count(), REMEMBERED);
    assert_eq!(all.get("a").unwrap().rejected.as_deref(), Some("cut"));
}

#[test]
fn a_failure_is_told_until_one_is_made() {
    let mut all = Checkpoints::default();
    let failed = CheckpointEvent::Failed(CheckpointFailed {
        cause: CheckpointCause::Schedule,
        reason: "the disk is full".into(),
    });
    tell(&mut all, 10, "a", created(9)).unwrap();
    tell(&mut all, 11, "b", failed).unwrap();
    assert_eq!(all.failed().map(|f| f.seq), Some(Seq(11)));
    tell(&mut all, 12, "b", created(11)).unwrap();
    assert_eq!(all.failed(), None);
}
