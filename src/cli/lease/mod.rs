//! `ledger lease …`: who leads, who stands by, and handing over on purpose.

mod acquire;
mod leaderless;
pub(crate) mod standbys;
mod status;
mod step_down;

use std::path::Path;
use std::time::{Duration, Instant};

use clap::Subcommand;
use ledger_core::ids::{Id, Term};
use ledger_core::store::OpenError;
use ledger_core::time::Micros;

use super::error::{Exit, Failure};
use super::globals::Globals;
use crate::api::wire::{ApiError, ErrorCode, NodeStanding, Role};
use crate::client::Client;
use crate::client::nodes::{Surveyed, survey};

pub(crate) use leaderless::Leaderless;

/// What to do with the lease.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Show who leads since when, and who stands by how far behind
    #[command(after_help = "It exits with 6 while no node leads.")]
    Status(status::Args),
    /// Have the node that leads give the lease to another one, in good order
    StepDown(step_down::Args),
    /// Have a node that stands by lead, by ending the one that does
    Acquire(acquire::Args),
}

pub(crate) fn run(globals: &Globals, command: &Command) -> Result<Exit, Failure> {
    match command {
        Command::Status(args) => status::run(globals, args),
        Command::StepDown(args) => step_down::run(globals, args),
        Command::Acquire(args) => acquire::run(globals, args),
    }
}

/// How often the nodes are looked at while something is waited for.
const LOOK: Duration = Duration::from_millis(25);
/// How long a takeover may take, beside what is waited for on purpose.
const PATIENCE: Duration = Duration::from_secs(30);

/// The nodes that listen, in a directory that is there.
pub(crate) async fn nodes(data_dir: &Path) -> Result<Vec<Surveyed>, Failure> {
    if !data_dir.is_dir() {
        return Err(OpenError::Missing(data_dir.to_owned()).into());
    }
    survey(data_dir, None).await.map_err(|e| {
        ApiError::new(ErrorCode::Failed, "the nodes can't be looked for")
            .because(e)
            .into()
    })
}

/// The node among these that leads.
pub(crate) fn leader(nodes: &[Surveyed]) -> Option<(&Client, &NodeStanding)> {
    standing(nodes).find(|(_, standing)| standing.role == Role::Leader)
}

/// What those of them say that answer.
fn standing(nodes: &[Surveyed]) -> impl Iterator<Item = (&Client, &NodeStanding)> {
    let answers = nodes.iter().filter_map(|node| node.answer.as_ref().ok());
    answers.map(|(client, standing)| (client, standing))
}

/// Waits until a node leads in a later term.
async fn led_after(
    data_dir: &Path,
    term: Term,
    patience: Duration,
) -> Result<NodeStanding, Failure> {
    let begun = Instant::now();
    loop {
        let nodes = nodes(data_dir).await?;
        if let Some((_, standing)) = leader(&nodes)
            && standing.term > term
        {
            return Ok(standing.clone());
        }
        if begun.elapsed() > patience {
            let waited = format!("nobody does after {} s", begun.elapsed().as_secs());
            return Err(ApiError::new(ErrorCode::Timeout, "no other node leads yet")
                .because(waited)
                .hint("`ledger lease status` shows the nodes and what they wait for")
                .into());
        }
        tokio::time::sleep(LOOK).await;
    }
}

fn micros(since: Instant) -> Micros {
    Micros(u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX))
}

/// Names with commas, and an "and" before the last.
fn listed(names: &[&Id]) -> String {
    match names {
        [] => String::new(),
        [one] => one.to_string(),
        [some @ .., last] => {
            let some: Vec<_> = some.iter().map(ToString::to_string).collect();
            format!("{} and {last}", some.join(", "))
        }
    }
}
