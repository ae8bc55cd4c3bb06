//! Deterministic simulation: the real core, decisions, store, folds and lease logic of nodes that share
//! a data directory, in one thread, under simulated clocks, disk, processes and lock. One seed draws
//! everything; the same seed is the same run.
//!
//! ```text
//! seed ─> plan ──> world: queue of what happens ──> node: the real core and store, as threads would
//!            │        │                             turn and write them
//!         faults ─────┤                         ──> shims, clients, clocks, host, disk: played
//!                     └─> invariants, with every event, answer, process and opening
//! safety phase ─> everything is healed ─> liveness: all that was accepted must come to its end
//! ```
//! The idea is FoundationDB's (Zhou and others, 2021) and that of TigerBeetle's VOPR.

mod chance;
mod clients;
mod clocks;
mod faults;
mod heal;
mod host;
mod invariants;
mod mutants;
mod node;
mod plan;
mod queue;
mod shelf;
mod shims;
mod shorten;
mod tally;
mod trace;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};

pub use invariants::Broken;
pub use mutants::Bug;
pub use plan::{Fault, Wish};
pub use shorten::shorten;
pub use tally::Tally;
pub use world::Run;

/// One run of a seed. A panic of the product is a failure like any other.
pub fn run_once(seed: u64, wish: &Wish) -> Run {
    let caught = catch_unwind(AssertUnwindSafe(|| world::run(seed, wish)));
    caught.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        Run {
            broken: Some(Broken {
                invariant: "nothing panics",
                what: text.unwrap_or_default(),
            }),
            tally: Tally::default(),
            digest: [0; 32],
            ended_at: 0,
            lines: Vec::new(),
        }
    })
}

/// Runs a seed twice, and compares.
pub fn run_twice(seed: u64, wish: &Wish) -> Run {
    let mut first = run_once(seed, wish);
    let second = run_once(seed, wish);
    if first.broken.is_none() && (first.digest, first.ended_at) != (second.digest, second.ended_at)
    {
        first.broken = Some(Broken {
            invariant: "the same seed is the same run",
            what: format!(
                "it ended at {} us, and at {} us",
                first.ended_at, second.ended_at
            ),
        });
    }
    first
}

/// The seeds of a file: one a line, `#` begins a comment.
///
/// # Errors
/// The line that is none.
pub fn seeds(text: &str) -> Result<Vec<u64>, String> {
    let lines = text
        .lines()
        .map(|line| line.split('#').next().unwrap_or("").trim());
    let lines = lines.filter(|line| !line.is_empty());
    let seed = |line: &str| line.parse().map_err(|_| format!("`{line}` is no seed"));
    lines.map(seed).collect()
}
