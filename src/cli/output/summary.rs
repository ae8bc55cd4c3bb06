//! What an event says, in a few words: the part of its payload that a person looks for first.

use ledger_core::envelope::EventRef;
use ledger_core::event::{
    CheckpointEvent, Event, Exec, Failure, FenceCause, FoldCompared, JobEvent, JobSpec,
    LadderCause, LadderStep, LeaseEvent, LedgerEvent, NodeEvent, OtherFold, Payload, ProcessEnd,
    ProcessEvent, QueueEvent, ReapCause, RecoveryEvent, ReleaseReason, Schedule, Settled,
    SkipReason, SnapshotEvent, StopCause, TaskEvent,
};
use ledger_core::time::Micros;

use super::text::cut;
use crate::reaper::decide::LONGEST;
use crate::units::{count_of, format_count, format_duration, format_limit, format_size};

/// Longest summary in columns; more of a payload is in `-o verbose`.
const MAX: usize = 300;

/// A few words on the event. Not yet escaped.
pub(crate) fn summary(event: &EventRef<'_>) -> String {
    let text = match Event::decode(event) {
        Ok(Event::Ledger(e)) => ledger(&e),
        Ok(Event::Task(e)) => task(&e),
        Ok(Event::Process(e)) => process(&e),
        Ok(Event::Lease(e)) => lease(&e),
        Ok(Event::Node(e)) => node(&e),
        Ok(Event::Job(e)) => job(&e),
        Ok(Event::Checkpoint(e)) => checkpoint(&e),
        Ok(Event::Recovery(e)) => recovery(&e),
        Ok(Event::Queue(QueueEvent::Paused(e))) => e.reason.unwrap_or_default(),
        Ok(Event::Queue(QueueEvent::Resumed(e))) => e.reason.unwrap_or_default(),
        Ok(Event::Snapshot(e)) => snapshot(&e),
        Ok(Event::App | Event::Unknown) | Err(_) => event.data.to_owned(),
    };
    cut(&text, MAX)
}

fn ledger(event: &LedgerEvent) -> String {
    match event {
        LedgerEvent::Created(e) => format!("{:?} made by {}", e.name.as_str(), e.software),
        LedgerEvent::Restored(e) => format!("from backup {}, seq {}; paused", e.backup, e.seq),
        LedgerEvent::Imported(e) => format!("from an export, seq {}; paused", e.seq),
        LedgerEvent::Salvaged(e) => {
            let left = count_of(e.left_events, "event");
            format!(
                "up to seq {} from {}, {left} left behind; paused",
                e.seq, e.source
            )
        }
        LedgerEvent::Forked(e) => {
            format!("as of seq {} of {}; paused", e.seq, e.source_seq)
        }
        LedgerEvent::Resumed(e) => e.reason.clone().unwrap_or_default(),
        LedgerEvent::BackedUp(e) => format!(
            "{}, seq {}, {}, {} new",
            e.backup,
            e.seq,
            format_size(e.bytes),
            format_size(e.written)
        ),
        LedgerEvent::BackupFailed(e) => e.reason.clone(),
        LedgerEvent::BackupsPruned(e) => {
            let names: Vec<&str> = e.backups.iter().map(|name| &**name).collect();
            names.join(", ")
        }
        LedgerEvent::Exported(e) => {
            let part = if e.complete { "" } else { ", not all" };
            format!("{} up to seq {}{part}", e.format, e.seq)
        }
    }
}

fn snapshot(event: &SnapshotEvent) -> String {
    match event {
        SnapshotEvent::Created(e) => {
            let mut text = format!(
                "{}, {}, {}, {} new",
                e.snapshot,
                count_of(e.files, "file"),
                format_size(e.bytes),
                format_size(e.written)
            );
            if e.lost > 0 {
                text.push_str(&format!(", {} not readable", format_count(e.lost)));
            }
            if e.changing > 0 {
                text.push_str(&format!(", {} changing", format_count(e.changing)));
            }
            text
        }
        SnapshotEvent::Failed(e) => e.reason.clone(),
        SnapshotEvent::Pruned(e) => {
            let names: Vec<&str> = e.snapshots.iter().map(|name| &**name).collect();
            names.join(", ")
        }
        SnapshotEvent::Restored(e) => format!(
            "{} into {}, {} written, {} replaced",
            e.snapshot,
            e.into,
            count_of(e.files, "file"),
            format_count(e.replaced)
        ),
    }
}

