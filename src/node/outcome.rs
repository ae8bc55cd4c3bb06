//! Turns what a shim recorded into what the scheduler decides by.

use ledger_core::event::{
    Failure, LadderCause, LadderStep, MAX_SURVIVORS, Outputs, ProcessEnd, StreamDigest, Survivor,
    Usage,
};
use ledger_core::hash::Hash;
use ledger_core::time::Micros;
use projections::tasks::ProcessRef;

use crate::redact;
use crate::scheduler::decide::{EndResult, Ended, Unkillable};
use crate::shim::orphans::OrphansEnded;
use crate::shim::{self, ExitResult, Outcome, ProcessIdentity, StreamRecord};

/// Longest message of the system that is taken over, in characters.
const MAX_MESSAGE: usize = 300;

/// The outcome of an attempt whose shim was `shim`.
pub(super) fn ended(outcome: Outcome, shim: Option<&ProcessIdentity>) -> Ended {
    let process = outcome.child.as_ref().map(|child| process_ref(child, shim));
    let result = match outcome.result {
        ExitResult::Exited { code } => EndResult::Ran(ProcessEnd::Exited { code }),
        ExitResult::Signaled { signal, core: _ } => EndResult::Ran(ProcessEnd::Signaled { signal }),
        ExitResult::SpawnFailed {
            step,
            errno,
            message,
        } => EndResult::NotStarted(not_started(&step_name(step), errno, &message)),
    };
    Ended {
        process,
        result,
        ladder: outcome.ladder.map(|ladder| {
            let cause = match ladder.cause {
                shim::LadderCause::MaxRuntime => LadderCause::MaxRuntime,
                shim::LadderCause::Cancel => LadderCause::Cancel,
                shim::LadderCause::Leftovers => LadderCause::Leftovers,
                shim::LadderCause::Stalled => LadderCause::Stalled,
            };
            (cause, ladder.steps.iter().map(step).collect())
        }),
        runtime_us: Micros(outcome.runtime_us),
        usage: Usage {
            user_us: Micros(outcome.usage.user_us),
            sys_us: Micros(outcome.usage.sys_us),
            max_rss_kib: outcome.usage.max_rss_kib,
        },
        outputs: Outputs {
            stdout: stream(outcome.stdout),
            stderr: stream(outcome.stderr),
        },
    }
}

/// What a shim has found to outlive SIGKILL.
pub(super) fn unkillable(found: shim::Unkillable, process: Option<ProcessRef>) -> Unkillable {
    let listed = u32::try_from(found.survivors.len()).unwrap_or(u32::MAX);
    Unkillable {
        process,
        steps: found.steps.iter().map(step).collect(),
        survivors: found.survivors.iter().map(survivor).collect(),
        // An older shim doesn't count them.
        processes: found.processes.max(listed),
    }
}

/// What of a dead shim's orphans outlives SIGKILL, which is all that they are sent.
pub(super) fn orphans_outlive(ended: &OrphansEnded, process: Option<ProcessRef>) -> Unkillable {
    let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    Unkillable {
        process,
        steps: vec![LadderStep {
            signal: "SIGKILL".to_owned(),
            after_us: Micros(0),
            processes: count(ended.killed.len()),
        }],
        survivors: ended
            .survivors
            .iter()
            .take(MAX_SURVIVORS)
            .map(survivor)
            .collect(),
        processes: count(ended.survivors.len()),
    }
}

fn survivor(survivor: &shim::Survivor) -> Survivor {
    Survivor {
        pid: survivor.identity.pid,
        start_time: survivor.identity.start_time,
        state: survivor.state,
    }
}

/// An attempt that never got as far as a shim.
pub(super) fn never_started(step: &str, error: &std::io::Error) -> Ended {
    let failure = not_started(step, error.raw_os_error().unwrap_or(0), &error.to_string());
    Ended {
        process: None,
        result: EndResult::NotStarted(failure),
        ladder: None,
        runtime_us: Micros(0),
        usage: Usage::default(),
        outputs: Outputs {
            stdout: nothing(),
            stderr: nothing(),
        },
    }
}

/// A process and its shim, as the log knows them. A shim that is not known is given as 0.
pub(super) fn process_ref(child: &ProcessIdentity, shim: Option<&ProcessIdentity>) -> ProcessRef {
    ProcessRef {
        pid: child.pid,
        start_time: child.start_time,
        boot_id: child.boot_id.clone(),
        shim_pid: shim.map_or(0, |s| s.pid),
        shim_start_time: shim.map_or(0, |s| s.start_time),
    }
}

fn not_started(step: &str, errno: i32, message: &str) -> Failure {
    Failure::Spawn {
        step: step.to_owned(),
        errno,
        message: redact::text(message).chars().take(MAX_MESSAGE).collect(),
    }
}

fn step_name(step: shim::SpawnStep) -> String {
    let name = match step {
        shim::SpawnStep::Prepare => "prepare",
        shim::SpawnStep::Fork => "fork",
        shim::SpawnStep::ProcessGroup => "process_group",
        shim::SpawnStep::Credentials => "credentials",
        shim::SpawnStep::DeathSignal => "death_signal",
        shim::SpawnStep::WorkingDirectory => "working_directory",
        shim::SpawnStep::Streams => "streams",
        shim::SpawnStep::Exec => "exec",
    };
    name.to_owned()
}

fn step(step: &shim::LadderStep) -> LadderStep {
    let signal = nix::sys::signal::Signal::try_from(step.signal).map_or_else(
        |_| format!("signal {}", step.signal),
        |signal| signal.as_str().to_owned(),
    );
    LadderStep {
        signal,
        after_us: Micros(step.after_us),
        processes: step.processes,
    }
}

fn stream(record: StreamRecord) -> StreamDigest {
    StreamDigest {
        bytes: record.bytes,
        // A shim of another version could only have written 64 hex digits; zero stands for none.
        blake3: record.blake3.parse().unwrap_or(Hash::ZERO),
        tail: redact::text(&record.tail).into_owned(),
        dropped_bytes: record.total_bytes.saturating_sub(record.bytes),
        error: record.error.map(|e| e.chars().take(MAX_MESSAGE).collect()),
    }
}

/// A stream that nothing was written to.
pub(super) fn nothing() -> StreamDigest {
    StreamDigest {
        bytes: 0,
        blake3: Hash::of(b""),
        tail: String::new(),
        dropped_bytes: 0,
        error: None,
    }
}
