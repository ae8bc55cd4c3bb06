//! `ledger lease acquire`: a node that stands by is to lead. While another one does, that takes
//! `--force`, which ends it.

use std::path::Path;
use std::time::{Duration, Instant};

use ledger_core::ids::{Id, Term};
use ledger_core::time::Micros;
use serde::Serialize;

use super::{PATIENCE, leader, led_after, listed, micros, nodes, standing};
use crate::api::wire::{AcquireRequest, Acquired, ApiError, ErrorCode, NodeStanding, Role};
use crate::cli::error::{Exit, Failure};
use crate::cli::globals::Globals;
use crate::cli::output::ask::Question;
use crate::cli::output::{Buffering, Paging};
use crate::cli::source::runtime;
use crate::client::Client;
use crate::client::nodes::Surveyed;
use crate::units::format_duration;

/// Options.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The node that is to lead [default: the only one that stands by]
    #[arg(long, value_name = "NAME")]
    node: Option<Id>,
    /// End whoever leads now, though it works; what runs goes on
    #[arg(long)]
    force: bool,
    /// Why, for whoever reads the history
    #[arg(long, value_name = "TEXT", requires = "force")]
    reason: Option<String>,
    /// Don't ask
    #[arg(long, short = 'y', conflicts_with = "dry_run")]
    yes: bool,
    /// Only say what would be done
    #[arg(long)]
    dry_run: bool,
}

/// What came of it.
#[derive(Debug, Serialize)]
struct Taken {
    dry_run: bool,
    /// The node that leads, or would.
    node: Id,
    /// Its term.
    #[serde(skip_serializing_if = "Option::is_none")]
    term: Option<Term>,
    /// Whether it led already.
    already_held: bool,
    /// The term whose holder was ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    ended: Option<Term>,
    /// How long that took.
    #[serde(skip_serializing_if = "Option::is_none")]
    took_us: Option<Micros>,
}

pub(crate) fn run(globals: &Globals, args: &Args) -> Result<Exit, Failure> {
    let data_dir = globals.data_dir()?;
    let runtime = runtime()?;
    let nodes = runtime.block_on(nodes(&data_dir))?;
    let (client, target) = chosen(args, &nodes)?;
    let now = leader(&nodes).map(|(_, standing)| standing);
    let (taken, said) = if target.role == Role::Leader {
        runtime.block_on(already(client, target))?
    } else if args.dry_run {
        would(args, target, now)?
    } else {
        if args.force && !args.yes {
            let ask = match now {
                Some(now) => format!(
                    "end node {} (process {}), which leads in term {}, and have {} lead?",
                    now.node, now.pid, now.term, target.node
                ),
                None => format!(
                    "end whoever holds the lease, and have {} lead?",
                    target.node
                ),
            };
            Question {
                ask: &ask,
                act: "this ends the node that leads",
                refused: "nobody was ended",
            }
            .confirm()?;
        }
        runtime.block_on(take(&data_dir, args, (client, target), now))?
    };
    let mut out = globals.out(Paging::Never, Buffering::Full);
    if globals.json {
        out.json(&taken)?;
    } else {
        out.line(said)?;
    }
    out.finish()?;
    Ok(Exit::OK)
}

/// The node that is to lead.
fn chosen<'n>(
    args: &Args,
    nodes: &'n [Surveyed],
) -> Result<(&'n Client, &'n NodeStanding), ApiError> {
    if let Some(name) = &args.node {
        let node = nodes
            .iter()
            .find(|node| node.name == *name)
            .ok_or_else(|| {
                ApiError::new(
                    ErrorCode::NotFound,
                    format!("no node named {name} runs here"),
                )
                .hint(format!("start it with `ledger up --node {name}`"))
            })?;
        let answer = node.answer.as_ref().map_err(Clone::clone)?;
        return Ok((&answer.0, &answer.1));
    }
    let waiting: Vec<_> = standing(nodes)
        .filter(|(_, standing)| standing.role == Role::Standby)
        .collect();
    match waiting.as_slice() {
        [one] => Ok(*one),
        // The only node there is has it already.
        [] => leader(nodes).ok_or_else(|| {
            ApiError::new(ErrorCode::Refused, "no node stands by")
                .hint("start one with `ledger up --node NAME`")
        }),
        several => {
            let names: Vec<&Id> = several.iter().map(|(_, standing)| &standing.node).collect();
            let message = format!("{} stand by: say which is to lead", listed(&names));
            Err(ApiError::new(ErrorCode::Usage, message).hint("name one with --node NAME"))
        }
    }
}

