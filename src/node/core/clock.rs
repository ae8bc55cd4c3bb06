//! The time that the node decides by: the wall clock as long as it can be believed, the time since
//! boot while it can't.
//!
//! Invariants:
//! - Between two readings less than [`STEP`] apart from what the time since boot says, the wall clock
//!   is followed. Beyond that it was set: the node goes on by the time since boot, says so, and looks
//!   again after [`SECOND_READING`]. What expires or is due by the step alone waits for that. (Or for
//!   an operator, who has the same minute to set the clock right.)
//! - The log's time never stands still and never runs backwards. While it is ahead of a wall clock that
//!   was set back it goes slower, by an eighth, until the clock has caught up: pauses and rates last
//!   about as long as they should. (Slewing, as `adjtime(3)` does it.)
//! - A node that comes up in the same boot goes on with the clock of the one before, so that a step
//!   while nobody looked is seen, and killing a node settles nothing.
//!
//! [`Clock`] is pure: readings come in, news goes out. The core takes one at the beginning of each turn.

use ledger_core::event::{ClockSettled, ClockStepped, HostClock, NodeEvent, Settled};
use ledger_core::time::{Micros, Timestamp};

use super::{Core, Stage};
use crate::decided::Decided;
use crate::jobs::Times;
use crate::node::command::Now;

/// What the wall clock and the time since boot may differ by at once.
pub(super) const STEP: Micros = Micros(60_000_000);
/// Time until a second reading settles a step.
pub(super) const SECOND_READING: Micros = Micros(60_000_000);
/// One part of so many is left out of the log's time while it is ahead of the wall clock.
const SLOWED: u64 = 8;

/// A step that has not settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Doubt {
    /// When it was seen, since boot.
    seen: Micros,
    /// How far the wall clock was set, in microseconds.
    by: i64,
}

/// The node's clock.
#[derive(Debug)]
pub(super) struct Clock {
    boot_id: String,
    /// The wall clock less the time since boot, as it is believed: microseconds.
    offset: i64,
    doubt: Option<Doubt>,
    /// The last reading, since boot.
    read: Micros,
    /// What the log's time was then.
    log: Timestamp,
}

impl Clock {
    /// A clock that begins with what the host says, or goes on with what a node of the same boot
    /// went by before. `recorded` is when the last event was recorded.
    pub(super) fn new(
        now: Now,
        boot_id: String,
        before: Option<&HostClock>,
        recorded: Timestamp,
    ) -> Self {
        let before = before.filter(|before| before.boot_id == boot_id);
        Self {
            offset: before.map_or_else(|| offset_of(now), |before| signed(before.booted_at.0)),
            boot_id,
            doubt: None,
            read: now.boot,
            log: recorded,
        }
    }

    /// What a node that comes up in this boot goes on with.
    pub(super) fn host_clock(&self) -> HostClock {
        HostClock {
            boot_id: self.boot_id.clone(),
            booted_at: at(self.offset),
        }
    }

    /// Takes a reading. Returns what there is to tell of it.
    pub(super) fn read(&mut self, now: Now) -> Option<NodeEvent> {
        let news = self.judge(now);
        self.log = self.log(now);
        self.read = now.boot;
        news
    }

    fn judge(&mut self, now: Now) -> Option<NodeEvent> {
        let by = offset_of(now).saturating_sub(self.offset);
        let outcome = match self.doubt {
            None if is_small(by) => {
                self.offset = offset_of(now);
                return None;
            }
            Some(doubt) if now.boot.0.saturating_sub(doubt.seen.0) < SECOND_READING.0 => {
                return None;
            }
            Some(_) if is_small(by) => Settled::Reverted,
            Some(doubt) if is_small(by.saturating_sub(doubt.by)) => Settled::Followed,
            None | Some(_) => {
                self.doubt = Some(Doubt { seen: now.boot, by });
                return Some(NodeEvent::ClockStepped(ClockStepped {
                    wall: now.wall,
                    expected: at(self.offset.saturating_add(signed(now.boot.0))),
                }));
            }
        };
        self.doubt = None;
        self.offset = offset_of(now);
        Some(NodeEvent::ClockSettled(ClockSettled {
            outcome,
            wall: now.wall,
            clock: self.host_clock(),
        }))
    }

    /// The wall clock as it is believed.
    pub(super) fn wall(&self, now: Now) -> Timestamp {
        at(self.offset.saturating_add(signed(now.boot.0)))
    }

    /// The log's time.
    pub(super) fn log(&self, now: Now) -> Timestamp {
        let passed = now.boot.0.saturating_sub(self.read.0);
        let slowed = Timestamp(self.log.0.saturating_add(passed - passed / SLOWED));
        slowed.max(self.wall(now)).min(Timestamp::MAX)
    }

    /// How long until a step is looked at again.
    pub(super) fn looks_again(&self, now: Now) -> Option<Micros> {
        let doubt = self.doubt?;
        let due = doubt.seen.0.saturating_add(SECOND_READING.0);
        Some(Micros(due.saturating_sub(now.boot.0)))
    }
}

impl Core {
    /// Says what there is to say of the clock, while anything may be said.
    pub(super) fn look_at_clock(&mut self, now: Now) {
        if !matches!(self.stage, Stage::Recovering(_) | Stage::Leading) {
            return;
        }
        if let Some(news) = self.clock.read(now) {
            let origin = self.own_origin();
            let decided = Decided::new(self.actor.clone(), news);
            self.record_own(now, &origin, vec![decided]);
        }
    }

