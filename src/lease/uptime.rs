//! The time that leases are judged by: that of CLOCK_BOOTTIME, which counts suspend and which nobody can
//! set.

use ledger_core::time::{Micros, Millis};

/// A moment since the host's boot. Two are only comparable within one boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Uptime(pub Micros);

impl Uptime {
    /// How long after `earlier` this is; zero if it is not.
    pub fn since(self, earlier: Self) -> Micros {
        Micros(self.0.0.saturating_sub(earlier.0.0))
    }

    /// This much later.
    #[must_use]
    pub fn after(self, time: Millis) -> Self {
        Self(Micros(self.0.0.saturating_add(time.0.saturating_mul(1000))))
    }
}
