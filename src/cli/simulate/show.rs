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
    let unchecked = shown
        .columns
        .iter()
        .any(|column| column.policy.is_some() && column.order.is_none());
    let unchecked = unchecked.then(|| {
        "the order of starts is not checked: keys or limits of queues decide it too".to_owned()
    });
    for line in told(&shown.source).into_iter().chain(unchecked) {
        out.fitted(line)?;
    }
    out.line("")?;
    let several = shown.columns.len() > 1;
    let mut titles = vec![Cells::text("QUEUE")];
    titles.extend(several.then_some(Cells::text("RULES")));
    titles.extend(["TASKS", "WAIT P50", "P95", "P99", "TURN P50", "P95"].map(Cells::number));
    let mut times = Table::new(&titles);
    let mut row = |queue: &str, column: &Column, times_of: &Times| {
        let mut cells = vec![queue.to_owned()];
        cells.extend(several.then(|| column.name.to_owned()));
        cells.extend(row(times_of));
        times.row(cells);
    };
    let levels = shown.columns.first().map_or(0, |c| c.summary.queues.len());
    for level in 0..levels {
        for column in &shown.columns {
            let queue = &column.summary.queues[level];
            row(&queue.queue.to_string(), column, &queue.times);
        }
    }
    for column in &shown.columns {
        row("all", column, &column.summary.all);
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
    for (name, show, measure) in MEASURES {
        let cells: Vec<String> = shown.columns.iter().map(measure).collect();
        let nothing = cells.iter().all(|cell| cell == "0" || cell == "-");
        if *show == Show::Always || !nothing {
            measures.row([vec![(*name).to_owned()], cells].concat());
        }
    }
    out.lines(measures.render(out.width, out.paint, &plain))
}

fn row(times: &Times) -> [String; 6] {
    let time = |time: Option<Micros>| time.map_or_else(|| "-".to_owned(), format_duration);
    [
        format_count(times.tasks),
        time(times.wait.p50_us),
        time(times.wait.p95_us),
        time(times.wait.p99_us),
        time(times.turnaround.p50_us),
        time(times.turnaround.p95_us),
    ]
}

/// When a measure is shown.
#[derive(PartialEq, Eq)]
enum Show {
    Always,
    /// If there is anything to say.
    Any,
}

type Measure = (&'static str, Show, fn(&Column) -> String);

fn ordered(column: &Column, of: fn(&Checked) -> String) -> String {
    column.order.as_ref().map_or_else(|| "-".to_owned(), of)
}

const MEASURES: &[Measure] = &[
    ("slots", Show::Always, |c| {
        c.summary
            .slots
            .map_or("-".into(), |n| format_count(n as u64))
    }),
    ("reaper", Show::Always, |c| match c.reaper {
        None => "-".into(),
        Some(Reaper::On) => "on".into(),
        Some(Reaper::Off) => "off".into(),
    }),
    ("from the first arrival to the end", Show::Always, |c| {
        format_duration(c.summary.horizon_us)
    }),
    ("completed", Show::Always, |c| {
        format_count(c.summary.ends.completed)
    }),
    ("completed a second", Show::Always, |c| {
        format!("{:.3}", c.summary.throughput_per_s)
    }),
    ("dead", Show::Any, |c| format_count(c.summary.ends.dead)),
    ("cancelled", Show::Any, |c| {
        format_count(c.summary.ends.cancelled)
    }),
    ("refused, as what they depend on failed", Show::Any, |c| {
        format_count(c.summary.ends.refused)
    }),
    ("not ended", Show::Any, |c| {
        format_count(c.summary.ends.unended)
    }),
    ("not started: waits count as they were", Show::Any, |c| {
        format_count(c.summary.all.unstarted)
    }),
    ("slots busy", Show::Always, |c| {
        percent(c.summary.busy_share())
    }),
    ("slots held by hung or dead work", Show::Always, |c| {
        percent(c.summary.waste_share)
    }),
    ("left over processes", Show::Always, |c| {
        format_count(c.summary.leftover)
    }),
    ("starts, each in its turn", Show::Always, |c| {
        ordered(c, |order| format_count(order.starts))
    }),
    (
        "waits in queue 0, each within the bound",
        Show::Always,
        |c| ordered(c, |order| format_count(order.waits)),
    ),
    ("the longest of these waits", Show::Always, |c| {
        ordered(c, |order| format_duration(order.longest_us))
    }),
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
                let what = match (*hang, *unended) {
                    (true, 1) => "hangs here",
                    (true, _) => "hang here",
                    (false, 1) => "is left out",
                    (false, _) => "are left out",
                };
                let calls = many(*unended, "call");
                lines.push(format!("{calls} that never ended in the recording {what}"));
            }
            if *pauses_cut > 0 {
                let pauses = many(*pauses_cut, "pause");
                let were = if *pauses_cut == 1 { "was" } else { "were" };
                lines.push(format!("{pauses} of runs {were} cut to 10 minutes"));
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
                "{}: for each arrival one of {} of {} that ended",
                escape(arrivals),
                many(*calls, "call"),
                escape(trace),
            ),
            format!(
                "load {load} of {}; {} {}",
                match load_of {
                    LoadOf::Work => "work",
                    LoadOf::Slots => "slots",
                },
                many(*hung, "task"),
                if *hung == 1 { "hangs" } else { "hang" },
            ),
            format!(
                "mean service {}, {} with the limits of those that hang",
                format_duration(*mean_work_us),
                format_duration(*mean_slots_us),
            ),
        ],
        Source::History { first, last, left } => of_history(*first, *last, left),
    }
}

fn of_history(first: Seq, last: Seq, left: &Left) -> Vec<String> {
    let mut lines = vec![format!(
        "tasks submitted in {first}..{last}; then: as it was, on the slots configured now"
    )];
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
            "link",
            "to tasks that are not simulated: taken for met",
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
