//! Durations of any length in little space, with integer arithmetic only, so that every machine
//! folds the same history into the same buckets.
//!
//! Log-linear buckets (the idea of HdrHistogram): values below 64 have a bucket each; above, every
//! power of two is cut into 32 buckets of equal width. A bucket is at most 1/32 of its least value
//! wide and is reported by its middle, so a percentile is off by at most 1/64 (1.6 %).

use std::collections::BTreeMap;

use ledger_core::time::Micros;
use serde::{Deserialize, Serialize};

/// log2 of the buckets per power of two.
const BITS: u32 = 5;

/// Counts of durations by size, since the first event.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Histogram {
    count: u64,
    max: Micros,
    /// Bucket -> how many.
    buckets: BTreeMap<u16, u64>,
}

impl Histogram {
    /// Counts one duration.
    pub fn record(&mut self, value: Micros) {
        self.count += 1;
        self.max = self.max.max(value);
        *self.buckets.entry(bucket(value.0)).or_default() += 1;
    }

    /// How many durations were counted.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The longest, exactly.
    pub fn max(&self) -> Option<Micros> {
        (self.count > 0).then_some(self.max)
    }

    /// The duration that `percent` (1 to 100) of all are not longer than (nearest rank), within
    /// 1.6 %; `None` if there are none.
    pub fn percentile(&self, percent: u8) -> Option<Micros> {
        let rank = (u128::from(self.count) * u128::from(percent.min(100))).div_ceil(100);
        let mut seen = 0;
        for (&bucket, &count) in &self.buckets {
            seen += u128::from(count);
            if seen >= rank.max(1) {
                return Some(Micros(middle(bucket)).min(self.max));
            }
        }
        None
    }
}

fn bucket(value: u64) -> u16 {
    // Values below 2^(BITS+1) have a bucket each; `shift` is 0 for all of them.
    let shift = (63 - (value | 1).leading_zeros()).saturating_sub(BITS);
    let index = (u64::from(shift) << BITS) + (value >> shift);
    u16::try_from(index).expect("58 shifts of 32 buckets and 64 more fit 16 bits")
}

fn middle(bucket: u16) -> u64 {
    let bucket = u64::from(bucket);
    let shift = (bucket >> BITS).saturating_sub(1);
    let least = (bucket - (shift << BITS)) << shift;
    least + ((1 << shift) - 1) / 2
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn small_values_are_exact_and_the_largest_has_a_bucket() {
        for value in 0..64 {
            assert_eq!(middle(bucket(value)), value);
        }
        assert_eq!(bucket(u64::MAX), (58 << 5) + 63);
        assert_eq!(Histogram::default().percentile(50), None);
        assert_eq!(Histogram::default().max(), None);
    }

    proptest! {
        #[test]
        fn a_bucket_says_its_values_within_a_sixty_fourth(bits in 0u32..64, low in any::<u64>()) {
            let value = (low | 1 << 63) >> bits;
            let told = middle(bucket(value));
            prop_assert!(told.abs_diff(value) <= value / 64, "{} told as {}", value, told);
            prop_assert!(bucket(value) <= bucket(value.saturating_add(1)));
        }

        #[test]
        fn percentiles_follow_the_sorted_values(
            mut values in prop::collection::vec(0u64..10_000_000, 1..200),
            percent in 1u8..=100,
        ) {
            let mut histogram = Histogram::default();
            values.iter().for_each(|&v| histogram.record(Micros(v)));
            values.sort_unstable();
            let rank = (values.len() * usize::from(percent)).div_ceil(100).max(1);
            let exact = values[rank - 1];
            let told = histogram.percentile(percent).unwrap().0;
            prop_assert!(told.abs_diff(exact) <= exact / 64, "{} told as {}", exact, told);
            prop_assert_eq!(histogram.max(), values.last().map(|&v| Micros(v)));
        }
    }
}
