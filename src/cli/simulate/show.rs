//! What a simulation found, for people and programs.

use ledger_core::ids::Seq;
use ledger_core::time::Micros;
use serde::Serialize;

use crate::cli::error::{Exit, Failure};
use crate::cli::globals::Globals;
use crate::cli::output::escape::escape;
use crate::cli::output::table::{Column as Cells, Table};
use crate::cli::output::{Buffering, Out, Paging};
use crate::simulate::bound::Checked;
use crate::simulate::history::Left;
use crate::simulate::mix::LoadOf;
use crate::simulate::summary::{Summary, Times};
use crate::simulate::work::{Discipline, Reaper};
use crate::units::{count_of, format_count, format_duration};

/// All of it.
#[derive(Debug, Serialize)]
pub(super) struct Shown {
    /// What was simulated.
    pub(super) source: Source,
    /// What chance was made of.
    pub(super) seed: u64,
    /// What came out: of a history what was first.
    pub(super) columns: Vec<Column>,
}

/// What was simulated.
#[derive(Debug, Serialize)]
#[serde(tag = "source", rename_all = "snake_case")]
pub(super) enum Source {
    /// Calls as they were made.
    Trace {
        trace: String,
        runs: usize,
        unended: usize,
        hang: bool,
        pauses_cut: usize,
    },
    /// Calls drawn for arrivals.
    Drawn {
        trace: String,
        arrivals: String,
        calls: usize,
        load: f64,
        load_of: LoadOf,
        hung: usize,
        mean_work_us: Micros,
        mean_slots_us: Micros,
    },
    /// A part of the ledger.
    History {
        first: Seq,
        last: Seq,
        #[serde(flatten)]
        left: Left,
    },
}

/// What came of it under one set of rules.
#[derive(Debug, Serialize)]
pub(super) struct Column {
    pub(super) name: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) policy: Option<Discipline>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) reaper: Option<Reaper>,
    #[serde(flatten)]
    pub(super) summary: Summary,
    /// What of the order was checked; absent where keys or limits of queues decided it too.
    pub(super) order: Option<Checked>,
}

pub(super) fn show(globals: &Globals, shown: &Shown) -> Result<Exit, Failure> {
    let mut out = globals.out(Paging::Never, Buffering::Full);
    if globals.json {
        out.json(shown)?;
    } else {
        text(&mut out, shown)?;
    }
    out.finish()?;
    Ok(Exit::OK)
}

fn text(out: &mut Out, shown: &Shown) -> Result<(), Failure> {
    for line in told(&shown.source) {
        out.wrapped(line)?;
    }
    out.line("")?;
    let several = shown.columns.len() > 1;
    let mut times = Table::new(&[
        Cells::text("QUEUE"),
        Cells::text(if several { "RULES" } else { "" }),
        Cells::number("TASKS"),
        Cells::number("WAIT P50"),
        Cells::number("P95"),
        Cells::number("P99"),
        Cells::number("TURN P50"),
        Cells::number("P95"),
    ]);
    let levels = shown.columns.first().map_or(0, |c| c.summary.queues.len());
    for level in 0..levels {
        for column in &shown.columns {
            let queue = &column.summary.queues[level];
            let rules = if several { column.name } else { "" };
            times.row(row(&queue.queue.to_string(), rules, &queue.times));
        }
    }
    for column in &shown.columns {
        let rules = if several { column.name } else { "" };
        times.row(row("all", rules, &column.summary.all));
    }
    let plain = |_: usize, cell: &str| cell.to_owned();
    out.lines(times.render(out.width, out.paint, &plain))?;
    out.line("")?;
    let mut titles = vec![Cells::text("")];
    titles.extend(
        shown
            .columns
            .iter()
            .map(|column| Cells::number(column.name)),
    );
    let mut measures = Table::new(&titles);
    for (name, measure) in MEASURES {
        let cells: Vec<String> = shown.columns.iter().map(measure).collect();
        measures.row([vec![(*name).to_owned()], cells].concat());
    }
    out.lines(measures.render(out.width, out.paint, &plain))?;
    for column in &shown.columns {
        let unstarted = column.summary.all.unstarted;
        if unstarted > 0 {
            let tasks = count_of(unstarted, "task");
            out.wrapped(format_args!(
                "{}: {tasks} had not been started by the end; their waits count as long as they were",
                column.name
            ))?;
        }
        if let Some(order) = &column.order {
            out.wrapped(format_args!(
                "{}: nothing starved: {} in turn, {} in queue 0 within the bound (longest {})",
                column.name,
                count_of(order.starts, "start"),
                count_of(order.waits, "wait"),
                format_duration(order.longest_us),
            ))?;
        }
    }
    Ok(())
}

