//! Chance from a seed: the same numbers on every machine, so that a simulation can be repeated.

/// SplitMix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators).
#[derive(Debug, Clone)]
pub struct Chance(u64);

impl Chance {
    /// The numbers of this seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `n`, every one as likely as another up to one part in 2^64 / n; 0 if `n` is.
    pub fn below(&mut self, n: usize) -> usize {
        let wide = u128::from(self.bits()) * (n as u128);
        usize::try_from(wide >> 64).unwrap_or(0)
    }

    /// True so often: `share` of 0 is never, of 1 always.
    pub fn happens(&mut self, share: f64) -> bool {
        // The upper 53 bits fill the mantissa: a number from 0 to just under 1.
        #[expect(clippy::cast_precision_loss, reason = "53 bits are kept exactly")]
        let unit = (self.bits() >> 11) as f64 / (1_u64 << 53) as f64;
        unit < share
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_follow_from_the_seed_and_stay_below_their_bound() {
        // The generator's published first outputs for seed 1234567.
        let mut chance = Chance::new(1_234_567);
        assert_eq!(chance.bits(), 6_457_827_717_110_365_317);
        assert_eq!(chance.bits(), 3_203_168_211_198_807_973);
        let mut seen = [0_u32; 7];
        for _ in 0..7_000 {
            seen[chance.below(7)] += 1;
        }
        assert!(seen.iter().all(|n| (800..1_200).contains(n)), "{seen:?}");
        assert_eq!(chance.below(0), 0);
        assert!(!chance.happens(0.0) && chance.happens(1.0));
        let often = (0..10_000).filter(|_| chance.happens(0.03)).count();
        assert!((200..400).contains(&often), "{often}");
    }
}
