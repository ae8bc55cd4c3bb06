//! What the core is connected to. The disk, processes and replies are inputs and outputs of
//! [`super::core::Core::step`]; randomness is the one thing it draws while it decides.

use std::time::Duration;

use ledger_core::clock;
use ledger_core::time::Micros;
use nix::time::{ClockId, clock_gettime};

use super::command::Now;
use crate::lease::uptime::Uptime;

/// What the host's clocks say.
pub fn now() -> Now {
    Now {
        wall: clock::now(),
        boot: uptime().0,
    }
}

/// Randomness as an input: the same seed gives the same draws.
pub trait Random: Send {
    /// The next ten bytes.
    fn bytes(&mut self) -> [u8; 10];
}

/// The time since the host's boot, suspend included.
pub fn uptime() -> Uptime {
    let boot = clock_gettime(ClockId::CLOCK_BOOTTIME).map_or(Duration::ZERO, Duration::from);
    Uptime(Micros(u64::try_from(boot.as_micros()).unwrap_or(u64::MAX)))
}

/// Measures how long something takes, for reports; nothing is decided by it.
#[derive(Debug, Clone, Copy)]
pub struct Stopwatch(std::time::Instant);

impl Stopwatch {
    /// Begins to measure.
    pub fn start() -> Self {
        Self(std::time::Instant::now())
    }

    /// How long ago that was.
    pub fn elapsed(self) -> Micros {
        Micros(u64::try_from(self.0.elapsed().as_micros()).unwrap_or(u64::MAX))
    }
}

/// A stream of random bytes from a seed: the extendable output of BLAKE3.
#[derive(Debug)]
pub struct SeededRandom {
    stream: blake3::OutputReader,
}

impl SeededRandom {
    /// The stream of this seed.
    pub fn new(seed: [u8; 32]) -> Self {
        Self {
            stream: blake3::Hasher::new_keyed(&seed).finalize_xof(),
        }
    }

    /// A stream whose seed the system draws.
    ///
    /// # Errors
    /// If the system has no randomness to give.
    pub fn from_system() -> std::io::Result<Self> {
        use std::io::Read;
        let mut seed = [0; 32];
        std::fs::File::open("/dev/urandom")?.read_exact(&mut seed)?;
        Ok(Self::new(seed))
    }

    /// The next ten bytes.
    pub fn draw(&mut self) -> [u8; 10] {
        let mut bytes = [0; 10];
        self.stream.fill(&mut bytes);
        bytes
    }
}

impl Random for SeededRandom {
    fn bytes(&mut self) -> [u8; 10] {
        self.draw()
    }
}