fn row(queue: &str, rules: &str, times: &Times) -> Vec<String> {
    let time = |time: Option<Micros>| time.map_or_else(|| "-".to_owned(), format_duration);
    vec![
        queue.to_owned(),
        rules.to_owned(),
        format_count(times.tasks),
        time(times.wait.p50_us),
        time(times.wait.p95_us),
        time(times.wait.p99_us),
        time(times.turnaround.p50_us),
        time(times.turnaround.p95_us),
    ]
}

type Measure = (&'static str, fn(&Column) -> String);

const MEASURES: &[Measure] = &[
    ("slots", |c| {
        c.summary
            .slots
            .map_or("-".into(), |n| format_count(n as u64))
    }),
    ("reaper", |c| match c.reaper {
        None => "-".into(),
        Some(Reaper::On) => "on".into(),
        Some(Reaper::Off) => "off".into(),
    }),
    ("from the first arrival to the end", |c| {
        format_duration(c.summary.horizon_us)
    }),
    ("completed", |c| format_count(c.summary.ends.completed)),
    ("dead", |c| format_count(c.summary.ends.dead)),
    ("cancelled", |c| format_count(c.summary.ends.cancelled)),
    ("refused", |c| format_count(c.summary.ends.refused)),
    ("not ended", |c| format_count(c.summary.ends.unended)),
    ("completed a second", |c| {
        format!("{:.3}", c.summary.throughput_per_s)
    }),
    ("slots busy", |c| percent(c.summary.busy_share())),
    ("slots held by hung or dead work", |c| {
        percent(c.summary.waste_share)
    }),
    ("left over processes", |c| format_count(c.summary.leftover)),
];

fn percent(share: Option<f64>) -> String {
    share.map_or_else(|| "-".to_owned(), |share| format!("{:.1}%", share * 100.0))
}

fn many(n: usize, thing: &str) -> String {
    count_of(u64::try_from(n).unwrap_or(u64::MAX), thing)
}

/// What was simulated, and what of it was not.
fn told(source: &Source) -> Vec<String> {
    match source {
        Source::Trace {
            trace,
            runs,
            unended,
            hang,
            pauses_cut,
        } => {
            let mut lines = vec![format!(
                "{}: calls of {}",
                escape(trace),
                many(*runs, "run")
            )];
            if *unended > 0 {
                let what = if *hang { "hang here" } else { "are left out" };
                let calls = many(*unended, "call");
                lines.push(format!("{calls} that never ended in the recording {what}"));
            }
            if *pauses_cut > 0 {
                let pauses = many(*pauses_cut, "pause");
                lines.push(format!("{pauses} of runs were cut to 10 minutes"));
            }
            lines
        }
        Source::Drawn {
            trace,
            arrivals,
            calls,
            load,
            load_of,
            hung,
            mean_work_us,
            mean_slots_us,
        } => vec![
            format!(
                "{}: arrivals; {}: {} that ended, one drawn for each",
                escape(arrivals),
                escape(trace),
                many(*calls, "call")
            ),
            format!(
                "load {load} of {}: mean service {}, {} with the limit of the {} that hang",
                match load_of {
                    LoadOf::Work => "work",
                    LoadOf::Slots => "slots",
                },
                format_duration(*mean_work_us),
                format_duration(*mean_slots_us),
                many(*hung, "task"),
            ),
        ],
        Source::History { first, last, left } => {
            let mut lines = vec![format!("submitted in {first}..{last}")];
            let notes = [
                (left.unended, "task", "had not ended: left out"),
                (left.hang, "task", "had not ended: taken for hung"),
                (
                    left.without_length,
                    "task",
                    "ended without having run: of no length here",
                ),
                (
                    left.dependencies,
                    "dependency on a task",
                    "that is not simulated: taken for met",
                ),
                (
                    left.steps_by_hand,
                    "step",
                    "by hand (retries, other queues, pauses, rate limits told): not done again",
                ),
            ];
            let notes = notes.into_iter().filter(|(n, ..)| *n > 0);
            lines.extend(notes.map(|(n, thing, what)| format!("{} {what}", count_of(n, thing))));
            lines
        }
    }
}
