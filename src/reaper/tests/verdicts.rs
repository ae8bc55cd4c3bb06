//! Verdicts and what a sweep does about them, as a table.

use std::time::Duration;

use ledger_core::event::{ReapCause, UnwatchReason};

use super::super::decide::{Act, act};
use super::super::verdict::{Rules, Sight, Verdict};

const fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// Started at second 100, may run for 60 seconds and stand still for 10.
const RULES: Rules = Rules {
    started: secs(100),
    max_runtime: secs(60),
    stall_after: Some(secs(10)),
    reaping: None,
    survived: false,
};

const fn here(idle: u64) -> Sight {
    Sight::Here { idle: secs(idle) }
}

#[test]
fn a_verdict_follows_from_what_is_seen_and_the_time() {
    let at = |rules: Rules, sight, now| {
        let verdict = rules.verdict(sight, secs(now));
        (verdict, act(verdict, rules.reaping))
    };
    let overdue = (Verdict::Overdue, Act::Reap(ReapCause::MaxRuntime));
    let stuck = (Verdict::Stuck, Act::Reap(ReapCause::Stalled));
    let running = (Verdict::Running, Act::Nothing);
    for (sight, now, expected) in [
        (here(0), 159, running),
        (here(9), 159, running),
        (here(10), 159, stuck),
        // Both: the limit that it was given first is the reason.
        (here(10), 160, overdue),
        (here(0), 160, overdue),
        (here(0), u64::MAX, overdue),
        (Sight::Gone, 0, (Verdict::Exited, Act::RecordEnd)),
        (Sight::Zombie, 160, (Verdict::Defunct, Act::RecordEnd)),
        (
            Sight::Another,
            160,
            (Verdict::Recycled, Act::LetGo(UnwatchReason::Recycled)),
        ),
        (Sight::Unseen, 160, (Verdict::Unknown, Act::Nothing)),
        (Sight::OtherBoot, 160, (Verdict::Exited, Act::RecordEnd)),
    ] {
        assert_eq!(at(RULES, sight, now), expected, "{sight:?} at {now}");
    }
    let patient = Rules {
        stall_after: None,
        ..RULES
    };
    assert_eq!(at(patient, here(1_000_000), 159), running);
}

#[test]
fn what_is_being_ended_goes_on_being_ended() {
    for (cause, verdict) in [
        (ReapCause::MaxRuntime, Verdict::Overdue),
        (ReapCause::Stalled, Verdict::Stuck),
    ] {
        let rules = Rules {
            reaping: Some(cause),
            ..RULES
        };
        assert_eq!(rules.verdict(here(0), secs(101)), verdict);
        let survived = Rules {
            survived: true,
            ..rules
        };
        assert_eq!(survived.verdict(here(0), secs(101)), Verdict::Unkillable);
        assert_eq!(survived.verdict(Sight::Gone, secs(101)), Verdict::Exited);
        for verdict in [
            Verdict::Overdue,
            Verdict::Stuck,
            Verdict::Unkillable,
            Verdict::Exited,
        ] {
            assert_eq!(act(verdict, Some(cause)), Act::GoOn);
        }
        // Except that nobody else is ever signaled.
        let recycled = Act::LetGo(UnwatchReason::Recycled);
        assert_eq!(act(Verdict::Recycled, Some(cause)), recycled);
    }
}
