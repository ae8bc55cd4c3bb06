//! Every projection of this crate keeps the framework's contract: however it came to a position,
//! it is the same there, and its rows are canonical.

use ledger_core::codec;
use ledger_core::event::Event;
use ledger_core::ids::Seq;
use proptest::prelude::*;

use crate::checkpoints::Checkpoints;
use crate::framework::{
    DecodedBlock, Fold, Position, Projection, View, catch_up, hash_at, rebuild, unwatched,
};
use crate::idempotency::Idempotency;
use crate::jobs::Jobs;
use crate::leases::Leases;
use crate::processes::Processes;
use crate::standing::Standing;
use crate::status::Status;
use crate::subjects::Subjects;
use crate::tasks::Tasks;
use crate::testkit::History;

fn rows(view: &dyn View) -> Vec<(String, String)> {
    let mut rows = Vec::new();
    view.rows(&mut |k, v| rows.push((k.to_owned(), v.to_owned())));
    rows
}

fn prefix<P: Projection>(history: &History, upto: Seq) -> Fold<P> {
    let mut fold = Fold::<P>::default();
    let events = history.batches().iter().flat_map(|batch| batch.events());
    for (bytes, hash) in events {
        let event = codec::decode(bytes).unwrap();
        if event.header.seq > upto {
            break;
        }
        fold.apply(&event.header, &Event::decode(&event).unwrap(), hash)
            .unwrap();
    }
    fold
}

fn live<P: Projection>(history: &History) -> Fold<P> {
    let mut fold = Fold::<P>::default();
    for batch in history.batches() {
        for block in DecodedBlock::of_batch(batch, &P::wants).unwrap() {
            fold.apply_block(&block).unwrap();
        }
    }
    fold
}

fn same<P: Projection>(a: &Fold<P>, b: &Fold<P>) {
    assert_eq!(a.position(), b.position());
    assert_eq!(rows(a), rows(b));
    assert_eq!((a.digest(), a.health()), (b.digest(), b.health()));
}

fn check_all_ways<P: Projection>(history: &History, cut: Seq) {
    let store = history.store();
    let head = Position::from(history.head());
    let live = live::<P>(history);
    assert_eq!(live.position(), head);
    same(&live, &rebuild::<P>(store, None, &mut unwatched).unwrap());
    same(&live, &prefix::<P>(history, head.seq));
    // As of `cut`, and from there to the end.
    let mut as_of = rebuild::<P>(store, Some(cut), &mut unwatched).unwrap();
    same(&as_of, &prefix::<P>(history, cut));
    assert_eq!(as_of.position().hash, hash_at(store, cut).unwrap());
    catch_up(&mut as_of, store, None, &mut unwatched).unwrap();
    same(&as_of, &live);
    // From its rows, which are canonical.
    let all = rows(&live);
    assert!(all.windows(2).all(|pair| pair[0].0 < pair[1].0));
    assert!(all.iter().all(|(_, value)| !value.contains('\n')));
    let state = P::from_rows(&mut all.into_iter()).unwrap();
    same(&Fold::resume(state, head), &live);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn live_rebuilt_resumed_and_as_of_are_one_fold(
        choices in prop::collection::vec(any::<u32>(), 0..150),
        cut in any::<prop::sample::Index>(),
    ) {
        let history = History::drawn(&choices);
        let cut = Seq(cut.index(history.events().len() + 1) as u64);
        check_all_ways::<Status>(&history, cut);
        check_all_ways::<Tasks>(&history, cut);
        check_all_ways::<Checkpoints>(&history, cut);
        check_all_ways::<Idempotency>(&history, cut);
        check_all_ways::<Jobs>(&history, cut);
        check_all_ways::<Leases>(&history, cut);
        check_all_ways::<Processes>(&history, cut);
        check_all_ways::<Standing>(&history, cut);
        check_all_ways::<Subjects>(&history, cut);
    }
}
