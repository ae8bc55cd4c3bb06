//! `ledger simulate --trace`.

use std::fs::File;
use std::io::{self, BufReader};
use std::path::Path;

use super::show::{Column, Shown, Source};
use super::{Args, rules, show, simulate};
use crate::api::wire::{ApiError, ErrorCode};
use crate::cli::error::{Exit, Failure, of_io};
use crate::cli::globals::Globals;
use crate::simulate::mix::{Limits, Made, Mix, Unended, draw};
use crate::simulate::summary::Summary;
use crate::simulate::trace::{
    ARRIVALS_SOURCE, CALLS_SOURCE, TraceError, read_arrivals, read_calls,
};
use crate::simulate::work::Work;

pub(super) fn run(globals: &Globals, args: &Args, file: &Path) -> Result<Exit, Failure> {
    // A recording needs no ledger: only what was named decides.
    let named = globals.data_dir.as_ref().map(|_| globals.data_dir());
    let data_dir = named.transpose()?;
    let (_, policy) = rules::policy(
        data_dir.as_deref(),
        globals.config.as_deref(),
        &args.set,
        args.slots,
    )?;
    let (work, source) = workload(args, file, policy.max_running)?;
    let settings = args.settings(&work, policy);
    let (run, checked) = simulate(&work, &settings)?;
    let slots = settings.policy.max_running;
    show::show(
        globals,
        &Shown {
            source,
            seed: args.seed,
            columns: vec![Column {
                name: settings.discipline.name(),
                policy: Some(settings.discipline),
                reaper: Some(settings.reaper),
                summary: Summary::of(&run.outcome, Some(slots)),
                order: checked,
            }],
        },
    )
}

fn workload(args: &Args, file: &Path, slots: usize) -> Result<(Vec<Work>, Source), Failure> {
    let calls = open(file, CALLS_SOURCE).and_then(|reader| {
        read_calls(reader).map_err(|error| unreadable(file, &error, CALLS_SOURCE))
    })?;
    let limits = Limits::of(&calls, args.limit_factor);
    let nothing = |why: &str| {
        let message = format!("{} can't be simulated", file.display());
        Failure::from(ApiError::new(ErrorCode::Failed, message).because(why))
    };
    let recorded = calls.len();
    let ended = calls.iter().filter(|call| call.duration.is_some()).count();
    let name = |path: &Path| {
        let name = path.file_name().unwrap_or(path.as_os_str());
        name.to_string_lossy().into_owned()
    };
    if let (Some(table), Some(load)) = (&args.arrivals, args.load) {
        let arrivals = open(table, ARRIVALS_SOURCE).and_then(|reader| {
            read_arrivals(reader).map_err(|error| unreadable(table, &error, ARRIVALS_SOURCE))
        })?;
        let mix = Mix {
            load,
            load_of: args.load_of(),
            slots,
            hung: args.hung,
            seed: args.seed,
        };
        let drawn = draw(&arrivals, &calls, &limits, &mix).ok_or_else(|| {
            nothing("no call of it ended, or all arrivals are at one time, or none takes time")
        })?;
        let source = Source::Drawn {
            trace: name(file),
            arrivals: name(table),
            calls: ended,
            load,
            load_of: args.load_of(),
            hung: drawn.hung,
            mean_work_us: drawn.mean_work,
            mean_slots_us: drawn.mean_slots,
        };
        return Ok((drawn.work, source));
    }
    let made = Made::of(calls);
    let work = made.work(&limits, args.unended());
    if work.is_empty() {
        return Err(nothing(
            "no call of it ended; --unended hang takes them for hung",
        ));
    }
    let unended = recorded - ended;
    let source = Source::Trace {
        trace: name(file),
        runs: made.runs,
        unended,
        hang: args.unended() == Unended::Hang,
        pauses_cut: made.pauses_cut,
    };
    Ok((work, source))
}

fn open(path: &Path, what: &str) -> Result<BufReader<File>, Failure> {
    let opened = File::open(path).map_err(|error| {
        let failed = of_io(format!("{} can't be opened", path.display()), &error);
        Failure::from(match error.kind() {
            io::ErrorKind::NotFound => failed.hint(format!("it should be {what}")),
            _ => failed,
        })
    })?;
    Ok(BufReader::new(opened))
}

fn unreadable(path: &Path, error: &TraceError, what: &str) -> Failure {
    let message = format!("{} can't be used", path.display());
    ApiError::new(ErrorCode::Failed, message)
        .because(error)
        .hint(format!("it should be {what}"))
        .into()
}
