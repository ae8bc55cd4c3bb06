//! `ledger lease step-down`: the node that leads gives the lease back in good order, and another one
//! takes it.

use std::path::Path;
use std::time::{Duration, Instant};

use ledger_core::ids::{Id, Seq, Term};
use ledger_core::time::Micros;
use serde::Serialize;

use super::{PATIENCE, led_after, listed, micros, standbys};
use crate::api::wire::{ApiError, ErrorCode, LeaseInfo, NodeStanding, StepDownRequest};
use crate::cli::error::{Exit, Failure};
use crate::cli::globals::Globals;
use crate::cli::output::ask::Question;
use crate::cli::output::{Buffering, Paging};
use crate::cli::source::Node;
use crate::units::{format_duration, format_limit};

/// Options.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Also where no node stands by: nobody leads then until one does, or until this one has waited
    /// for so long as others get to come first (lease.ttl)
    #[arg(long)]
    alone: bool,
    /// Don't ask
    #[arg(long, short = 'y', conflicts_with = "dry_run")]
    yes: bool,
    /// Only say what would be done
    #[arg(long)]
    dry_run: bool,
}

/// What came of it.
#[derive(Debug, Serialize)]
struct SteppedDown<'a> {
    dry_run: bool,
    /// Who led.
    from: &'a Id,
    /// Its term.
    term: Term,
    /// Who could follow.
    standbys: &'a [&'a Id],
    /// The event that gives it back.
    #[serde(skip_serializing_if = "Option::is_none")]
    released: Option<Seq>,
    /// Who leads now.
    #[serde(skip_serializing_if = "Option::is_none")]
    leader: Option<NodeStanding>,
    /// How long nobody led.
    #[serde(skip_serializing_if = "Option::is_none")]
    took_us: Option<Micros>,
}

pub(crate) fn run(globals: &Globals, args: &Args) -> Result<Exit, Failure> {
    let data_dir = globals.data_dir()?;
    let node = Node::require(&data_dir)?;
    let lease = node.wait(node.client().lease())?;
    let ready = lease.standbys.iter().filter(|n| standbys::is_ready(n));
    let ready: Vec<&Id> = ready.map(|node| &node.node).collect();
    let follows = follows(args, &lease, &ready)?;
    let mut done = SteppedDown {
        dry_run: args.dry_run,
        from: &lease.holder,
        term: lease.term,
        standbys: &ready,
        released: None,
        leader: None,
        took_us: None,
    };
    let request = StepDownRequest {
        alone: args.alone,
        dry_run: args.dry_run,
    };
    let said = if args.dry_run {
        node.wait(node.client().step_down(&request))?;
        format!(
            "node {} would give back term {}; {follows}",
            lease.holder, lease.term
        )
    } else {
        if !args.yes {
            let ask = format!(
                "have node {} give back term {}? {follows}",
                lease.holder, lease.term
            );
            Question {
                ask: &ask,
                act: "this has another node lead",
                refused: "the lease was not given back",
            }
            .confirm()?;
        }
        step_down(&node, &data_dir, &request, &lease, &mut done)?
    };
    let mut out = globals.out(Paging::Never, Buffering::Full);
    if globals.json {
        out.json(&done)?;
    } else {
        out.line(said)?;
    }
    out.finish()?;
    Ok(Exit::OK)
}

/// What comes after it, in a word.
fn follows(args: &Args, lease: &LeaseInfo, ready: &[&Id]) -> Result<String, ApiError> {
    match ready {
        [] if args.alone => Ok(format!(
            "nobody stands by, so it leads again after {}",
            format_limit(lease.ttl_ms)
        )),
        [] => {
            let mut refused = ApiError::new(ErrorCode::Refused, "no node could take over");
            refused = match standbys::warnings(&lease.standbys).first() {
                Some(trouble) => refused.because(trouble),
                None => refused.because("none stands by"),
            };
            Err(refused.hint(
                "start one with `ledger up --node NAME`, or say --alone: the node starts anew and leads again",
            ))
        }
        [one] => Ok(format!("{one} stands by")),
        several => Ok(format!("{} stand by", listed(several))),
    }
}

fn step_down(
    node: &Node,
    data_dir: &Path,
    request: &StepDownRequest,
    lease: &LeaseInfo,
    done: &mut SteppedDown<'_>,
) -> Result<String, Failure> {
    let receipt = node.wait(node.client().step_down(request))?;
    let begun = Instant::now();
    // Alone, it gives way to others for as long as that.
    let patience = PATIENCE + Duration::from_millis(lease.ttl_ms.0);
    let leader = node.wait(led_after(data_dir, lease.term, patience))?;
    let took = micros(begun);
    let again = if leader.node == lease.holder {
        " again"
    } else {
        ""
    };
    let said = format!(
        "node {} has given back term {} at seq {}; {} leads{again} in term {}, after {}",
        lease.holder,
        lease.term,
        receipt.seq,
        leader.node,
        leader.term,
        format_duration(took)
    );
    done.released = Some(receipt.seq);
    done.leader = Some(leader);
    done.took_us = Some(took);
    Ok(said)
}
