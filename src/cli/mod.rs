//! The command line: what people and scripts see. A file for each command, a folder for each
//! noun; what is written how is in `output`, where events come from in `source`.
//!
//! Data goes to standard output, everything else to standard error. Exit codes:
//! 0 ok · 1 failed · 2 usage · 3 tampered · 4 not anchored · 5 not complete · 6 refused · 7 no such thing · 8 conflict ·
//! 124 timeout; `exec` passes the command's own.

mod append;
mod backup;
mod blob;
mod check_proof;
mod checkpoint;
mod completions;
mod demo;
mod error;
mod exec;
mod export;
mod filter_args;
mod globals;
mod head;
mod init;
mod job;
mod lease;
mod man;
mod output;
mod projections;
mod prove;
mod ps;
mod query;
mod queue;
mod reap;
mod rebuild;
mod recover;
mod restore;
mod resume;
mod salvage;
mod session;
mod show;
mod simulate;
mod snapshot;
mod source;
mod status;
mod tail;
mod task;
mod trust;
mod up;
mod verify;
mod witness;

use std::ffi::OsString;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

use self::error::{ErrorStyle, Exit, Failure};
use self::globals::Globals;
use self::output::{NoteStyle, set_notes};
use crate::api::wire::{ApiError, ErrorCode};
use crate::config::Config;

/// An event-sourced operations layer for fleets of AI agents
#[derive(Debug, Parser)]
#[command(
    name = "ledger",
    version,
    propagate_version = true,
    max_term_width = 100
)]
#[command(subcommand_required = true, arg_required_else_help = true)]
#[command(
    after_help = "Exit codes: 0 ok, 1 failed, 2 usage, 3 tampered, 4 not anchored, 5 not complete, \
    6 refused, 7 no such thing, 8 conflict, 124 timeout.\n`exec` passes the command's own."
)]
struct Cli {
    #[command(flatten)]
    globals: Globals,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show the whole story on real processes in a temporary directory
    Demo(demo::Args),
    /// Make a ledger
    Init(init::Args),
    /// Run a node in the foreground; Ctrl-C stops it in good order
    Up(up::Args),
    /// Show who leads, what runs and what is wrong
    Status(status::Args),
    /// Show the latest events, and follow what comes
    Tail(tail::Args),
    /// Search the whole history
    Query(query::Args),
    /// Show one event with its links
    Show(show::Args),
    /// Check that the history is what was written, the one that others have seen, and whole
    #[command(after_help = verify::CODES)]
    Verify(verify::Args),
    /// Print the head of the ledger, signed with its key
    Head(head::Args),
    /// Prove an event, or that the ledger has only grown
    Prove(prove::Args),
    /// Check a proof; needs no ledger
    CheckProof(check_proof::Args),
    /// Cosign heads, so that others can rely on what was seen
    #[command(subcommand)]
    Witness(witness::Command),
    /// Copy what is provably good of a damaged ledger into a new directory
    Salvage(salvage::Args),
    /// Append an application's own events
    Append(append::Args),
    /// Store, read, check and collect content that is too large for events
    #[command(subcommand)]
    Blob(blob::Command),
    /// Run a command as a task, stream its output, exit as it exits
    #[command(after_help = exec::CODES)]
    Exec(exec::Args),
    /// Submit, list, show, cancel and retry tasks
    #[command(subcommand)]
    Task(task::Command),
    /// List, pause and resume queues
    #[command(subcommand)]
    Queue(queue::Command),
    /// List, show, run, pause and resume what runs by the clock
    #[command(subcommand)]
    Job(job::Command),
    /// Show who leads and who stands by; hand the lease over
    #[command(subcommand)]
    Lease(lease::Command),
    /// See what a workload, or the past, would look like under other rules
    Simulate(simulate::Args),
    /// Show every watched process: age, limit, CPU, memory, how it stands
    Ps(ps::Args),
    /// Sweep now; watch processes that somebody else started
    Reap(reap::Args),
    /// Write the history in a form for others: lines of JSON, a table, or C2SP tiles
    Export(export::Args),
    /// Make a data directory from a complete export
    Import(restore::ImportArgs),
    /// Make, list, verify and remove backups
    Backup(backup::Args),
    /// Make, list, show, verify and remove checkpoints
    #[command(subcommand)]
    Checkpoint(checkpoint::Command),
    /// See what a node that starts now would do before it serves
    Recover(recover::Args),
    /// Make a data directory from a backup, or from the ledger as it was
    Restore(restore::RestoreArgs),
    /// Copy sets of files, list, verify and restore the copies
    #[command(subcommand)]
    Snapshot(snapshot::Command),
    /// Start what waits, in a ledger that was restored or imported
    Resume(resume::Args),
    /// Fold projections anew, or check them against a new fold
    Rebuild(rebuild::Args),
    /// List, check and rebuild projections
    #[command(subcommand)]
    Projections(projections::Command),
    /// Write shell completions to standard output
    Completions(completions::Args),
    /// Write man pages into a directory
    Man(man::Args),
}

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    ExitCode::from(run(&arguments).0)
}

