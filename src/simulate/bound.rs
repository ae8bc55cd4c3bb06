//! The promise that nothing starves, checked on what came out and without the scheduler: from when
//! each task could be started and when it was, and nothing else.
//!
//! | must hold | why |
//! |---|---|
//! | a task that has come to queue 0, by itself or raised by its wait, is started before any that came there later, and before all that have not come there | else it may be passed over for ever |
//! | from then on it waits no longer than the work that was there before it takes on the slots that it may use | so its whole wait is at most its boosts and that |
//!
//! One slot is kept for queue 0's own tasks, so one that its wait has raised may use all but that
//! one. While it waits all of those are held by work that was there before it: by the first line
//! nothing else can have taken one. That is the second line; it is checked apart from the first all
//! the same, because it is what a user can rely on.

use std::collections::{BTreeMap, BTreeSet};

use ledger_core::event::Priority;
use ledger_core::ids::Seq;
use ledger_core::time::{Micros, Millis, Timestamp};

/// A stay of a task in a queue, from when it could be started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stay {
    /// The queue.
    pub queue: Priority,
    /// From when it could be started.
    pub ready_at: Timestamp,
    /// What queued it: of two that became ready at once, the first in this order goes first.
    pub since: Seq,
    /// What ended the stay.
    pub until: Until,
}

/// What ends a stay in a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Until {
    /// It was started.
    Started {
        /// When.
        at: Timestamp,
        /// Which start this was, among all.
        order: usize,
        /// When its slot was free again, if it was before the end.
        ended: Option<Timestamp>,
    },
    /// It went without being started.
    Left(Timestamp),
    /// It waited to the end.
    Waits,
}

/// The rules of a run in which nothing but queues and slots decided what was started when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// Slots.
    pub slots: usize,
    /// How long a task of each queue waits until it counts as one more urgent.
    pub boost_after: [Option<Millis>; 3],
    /// The end of the run.
    pub end: Timestamp,
}

/// What was checked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct Checked {
    /// Starts that were no earlier than they should be.
    pub starts: u64,
    /// Stays in queue 0 that were no longer than they may be.
    pub waits: u64,
    /// Of those: tasks that their wait had raised there.
    pub raised: u64,
    /// The longest of those waits, from when the task came to queue 0.
    pub longest_us: Micros,
}

/// A promise that was not kept. The numbers are those of the stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Breach {
    /// A task was started before one that had been in queue 0 for longer and could have been.
    #[error("at {at} stay {started} was started before stay {waiting}, which was in queue 0 first")]
    PassedOver {
        /// When.
        at: Timestamp,
        /// The one that was started.
        started: usize,
        /// The one that was there before it.
        waiting: usize,
    },
    /// A task waited in queue 0 for longer than the work before it took.
    #[error("stay {stay} waited until {at}, and was to be started by {by}")]
    TooLong {
        /// The one that waited.
        stay: usize,
        /// Until when.
        at: Timestamp,
        /// By when it had to be started.
        by: Timestamp,
    },
}

/// When a stay came to queue 0, if it lasted so long.
fn entered(stay: &Stay, rules: &Rules) -> Option<Timestamp> {
    let level = stay.queue.level();
    let at = match rules.boost_after[usize::from(level)] {
        _ if level == 0 => stay.ready_at,
        Some(after) if after.0 > 0 => stay
            .ready_at
            .plus(Millis(after.0.saturating_mul(u64::from(level)))),
        Some(_) | None => return None,
    };
    (at <= over(stay, rules)).then_some(at)
}

fn over(stay: &Stay, rules: &Rules) -> Timestamp {
    match stay.until {
        Until::Started { at, .. } | Until::Left(at) => at,
        Until::Waits => rules.end,
    }
}

/// For how long a stay's task then held a slot.
fn held(stay: &Stay, rules: &Rules) -> u64 {
    match stay.until {
        Until::Started { at, ended, .. } => ended.unwrap_or(rules.end).since(at).0,
        Until::Left(_) | Until::Waits => 0,
    }
}

/// What happens at one instant, in this order: a slot becomes free, a task comes to queue 0, one
/// leaves its queue, one is started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    Freed,
    Entered(Seq),
    Left,
    Started(usize),
}

