//! Figures against peers, measured in one run, and replay of recorded workloads through a real
//! node: `cargo run --release -p bench -- compare` and `... replay FILE`.
//!
//! A harness of its own instead of a statistics package: what counts here is the ratio of two
//! programs on the same machine at the same time, so rounds are interleaved ([`rounds`]) and
//! medians compared ([`comparison`]). Nothing here asserts a time.

mod append;
mod cli;
mod comparison;
mod error;
mod machine;
mod note;
mod rebuild;
mod rounds;
mod samples;
mod scan;
mod settings;
mod table;

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;

use crate::cli::{Cli, Command, CompareArgs, Figure};
use crate::error::{Context, Failure};
use crate::machine::Machine;
use crate::settings::Settings;

fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Compare(args) => compare(&args),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            note::done();
            // Nobody reads it if this fails; the exit code says it too.
            let _ = writeln!(std::io::stderr(), "bench: {failure}");
            ExitCode::FAILURE
        }
    }
}

/// Measures the figures asked for and prints them.
fn compare(args: &CompareArgs) -> Result<(), Failure> {
    let settings = if args.quick {
        Settings::QUICK
    } else {
        Settings::FULL
    };
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
            Figure::Rebuild => rebuild::compare(dir, &settings)?,
        });
    }
    let mut out = String::new();
    if args.json {
        for comparison in &comparisons {
            out.push_str(&serde_json::to_string(comparison).context("writing JSON")?);
            out.push('\n');
        }
    } else {
        out = table::render(&machine, &comparisons);
    }
    std::io::stdout()
        .write_all(out.as_bytes())
        .context("writing the figures")
}
