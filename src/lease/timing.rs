//! The three times of a lease, and what must hold between them.

use ledger_core::time::Millis;

/// How often a holder renews, when it gives up, and when others may end it. Always heartbeat <
/// renew deadline < TTL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    heartbeat: Millis,
    renew_deadline: Millis,
    ttl: Millis,
}

/// What is wrong with the times.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TimingFault {
    /// The renew deadline would come before a second heartbeat.
    #[error("is not above lease.heartbeat")]
    Deadline,
    /// Others could end a holder that still thinks it leads.
    #[error("is not above lease.renew_deadline")]
    Ttl,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            heartbeat: Millis(500),
            renew_deadline: Millis(2_000),
            ttl: Millis(3_000),
        }
    }
}

impl Timing {
    /// These times.
    ///
    /// # Errors
    /// [`TimingFault`] if they are not in order.
    pub fn new(
        heartbeat: Millis,
        renew_deadline: Millis,
        ttl: Millis,
    ) -> Result<Self, TimingFault> {
        if renew_deadline <= heartbeat {
            return Err(TimingFault::Deadline);
        }
        if ttl <= renew_deadline {
            return Err(TimingFault::Ttl);
        }
        Ok(Self {
            heartbeat,
            renew_deadline,
            ttl,
        })
    }

    /// How often a holder renews.
    pub fn heartbeat(self) -> Millis {
        self.heartbeat
    }

    /// After how long without a renewal a holder stops leading.
    pub fn renew_deadline(self) -> Millis {
        self.renew_deadline
    }

    /// After how long without a beat others may end the holder.
    pub fn ttl(self) -> Millis {
        self.ttl
    }
}
