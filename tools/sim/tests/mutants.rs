//! Each planted defect is found: a simulator that misses them would miss real ones.

use sim::{Bug, Wish, run_once};

#[test]
fn every_planted_defect_is_found_within_its_number_of_seeds() {
    let find = |bug: &Bug| {
        let wish = Wish {
            bug: Some(*bug),
            ..Wish::default()
        };
        let found = (0..bug.within()).find(|seed| run_once(*seed, &wish).broken.is_some());
        assert!(
            found.is_some(),
            "{bug:?} is not found in {} seeds",
            bug.within()
        );
    };
    let (some, others) = Bug::ALL.split_at(Bug::ALL.len() / 2);
    std::thread::scope(|scope| {
        scope.spawn(|| others.iter().for_each(find));
        some.iter().for_each(find);
    });
}