fn task(event: &TaskEvent) -> String {
    match event {
        TaskEvent::Submitted(e) => {
            format!("{}: {}", e.priority, payload_line(&e.payload))
        }
        TaskEvent::Started(e) => {
            let boost = if e.boost > 0 { ", boosted" } else { "" };
            format!(
                "attempt {} on {}, waited {}{boost}",
                e.attempt,
                e.node,
                format_duration(e.waited_us)
            )
        }
        TaskEvent::Completed(e) => {
            format!("attempt {}, {}", e.attempt, format_duration(e.runtime_us))
        }
        TaskEvent::Failed(e) => {
            let how = match &e.failure {
                Failure::Exit { code } => format!("exit {code}"),
                Failure::Signal { signal } => signal_name(*signal),
                Failure::Spawn { step, message, .. } => format!("{step}: {message}"),
            };
            format!(
                "attempt {}: {how}, {}",
                e.attempt,
                format_duration(e.runtime_us)
            )
        }
        TaskEvent::TimedOut(e) => {
            let how = match e.stalled_ms {
                Some(stalled) => format!("did nothing for {}", format_limit(stalled)),
                None => format!("past {}", format_limit(e.max_runtime_ms)),
            };
            format!(
                "attempt {}: {how}, {}",
                e.attempt,
                format_duration(e.runtime_us)
            )
        }
        TaskEvent::Lost(e) => format!("attempt {}: {}", e.attempt, e.reason),
        TaskEvent::Requeued(e) => match e.backoff {
            Some(backoff) => {
                let pause = format_limit(backoff.delay_ms);
                format!("attempt {} comes next, after {pause}", e.attempt)
            }
            None => format!("attempt {} comes next, lost {}", e.attempt, e.lost),
        },
        TaskEvent::CancelRequested(e) => {
            with_reason(format!("attempt {}", e.attempt), e.reason.as_deref())
        }
        TaskEvent::Cancelled(e) => {
            let what = match e.attempt {
                Some(attempt) => format!("attempt {attempt}"),
                None => "before it began".to_owned(),
            };
            with_reason(what, e.reason.as_deref())
        }
        TaskEvent::Dead(e) => {
            let after = count_of(e.attempts.into(), "attempt");
            let of = e.dependency.as_ref();
            let of = of.map_or_else(String::new, |task| format!(" task/{task}"));
            format!("{}{of} after {after}", json_word(&e.reason))
        }
        TaskEvent::Reprioritized(e) => format!("{}, was {}", e.priority, e.before),
        TaskEvent::Throttled(e) => {
            let time = format_limit(e.retry_after_ms);
            format!(
                "attempt {}: nothing of {} for {time}",
                e.attempt, e.rate_key
            )
        }
        TaskEvent::Retried(e) => format!("attempt {} comes next", e.attempt),
    }
}

fn process(event: &ProcessEvent) -> String {
    match event {
        ProcessEvent::Registered(e) => format!("pid {} for task/{}", e.pid, e.task),
        ProcessEvent::Exited(e) => format!("{}, {}", end(e.end), memory(e.usage.max_rss_kib)),
        ProcessEvent::Reaped(e) => {
            let why = match e.cause {
                LadderCause::MaxRuntime => "ran too long",
                LadderCause::Cancel => "cancelled",
                LadderCause::Leftovers => "left descendants",
                LadderCause::Stalled => "stalled",
            };
            format!("{why}: {}; {}", signals(&e.steps), end(e.end))
        }
        ProcessEvent::Lost(e) => e.reason.clone(),
        ProcessEvent::Unkillable(e) => {
            let first = e.survivors.first();
            let first = first.map_or_else(String::new, |s| {
                format!(", pid {} is in state {}", s.pid, s.state)
            });
            format!("{} SIGKILL{first}", outlive(e.processes))
        }
        ProcessEvent::Watched(e) => {
            let most = format!("for at most {}", format_limit(e.max_runtime_ms));
            let rest = e
                .stall_after_ms
                .map(|rest| format!("doing nothing for {}", format_limit(rest)));
            // With the longest limit there is, the other one is what was meant.
            let limits = match rest {
                Some(rest) if e.max_runtime_ms == LONGEST => rest,
                Some(rest) => format!("{most}, {rest}"),
                None => most,
            };
            format!("pid {} {limits}: {}", e.pid, e.command)
        }
        ProcessEvent::Reaping(e) => match (e.cause, e.idle_us) {
            (ReapCause::MaxRuntime, _) => format!("ran {}", format_duration(e.runtime_us)),
            (ReapCause::Stalled, idle) => {
                let idle = idle.map_or_else(String::new, |idle| {
                    format!(" for {}", format_duration(idle))
                });
                format!("no CPU time{idle}")
            }
        },
        ProcessEvent::Survived(e) => format!(
            "{} left after {}",
            count_of(e.survivors.len() as u64, "process"),
            signals(&e.steps)
        ),
        ProcessEvent::Terminated(e) => {
            let why = match e.cause {
                ReapCause::MaxRuntime => "ran too long",
                ReapCause::Stalled => "stalled",
            };
            let ran = format_duration(e.runtime_us);
            format!("{why}: {}; gone after {ran}", signals(&e.steps))
        }
        ProcessEvent::Ended(e) => match e.runtime_us {
            Some(ran) => format!("by itself after {}", format_duration(ran)),
            None => "found to be gone".to_owned(),
        },
        ProcessEvent::Unwatched(e) => json_word(&e.reason),
    }
}

