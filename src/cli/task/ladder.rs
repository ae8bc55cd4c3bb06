//! How the processes of a task were ended, in lines: which signals were sent when, what was left, and
//! how the command itself ended.

use ledger_core::event::{LadderCause, LadderStep, ProcessEnd, ProcessReaped, ProcessUnkillable};

use crate::cli::output::event::signal_name;
use crate::units::{count_of, format_duration};

/// Below an attempt that was ended by us.
pub(super) fn of_reaped(reaped: &ProcessReaped) -> Vec<String> {
    let end = match reaped.end {
        ProcessEnd::Exited { code } => format!("exited with {code}"),
        ProcessEnd::Signaled { signal } => format!("was ended by {}", signal_name(signal)),
    };
    let told = match reaped.cause {
        LadderCause::MaxRuntime => format!("ended for its limit; the command {end}"),
        LadderCause::Cancel => format!("ended for the cancel; the command {end}"),
        LadderCause::Stalled => format!("ended for doing nothing; the command {end}"),
        LadderCause::Leftovers => format!("the command {end}; what it left behind was ended"),
    };
    let mut lines = vec![format!("       {told}")];
    lines.extend(reaped.steps.iter().map(step));
    lines
}

/// Of a tree of which something outlives SIGKILL.
pub(super) fn of_unkillable(found: &ProcessUnkillable) -> Vec<String> {
    let mut lines: Vec<_> = found.steps.iter().map(step).collect();
    let named = found.survivors.iter().map(|survivor| {
        format!(
            "       pid {} is left, in state {}",
            survivor.pid, survivor.state
        )
    });
    lines.extend(named);
    let more = u64::from(found.processes).saturating_sub(found.survivors.len() as u64);
    if more > 0 {
        lines.push(format!("       and {} more", count_of(more, "process")));
    }
    lines
}

fn step(step: &LadderStep) -> String {
    let LadderStep {
        signal,
        after_us,
        processes,
    } = step;
    format!(
        "       {signal} to {}, {} after the start",
        count_of(u64::from(*processes), "process"),
        format_duration(*after_us)
    )
}

#[cfg(test)]
mod tests {
    use ledger_core::event::{Attempt, Survivor, Usage};
    use ledger_core::ids::Id;
    use ledger_core::time::Micros;

    use super::*;

    fn steps() -> Vec<LadderStep> {
        let step = |signal: &str, after, processes| LadderStep {
            signal: signal.to_owned(),
            after_us: Micros(after),
            processes,
        };
        vec![step("SIGTERM", 2_000_000, 3), step("SIGKILL", 7_010_000, 1)]
    }

    #[test]
    fn each_signal_is_told_with_its_time() {
        let mut reaped = ProcessReaped {
            cause: LadderCause::Cancel,
            steps: steps(),
            end: ProcessEnd::Signaled { signal: 9 },
            usage: Usage::default(),
        };
        assert_eq!(
            of_reaped(&reaped),
            [
                "       ended for the cancel; the command was ended by SIGKILL",
                "       SIGTERM to 3 processes, 2.00 s after the start",
                "       SIGKILL to 1 process, 7.01 s after the start",
            ]
        );
        reaped.cause = LadderCause::Leftovers;
        reaped.end = ProcessEnd::Exited { code: 3 };
        assert_eq!(
            of_reaped(&reaped)[0],
            "       the command exited with 3; what it left behind was ended"
        );
    }

    #[test]
    fn what_is_left_is_named_as_far_as_it_is_known() {
        let found = ProcessUnkillable {
            task: Id::new("t").unwrap(),
            attempt: Attempt::FIRST,
            steps: steps(),
            survivors: vec![Survivor {
                pid: 7,
                start_time: 1,
                state: 'D',
            }],
            processes: 3,
        };
        let lines = of_unkillable(&found);
        assert_eq!(lines[2], "       pid 7 is left, in state D");
        assert_eq!(lines[3], "       and 2 processes more");
    }
}