fn run(arguments: &[OsString]) -> Exit {
    let command = Cli::command().color(color(arguments));
    let parsed = command
        .try_get_matches_from(arguments)
        .and_then(|matches| Cli::from_arg_matches(&matches));
    let cli = match parsed {
        Ok(cli) => cli,
        Err(error) => return usage(&error, arguments),
    };
    let style = if cli.globals.json {
        set_notes(NoteStyle::Json);
        ErrorStyle::Json
    } else {
        set_notes(NoteStyle::Lines);
        ErrorStyle::Lines(cli.globals.stderr_paint())
    };
    match dispatch(&cli.globals, cli.command) {
        Ok(exit) => exit,
        // Whoever read has what it wanted.
        Err(Failure::ClosedPipe) => Exit::OK,
        Err(Failure::Error(error)) => error::report(&error, style),
        Err(Failure::NotStarted(error, exit)) => {
            error::report(&error, style);
            exit
        }
    }
}

fn dispatch(globals: &Globals, command: Command) -> Result<Exit, Failure> {
    // Whoever names a file relies on it, also where nothing in it matters.
    if let Some(file) = &globals.config {
        Config::load(Path::new(""), Some(file))?;
    }
    if globals.json {
        refuse_json(&command)?;
    }
    match command {
        Command::Demo(args) => demo::run(globals, &args),
        Command::Init(args) => init::run(globals, &args),
        Command::Up(args) => up::run(globals, &args),
        Command::Status(args) => status::run(globals, &args),
        Command::Tail(args) => tail::run(globals, &args),
        Command::Query(args) => query::run(globals, &args),
        Command::Show(args) => show::run(globals, &args),
        Command::Verify(args) => verify::run(globals, &args),
        Command::Witness(command) => witness::run(globals, command),
        Command::Head(args) => head::run(globals, &args),
        Command::Prove(args) => prove::run(globals, &args),
        Command::CheckProof(args) => check_proof::run(globals, &args),
        Command::Salvage(args) => salvage::run(globals, &args),
        Command::Append(args) => append::run(globals, args),
        Command::Blob(command) => blob::run(globals, command),
        Command::Exec(args) => exec::run(globals, args),
        Command::Task(command) => task::run(globals, command),
        Command::Queue(command) => queue::run(globals, &command),
        Command::Job(command) => job::run(globals, command),
        Command::Lease(command) => lease::run(globals, &command),
        Command::Simulate(args) => simulate::run(globals, &args),
        Command::Ps(args) => ps::run(globals, &args),
        Command::Reap(args) => reap::run(globals, &args),
        Command::Export(args) => export::run(globals, &args),
        Command::Import(args) => restore::run_import(globals, &args),
        Command::Backup(args) => backup::run(globals, &args),
        Command::Checkpoint(command) => checkpoint::run(globals, command),
        Command::Recover(args) => recover::run(globals, &args),
        Command::Restore(args) => restore::run_restore(globals, &args),
        Command::Snapshot(command) => snapshot::run(globals, command),
        Command::Resume(args) => resume::run(globals, &args),
        Command::Rebuild(args) => rebuild::run(globals, &args),
        Command::Projections(command) => projections::run(globals, command),
        Command::Completions(args) => completions::run(globals, &args),
        Command::Man(args) => man::run(globals, &args),
    }
}

/// What `--color` says, before anything is parsed: help and usage errors are painted too.
fn color(arguments: &[OsString]) -> clap::ColorChoice {
    let mut arguments = arguments.iter().take_while(|a| *a != "--");
    let mut said = clap::ColorChoice::Auto;
    while let Some(argument) = arguments.next() {
        let value = match argument.to_str() {
            Some("--color") => arguments.next().and_then(|value| value.to_str()),
            Some(argument) => argument.strip_prefix("--color="),
            None => None,
        };
        match value {
            Some("always") => said = clap::ColorChoice::Always,
            Some("never") => said = clap::ColorChoice::Never,
            Some("auto") => said = clap::ColorChoice::Auto,
            Some(_) | None => {}
        }
    }
    said
}

/// What has no form for programs says so, instead of printing something else than was asked for.
fn refuse_json(command: &Command) -> Result<(), ApiError> {
    let what = match command {
        Command::Demo(_) => "demo",
        Command::Completions(_) => "completions",
        Command::Man(_) => "man",
        _ => return Ok(()),
    };
    let message = format!("`ledger {what}` has no JSON to write");
    Err(ApiError::new(ErrorCode::Usage, message).hint("leave out --json"))
}

