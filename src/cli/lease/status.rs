//! `ledger lease status`: who leads since when, when it last gave a sign of life, and who stands by.

use std::path::Path;

use ledger_core::clock;

use super::{Leaderless, leader, nodes, standbys};
use crate::api::wire::{ErrorCode, LeaseInfo};
use crate::cli::error::{Exit, Failure};
use crate::cli::globals::Globals;
use crate::cli::output::escape::escape;
use crate::cli::output::{Buffering, Out, Paging};
use crate::cli::source::runtime;
use crate::units::{count_of, format_duration, format_limit};

/// Options.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

/// How often a leader is asked that went in the middle of a look.
const LOOKS: u32 = 3;

pub(crate) fn run(globals: &Globals, _: &Args) -> Result<Exit, Failure> {
    let data_dir = globals.data_dir()?;
    let seen = runtime()?.block_on(look(&data_dir))?;
    let mut out = globals.out(Paging::Never, Buffering::Full);
    let exit = match &seen {
        Seen::Led(lease) => {
            if globals.json {
                out.json(lease)?;
            } else {
                let lines = lines(&out, lease);
                out.lines(lines)?;
            }
            Exit::OK
        }
        Seen::Leaderless(nobody) => {
            if globals.json {
                out.json(nobody)?;
            } else {
                let lines = nobody.lines(&out);
                out.lines(lines)?;
            }
            Exit(ErrorCode::NotLeader.exit_code())
        }
    };
    out.finish()?;
    Ok(exit)
}

/// What a look at the nodes showed.
enum Seen {
    Led(LeaseInfo),
    Leaderless(Box<Leaderless>),
}

async fn look(data_dir: &Path) -> Result<Seen, Failure> {
    let mut looks = LOOKS;
    loop {
        let nodes = nodes(data_dir).await?;
        let Some((client, _)) = leader(&nodes) else {
            let nobody = Leaderless::of(data_dir, nodes);
            return Ok(Seen::Leaderless(Box::new(nobody)));
        };
        match client.lease().await {
            Ok(lease) => return Ok(Seen::Led(lease)),
            Err(error) if error.code.is_of_leadership() && looks > 0 => looks -= 1,
            Err(error) => return Err(error.into()),
        }
    }
}

fn lines(out: &Out, lease: &LeaseInfo) -> Vec<String> {
    let field =
        |name: &str, value: &str| format!("{} {value}", out.paint.strong(&format!("{name:<8}")));
    let host = lease
        .host
        .as_deref()
        .map_or_else(String::new, |host| format!(" on {}", escape(host)));
    let held = format_duration(clock::now().since(lease.acquired_at));
    let mut lines = vec![
        field(
            "leader",
            &format!("{}, pid {}{host}", out.paint.good(&lease.holder), lease.pid),
        ),
        field(
            "term",
            &format!(
                "{}, since {} ({held}), {}",
                lease.term,
                out.times.full(lease.acquired_at),
                count_of(lease.events, "event")
            ),
        ),
        field(
            "beat",
            &format!(
                "{} ago; after {} without one a node that stands by takes over",
                format_duration(lease.beat_age_us),
                format_limit(lease.ttl_ms)
            ),
        ),
    ];
    if lease.standbys.is_empty() {
        lines.push(field("standby", &standbys::line(out, &lease.standbys)));
    } else {
        lines.push(String::new());
        lines.extend(standbys::table(out, &lease.standbys));
    }
    lines
}
