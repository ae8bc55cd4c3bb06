//! Writes the golden events of leases that changed hands by force or on request, as JSON lines.
//!
//! ```text
//! cargo run -p ledger-core --example make_lease_fixtures -- fixtures/v1/lease.jsonl
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
    Event, FenceCause, LeaseAcquired, LeaseEvent, LeaseFenced, LeaseReleased, ReleaseReason,
};
use ledger_core::ids::{Entity, Id, LedgerId, Seq, Term};
use ledger_core::store::memory::MemoryStore;
use ledger_core::store::{LogWriter, for_each_event};
use ledger_core::time::{Millis, Timestamp};
use uuid::Uuid;

type Outcome<T> = Result<T, Box<dyn Error>>;

const LEDGER: u128 = 0x0198_7654_3210_7abc_8def_0123_4567_89ae;
const BEGUN: u64 = 1_767_225_600_000_000;
const BOOT: &str = "3f6f2c1e-0000-4000-8000-000000000000";

fn main() -> Outcome<()> {
    let path = std::env::args().nth(1).ok_or("give the file to write")?;
    let id = LedgerId(Uuid::from_u128(LEDGER));
    let mut store = MemoryStore::new(id);
    for (term, events) in (1..).zip(terms()?) {
        let head: Head = LogWriter::head(&store);
        let mut builder = BatchBuilder::new(ChainKey::new(id), head, Term(term));
        for event in events {
            let seq = builder.head().seq.0;
            let at = Timestamp(BEGUN + seq * 1_234_567);
            let mut random = [0x5E; 10];
            random[9] = u8::try_from(seq)?;
            let (kind, data) = Event::from(event).kind_and_data().ok_or("of our own")?;
            let draft = Draft {
                event_id: ledger_core::clock::event_id(at, random),
                kind: kind.parse()?,
                version: 1,
                subject: Entity::new("lease/main")?,
                origin: Origin::of("node/alpha".parse()?),
                idempotency_key: None,
                data,
            };
            builder.push(&[draft], at)?;
        }
        store.append(&builder.take())?;
    }
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

fn terms() -> Outcome<Vec<Vec<LeaseEvent>>> {
    let silent = FenceCause::Silent {
        silent_ms: Millis(3_012),
    };
    let by: Entity = "uid/1000".parse()?;
    let forced = |reason: Option<&str>| FenceCause::Forced {
        by: by.clone(),
        reason: reason.map(str::to_owned),
    };
    let released = LeaseReleased {
        holder: Id::new("alpha")?,
        reason: ReleaseReason::StepDown,
    };
    Ok(vec![
        vec![acquired(1)?, LeaseEvent::Released(released)],
        vec![acquired(2)?],
        vec![acquired(3)?, fenced(2, silent)?],
        vec![acquired(4)?, fenced(3, forced(Some("it swaps")))?],
        vec![acquired(5)?, fenced(4, forced(None))?],
    ])
}

fn acquired(pid: i32) -> Outcome<LeaseEvent> {
    Ok(LeaseEvent::Acquired(LeaseAcquired {
        holder: Id::new("alpha")?,
        pid,
        start_time: Some(4242),
        boot_id: BOOT.into(),
        incarnation: format!("0{pid}"),
    }))
}

fn fenced(before: i32, cause: FenceCause) -> Outcome<LeaseEvent> {
    Ok(LeaseEvent::Fenced(LeaseFenced {
        holder: Id::new("alpha")?,
        term: Term(u64::try_from(before)?),
        pid: before,
        start_time: 4242,
        cause,
    }))
}
