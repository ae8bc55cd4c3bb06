//! The holder's side: when to renew, and when to stop leading because that did not work.
//!
//! | must hold | why |
//! |---|---|
//! | a renewal counts from before its beat was written | others count from when they see it, which is later |
//! | past the renew deadline nothing brings a tenure back | another node may lead by the TTL |
//! | whoever was once told that it is over was told the truth | an order that was dropped for it is given by the next tenure, never by this one |
//! | who makes no progress does not renew | a process that is alive and stuck must be replaced |
//!
//! Renew deadline and TTL are those of leader election in Kubernetes' client-go; that the beat comes
//! from the loop that works is the watchdog's of systemd (`WatchdogSec=`).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ledger_core::time::Micros;

use super::timing::Timing;
use super::uptime::Uptime;

/// What the working loop has to show for itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// It turns, and nothing that it waits for is late.
    Making,
    /// It has waited for the disk since then.
    Waiting(Uptime),
}

/// What a holder has to do now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Duty {
    /// Nothing for this long.
    Rest(Micros),
    /// Write a beat.
    Renew,
    /// Stop leading.
    Yield {
        /// How long ago the last renewal was.
        since: Micros,
    },
}

/// A tenure as its holder sees it.
#[derive(Debug, Clone)]
pub struct Holding {
    timing: Timing,
    renewed: Uptime,
    authority: Authority,
}

impl Holding {
    /// A tenure whose record was written at `now`.
    pub fn new(timing: Timing, now: Uptime) -> Self {
        let until = now.after(timing.renew_deadline());
        Self {
            timing,
            renewed: now,
            authority: Authority(Arc::new(AtomicU64::new(until.0.0))),
        }
    }

    /// What is to be done at `now`.
    pub fn duty(&self, now: Uptime, progress: Progress) -> Duty {
        let since = now.since(self.renewed);
        if !self.authority.holds(now) {
            return Duty::Yield { since };
        }
        let next = self.renewed.after(self.timing.heartbeat());
        let late = match progress {
            Progress::Making => false,
            Progress::Waiting(begun) => now >= begun.after(self.timing.heartbeat()),
        };
        match now >= next {
            false => Duty::Rest(next.since(now)),
            // Until the deadline the disk may still come back.
            true if late => Duty::Rest(Micros(self.timing.heartbeat().0 * 1000 / 10)),
            true => Duty::Renew,
        }
    }

    /// A beat was written; it counts from `begun`, before that. Too late if somebody has found the
    /// tenure over while it was being written.
    pub fn renewed(&mut self, begun: Uptime) {
        let until = begun.after(self.timing.renew_deadline());
        let extended = self
            .authority
            .0
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |held| {
                (held != OVER).then_some(until.0.0)
            });
        if extended.is_ok() {
            self.renewed = begun;
        }
    }

    /// Until when whoever has it may act.
    pub fn authority(&self) -> Authority {
        self.authority.clone()
    }
}

impl Drop for Holding {
    fn drop(&mut self) {
        // Whoever still has it may not act on it any more.
        self.authority.0.store(OVER, Ordering::Release);
    }
}

/// Instead of a time: it has ended.
const OVER: u64 = 0;

/// Whether its holder still leads, for whoever is about to do something in the world: a thread that
/// was held up between an order and its execution finds out here.
#[derive(Debug, Clone)]
pub struct Authority(Arc<AtomicU64>);

impl Authority {
    /// One that never ends, for tests and for worlds without a lease.
    pub fn endless() -> Self {
        Self(Arc::new(AtomicU64::new(u64::MAX)))
    }

    /// When it was renewed last, by the times of its lease; nothing if it is over.
    pub fn renewed(&self, timing: Timing) -> Option<Uptime> {
        let until = self.0.load(Ordering::Acquire);
        let deadline = timing.renew_deadline().0 * 1000;
        until.checked_sub(deadline).map(|at| Uptime(Micros(at)))
    }

    /// Whether it holds at `now`. If not, it never will again.
    pub fn holds(&self, now: Uptime) -> bool {
        let held = |until: u64| until != OVER && now.0.0 < until;
        let until = self.0.load(Ordering::Acquire);
        if held(until) || until == OVER {
            return until != OVER;
        }
        let ended = self
            .0
            .compare_exchange(until, OVER, Ordering::AcqRel, Ordering::Acquire);
        // It was renewed in this very moment.
        ended.is_err_and(held)
    }
}

#[cfg(test)]
mod tests {
    use ledger_core::time::Millis;

    use super::*;

    fn at(ms: u64) -> Uptime {
        Uptime(Micros(ms * 1000))
    }

    #[test]
    fn a_holder_renews_rests_and_yields() {
        let mut holding = Holding::new(Timing::default(), at(1000));
        let authority = holding.authority();
        let making = Progress::Making;
        assert_eq!(holding.duty(at(1000), making), Duty::Rest(Micros(500_000)));
        assert_eq!(holding.duty(at(1499), making), Duty::Rest(Micros(1_000)));
        assert_eq!(holding.duty(at(1500), making), Duty::Renew);
        assert!(authority.holds(at(2999)));
        holding.renewed(at(1500));
        assert_eq!(holding.duty(at(1500), making), Duty::Rest(Micros(500_000)));
        assert_eq!(holding.duty(at(3499), making), Duty::Renew);
        let since = Micros(2_000_000);
        assert!(authority.holds(at(3499)));
        assert_eq!(holding.duty(at(3500), making), Duty::Yield { since });
        assert!(!authority.holds(at(3499)), "once over, over for good");
        drop(holding);
        assert!(!authority.holds(at(0)), "who holds nothing may do nothing");
    }

    #[test]
    fn a_beat_that_was_written_too_late_renews_nothing() {
        let mut holding = Holding::new(Timing::default(), at(0));
        let authority = holding.authority();
        assert_eq!(holding.duty(at(1999), Progress::Making), Duty::Renew);
        // The beat takes its time, and an order comes meanwhile.
        assert!(!authority.holds(at(2001)));
        holding.renewed(at(1999));
        assert!(!authority.holds(at(2001)), "it was dropped for good");
        let since = Micros(2_002_000);
        assert_eq!(
            holding.duty(at(2002), Progress::Making),
            Duty::Yield { since }
        );
    }

    #[test]
    fn who_waits_for_the_disk_does_not_renew() {
        let holding = Holding::new(Timing::default(), at(0));
        let since = |ms| Progress::Waiting(at(ms));
        assert_eq!(holding.duty(at(500), since(400)), Duty::Renew);
        let rest = Duty::Rest(Micros(50_000));
        assert_eq!(holding.duty(at(600), since(100)), rest);
        let yields = Duty::Yield {
            since: Micros(2_000_000),
        };
        assert_eq!(holding.duty(at(2000), since(100)), yields);
        assert_eq!(holding.duty(at(2000), Progress::Making), yields);
    }

    #[test]
    fn times_out_of_order_are_refused() {
        use super::super::timing::TimingFault;
        let new = |a, b, c| Timing::new(Millis(a), Millis(b), Millis(c));
        assert!(new(1, 2, 3).is_ok());
        assert_eq!(new(2, 2, 3), Err(TimingFault::Deadline));
        assert_eq!(new(1, 3, 3), Err(TimingFault::Ttl));
    }
}
