//! `sim`: runs seeds, one after the other on each core, until enough are done or one fails.

use std::io::Write;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use clap::{Parser, Subcommand};
use sim::{Bug, Run, Tally, Wish, run_once, run_twice, seeds, shorten};

/// Seeds that have failed before; they run first.
const PAST: &str = include_str!("../seeds.txt");
/// Among so many seeds everything must have happened at least once.
const BATCH: u64 = 1000;
/// How much of a trace is shown.
const LAST_LINES: usize = 80;

/// Deterministic simulation of nodes and everything around them.
#[derive(Parser)]
#[command(name = "sim")]
struct Args {
    #[command(subcommand)]
    command: Do,
}

#[derive(Subcommand)]
enum Do {
    /// Run past failures, and then seed after seed.
    Run {
        /// How many seeds.
        #[arg(long, default_value_t = 1000)]
        seeds: u64,
        /// The first of them; drawn if not given.
        #[arg(long)]
        from: Option<u64>,
        /// As many seeds as fit into so many minutes instead.
        #[arg(long)]
        minutes: Option<f64>,
    },
    /// Run one seed and show what happens.
    Replay {
        /// Which.
        seed: u64,
        /// Show all of it, not only what a shorter run needs to fail.
        #[arg(long)]
        trace: bool,
    },
    /// Plant defects, one after the other, and see that each is found.
    Mutants,
}

fn main() -> ExitCode {
    // A panic is a finding, which is shown with its seed.
    std::panic::set_hook(Box::new(|_| {}));
    let done = match Args::parse().command {
        Do::Run {
            seeds,
            from,
            minutes,
        } => run(seeds, from, minutes),
        Do::Replay { seed, trace } => replay(seed, trace),
        Do::Mutants => mutants(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(what) => {
            say(&what);
            ExitCode::FAILURE
        }
    }
}

/// To standard output; whoever has closed it does not want it.
fn say(text: &str) {
    let _ = writeln!(std::io::stdout(), "{}", text.trim_end());
}

fn run(count: u64, from: Option<u64>, minutes: Option<f64>) -> Result<(), String> {
    let past = seeds(PAST)?;
    let from = match from {
        Some(from) => from,
        None => drawn()?,
    };
    let begun = Instant::now();
    let limit = minutes.map(|minutes| Duration::from_secs_f64(minutes * 60.0));
    let count = if limit.is_some() { u64::MAX } else { count };
    say(&format!(
        "{} past failures, then seeds from {from} on",
        past.len()
    ));
    let (next, tally) = (AtomicU64::new(0), Mutex::new(Tally::default()));
    let failed: Mutex<Option<(u64, Run)>> = Mutex::new(None);
    let past_len = past.len() as u64;
    let work = || {
        loop {
            let n = next.fetch_add(1, Ordering::Relaxed);
            let is_late = limit.is_some_and(|limit| begun.elapsed() > limit);
            if n >= past_len.saturating_add(count) || n >= past_len && is_late {
                return;
            }
            let seed = match usize::try_from(n).ok().and_then(|n| past.get(n)) {
                Some(seed) => *seed,
                None => from.wrapping_add(n - past_len),
            };
            let run = run_twice(seed, &Wish::default());
            if run.broken.is_some() {
                next.store(u64::MAX / 2, Ordering::Relaxed);
                lock(&failed).get_or_insert((seed, run));
                return;
            }
            lock(&tally).add(&run.tally);
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 1..threads {
            scope.spawn(work);
        }
        work();
    });
    let tally = lock(&tally).clone();
    let took = begun.elapsed().as_secs_f64();
    say(&format!(
        "{tally}{:.1} seeds/s on {threads} threads, {took:.0} s",
        tally.seeds as f64 / took
    ));
    if let Some((seed, run)) = lock(&failed).take() {
        return Err(failure(seed, &Wish::default(), run));
    }
    let missing = tally.missing();
    match tally.seeds >= BATCH && !missing.is_empty() {
        true => Err(format!(
            "these never happened, so nothing was shown of them: {missing:?}"
        )),
        false => Ok(()),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn drawn() -> Result<u64, String> {
    let mut bytes = [0; 4];
    getrandom::fill(&mut bytes).map_err(|error| format!("no seed can be drawn: {error}"))?;
    Ok(u64::from(u32::from_le_bytes(bytes)))
}

/// What is said of a seed that failed: itself, what did not hold, and the end of a run that is as
/// short as may be.
fn failure(seed: u64, wish: &Wish, run: Run) -> String {
    let Some(broken) = run.broken else {
        return String::new();
    };
    let short = shorten(seed, wish, &broken);
    let run = run_once(seed, &short);
    let first = run.lines.len().saturating_sub(LAST_LINES);
    let without = &short.without;
    format!(
        "seed {seed} FAILED\n{broken}\nshortened: without {without:?}, faults up to {:?} us\n\
         {}\nseed {seed}: {broken}\nagain: cargo run -p sim -- replay {seed}",
        short.upto,
        run.lines[first..].join("\n"),
    )
}

fn replay(seed: u64, all: bool) -> Result<(), String> {
    let wish = Wish {
        trace: all,
        ..Wish::default()
    };
    let run = run_twice(seed, &wish);
    say(&run.lines.join("\n"));
    if run.broken.is_some() {
        return Err(failure(seed, &Wish::default(), run));
    }
    say(&format!(
        "{}seed {seed} holds, {} s",
        run.tally,
        run.ended_at / 1_000_000
    ));
    Ok(())
}

fn mutants() -> Result<(), String> {
    let mut survived = Vec::new();
    for bug in Bug::ALL {
        let wish = Wish {
            bug: Some(bug),
            ..Wish::default()
        };
        let runs = (0..bug.within()).map(|seed| (seed, run_once(seed, &wish).broken));
        let found = runs
            .into_iter()
            .find_map(|(seed, broken)| Some((seed, broken?)));
        match found {
            Some((seed, broken)) => say(&format!("{bug:?}: found by seed {seed}: {broken}")),
            None => survived.push(bug),
        }
    }
    match survived.is_empty() {
        true => Ok(()),
        false => Err(format!("not found: {survived:?}")),
    }
}
