//! Which checkpoints are kept: the newest so many, and the last of each day for so many days. One that is of
//! no use to anybody goes as soon as a sound one was made after it.

use std::collections::BTreeSet;

use ledger_core::ids::Seq;
use ledger_core::time::Timestamp;

const DAY_US: u64 = 24 * 3_600_000_000;

/// How many are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keep {
    /// The newest so many.
    pub newest: usize,
    /// And the last of each day (UTC) for so many days, today among them.
    pub days: u64,
}

/// One as the rule sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kept {
    /// Its position.
    pub seq: Seq,
    /// When it was made.
    pub made_at: Timestamp,
    /// Whether it can be used, as far as is known.
    pub state: KeptState,
}

/// Whether a checkpoint can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeptState {
    /// Nothing is known against it.
    Sound,
    /// A recovery has passed it over, or its file is gone: it stands in nobody's place.
    Useless,
}

/// The positions in `all`, which is in the order of their making, that the rule lets go.
pub fn expendable(all: &[Kept], keep: Keep, now: Timestamp) -> Vec<usize> {
    let first_day = (now.0 / DAY_US).saturating_sub(keep.days);
    let (mut newest, mut days) = (0, BTreeSet::new());
    let mut gone = Vec::new();
    for (at, one) in all.iter().enumerate().rev() {
        let day = one.made_at.0 / DAY_US;
        let recent = day > first_day;
        let stays = match one.state {
            // Until then it tells whoever looks why there is none.
            KeptState::Useless => newest == 0,
            KeptState::Sound => {
                newest += 1;
                let last_of_day = days.insert(day) && recent;
                newest <= keep.newest || last_of_day
            }
        };
        if !stays {
            gone.push(at);
        }
    }
    gone.reverse();
    gone
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(hours: &[u64]) -> Vec<Kept> {
        let one = |hour: &u64| Kept {
            seq: Seq(*hour),
            made_at: Timestamp(hour * 3_600_000_000),
            state: KeptState::Sound,
        };
        hours.iter().map(one).collect()
    }

    fn left(all: &[Kept], keep: Keep, now_hour: u64) -> Vec<u64> {
        let gone = expendable(all, keep, Timestamp(now_hour * 3_600_000_000));
        let stays = |at: &usize| !gone.contains(at);
        (0..all.len())
            .filter(stays)
            .map(|at| all[at].seq.0)
            .collect()
    }

    #[test]
    fn the_newest_stay_and_the_last_of_each_day() {
        let keep = Keep { newest: 2, days: 3 };
        // Day 100 begins at hour 2400.
        let all = made(&[2300, 2310, 2330, 2340, 2352, 2376, 2390, 2400, 2402, 2404]);
        assert_eq!(left(&all, keep, 2405), [2352, 2390, 2402, 2404]);
        assert_eq!(left(&all, keep, 9999), [2402, 2404], "however old they are");
        assert_eq!(left(&all, Keep { newest: 0, days: 0 }, 2405), [0; 0]);
        assert_eq!(left(&[], keep, 2405), [0; 0]);
    }

    #[test]
    fn a_useless_one_takes_no_place_and_goes_when_a_sound_one_follows() {
        let keep = Keep { newest: 1, days: 1 };
        let mut all = made(&[2300, 2399, 2401, 2403]);
        all[0].state = KeptState::Useless;
        all[3].state = KeptState::Useless;
        assert_eq!(left(&all, keep, 2404), [2401, 2403]);
        all.extend(made(&[2405]));
        assert_eq!(left(&all, keep, 2406), [2405]);
    }

    #[test]
    fn the_defaults_keep_two_days_and_a_month() {
        let keep = Keep {
            newest: 24,
            days: 30,
        };
        let hours: Vec<u64> = (0..60 * 12).map(|n| 24_000 + n * 2).collect();
        let stays = left(&made(&hours), keep, 24_000 + 60 * 24);
        assert_eq!(stays.len(), 24 + 27, "24, and one for each day before them");
    }
}
