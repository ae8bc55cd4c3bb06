//! What happens in a random history.

use ledger_core::event::Priority;
use proptest::prelude::*;

/// What a submission asks for besides its queue; numbers are picks.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked {
    pub(super) depends_on: Option<usize>,
    pub(super) not_before: Option<u64>,
    pub(super) expires: Option<u64>,
    pub(super) max_attempts: u32,
    pub(super) rated: bool,
    pub(super) concurrency: Option<u8>,
}

/// Something that happens in a random history; the number picks whom it happens to.
#[derive(Debug, Clone, Copy)]
pub(super) enum Happening {
    Submit(Priority, Asked),
    Dispatch,
    End(usize, i32, u64),
    Lose(usize),
    Cancel(usize),
    Retry(usize),
    Move(usize, Priority),
    Toggle(Priority),
    Throttle(usize, u64),
    Pass(u64),
}

pub(super) fn asked() -> impl Strategy<Value = Asked> {
    let sometimes = |values: Vec<u64>| prop::option::weighted(0.2, prop::sample::select(values));
    (
        prop::option::weighted(0.2, any::<usize>()),
        sometimes(vec![1, 700, 90_000]),
        sometimes(vec![900, 30_000, 200_000]),
        1_u32..4,
        prop::bool::weighted(0.3),
        prop::option::weighted(0.3, 0_u8..2),
    )
        .prop_map(
            |(depends_on, not_before, expires, max_attempts, rated, concurrency)| Asked {
                depends_on,
                not_before,
                expires,
                max_attempts,
                rated,
                concurrency,
            },
        )
}

pub(super) fn happenings() -> impl Strategy<Value = Vec<Happening>> {
    let queue = || prop::sample::select(Priority::ALL.to_vec());
    let time = || prop::sample::select(vec![1_u64, 300, 2_500, 11_000, 61_000]);
    let one = prop_oneof![
        8 => (queue(), asked()).prop_map(|(q, a)| Happening::Submit(q, a)),
        6 => Just(Happening::Dispatch),
        5 => (any::<usize>(), 0..2, time()).prop_map(|(n, code, t)| Happening::End(n, code, t)),
        1 => any::<usize>().prop_map(Happening::Lose),
        2 => any::<usize>().prop_map(Happening::Cancel),
        2 => any::<usize>().prop_map(Happening::Retry),
        2 => (any::<usize>(), queue()).prop_map(|(n, q)| Happening::Move(n, q)),
        1 => queue().prop_map(Happening::Toggle),
        1 => (any::<usize>(), time()).prop_map(|(n, t)| Happening::Throttle(n, t)),
        5 => time().prop_map(Happening::Pass),
    ];
    prop::collection::vec(one, 0..150)
}
