//! Figures against peers, measured in one run, and replay of recorded workloads through a real
//! node: `cargo run --release -p bench -- compare` and `... replay FILE`; and the node's queues beside
//! first in first out: `... arms --calls FILE --arrivals FILE`.
//!
//! A harness of its own instead of a statistics package: what counts here is the ratio of two
//! programs on the same machine at the same time, so rounds are interleaved ([`rounds`]) and
//! medians compared ([`comparison`]). Nothing here asserts a time.

mod append;
mod arms;
mod cli;
mod comparison;
mod error;
mod exec;
mod idle;
mod machine;
mod node;
mod note;
mod reap;
mod rebuild;
mod replay;
mod rounds;
mod samples;
mod scan;
mod settings;
mod store;
mod table;
mod takeover;
mod tasks;
mod watched;

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;

use crate::cli::{Cli, Command, CompareArgs, Figure};
use crate::error::{Context, Failure};
use crate::machine::Machine;
use crate::node::Ledger;
use crate::replay::Outcome;
use crate::settings::Settings;

// What the `ledger` binary has, so that what is measured in here is what runs there.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Compare(args) => compare(&args).map(|text| (text, Outcome::Sound)),
        Command::Grow(args) => store::grow(&args.dir, args.events, args.sealed)
            .map(|()| (String::new(), Outcome::Sound)),
        Command::Replay(args) => replay::run(&args),
        Command::Arms(args) => arms::run(&args),
    };
    let printed = outcome.and_then(|(text, outcome)| {
        let mut stdout = std::io::stdout();
        stdout
            .write_all(text.as_bytes())
            .context("writing the figures")?;
        Ok(outcome)
    });
    match printed {
        Ok(Outcome::Sound) => ExitCode::SUCCESS,
        Ok(Outcome::Unsound) => ExitCode::FAILURE,
        Err(failure) => {
            note::done();
            // Nobody reads it if this fails; the exit code says it too.
            let _ = writeln!(std::io::stderr(), "bench: {failure}");
            ExitCode::FAILURE
        }
    }
}

/// Measures the figures asked for; returns what is to be printed.
fn compare(args: &CompareArgs) -> Result<String, Failure> {
    let settings = if args.quick {
        Settings::QUICK
    } else {
        Settings::FULL
    };
    let ledger = || Ledger::find(args.ledger.as_deref());
    let home = args.place.make()?;
    let dir = home.path();
    let machine = Machine::look(dir)?;
    let mut comparisons = Vec::new();
    for figure in Figure::ALL {
        if !args.only.is_empty() && !args.only.contains(&figure) {
            continue;
        }
        comparisons.extend(match figure {
            Figure::Append => append::compare(dir, &settings)?,
            Figure::Scan => scan::compare(dir, &settings)?,
            Figure::Store => store::compare(dir, &settings)?,
            Figure::Rebuild => rebuild::compare(dir, &settings)?,
            Figure::Tasks => tasks::compare(dir, &settings)?,
            Figure::Exec => exec::compare(dir, &ledger()?, &settings)?,
            Figure::Reap => reap::compare(dir, &ledger()?, &settings)?,
            Figure::Idle => idle::compare(dir, &ledger()?)?,
            Figure::Takeover => takeover::compare(dir, &ledger()?, &settings)?,
            Figure::Watched => watched::compare(dir, &ledger()?)?,
        });
    }
    if !args.json {
        return Ok(table::render(&machine, &comparisons));
    }
    let mut lines = String::new();
    for comparison in &comparisons {
        lines.push_str(&serde_json::to_string(comparison).context("writing JSON")?);
        lines.push('\n');
    }
    Ok(lines)
}