/// How many processes outlive what follows.
pub(crate) fn outlive(processes: u32) -> String {
    match processes {
        1 => "1 process outlives".to_owned(),
        n => format!("{n} processes outlive"),
    }
}

fn signals(steps: &[LadderStep]) -> String {
    let steps: Vec<_> = steps.iter().map(|step| step.signal.as_str()).collect();
    steps.join(", ")
}

fn lease(event: &LeaseEvent) -> String {
    match event {
        LeaseEvent::Acquired(e) => format!("{} leads (pid {})", e.holder, e.pid),
        LeaseEvent::Released(e) => match e.reason {
            ReleaseReason::Shutdown => format!("{} stopped leading", e.holder),
            ReleaseReason::DiskFull => format!("{} stopped leading: the disk is full", e.holder),
            ReleaseReason::StepDown => format!("{} stepped down", e.holder),
        },
        LeaseEvent::Lost(e) => format!("{} lost term {}", e.holder, e.term),
        LeaseEvent::Fenced(e) => {
            let why = match &e.cause {
                FenceCause::Silent { silent_ms } => {
                    format!(
                        "silent for {}",
                        format_duration(Micros(silent_ms.0.saturating_mul(1000)))
                    )
                }
                FenceCause::Forced { by, reason: None } => format!("on behalf of {by}"),
                FenceCause::Forced {
                    by,
                    reason: Some(reason),
                } => format!("on behalf of {by} ({reason})"),
            };
            format!(
                "{} was ended (pid {}): {why}; term {} is over",
                e.holder, e.pid, e.term
            )
        }
    }
}

fn node(event: &NodeEvent) -> String {
    match event {
        NodeEvent::Started(e) => {
            format!("{} on {}, {} at once", e.software, e.host, e.max_running)
        }
        NodeEvent::Recovered(e) => format!(
            "{} events in {}; {} reattached, {} closed, {} lost, {} unstarted",
            e.replayed,
            format_duration(e.replay_us),
            e.reattached,
            e.closed,
            e.lost,
            e.unstarted
        ),
        NodeEvent::Stopped(e) => {
            let why = match e.reason {
                None => "",
                Some(StopCause::DiskFull) => "the disk is full; ",
            };
            format!("{why}{} running, {} queued", e.running, e.queued)
        }
        NodeEvent::ClockStepped(e) => {
            let (by, way) = match e.wall.since(e.expected) {
                Micros(0) => (e.expected.since(e.wall), "back"),
                by => (by, "ahead"),
            };
            format!("the clock was set {} {way}", format_duration(by))
        }
        NodeEvent::ClockSettled(e) => match e.outcome {
            Settled::Followed => format!("the clock stays as it was set: {}", e.wall),
            Settled::Reverted => format!("the clock was set right again: {}", e.wall),
        },
    }
}

fn job(event: &JobEvent) -> String {
    match event {
        JobEvent::Defined(e) => defined(&e.spec),
        JobEvent::Changed(e) => defined(&e.spec),
        JobEvent::Removed(_) => String::new(),
        JobEvent::Triggered(e) => format!("by hand, task/{}", e.task),
        JobEvent::Due(e) => format!("due {}, task/{}", e.due_at, e.task),
        JobEvent::Skipped(e) => {
            let why = match e.reason {
                SkipReason::Overlap => "the run before goes on",
                SkipReason::Missed => "missed",
                SkipReason::Paused => "paused",
                SkipReason::Repeated => "run before, the clock was set back",
                SkipReason::Refused => "its task is refused",
            };
            match e.through {
                Some(last) => format!("due {} to {last}: {why}", e.due_at),
                None => format!("due {}: {why}", e.due_at),
            }
        }
        JobEvent::Paused(e) => e.reason.clone().unwrap_or_default(),
        JobEvent::Resumed(_) => String::new(),
    }
}

fn defined(spec: &JobSpec) -> String {
    let what = payload_line(&spec.task.payload);
    format!("{}, {}: {what}", schedule(&spec.schedule), spec.source)
}

