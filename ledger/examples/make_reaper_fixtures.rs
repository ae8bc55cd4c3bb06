//! Writes the golden events of the reaper's later kinds and fields, as JSON lines.
//!
//! ```text
//! cargo run -p ledger-core --example make_reaper_fixtures -- fixtures/v1/reaper.jsonl
//! ```
//!
//! The file must not exist yet: fixtures of a released format are never written again.

use std::error::Error;
use std::fs::File;
use std::io::Write;
use std::ops::ControlFlow;

use ledger_core::chain::{BatchBuilder, ChainKey, Head};
use ledger_core::envelope::{Draft, Origin};
use ledger_core::event::{
    Attempt, Event, Exec, LadderCause, LadderStep, Outputs, Payload, Priority, ProcessEnd,
    ProcessEvent, ProcessReaped, ProcessUnkillable, StreamDigest, Survivor, TaskEvent,
    TaskSubmitted, TaskTimedOut, Terms, Usage, process_subject,
};
use ledger_core::hash::Hash;
use ledger_core::ids::{Entity, Id, LedgerId, Seq, Term, task_subject};
use ledger_core::store::memory::MemoryStore;
use ledger_core::store::{LogWriter, for_each_event};
use ledger_core::time::{Micros, Millis, Timestamp};
use uuid::Uuid;

type Outcome<T> = Result<T, Box<dyn Error>>;

const LEDGER: u128 = 0x0198_7654_3210_7abc_8def_0123_4567_89ab;
const BEGUN: u64 = 1_767_225_600_000_000;

fn main() -> Outcome<()> {
    let path = std::env::args().nth(1).ok_or("give the file to write")?;
    let id = LedgerId(Uuid::from_u128(LEDGER));
    let mut builder = BatchBuilder::new(ChainKey::new(id), Head::EMPTY, Term(1));
    for (subject, event) in events()? {
        let seq = builder.head().seq.0;
        let at = Timestamp(BEGUN + seq * 1_234_567);
        let mut random = [0x7D; 10];
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
            Ok(Err(error)) => ControlFlow::Break::<Box<dyn Error>>(error.into()),
            Err(error) => ControlFlow::Break(error.into()),
        }
    })?;
    walk.break_value().map_or(Ok(()), Err)
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
