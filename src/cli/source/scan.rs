//! Reading events that a filter lets through, forwards and backwards, always checked.

use std::ops::ControlFlow;

use ledger_core::envelope::ChainedEvent;
use ledger_core::ids::Seq;
use ledger_core::store::{Block, ChainWalk, LogReader, for_each_event};

use crate::audit::filter::{Filter, SeqRange};
use crate::cli::error::Failure;

/// Gets each event that was found, and says whether to go on.
pub(crate) type Visit<'v> =
    &'v mut dyn FnMut(&ChainedEvent<'_>) -> Result<ControlFlow<()>, Failure>;

/// How many events are read at once when reading backwards: first few, since most questions are
/// about the latest, then more, up to a number whose blocks fit into memory with ease.
const FIRST_WINDOW: u64 = 256;
const LARGEST_WINDOW: u64 = 16_384;

/// Shows the events in a range that the filter lets through, in order.
///
/// # Errors
/// [`Failure`] if the ledger can't be read or is damaged, and those of `visit`.
pub(crate) fn scan(
    reader: &dyn LogReader,
    range: SeqRange,
    filter: &Filter,
    visit: Visit<'_>,
) -> Result<(), Failure> {
    if range.first > range.last {
        return Ok(());
    }
    let walked = for_each_event(reader, range.first, |event| {
        let seq = event.event.header.seq;
        if seq <= range.last && filter.matches(&event) {
            match visit(&event) {
                Ok(ControlFlow::Continue(())) => {}
                Ok(ControlFlow::Break(())) => return ControlFlow::Break(Ok(())),
                Err(failure) => return ControlFlow::Break(Err(failure)),
            }
        }
        if seq >= range.last {
            ControlFlow::Break(Ok(()))
        } else {
            ControlFlow::Continue(())
        }
    })?;
    match walked {
        ControlFlow::Break(result) => result,
        ControlFlow::Continue(()) => Ok(()),
    }
}

/// Shows the same events in the opposite order, reading no more than is asked for.
///
/// # Errors
/// As [`scan`].
pub(crate) fn scan_back(
    reader: &dyn LogReader,
    range: SeqRange,
    filter: &Filter,
    visit: Visit<'_>,
) -> Result<(), Failure> {
    let (mut last, mut window) = (range.last, FIRST_WINDOW);
    while range.first <= last {
        let first = Seq(last.0.saturating_sub(window - 1)).max(range.first);
        if window_back(reader, SeqRange { first, last }, filter, visit)?.is_break() {
            return Ok(());
        }
        last = Seq(first.0.saturating_sub(1));
        window = (window * 4).min(LARGEST_WINDOW);
    }
    Ok(())
}

fn window_back(
    reader: &dyn LogReader,
    range: SeqRange,
    filter: &Filter,
    visit: Visit<'_>,
) -> Result<ControlFlow<()>, Failure> {
    let mut blocks: Vec<Block> = Vec::new();
    for block in reader.blocks(range.first)? {
        let block = block?;
        let done = block.last() >= range.last;
        blocks.push(block);
        if done {
            break;
        }
    }
    let mut walk = ChainWalk::new(reader.ledger_id());
    let mut found = Vec::new();
    for block in &blocks {
        let events = walk.check(block, range.first)?;
        let wanted = |e: &ChainedEvent<'_>| e.event.header.seq <= range.last && filter.matches(e);
        found.extend(events.into_iter().filter(wanted));
    }
    for event in found.iter().rev() {
        if visit(event)?.is_break() {
            return Ok(ControlFlow::Break(()));
        }
    }
    Ok(ControlFlow::Continue(()))
}

/// The positions of the last `count` matching events: from which one on there are so many.
///
/// # Errors
/// As [`scan`].
pub(crate) fn last_matches(
    reader: &dyn LogReader,
    range: SeqRange,
    filter: &Filter,
    count: u64,
) -> Result<SeqRange, Failure> {
    if count == 0 {
        return Ok(SeqRange {
            first: range.last.next(),
            last: range.last,
        });
    }
    let (mut found, mut first) = (0, None);
    scan_back(reader, range, filter, &mut |event| {
        found += 1;
        first = Some(event.event.header.seq);
        Ok(if found == count {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        })
    })?;
    Ok(SeqRange {
        first: first.unwrap_or(range.last.next()),
        last: range.last,
    })
}

#[cfg(test)]
mod tests {
    use ledger_core::chain::{BatchBuilder, ChainKey, Head};
    use ledger_core::envelope::{Draft, Origin};
    use ledger_core::ids::{Entity, EventId, Kind, LedgerId, Term};
    use ledger_core::store::LogWriter;
    use ledger_core::store::memory::MemoryStore;
    use ledger_core::time::Timestamp;
    use proptest::prelude::*;

    use super::*;

    const NIL: &str = "00000000-0000-7000-8000-000000000000";

    /// A ledger in batches of these sizes; every third event is `app.third`.
    fn store(batches: &[usize]) -> MemoryStore {
        let ledger_id: LedgerId = NIL.parse().unwrap();
        let mut store = MemoryStore::new(ledger_id);
        let mut builder = BatchBuilder::new(ChainKey::new(ledger_id), Head::EMPTY, Term(1));
        for size in batches {
            for _ in 0..*size {
                let seq = builder.head().seq.next().0;
                let kind = if seq.is_multiple_of(3) {
                    "app.third"
                } else {
                    "app.other"
                };
                let draft = Draft {
                    event_id: NIL.parse::<EventId>().unwrap(),
                    kind: Kind::new(kind).unwrap(),
                    version: 1,
                    subject: Entity::new("app/x").unwrap(),
                    origin: Origin::of(Entity::new("uid/1").unwrap()),
                    idempotency_key: None,
                    data: "{}".into(),
                };
                builder.push(&[draft], Timestamp(seq)).unwrap();
            }
            LogWriter::append(&mut store, &builder.take()).unwrap();
        }
        store
    }

    fn collect(run: impl FnOnce(Visit<'_>) -> Result<(), Failure>) -> Vec<u64> {
        let mut seen = Vec::new();
        run(&mut |event| {
            seen.push(event.event.header.seq.0);
            Ok(ControlFlow::Continue(()))
        })
        .unwrap();
        seen
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]
        #[test]
        fn both_directions_agree_with_a_plain_list(
            batches in prop::collection::vec(1_usize..400, 1..5),
            (a, b) in (1_u64..1500, 1_u64..1500),
            count in 0_u64..50,
        ) {
            let store = store(&batches);
            let head = batches.iter().sum::<usize>() as u64;
            let range = SeqRange { first: Seq(a.min(b)), last: Seq(a.max(b).min(head)) };
            let filter: Filter = "app.third".parse().unwrap();
            let mut expected: Vec<u64> =
                (range.first.0..=range.last.0).filter(|seq| seq.is_multiple_of(3)).collect();
            prop_assert_eq!(collect(|v| scan(&store, range, &filter, v)), expected.clone());
            let last = last_matches(&store, range, &filter, count).unwrap();
            let from = expected.len().saturating_sub(usize::try_from(count).unwrap());
            prop_assert_eq!(collect(|v| scan(&store, last, &filter, v)), &expected[from..]);
            expected.reverse();
            prop_assert_eq!(collect(|v| scan_back(&store, range, &filter, v)), expected);
        }
    }
}
