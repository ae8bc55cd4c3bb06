//! A few dozen seeds hold, in every test of the workspace; `sim run` takes many more.

use sim::{Tally, Wish, run_twice, seeds};

/// How many seeds from 0 on.
const SEEDS: u64 = 48;

/// Runs seeds on two threads and adds up what happened.
fn all(of: impl Iterator<Item = u64> + Clone + Sync) -> Tally {
    let half = |odd: usize| {
        let mut tally = Tally::default();
        for seed in of.clone().skip(odd).step_by(2) {
            let run = run_twice(seed, &Wish::default());
            assert_eq!(run.broken, None, "seed {seed}");
            tally.add(&run.tally);
        }
        tally
    };
    std::thread::scope(|scope| {
        let other = scope.spawn(|| half(1));
        let mut tally = half(0);
        tally.add(
            &other
                .join()
                .expect("a thread that panicked has failed the test"),
        );
        tally
    })
}

#[test]
fn a_few_dozen_seeds_hold_and_repeat() {
    let tally = all(0..SEEDS);
    println!("{tally}");
    assert_eq!(tally.seeds, SEEDS);
    assert!(
        tally.events > 5_000 && tally.crashes > 100 && tally.takeovers > 100,
        "{tally}"
    );
    assert!(
        tally.recovered > 0 && tally.warm > 0 && tally.fenced > 0,
        "{tally}"
    );
}

#[test]
fn seeds_that_have_failed_hold() {
    let past = seeds(include_str!("../seeds.txt")).unwrap();
    all(past.into_iter());
}
