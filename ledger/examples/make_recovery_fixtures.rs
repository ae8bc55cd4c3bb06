//! Writes the golden events of the checkpoints' later kinds and fields, and of recoveries, as JSON lines.
//!
//! ```text
//! cargo run -p ledger-core --example make_recovery_fixtures -- fixtures/v1/recovery.jsonl
//! ```
//!
//! The file must not exist yet: fixtures of a released format are never written again.

#![allow(missing_docs, reason = "an example has no API")]

mod golden;

use golden::{BEGUN, Outcome};
use ledger_core::event::{
    Builtin, BuiltinJob, CheckpointCause, CheckpointCreated, CheckpointEvent, CheckpointFailed,
    CheckpointPruned, CheckpointRejected, Event, FoldCompared, OtherFold, PartDigest, PartDiverged,
    Payload, Priority, RecoveredFrom, RecoveryCompleted, RecoveryDiverged, RecoveryEvent,
    RecoveryVerified, TaskEvent, TaskSubmitted,
};
use ledger_core::hash::Hash;
use ledger_core::ids::{Entity, Id, Seq, Term, task_subject};
use ledger_core::time::{Micros, Millis, Timestamp};

fn main() -> Outcome<()> {
    golden::write(0x7D, events()?)
}

fn completed(checkpoint: Option<RecoveredFrom>, rejected: u32) -> RecoveryCompleted {
    RecoveryCompleted {
        checkpoint,
        rejected,
        upto: Seq(5),
        replayed: 4,
        open_us: Micros(1_000),
        restore_us: Micros(2_000),
        replay_us: Micros(3_000),
        reconcile_us: Micros(40_000),
        reattached: 1,
        closed: 2,
        lost: 3,
        requeued: 2,
        unstarted: 1,
    }
}

fn part(name: &str, version: u32) -> PartDigest {
    PartDigest {
        name: name.into(),
        version,
        digest: Hash::of(name.as_bytes()),
    }
}

fn verified(checkpoint: Option<RecoveredFrom>) -> Outcome<RecoveryVerified> {
    let with = OtherFold::Checkpoint {
        name: Id::new("before-upgrade")?,
    };
    let compared = |seq, with, incomparable| FoldCompared {
        seq,
        with,
        incomparable,
    };
    Ok(RecoveryVerified {
        checkpoint,
        seq: Seq(5),
        hash: Hash::of(b"the chain at 5"),
        parts: vec![part("leases", 1), part("tasks", 3)],
        compared: vec![
            compared(Seq(1), with, Vec::new()),
            compared(Seq(4), OtherFold::Standby, vec!["jobs".into()]),
        ],
        took_us: Micros(12_345),
    })
}

fn diverged(with: OtherFold) -> Event {
    let parts = vec![PartDiverged {
        name: "tasks".into(),
        version: 3,
        found: Hash::of(b"one fold"),
        folded: Hash::of(b"another"),
    }];
    let diverged = RecoveryDiverged {
        checkpoint: None,
        seq: Seq(4),
        with,
        parts,
    };
    RecoveryEvent::Diverged(diverged).into()
}

fn events() -> Outcome<Vec<(Entity, Event)>> {
    let task = task_subject(&Id::new("state-checkpoint-20260101T000000")?);
    let (named, auto, node): (Entity, Entity, Entity) = (
        "checkpoint/before-upgrade".parse()?,
        "checkpoint/20260101T020000Z-schedule".parse()?,
        "node/alpha".parse()?,
    );
    let submitted = TaskSubmitted {
        priority: Priority::Background,
        payload: Payload::Builtin(Builtin {
            job: BuiltinJob::StateCheckpoint,
        }),
        max_runtime_ms: Millis(600_000),
        grace_ms: Millis(5_000),
        terms: None,
    };
    let created = |cause, extra| CheckpointCreated {
        seq: Seq(1),
        hash: Hash::of(b"the chain at 1"),
        sha256: "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08".into(),
        bytes: 40_960,
        term: Some(Term(1)),
        cause: Some(cause),
        made_at: Some(Timestamp(BEGUN)),
        took_us: Some(Micros(12_345)),
        system: Some("plant".into()),
        parts: vec![part("leases", 1), part("tasks", 3)],
        tasks: [("completed".to_owned(), 7), ("queued".to_owned(), 2)].into(),
        extra,
    };
    let extra = serde_json::json!({"release": "1.2.0", "why": ["upgrade"]});
    let from = RecoveredFrom {
        name: Id::new("before-upgrade")?,
        seq: Seq(1),
    };
    let rejected = CheckpointRejected {
        reason: "it has 40959 bytes, not 40960".into(),
        seq: Some(Seq(1)),
    };
    let failed = CheckpointFailed {
        cause: CheckpointCause::Schedule,
        reason: "the disk is full".into(),
    };
    Ok(vec![
        (task, TaskEvent::Submitted(submitted).into()),
        (
            named.clone(),
            CheckpointEvent::Created(created(CheckpointCause::Operator, Some(extra))).into(),
        ),
        (
            auto.clone(),
            CheckpointEvent::Created(created(CheckpointCause::Schedule, None)).into(),
        ),
        (auto.clone(), CheckpointEvent::Rejected(rejected).into()),
        (
            node.clone(),
            RecoveryEvent::Completed(completed(Some(from.clone()), 1)).into(),
        ),
        (
            node.clone(),
            RecoveryEvent::Completed(completed(None, 0)).into(),
        ),
        (
            node.clone(),
            RecoveryEvent::Verified(verified(Some(from))?).into(),
        ),
        (
            node.clone(),
            RecoveryEvent::Verified(verified(None)?).into(),
        ),
        (node.clone(), diverged(OtherFold::Standby)),
        (node, diverged(OtherFold::Verified { recorded: Seq(7) })),
        (auto.clone(), CheckpointEvent::Failed(failed).into()),
        (auto, CheckpointEvent::Pruned(CheckpointPruned {}).into()),
    ])
}
