//! `ledger simulate --history`.

use std::ops::ControlFlow;

use ledger_core::event::Event;
use ledger_core::ids::Seq;
use ledger_core::store::{LogReader, for_each_event};

use super::show::{Column, Shown, Source as Shows};
use super::{Args, rules, show, simulate};
use crate::api::wire::{ApiError, ErrorCode};
use crate::audit::filter::{Filter, SeqRange};
use crate::cli::error::{Exit, Failure};
use crate::cli::filter_args::{positions, when};
use crate::cli::globals::Globals;
use crate::cli::output::progress::Progress;
use crate::cli::source::Source;
use crate::simulate::history::{History, Wanted};
use crate::simulate::summary::Summary;
use crate::units::count_of;

pub(super) fn run(globals: &Globals, args: &Args, text: &str) -> Result<Exit, Failure> {
    let filter = filter(text)?;
    let data_dir = globals.data_dir()?;
    let source = Source::open(&data_dir)?;
    let config = globals.config.as_deref();
    let (slots, policy) = rules::policy(Some(&data_dir), config, &args.set, args.slots)?;
    let reader = source.reader();
    let range = positions(reader, &filter)?;
    let history = read(reader, range)?;
    let (then, work, left) = history.finish(args.unended());
    if work.is_empty() {
        let message = format!("nothing was submitted in {text} that could be simulated");
        let why = match left.unended {
            0 => "no task was submitted there".to_owned(),
            n => format!("{} of there had not ended", count_of(n, "task")),
        };
        return Err(ApiError::new(ErrorCode::NotFound, message)
            .because(why)
            .into());
    }
    let settings = args.settings(&work, policy);
    let (run, checked) = simulate(&work, &settings)?;
    let then = Column {
        name: "then",
        policy: None,
        reaper: None,
        // What holds now; what held then is nowhere written down.
        summary: Summary::of(&then, Some(slots)),
        order: None,
    };
    let would_be = Column {
        name: settings.discipline.name(),
        policy: Some(settings.discipline),
        reaper: Some(settings.reaper),
        summary: Summary::of(&run.outcome, Some(settings.policy.max_running)),
        order: checked,
    };
    let shown = Shown {
        source: Shows::History {
            first: range.first,
            last: range.last,
            left,
        },
        seed: args.seed,
        columns: vec![then, would_be],
    };
    show::show(globals, &shown)
}

/// A part of the ledger: both ends are positions or times, or open.
fn filter(text: &str) -> Result<Filter, Failure> {
    let wrong = |why: &str| {
        ApiError::new(ErrorCode::Usage, format!("{text:?} is no part of a ledger"))
            .because(why)
            .hint(
                "write A..B, A.. or ..B, where each is a position such as 120 or a time such as 7d",
            )
    };
    let Some((first, last)) = text.split_once("..") else {
        return Err(wrong("there is no `..` in it").into());
    };
    let mut filter = Filter::default();
    let mut range = SeqRange {
        first: Seq::FIRST,
        last: Seq(u64::MAX),
    };
    let position = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    let seq = |text: &str| {
        text.parse()
            .map(Seq)
            .map_err(|_| wrong("a position is too large"))
    };
    match first {
        "" => {}
        _ if position(first) => range.first = seq(first)?,
        _ => filter.since = Some(when(first)?),
    }
    match last {
        "" => {}
        _ if position(last) => range.last = seq(last)?,
        _ => filter.until = Some(when(last)?),
    }
    let backwards = range.first > range.last
        || matches!((filter.since, filter.until), (Some(since), Some(until)) if since >= until);
    if backwards {
        return Err(wrong("it ends before it begins").into());
    }
    filter.seqs.push(range);
    Ok(filter)
}

/// Reads what was submitted in a range, and to the end of the ledger what became of it.
fn read(reader: &dyn LogReader, range: SeqRange) -> Result<History, Failure> {
    let bar = Progress::events("reading", reader.head()?.seq.0);
    let mut history = History::default();
    if range.first > range.last {
        return Ok(history);
    }
    let walked = for_each_event(reader, range.first, |event| {
        let header = &event.event.header;
        let seq = header.seq;
        bar.at(seq.0);
        if !(header.kind.starts_with("task.") || header.kind.starts_with("queue.")) {
            return ControlFlow::Continue(());
        }
        match Event::decode(&event.event) {
            Ok(decoded) => {
                let wanted = if seq <= range.last {
                    Wanted::Yes
                } else {
                    Wanted::No
                };
                history.read(header, &decoded, wanted);
                ControlFlow::Continue(())
            }
            Err(error) => ControlFlow::Break((seq, error)),
        }
    })?;
    match walked {
        ControlFlow::Continue(()) => Ok(history),
        ControlFlow::Break((seq, error)) => {
            let message = format!("the event at seq {seq} does not decode");
            Err(ApiError::new(ErrorCode::Failed, message)
                .because(error)
                .into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_has_two_ends_of_either_kind() {
        let range = |text: &str| filter(text).unwrap().seqs[0];
        assert_eq!(
            range("3..9"),
            SeqRange {
                first: Seq(3),
                last: Seq(9)
            }
        );
        assert_eq!(range("..9").first, Seq::FIRST);
        assert_eq!(range("7d..").last, Seq(u64::MAX));
        let times = filter("2026-01-05T08:00:00.5Z..2026-01-06").unwrap();
        assert!(times.since < times.until);
        for bad in [
            "",
            "3",
            "9..3",
            "soon..",
            "1h..2h",
            "1...4",
            "..99999999999999999999",
        ] {
            assert!(filter(bad).is_err(), "{bad}");
        }
    }
}
