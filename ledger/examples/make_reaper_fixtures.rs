//! Writes the golden events of the reaper's later kinds and fields, as JSON lines.
//!
//! ```text
//! cargo run -p ledger-core --example make_reaper_fixtures -- fixtures/v1/reaper.jsonl
//! ```
//!
//! The file must not exist yet: fixtures of a released format are never written again.

mod golden;

use ledger_core::event::{
    Attempt, Event, Exec, LadderCause, LadderStep, Outputs, Payload, Priority, ProcessEnd,
    ProcessEvent, ProcessReaped, ProcessUnkillable, StreamDigest, Survivor, TaskEvent,
    TaskSubmitted, TaskTimedOut, Terms, Usage, process_subject,
};
use ledger_core::hash::Hash;
use ledger_core::ids::{Entity, Id, task_subject};
use ledger_core::time::{Micros, Millis};

use golden::Outcome;

fn main() -> Outcome<()> {
    golden::write(0x7D, events()?)
}

fn events() -> Outcome<Vec<(Entity, Event)>> {
    let task = task_subject(&Id::new("t-1")?);
    let process = process_subject("2b1c3d4e-0000-4000-8000-00805f9b34fb", 4300, 998_877)?;
    let submitted = TaskSubmitted {
        priority: Priority::Standard,
        payload: Payload::Exec(Exec {
            argv: vec!["true".into()],
            env: [].into(),
            cwd: None,
            stdin: None,
        }),
        max_runtime_ms: Millis(60_000),
        grace_ms: Millis(5_000),
        terms: Some(Box::new(Terms {
            stall_after_ms: Some(Millis(30_000)),
            ..Terms::default()
        })),
    };
    let steps = vec![step("SIGTERM", 30_000_100), step("SIGKILL", 35_000_200)];
    let survivor = |pid, state| Survivor {
        pid,
        start_time: 998_877,
        state,
    };
    let unkillable = |survivors: Vec<Survivor>, processes| {
        ProcessEvent::Unkillable(ProcessUnkillable {
            task: Id::new("t-1").expect("a literal id"),
            attempt: Attempt(1),
            steps: steps.clone(),
            survivors,
            processes,
        })
    };
    let reaped = ProcessReaped {
        cause: LadderCause::Stalled,
        steps: steps.clone(),
        end: ProcessEnd::Signaled { signal: 9 },
        usage: Usage::default(),
    };
    Ok(vec![
        (task.clone(), TaskEvent::Submitted(submitted).into()),
        (
            process.clone(),
            unkillable(vec![survivor(4300, 'D'), survivor(4301, '?')], 2).into(),
        ),
        (process.clone(), unkillable(Vec::new(), 1).into()),
        (process, ProcessEvent::Reaped(reaped).into()),
        (task, TaskEvent::TimedOut(timed_out()).into()),
    ])
}

fn step(signal: &str, after: u64) -> LadderStep {
    LadderStep {
        signal: signal.into(),
        after_us: Micros(after),
        processes: 2,
    }
}

fn timed_out() -> TaskTimedOut {
    let stream = StreamDigest {
        bytes: 0,
        blake3: Hash::of(b""),
        tail: String::new(),
        dropped_bytes: 0,
        error: None,
    };
    TaskTimedOut {
        attempt: Attempt(1),
        max_runtime_ms: Millis(60_000),
        stalled_ms: Some(Millis(30_000)),
        runtime_us: Micros(35_000_300),
        outputs: Outputs {
            stdout: stream.clone(),
            stderr: stream,
        },
        demoted_to: None,
    }
}