/// When a job is due, as it is written in a configuration.
pub(crate) fn schedule(schedule: &Schedule) -> String {
    match schedule {
        Schedule::Every { every_ms } => format!("every {}", format_limit(*every_ms)),
        Schedule::Cron {
            expression,
            time_zone,
        } => format!("{expression} {time_zone}"),
    }
}

fn checkpoint(event: &CheckpointEvent) -> String {
    match event {
        CheckpointEvent::Created(e) => format!("of seq {}, {}", e.seq, format_size(e.bytes)),
        CheckpointEvent::Rejected(e) => e.reason.clone(),
        CheckpointEvent::Failed(e) => e.reason.clone(),
        CheckpointEvent::Pruned(_) => String::new(),
    }
}

fn recovery(event: &RecoveryEvent) -> String {
    let e = match event {
        RecoveryEvent::Completed(e) => e,
        RecoveryEvent::Verified(e) => {
            let took = format_duration(e.took_us);
            return format!("state at seq {} {}, in {took}", e.seq, same_as(&e.compared));
        }
        RecoveryEvent::Diverged(e) => {
            let parts: Vec<_> = e.parts.iter().map(|part| part.name.as_str()).collect();
            let (with, parts) = (whose(&e.with), parts.join(", "));
            return format!("at seq {} {with} differs in {parts}", e.seq);
        }
    };
    let from = match &e.checkpoint {
        Some(from) => format!("checkpoint {} and ", from.name),
        None => String::new(),
    };
    let took = Micros(e.restore_us.0.saturating_add(e.replay_us.0));
    format!(
        "{from}{} in {}; {} reattached, {} closed, {} lost, {} requeued, {} unstarted",
        count_of(e.replayed, "event"),
        format_duration(took),
        e.reattached,
        e.closed,
        e.lost,
        e.requeued,
        e.unstarted
    )
}

fn whose(fold: &OtherFold) -> String {
    match fold {
        OtherFold::Checkpoint { name } => format!("checkpoint {name}"),
        OtherFold::Verified { recorded } => format!("the fold of seq {recorded}"),
        OtherFold::Standby => "what it had as a standby".to_owned(),
    }
}

/// What state was found to be the same as.
pub(crate) fn same_as(compared: &[FoldCompared]) -> String {
    if compared.is_empty() {
        return "has nothing to be compared with yet; its digests are recorded".to_owned();
    }
    let others: Vec<_> = compared.iter().map(|one| whose(&one.with)).collect();
    format!("is the same as {}", others.join(" and "))
}

/// What a task runs, in a line.
pub(crate) fn payload_line(payload: &Payload) -> String {
    match payload {
        Payload::Exec(exec) => command_line(exec),
        Payload::Builtin(builtin) => format!("(built in) {}", builtin.job.name()),
    }
}

/// A command as one would type it: words that a shell would change stand in quotes.
fn command_line(exec: &Exec) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_./=:,+@%^".contains(&b) || b >= 0x80;
    let words = exec.argv.iter().map(|word| {
        if !word.is_empty() && word.bytes().all(plain) {
            word.clone()
        } else {
            format!("'{}'", word.replace('\'', "'\\''"))
        }
    });
    words.collect::<Vec<_>>().join(" ")
}

/// A signal's name, or its number if it has none.
pub(crate) fn signal_name(signal: i32) -> String {
    nix::sys::signal::Signal::try_from(signal)
        .map_or_else(|_| format!("signal {signal}"), |s| s.as_str().to_owned())
}

fn end(end: ProcessEnd) -> String {
    match end {
        ProcessEnd::Exited { code } => format!("exit {code}"),
        ProcessEnd::Signaled { signal } => signal_name(signal),
    }
}

fn memory(kib: u64) -> String {
    format_size(kib.saturating_mul(1024))
}

fn with_reason(what: String, reason: Option<&str>) -> String {
    match reason {
        Some(reason) => format!("{what}: {reason}"),
        None => what,
    }
}

/// The word that a value without data is stored as.
fn json_word(value: &impl serde::Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(word)) => word.replace('_', " "),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_shown_as_typed() {
        let line = |argv: &[&str]| {
            command_line(&Exec {
                argv: argv.iter().map(|&s| s.to_owned()).collect(),
                env: std::collections::BTreeMap::new(),
                cwd: None,
                stdin: None,
            })
        };
        assert_eq!(
            line(&["echo", "hi", "a b", "", "it's"]),
            "echo hi 'a b' '' 'it'\\''s'"
        );
        assert_eq!(line(&["sh", "-c", "exit 3"]), "sh -c 'exit 3'");
    }

    #[test]
    fn signals_have_names() {
        assert_eq!(signal_name(15), "SIGTERM");
        assert_eq!(signal_name(99), "signal 99");
    }
}
