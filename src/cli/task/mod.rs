//! `ledger task …`.

mod cancel;
pub(crate) mod kept;
mod ladder;
mod list;
mod logs;
mod report;
pub(crate) mod retry;
mod set_priority;
pub(crate) mod show;
pub(crate) mod submit;
mod terms;
pub(crate) mod view;

use clap::Subcommand;

use super::error::{Exit, Failure};
use super::globals::Globals;

/// What to do with tasks.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Submit a command as a task and print its receipt
    Submit(Box<submit::Args>),
    /// List tasks, the latest submitted first
    List(list::Args),
    /// Show one task with its attempts and what it wrote last
    Show(show::Args),
    /// Show what a task wrote
    Logs(logs::Args),
    /// End a task: at once if it waits, else as soon as its processes are gone
    Cancel(cancel::Args),
    /// Queue a task again that is in the dead-letter queue
    Retry(retry::Args),
    /// Move a task that waits to another queue
    SetPriority(set_priority::Args),
    /// Report, from within a running task, that its provider wants it to come back later
    Report(report::Args),
}

pub(crate) fn run(globals: &Globals, command: Command) -> Result<Exit, Failure> {
    match command {
        Command::Submit(args) => submit::run(globals, *args),
        Command::List(args) => list::run(globals, &args),
        Command::Show(args) => show::run(globals, &args),
        Command::Logs(args) => logs::run(globals, &args),
        Command::Cancel(args) => cancel::run(globals, args),
        Command::Retry(args) => retry::run(globals, &args),
        Command::SetPriority(args) => set_priority::run(globals, &args),
        Command::Report(args) => report::run(globals, &args),
    }
}