async fn already(client: &Client, target: &NodeStanding) -> Result<(Taken, String), Failure> {
    let term = match client.acquire(&AcquireRequest::default()).await? {
        Acquired::AlreadyHeld { term } => term,
        Acquired::Coming { .. } => target.term,
    };
    let taken = Taken {
        term: Some(term),
        already_held: true,
        ..Taken::of(target, false)
    };
    let said = format!("already held: node {} leads in term {term}", target.node);
    Ok((taken, said))
}

impl Taken {
    fn of(target: &NodeStanding, dry_run: bool) -> Self {
        Self {
            dry_run,
            node: target.node.clone(),
            term: None,
            already_held: false,
            ended: None,
            took_us: None,
        }
    }
}

fn would(
    args: &Args,
    target: &NodeStanding,
    now: Option<&NodeStanding>,
) -> Result<(Taken, String), ApiError> {
    let said = match (now, args.force) {
        (Some(now), true) => format!(
            "node {} (process {}), which leads in term {}, would be ended, and {} would lead",
            now.node, now.pid, now.term, target.node
        ),
        (Some(now), false) => return Err(held(now)),
        (None, true) => format!(
            "whoever holds the lease would be ended, and {} would lead",
            target.node
        ),
        (None, false) => format!(
            "nobody leads; {} takes the lease once it is free",
            target.node
        ),
    };
    Ok((Taken::of(target, true), said))
}

fn held(now: &NodeStanding) -> ApiError {
    ApiError::new(
        ErrorCode::Refused,
        format!("node {} holds the lease, in term {}", now.node, now.term),
    )
    .hint("`ledger lease step-down` has it hand over in good order; --force ends it")
}

/// How long a node may take to lead that said that it can't.
const SOON: Duration = Duration::from_secs(3);

fn unknown_holder(trouble: &str) -> ApiError {
    ApiError::new(ErrorCode::Refused, "nobody was ended")
        .because(trouble)
        .hint("`lslocks -u` shows who has the data directory locked: end that, if it is a node")
}

async fn take(
    data_dir: &Path,
    args: &Args,
    (client, target): (&Client, &NodeStanding),
    now: Option<&NodeStanding>,
) -> Result<(Taken, String), Failure> {
    if let (Some(now), false) = (now, args.force) {
        return Err(held(now).into());
    }
    let before = now.map_or(target.term, |now| now.term.max(target.term));
    let request = AcquireRequest {
        force: args.force,
        reason: args.reason.clone(),
    };
    let begun = Instant::now();
    let ended = match client.acquire(&request).await? {
        Acquired::Coming { ended } => ended,
        Acquired::AlreadyHeld { .. } => return already(client, target).await,
    };
    // Nobody was ended, and the node had said why it could not: that may have passed, or not.
    let trouble = target.trouble.as_ref().filter(|_| ended.is_none());
    let patience = trouble.map_or(PATIENCE, |_| SOON);
    let leader = led_after(data_dir, before, patience).await;
    let leader = match (leader, trouble) {
        (Err(_), Some(trouble)) => return Err(unknown_holder(trouble).into()),
        (leader, _) => leader?,
    };
    let took = micros(begun);
    if leader.node != target.node {
        let message = format!(
            "node {} was faster: it leads in term {}",
            leader.node, leader.term
        );
        return Err(ApiError::new(ErrorCode::Refused, message)
            .because("every node that stands by waits for the same lock")
            .hint("once more, or stop the other one first")
            .into());
    }
    let before = match (now, ended) {
        (Some(now), Some(term)) => {
            format!(
                "node {} (process {}) was ended in term {term}",
                now.node, now.pid
            )
        }
        (None, Some(term)) => format!("whoever held term {term} was ended"),
        (_, None) => "nobody had to be ended".to_owned(),
    };
    let said = format!(
        "{before}; {} leads in term {}, after {}",
        leader.node,
        leader.term,
        format_duration(took)
    );
    let taken = Taken {
        term: Some(leader.term),
        ended,
        took_us: Some(took),
        ..Taken::of(target, false)
    };
    Ok((taken, said))
}
