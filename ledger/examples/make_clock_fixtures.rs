//! Writes the golden events of clocks that were set, as JSON lines.
//!
//! ```text
//! cargo run -p ledger-core --example make_clock_fixtures -- fixtures/v1/clock.jsonl
//! ```
//!
//! The file must not exist yet: fixtures of a released format are never written again.

#![allow(missing_docs, reason = "an example has no API")]

mod golden;

use golden::{BEGUN, Outcome};
use ledger_core::event::{
    ClockSettled, ClockStepped, Event, HostClock, NodeEvent, NodeStarted, Settled,
};
use ledger_core::ids::Entity;
use ledger_core::time::Timestamp;

const HOUR: u64 = 3_600_000_000;

fn main() -> Outcome<()> {
    golden::write(0x5E, events()?)
}

fn events() -> Outcome<Vec<(Entity, Event)>> {
    let clock = |booted_at| HostClock {
        boot_id: "2b1c3d4e-0000-4000-8000-00805f9b34fb".into(),
        booted_at: Timestamp(booted_at),
    };
    let stepped = |wall, expected| {
        NodeEvent::ClockStepped(ClockStepped {
            wall: Timestamp(wall),
            expected: Timestamp(expected),
        })
    };
    let settled = |outcome, wall, booted_at| {
        NodeEvent::ClockSettled(ClockSettled {
            outcome,
            wall: Timestamp(wall),
            clock: clock(booted_at),
        })
    };
    let started = NodeEvent::Started(NodeStarted {
        software: "0.1.0".into(),
        host: "host-ä".into(),
        max_running: 8,
        clock: Some(clock(BEGUN - HOUR)),
    });
    let all = [
        started,
        stepped(BEGUN + HOUR, BEGUN),
        settled(Settled::Followed, BEGUN + HOUR, BEGUN),
        stepped(BEGUN, BEGUN + HOUR),
        settled(Settled::Reverted, BEGUN + HOUR, BEGUN),
    ];
    let node: Entity = "node/alpha".parse()?;
    Ok(all
        .into_iter()
        .map(|event| (node.clone(), event.into()))
        .collect())
}
