//! Writes the golden events of processes that others started and we watched, as JSON lines.
//!
//! ```text
//! cargo run -p ledger-core --example make_watch_fixtures -- fixtures/v1/watch.jsonl
//! ```
//!
//! The file must not exist yet: fixtures of a released format are never written again.

#![allow(missing_docs, reason = "an example has no API")]

mod golden;

use ledger_core::event::{
    EndSeen, Event, LadderStep, ProcessEnded, ProcessEvent, ProcessReaping, ProcessSurvived,
    ProcessTerminated, ProcessUnwatched, ProcessWatched, ReapCause, Survivor, UnwatchReason,
    process_subject,
};
use ledger_core::ids::Entity;
use ledger_core::time::{Micros, Millis, Timestamp};

const BOOT: &str = "3f6f2c1e-0000-4000-8000-000000000000";

use golden::{BEGUN, Outcome};

fn main() -> Outcome<()> {
    golden::write(0x5D, events()?)
}

fn watched(pid: i32, stall_after: Option<u64>) -> Outcome<(Entity, Event)> {
    let watched = ProcessWatched {
        pid,
        start_time: 4242,
        boot_id: BOOT.into(),
        pgid: pid,
        uid: 1000,
        command: "python3 train.py --epochs 3".into(),
        started_at: Timestamp(BEGUN - 60_000_000),
        max_runtime_ms: Millis(600_000),
        stall_after_ms: stall_after.map(Millis),
        grace_ms: Millis(5_000),
    };
    Ok((subject(pid)?, ProcessEvent::Watched(watched).into()))
}

fn subject(pid: i32) -> Outcome<Entity> {
    Ok(process_subject(BOOT, pid, 4242)?)
}

fn step(signal: &str, after_us: u64, processes: u32) -> LadderStep {
    LadderStep {
        signal: signal.into(),
        after_us: Micros(after_us),
        processes,
    }
}

fn events() -> Outcome<Vec<(Entity, Event)>> {
    let mut told = Vec::new();
    for pid in 101..=111 {
        told.push(watched(pid, (pid % 2 == 0).then_some(30_000))?);
    }
    let mut tell = |pid, event: ProcessEvent| -> Outcome<()> {
        told.push((subject(pid)?, event.into()));
        Ok(())
    };
    let term = || vec![step("SIGTERM", 600_000_100, 3)];
    let all = || {
        vec![
            step("SIGTERM", 600_000_100, 3),
            step("SIGKILL", 605_000_300, 1),
        ]
    };
    for (pid, cause, idle_us) in [
        (101, ReapCause::MaxRuntime, None),
        (102, ReapCause::Stalled, Some(Micros(30_000_000))),
        (103, ReapCause::MaxRuntime, None),
    ] {
        let reaping = ProcessReaping {
            cause,
            runtime_us: Micros(600_000_000),
            idle_us,
        };
        tell(pid, ProcessEvent::Reaping(reaping))?;
    }
    let survivors = vec![Survivor {
        pid: 103,
        start_time: 4242,
        state: 'D',
    }];
    let steps = all();
    let survived = ProcessSurvived { steps, survivors };
    tell(103, ProcessEvent::Survived(survived))?;
    for (pid, cause, steps) in [
        (101, ReapCause::MaxRuntime, term()),
        (102, ReapCause::Stalled, all()),
        (103, ReapCause::MaxRuntime, all()),
    ] {
        let terminated = ProcessTerminated {
            cause,
            steps,
            runtime_us: Micros(605_100_000),
        };
        tell(pid, ProcessEvent::Terminated(terminated))?;
    }
    for (pid, seen, runtime_us) in [
        (104, EndSeen::AtOnce, Some(Micros(12_000_000))),
        (105, EndSeen::FoundGone, None),
    ] {
        tell(pid, ProcessEvent::Ended(ProcessEnded { seen, runtime_us }))?;
    }
    let reasons = [
        UnwatchReason::Asked,
        UnwatchReason::Recycled,
        UnwatchReason::Rebooted,
        UnwatchReason::Protected,
        UnwatchReason::Forbidden,
        UnwatchReason::OfAttempt,
        UnwatchReason::Forsaken,
    ];
    // 105 has ended above, so it is watched once more to be let go of.
    for (pid, reason) in (105..).zip(reasons) {
        if pid == 105 {
            let (subject, event) = watched(pid, None)?;
            told.push((subject, event));
        }
        let unwatched = ProcessUnwatched { reason };
        told.push((subject(pid)?, ProcessEvent::Unwatched(unwatched).into()));
    }
    Ok(told)
}
