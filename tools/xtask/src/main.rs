//! Checks that the compiler does not make: `cargo run -q -p xtask -- tidy`.
//!
//! `tidy` reads every file that git tracks or could add and reports each broken rule with its
//! place and its reason, one line a finding. The rules live in [`rules`], one file a group. The
//! idea of rules that execute is TigerBeetle's tidy; that of a reason beside each ban is from
//! omicron's clippy configuration.

mod allow;
mod finding;
mod mentions;
mod rules;
mod source;
mod syntax;
mod tidy;
mod tree;
mod workspace;

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

const USAGE: &str = "usage: cargo run -q -p xtask -- tidy";

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    let outcome = match (args.next().as_deref(), args.next()) {
        (Some("tidy"), None) => run_tidy(),
        _ => writeln!(io::stderr(), "{USAGE}").map(|()| ExitCode::from(2)),
    };
    // Writing fails when whoever read the output has gone; the check is then not known clean.
    outcome.unwrap_or(ExitCode::FAILURE)
}

/// Checks the repository this crate stands in, whatever the working directory is.
fn run_tidy() -> io::Result<ExitCode> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let files = match tree::read(&root) {
        Ok(files) => files,
        Err(error) => {
            writeln!(io::stderr(), "tidy: {error}")?;
            return Ok(ExitCode::FAILURE);
        }
    };
    let report = tidy::check(files);
    write!(io::stdout(), "{report}")?;
    Ok(if report.is_clean() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