/// Help and version go where they were asked for; a usage error is one like all others.
fn usage(error: &clap::Error, arguments: &[OsString]) -> Exit {
    let asked = matches!(
        error.kind(),
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion
    );
    let json = arguments
        .iter()
        .take_while(|a| *a != "--")
        .any(|a| a == "--json");
    // Nothing can be done about a closed pipe here.
    if asked {
        let _ = error.print();
        return Exit::OK;
    }
    if !json {
        let choice = match color(arguments) {
            clap::ColorChoice::Auto => anstream::ColorChoice::Auto,
            clap::ColorChoice::Always => anstream::ColorChoice::Always,
            clap::ColorChoice::Never => anstream::ColorChoice::Never,
        };
        let said = plainly(&error.render().ansi().to_string());
        let mut stderr = anstream::AutoStream::new(std::io::stderr(), choice);
        let _ = stderr.write_all(said.as_bytes());
        return Exit(ErrorCode::Usage.exit_code());
    }
    error::report(&usage_error(&error.render().to_string()), ErrorStyle::Json)
}

/// What the standard library says of numbers, in words for people.
fn plainly(said: &str) -> String {
    [
        ("invalid digit found in string", "it is not a whole number"),
        (
            "cannot parse integer from empty string",
            "it is not a number",
        ),
        ("number too large to fit in target type", "it is too large"),
        ("number too small to fit in target type", "it is too small"),
    ]
    .iter()
    .fold(said.to_owned(), |said, (of_std, ours)| {
        said.replace(of_std, ours)
    })
}

/// An error as clap writes it for people, in its parts.
fn usage_error(rendered: &str) -> ApiError {
    let rendered = plainly(rendered);
    let mut lines = rendered
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with("For more information"));
    let message = lines
        .next()
        .unwrap_or_default()
        .trim_start_matches("error: ");
    let (mut rest, mut command) = (Vec::new(), "ledger".to_owned());
    for line in lines {
        match line.strip_prefix("Usage: ") {
            Some(usage) => {
                let is_name = |word: &&str| word.starts_with(char::is_alphabetic);
                let names: Vec<&str> = usage.split(' ').take_while(is_name).collect();
                command = names.join(" ");
                break;
            }
            None => rest.push(line),
        }
    }
    let mut error = ApiError::new(ErrorCode::Usage, message);
    if !rest.is_empty() {
        error = error.because(rest.join("; "));
    }
    error.hint(format!("see `{command} --help`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_clap_says_is_taken_apart() {
        let parts = |rendered: &str| {
            let error = usage_error(rendered);
            (error.message, error.cause, error.hint)
        };
        let footer = "\n\nFor more information, try '--help'.\n";
        let number = "error: invalid value 'abc' for '<PID>': invalid digit found in string";
        assert_eq!(
            parts(&format!("{number}{footer}")),
            (
                "invalid value 'abc' for '<PID>': it is not a whole number".to_owned(),
                None,
                Some("see `ledger --help`".to_owned())
            )
        );
        let unknown = "error: unexpected argument '--stat' found\n\n  tip: a similar argument exists: \
                       '--state'\n\nUsage: ledger task list --state <STATE>";
        assert_eq!(
            parts(&format!("{unknown}{footer}")),
            (
                "unexpected argument '--stat' found".to_owned(),
                Some("tip: a similar argument exists: '--state'".to_owned()),
                Some("see `ledger task list --help`".to_owned())
            )
        );
    }

    #[test]
    fn the_choice_of_color_is_known_before_anything_is_parsed() {
        let said = |arguments: &[&str]| {
            let arguments: Vec<OsString> = arguments.iter().map(OsString::from).collect();
            color(&arguments)
        };
        assert_eq!(
            said(&["ledger", "--color", "never", "--help"]),
            clap::ColorChoice::Never
        );
        assert_eq!(
            said(&["ledger", "--color=always"]),
            clap::ColorChoice::Always
        );
        assert_eq!(
            said(&["ledger", "exec", "--", "--color=never"]),
            clap::ColorChoice::Auto
        );
    }

    #[test]
    fn the_definition_of_all_commands_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_and_option_is_described() {
        fn check(command: &clap::Command) {
            for sub in command.get_subcommands() {
                assert!(
                    sub.get_about().is_some(),
                    "{} has no description",
                    sub.get_name()
                );
                check(sub);
            }
            for arg in command.get_arguments() {
                assert!(
                    arg.get_help().is_some(),
                    "{} {}",
                    command.get_name(),
                    arg.get_id()
                );
            }
        }
        check(&Cli::command());
    }
}
