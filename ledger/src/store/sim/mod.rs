//! A simulated disk for tests of stores and for the simulator (`tools/sim`): all of a ledger's files in memory, with one record of
//! what was done to them, in order.
//!
//! ```text
//! redb, journal, head file ──> Disk (disk.rs): what the kernel shows, failures, the record
//!                                 └─ record ──> Platter (crash.rs): what a power failure leaves
//! ```
//! What it stands for:
//! - A file's bytes reach the disk in sectors of 512 bytes, in any order, until the file is synced;
//!   so do files among each other, and names until their directory is.
//! - A failed sync (the fsync findings of PostgreSQL, 2018): what was written shows on, counts as
//!   clean, is not part of any later sync, and may or may not be on disk.
//! - A failed write may have written the sectors in front of where it failed.
//! - The same calls give the same record, so a failure is found again by its seed.

mod crash;
mod disk;

#[cfg(test)]
mod tests;

pub use super::durable::sim::{new_ledger, offline, open};
pub use crash::Platter;
pub use disk::{Disk, Fails, Op};

use std::collections::BTreeMap;

/// What a disk writes whole or not at all.
pub const SECTOR: usize = 512;

/// The files of a ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Name {
    /// redb's.
    Store,
    /// The lower bound of the head.
    Head,
    /// A segment of the journal.
    Segment(u32),
}

/// Files and their bytes, as somebody finds them.
pub type Image = BTreeMap<Name, Vec<u8>>;

/// Chance from a seed (splitmix64), the same on every machine.
#[derive(Debug, Clone)]
pub struct Chance(u64);

impl Chance {
    /// The chance of this seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        x ^ (x >> 31)
    }

    /// Less than `n`, which is not 0.
    pub fn below(&mut self, n: usize) -> usize {
        (self.draw() % n as u64) as usize
    }

    /// Heads or tails.
    pub fn coin(&mut self) -> bool {
        self.draw() >> 63 == 0
    }
}
