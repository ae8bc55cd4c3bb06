//! Writes the golden events of processes that others started and we watched, as JSON lines.
//!
//! ```text
//! cargo run -p ledger-core --example make_watch_fixtures -- fixtures/v1/watch.jsonl
//! ```
//!
//! The file must not exist yet: fixtures of a released format are never written again.

#![allow(missing_docs, reason = "an example has no API")]

use std::error::Error;
use std::fs::File;
use std::io::Write;
use std::ops::ControlFlow;

use ledger_core::chain::{BatchBuilder, ChainKey, Head};
use ledger_core::envelope::{Draft, Origin};
use ledger_core::event::{
    EndSeen, Event, LadderStep, ProcessEnded, ProcessEvent, ProcessReaping, ProcessSurvived,
    ProcessTerminated, ProcessUnwatched, ProcessWatched, ReapCause, Survivor, UnwatchReason,
    process_subject,
};
use ledger_core::ids::{Entity, LedgerId, Seq, Term};
use ledger_core::store::memory::MemoryStore;
use ledger_core::store::{LogWriter, for_each_event};
use ledger_core::time::{Micros, Millis, Timestamp};
use uuid::Uuid;

type Outcome<T> = Result<T, Box<dyn Error>>;

const LEDGER: u128 = 0x0198_7654_3210_7abc_8def_0123_4567_89ab;
const BEGUN: u64 = 1_767_225_600_000_000;
const BOOT: &str = "3f6f2c1e-0000-4000-8000-000000000000";

fn main() -> Outcome<()> {
    let path = std::env::args().nth(1).ok_or("give the file to write")?;
    let id = LedgerId(Uuid::from_u128(LEDGER));
    let mut builder = BatchBuilder::new(ChainKey::new(id), Head::EMPTY, Term(1));
    for (subject, event) in events()? {
        let seq = builder.head().seq.0;
        let at = Timestamp(BEGUN + seq * 1_234_567);
        let mut random = [0x5D; 10];
        random[9] = u8::try_from(seq)?;
        let (kind, data) = event.kind_and_data().ok_or("an event of our own")?;
        let draft = Draft {
            event_id: ledger_core::clock::event_id(at, random),
            kind: kind.parse()?,
            version: 1,
            subject,
            origin: Origin::of("node/alpha".parse()?),
            idempotency_key: None,
            data,
        };
        builder.push(&[draft], at)?;
    }
    let mut store = MemoryStore::new(id);
    store.append(&builder.take())?;
    let mut file = File::create_new(path)?;
    let walk = for_each_event(&store, Seq::FIRST, |event| {
        match serde_json::to_string(&event).map(|line| writeln!(file, "{line}")) {
            Ok(Ok(())) => ControlFlow::Continue(()),
            Ok(Err(e)) => ControlFlow::Break(e.to_string()),
            Err(e) => ControlFlow::Break(e.to_string()),
        }
    })?;
    match walk {
        ControlFlow::Break(why) => Err(why.into()),
        ControlFlow::Continue(()) => Ok(()),
    }
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