/// Checks a run.
///
/// # Errors
/// The first [`Breach`].
pub fn check(stays: &[Stay], rules: &Rules) -> Result<Checked, Breach> {
    let mut steps: Vec<(Timestamp, Step, usize)> = Vec::with_capacity(stays.len() * 3);
    for (n, stay) in stays.iter().enumerate() {
        steps.extend(entered(stay, rules).map(|at| (at, Step::Entered(stay.since), n)));
        match stay.until {
            Until::Started { at, order, ended } => {
                steps.push((at, Step::Started(order), n));
                steps.extend(ended.map(|at| (at, Step::Freed, n)));
            }
            Until::Left(at) => steps.push((at, Step::Left, n)),
            Until::Waits => {}
        }
    }
    steps.sort_unstable();
    let mut referee = Referee::new(stays, rules);
    for (at, step, n) in steps {
        match step {
            Step::Freed => referee.freed(at, n),
            Step::Entered(_) => referee.entered(at, n),
            Step::Left => drop(referee.gone(at, n)?),
            Step::Started(_) => referee.started(at, n)?,
        }
    }
    let waiting: Vec<usize> = referee.by_when.keys().copied().collect();
    for n in waiting {
        referee.gone(rules.end, n)?;
    }
    Ok(referee.checked)
}

/// Where a stay stands in queue 0.
type Turn = (Timestamp, Seq, usize);

struct Referee<'s> {
    stays: &'s [Stay],
    rules: &'s Rules,
    /// Who is in queue 0, of each queue.
    waiting: [BTreeSet<Turn>; 3],
    /// By when each of them has to be started.
    by_when: BTreeMap<usize, (Turn, Timestamp)>,
    /// Slot time that those in queue 0 will take.
    work_ahead: u128,
    /// Attempts that run, of each queue, and the sum of the times at which they end.
    running: [usize; 3],
    ends: u128,
    checked: Checked,
}

impl<'s> Referee<'s> {
    fn new(stays: &'s [Stay], rules: &'s Rules) -> Self {
        Self {
            stays,
            rules,
            waiting: [BTreeSet::new(), BTreeSet::new(), BTreeSet::new()],
            by_when: BTreeMap::new(),
            work_ahead: 0,
            running: [0; 3],
            ends: 0,
            checked: Checked::default(),
        }
    }

    fn all(&self) -> usize {
        self.running.iter().sum()
    }

    /// How many slots a task of a queue may use.
    fn slots(&self, level: usize) -> usize {
        let kept = usize::from(level > 0 && self.rules.slots > 1);
        self.rules.slots - kept
    }

    fn has_room(&self, level: usize) -> bool {
        let others = if level > 0 && self.rules.slots > 1 {
            self.all() - self.running[0]
        } else {
            self.all()
        };
        self.all() < self.rules.slots && others < self.slots(level)
    }

    fn end_of(&self, n: usize) -> u128 {
        match self.stays[n].until {
            Until::Started { ended, .. } => ended.unwrap_or(self.rules.end).0.into(),
            Until::Left(_) | Until::Waits => 0,
        }
    }

    fn freed(&mut self, _: Timestamp, n: usize) {
        self.running[usize::from(self.stays[n].queue.level())] -= 1;
        self.ends -= self.end_of(n);
    }

    fn entered(&mut self, at: Timestamp, n: usize) {
        let stay = &self.stays[n];
        let level = usize::from(stay.queue.level());
        let running = self.ends - u128::from(at.0) * self.all() as u128;
        let slots = self.slots(level).max(1) as u128;
        let longest = (running + self.work_ahead).div_ceil(slots);
        let by = u128::from(at.0) + longest;
        let by = Timestamp(u64::try_from(by).unwrap_or(u64::MAX));
        let turn = (at, stay.since, n);
        self.waiting[level].insert(turn);
        self.by_when.insert(n, (turn, by));
        self.work_ahead += u128::from(held(stay, self.rules));
    }

