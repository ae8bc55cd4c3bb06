//! Chance from a seed. Each concern draws from a stream of its own, so that switching one kind of
//! fault off, as shortening does, leaves what others draw alone.

use ledger_core::store::sim::Chance;

/// A stream of draws.
#[derive(Debug, Clone)]
pub(crate) struct Draws(Chance);

impl Draws {
    /// The stream of this name under a seed.
    pub(crate) fn of(seed: u64, stream: &str) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&seed.to_le_bytes()).update(stream.as_bytes());
        let mut first = [0; 8];
        hasher.finalize_xof().fill(&mut first);
        Self(Chance::new(u64::from_le_bytes(first)))
    }

    /// Any number.
    pub(crate) fn any(&mut self) -> u64 {
        self.0.draw()
    }

    /// Less than `n`, which is not 0.
    pub(crate) fn below(&mut self, n: u64) -> u64 {
        self.0.draw() % n
    }

    /// From `least` to `most`.
    pub(crate) fn between(&mut self, least: u64, most: u64) -> u64 {
        least + self.below(most - least + 1)
    }

    /// True once in `n` times.
    pub(crate) fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    /// An index into something that has `len` items, which is not 0.
    pub(crate) fn index(&mut self, len: usize) -> usize {
        self.0.below(len)
    }

    /// One of these.
    pub(crate) fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.index(of.len())]
    }

    /// A time between these, short ones more often: each magnitude is as likely as the next.
    pub(crate) fn time(&mut self, least: u64, most: u64) -> u64 {
        let magnitudes = (most / least.max(1)).max(1).ilog2();
        let top = least.max(1) << self.below(u64::from(magnitudes) + 1);
        self.between(least, top.clamp(least, most))
    }

    /// A seed for a stream of the product's own.
    pub(crate) fn seed(&mut self) -> [u8; 32] {
        let mut seed = [0; 32];
        for part in seed.chunks_mut(8) {
            part.copy_from_slice(&self.any().to_le_bytes());
        }
        seed
    }
}