    /// The time as pauses, waits and the log see it: never before what was recorded already.
    pub(super) fn decided_at(&self, now: Now) -> Timestamp {
        let recorded = self.sequencer.head().recorded_at;
        self.clock.log(now).max(recorded)
    }

    pub(super) fn times(&self, now: Now) -> Times {
        Times {
            wall: self.clock.wall(now),
            log: self.decided_at(now),
        }
    }
}

fn offset_of(now: Now) -> i64 {
    signed(now.wall.0).saturating_sub(signed(now.boot.0))
}

fn is_small(by: i64) -> bool {
    by.unsigned_abs() <= STEP.0
}

/// The year 292,277 is soon enough to be wrong.
fn signed(us: u64) -> i64 {
    i64::try_from(us).unwrap_or(i64::MAX)
}

/// 1970 for what would be before.
fn at(us: i64) -> Timestamp {
    Timestamp(u64::try_from(us).unwrap_or(0)).min(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: i64 = 60_000_000;
    const HOUR: i64 = 60 * MINUTE;
    const BOOTED: i64 = 1_700_000_000_000_000;

    /// `boot` after the start of the host, with the wall clock set by so much.
    fn now(boot: i64, set_by: i64) -> Now {
        Now {
            wall: at(BOOTED + boot + set_by),
            boot: Micros(boot.unsigned_abs()),
        }
    }

    fn clock() -> Clock {
        Clock::new(now(0, 0), "b".into(), None, Timestamp(0))
    }

    fn outcome(news: Option<NodeEvent>) -> Option<Settled> {
        match news {
            Some(NodeEvent::ClockSettled(settled)) => Some(settled.outcome),
            Some(other) => panic!("{other:?}"),
            None => None,
        }
    }

    #[test]
    fn small_corrections_are_followed_at_once_however_many() {
        let mut clock = clock();
        for n in 0..100 {
            let now = now(n, n * MINUTE);
            assert_eq!(clock.read(now), None);
            assert_eq!(clock.wall(now), now.wall);
        }
    }

    #[test]
    fn a_step_waits_for_a_second_reading_that_agrees() {
        for by in [HOUR, -HOUR] {
            let mut clock = clock();
            let told = clock.read(now(1, by));
            let (wall, expected) = (now(1, by).wall, now(1, 0).wall);
            let stepped = NodeEvent::ClockStepped(ClockStepped { wall, expected });
            assert_eq!(told, Some(stepped));
            for boot in [2, MINUTE] {
                assert_eq!(clock.read(now(boot, by)), None, "told once");
                assert_eq!(clock.wall(now(boot, by)), now(boot, 0).wall);
            }
            assert_eq!(clock.looks_again(now(MINUTE, by)), Some(Micros(1)));
            let settled = clock.read(now(MINUTE + 1, by));
            assert_eq!(outcome(settled), Some(Settled::Followed));
            let after = now(MINUTE + 1, by);
            assert_eq!(clock.wall(after), after.wall);
            assert_eq!(clock.looks_again(after), None);
        }
    }

    #[test]
    fn a_step_that_is_taken_back_never_was() {
        let mut clock = clock();
        assert!(clock.read(now(1, HOUR)).is_some());
        let settled = clock.read(now(MINUTE + 1, 10));
        assert_eq!(outcome(settled), Some(Settled::Reverted));
        assert_eq!(clock.wall(now(MINUTE + 1, 10)), now(MINUTE + 1, 10).wall);
    }

    #[test]
    fn readings_that_do_not_agree_settle_nothing() {
        let mut clock = clock();
        let mut told = 0;
        for n in 1..=10 {
            let (boot, by) = (n * (MINUTE + 1), n * HOUR);
            told += usize::from(clock.read(now(boot, by)).is_some());
            assert_eq!(clock.wall(now(boot, by)), now(boot, 0).wall);
        }
        assert_eq!(told, 10, "once a minute at most");
    }

    #[test]
    fn the_next_node_of_the_same_boot_goes_on_with_the_clock_of_the_last() {
        let before = clock().host_clock();
        let take = |boot_id: &str| {
            let reading = now(10, HOUR);
            let mut clock = Clock::new(reading, boot_id.into(), Some(&before), Timestamp(0));
            (clock.read(reading).is_some(), clock.wall(reading))
        };
        assert_eq!(take("b"), (true, now(10, 0).wall));
        assert_eq!(take("another"), (false, now(10, HOUR).wall));
    }

    #[test]
    fn the_time_of_the_log_goes_on_after_a_step_back_until_the_wall_clock_has_caught_up() {
        let mut clock = clock();
        let mut last = clock.log(now(0, 0));
        let mut boot = 0;
        while boot < 20 * HOUR {
            boot += 30_000_000;
            let now = now(boot, -HOUR);
            clock.read(now);
            let log = clock.log(now);
            let passed = log.since(last).0;
            let is_settled = boot > 3 * MINUTE;
            assert!((26_000_000..=30_000_000).contains(&passed), "{passed}");
            assert!(!is_settled || boot >= 8 * HOUR || log > now.wall);
            last = log;
        }
        assert_eq!(last, now(boot, -HOUR).wall);
    }
}