    /// A task leaves queue 0 if it was in it, in time.
    fn gone(&mut self, at: Timestamp, n: usize) -> Result<Option<Turn>, Breach> {
        let Some((turn, by)) = self.by_when.remove(&n) else {
            return Ok(None);
        };
        let stay = &self.stays[n];
        let level = usize::from(stay.queue.level());
        self.waiting[level].remove(&turn);
        self.work_ahead -= u128::from(held(stay, self.rules));
        if at > by {
            return Err(Breach::TooLong { stay: n, at, by });
        }
        self.checked.waits += 1;
        self.checked.raised += u64::from(level > 0);
        self.checked.longest_us = self.checked.longest_us.max(at.since(turn.0));
        Ok(Some(turn))
    }

    fn started(&mut self, at: Timestamp, n: usize) -> Result<(), Breach> {
        let turn = self.gone(at, n)?;
        let with_room = (0..3).filter(|level| self.has_room(*level));
        let first = with_room
            .filter_map(|level| self.waiting[level].first())
            .min();
        if let Some(first) = first
            && turn.is_none_or(|turn| *first < turn)
        {
            return Err(Breach::PassedOver {
                at,
                started: n,
                waiting: first.2,
            });
        }
        self.running[usize::from(self.stays[n].queue.level())] += 1;
        self.ends += self.end_of(n);
        self.checked.starts += 1;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: Rules = Rules {
        slots: 2,
        boost_after: [None, Some(Millis(10)), Some(Millis(10))],
        end: Timestamp(1_000_000),
    };

    fn stay(queue: Priority, ready_ms: u64, since: u64, run: Option<(u64, usize, u64)>) -> Stay {
        let until = run.map_or(Until::Waits, |(at, order, for_ms)| Until::Started {
            at: Timestamp(at * 1000),
            order,
            ended: Some(Timestamp((at + for_ms) * 1000)),
        });
        Stay {
            queue,
            ready_at: Timestamp(ready_ms * 1000),
            since: Seq(since),
            until,
        }
    }

    use Priority::{Background, Interactive, Standard};

    #[test]
    fn what_was_raised_goes_before_what_came_later() {
        let kept = [
            stay(Standard, 0, 1, Some((0, 0, 100))),
            stay(Background, 0, 2, Some((100, 2, 50))),
            stay(Interactive, 30, 3, Some((30, 1, 5))),
            stay(Standard, 85, 4, Some((150, 3, 5))),
        ];
        let checked = check(&kept, &RULES).unwrap();
        // The second came to queue 0 at 20 ms and waited for the 80 ms that were left of the first.
        assert_eq!(checked.longest_us, Micros(80_000));
        assert_eq!((checked.starts, checked.raised), (4, 2));

        let mut passed = kept;
        passed[1].until = kept[3].until;
        passed[3].until = kept[1].until;
        let breach = Breach::PassedOver {
            at: Timestamp(100_000),
            started: 3,
            waiting: 1,
        };
        assert_eq!(check(&passed, &RULES), Err(breach));
    }

    #[test]
    fn a_slot_left_empty_is_a_wait_too_long() {
        let idle = [
            stay(Interactive, 0, 1, Some((0, 0, 10))),
            stay(Interactive, 0, 2, Some((0, 1, 20))),
            stay(Interactive, 0, 3, Some((16, 2, 1))),
        ];
        let breach = Breach::TooLong {
            stay: 2,
            at: Timestamp(16_000),
            by: Timestamp(15_000),
        };
        assert_eq!(check(&idle, &RULES), Err(breach));
        let forgotten = [stay(Interactive, 0, 1, None)];
        assert!(matches!(
            check(&forgotten, &RULES),
            Err(Breach::TooLong { stay: 0, .. })
        ));
    }

    #[test]
    fn what_its_wait_has_raised_does_not_take_the_slot_that_is_kept() {
        let kept = [
            stay(Standard, 0, 1, Some((0, 0, 100))),
            stay(Standard, 0, 2, Some((100, 2, 10))),
            stay(Interactive, 50, 3, Some((50, 1, 100))),
        ];
        check(&kept, &RULES).unwrap();
        let one = Rules { slots: 1, ..RULES };
        let alone = [kept[0], kept[1]];
        check(&alone, &one).unwrap();
    }
}
