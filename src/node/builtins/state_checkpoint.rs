//! `state-checkpoint`: makes a checkpoint, and lets go of old ones.
//!
//! It can't be stopped between its steps: a checkpoint is made or not. One that is not recorded is
//! removed by the next.

use ledger_core::event::CheckpointCause;

use super::{Leash, Report, World};
use crate::node::checkpoints::Wish;
use crate::units::{count_of, format_duration, format_size};

pub(super) fn run(world: &World, leash: &Leash) -> Report {
    let mut report = Report::default();
    if leash.spent().is_some() {
        return report;
    }
    let made = world.checkpointer.make(&Wish {
        cause: CheckpointCause::Schedule,
        name: None,
        extra: None,
    });
    match made {
        Ok(made) => {
            let took = made
                .facts
                .took_us
                .map_or_else(String::new, |took| format!(" in {}", format_duration(took)));
            report.line(format!(
                "checkpoint {}: seq {}, {}{took}",
                made.name,
                made.facts.seq,
                format_size(made.facts.bytes)
            ));
            if !made.pruned.is_empty() {
                let pruned = count_of(made.pruned.len() as u64, "checkpoint");
                report.line(format!("removed: {pruned} by age and number"));
            }
        }
        Err(error) => report.finding(format!("no checkpoint: {error}")),
    }
    report
}
