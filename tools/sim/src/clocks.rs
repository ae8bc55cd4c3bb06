//! The host's clocks: one that counts from boot and that nobody can set, and one on the wall that is
//! set, and runs too fast or too slow.

use ledger_core::time::{Micros, Timestamp};
use opsledger::lease::uptime::Uptime;
use opsledger::node::command::Now;

/// When simulations begin: 2026-01-01.
const EPOCH: u64 = 1_767_225_600_000_000;

/// The clocks.
#[derive(Debug)]
pub(crate) struct Clocks {
    /// Simulated time.
    pub(crate) now: u64,
    booted: u64,
    /// What the wall clock showed when its rate was last changed, and when that was.
    wall: u64,
    since: u64,
    /// How much too fast it runs, in millionths.
    drift: i64,
    /// The latest time that it has shown before it was set.
    latest: u64,
}

impl Clocks {
    pub(crate) fn new() -> Self {
        Self {
            now: 0,
            booted: 0,
            wall: EPOCH,
            since: 0,
            drift: 0,
            latest: EPOCH,
        }
    }

    /// Since boot.
    pub(crate) fn uptime(&self) -> Uptime {
        // Nothing begins in the very moment of the boot.
        Uptime(Micros(self.now - self.booted + 10_000_000))
    }

    /// The wall clock.
    pub(crate) fn wall(&self) -> Timestamp {
        let passed = self.now - self.since;
        let extra = (i128::from(passed) * i128::from(self.drift) / 1_000_000) as i64;
        Timestamp(self.wall + passed.saturating_add_signed(extra))
    }

    /// What a node reads.
    pub(crate) fn read(&self) -> Now {
        Now {
            wall: self.wall(),
            boot: self.uptime().0,
        }
    }

    /// The host boots.
    pub(crate) fn boot(&mut self) {
        self.booted = self.now;
    }

    /// The wall clock is set by so many microseconds.
    pub(crate) fn step(&mut self, by: i64) {
        let shown = self.wall().0;
        self.latest = self.latest.max(shown);
        self.wall = shown.saturating_add_signed(by);
        self.since = self.now;
    }

    /// It runs so many millionths too fast from now on.
    pub(crate) fn drift(&mut self, millionths: i64) {
        self.step(0);
        self.drift = millionths;
    }

    /// It runs right, and shows no time that it has shown before.
    pub(crate) fn heal(&mut self) {
        self.drift(0);
        self.wall = self.latest;
    }
}
