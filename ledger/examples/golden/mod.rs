//! What the makers of later golden events share: a ledger of its own for each file, whose events are
//! told apart by a byte, written as JSON lines.

use std::error::Error;
use std::fs::File;
use std::io::Write;
use std::ops::ControlFlow;

use ledger_core::chain::{BatchBuilder, ChainKey, Head};
use ledger_core::envelope::{Draft, Origin};
use ledger_core::event::Event;
use ledger_core::ids::{Entity, LedgerId, Seq, Term};
use ledger_core::store::memory::MemoryStore;
use ledger_core::store::{LogWriter, for_each_event};
use ledger_core::time::Timestamp;
use uuid::Uuid;

pub(crate) type Outcome<T> = Result<T, Box<dyn Error>>;

/// When the first of them was recorded.
pub(crate) const BEGUN: u64 = 1_767_225_600_000_000;
const LEDGER: u128 = 0x0198_7654_3210_7abc_8def_0123_4567_89ab;

/// Writes events to the file that the command line names, which must not exist yet: fixtures of a
/// released format are never written again.
pub(crate) fn write(mark: u8, events: Vec<(Entity, Event)>) -> Outcome<()> {
    let path = std::env::args().nth(1).ok_or("give the file to write")?;
    let id = LedgerId(Uuid::from_u128(LEDGER));
    let mut builder = BatchBuilder::new(ChainKey::new(id), Head::EMPTY, Term(1));
    for (subject, event) in events {
        let seq = builder.head().seq.0;
        let at = Timestamp(BEGUN + seq * 1_234_567);
        let mut random = [mark; 10];
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
