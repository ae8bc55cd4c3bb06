//! Writes the golden event of a directory that was made from the beginning of a ledger, as a JSON line.
//!
//! ```text
//! cargo run -p ledger-core --example make_fork_fixtures -- fixtures/v1/fork.jsonl
//! ```
//!
//! The file must not exist yet: fixtures of a released format are never written again.

#![allow(missing_docs, reason = "an example has no API")]

mod golden;

use golden::{BEGUN, Outcome};
use ledger_core::event::{Event, LedgerEvent, LedgerForked};
use ledger_core::hash::Hash;
use ledger_core::ids::{Entity, Seq};
use ledger_core::time::Timestamp;

fn main() -> Outcome<()> {
    golden::write(0x5F, events()?)
}

fn events() -> Outcome<Vec<(Entity, Event)>> {
    let forked = LedgerEvent::Forked(LedgerForked {
        seq: Seq(3),
        hash: Hash::of(b"an event"),
        as_of: Timestamp(BEGUN),
        source_seq: Seq(9),
        source_hash: Hash::of(b"another"),
        incarnation: "019b76da-a800-7000-8000-0123456789ab".to_owned(),
    });
    let ledger: Entity = "ledger/01987654-3210-7abc-8def-0123456789ab".parse()?;
    Ok(vec![(ledger, forked.into())])
}
