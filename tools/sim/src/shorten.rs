//! Shortening a run that fails: kinds of faults that it fails without are left out, and the part with
//! faults ends as early as it may, so that what is read is about what matters.

use crate::invariants::Broken;
use crate::plan::{Fault, SECOND, Wish};
use crate::run_once;

/// What a run that fails with the same invariant needs.
pub fn shorten(seed: u64, wish: &Wish, broken: &Broken) -> Wish {
    let mut least = wish.clone();
    let fails = |wish: &Wish| {
        let found = run_once(seed, wish).broken;
        found.is_some_and(|found| found.invariant == broken.invariant)
    };
    for fault in Fault::ALL {
        let mut fewer = least.clone();
        fewer.without.insert(fault);
        if fails(&fewer) {
            least = fewer;
        }
    }
    let mut upto = 64 * SECOND;
    while upto > SECOND / 4 {
        let shorter = Wish {
            upto: Some(upto),
            ..least.clone()
        };
        if !fails(&shorter) {
            break;
        }
        least = shorter;
        upto = upto * 3 / 4;
    }
    least.trace = true;
    least
}
