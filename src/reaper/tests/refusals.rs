//! Who is never watched, and who may not ask.

use ledger_core::event::{Attempt, ReapCause, UnwatchReason};
use ledger_core::ids::{Entity, Id};
use ledger_core::time::{Micros, Millis, Timestamp};

use super::super::candidate::{Candidate, Kin};
use super::super::decide::{self, LONGEST, Refusal, Report, Terms};
use super::*;

const NOW: Timestamp = Timestamp(10_000_000);

fn refused(folded: &Folded, candidate: &Candidate) -> Refusal {
    let decided = decide::watch(&folded.processes, candidate, terms(60_000), &uid(1000), NOW);
    decided.unwrap_err()
}

#[test]
fn the_innocent_are_refused_each_with_its_reason() {
    let none = Folded::default();
    let protected = |candidate: Candidate| match refused(&none, &candidate) {
        Refusal::Protected { why, .. } => why,
        other => panic!("{other:?}"),
    };
    let with = |change: fn(&mut Candidate)| {
        let mut changed = candidate(7);
        change(&mut changed);
        changed
    };
    assert_eq!(protected(candidate(1)), "everything else runs below it");
    assert_eq!(
        protected(with(|c| c.is_kernel_thread = true)),
        "it is a thread of the kernel"
    );
    assert_eq!(protected(with(|c| c.kin = Kin::Node)), "it is this node");
    assert_eq!(
        protected(with(|c| c.kin = Kin::Ancestor)),
        "this node runs below it"
    );
    assert_eq!(
        protected(with(|c| c.kin = Kin::Descendant)),
        "this node has started it"
    );
    let ended = with(|c| c.has_ended = true);
    assert_eq!(refused(&none, &ended), Refusal::Ended(7));
}

#[test]
fn what_belongs_to_an_attempt_is_left_to_its_shim() {
    let mut folded = Folded::default();
    folded.register(60);
    let of_attempt = |pid| Refusal::OfAttempt {
        pid,
        task: Id::new("t").unwrap(),
        attempt: Attempt(1),
    };
    assert_eq!(refused(&folded, &candidate(60)), of_attempt(60));
    assert_eq!(refused(&folded, &candidate(50)), of_attempt(50));
    let mut grandchild = candidate(61);
    grandchild.ancestors.insert(0, (60, 9));
    // Also if the node that runs has started it.
    grandchild.kin = Kin::Descendant;
    assert_eq!(refused(&folded, &grandchild), of_attempt(61));
    let unwatch = decide::unwatch(&folded.processes, "60");
    assert_eq!(unwatch.unwrap_err(), of_attempt(60));
    folded.exit(60);
    assert!(
        decide::watch(
            &folded.processes,
            &candidate(60),
            terms(60_000),
            &uid(1000),
            NOW
        )
        .is_ok()
    );
}

#[test]
fn only_the_owner_and_root_may_ask_and_the_node_must_be_able_to() {
    let none = Folded::default();
    let ask = |candidate: &Candidate, asker: &Entity| {
        decide::watch(&none.processes, candidate, terms(60_000), asker, NOW).map(drop)
    };
    let own = candidate(7);
    assert_eq!(ask(&own, &uid(1000)), Ok(()));
    assert_eq!(ask(&own, &uid(0)), Ok(()));
    for asker in [
        uid(1001),
        Entity::new("node/1000").unwrap(),
        Entity::new("human/0").unwrap(),
    ] {
        assert!(
            matches!(ask(&own, &asker), Err(Refusal::OfAnother { .. })),
            "{asker}"
        );
    }
    // A program that has got the rights of another user.
    let mut setuid = candidate(7);
    setuid.effective_uid = 0;
    assert!(matches!(
        ask(&setuid, &uid(1000)),
        Err(Refusal::OfAnother { .. })
    ));
    let mut foreign = candidate(7);
    (foreign.uid, foreign.effective_uid) = (33, 33);
    let powerless = Refusal::Powerless {
        pid: 7,
        uid: 33,
        node: 1000,
    };
    assert_eq!(ask(&foreign, &uid(0)), Err(powerless));
    foreign.node_uid = 0;
    assert_eq!(ask(&foreign, &uid(0)), Ok(()));
}

#[test]
fn limits_make_sense_and_nothing_is_ended_at_once() {
    let none = Folded::default();
    let ask = |terms: Terms| {
        decide::watch(&none.processes, &candidate(7), terms, &uid(1000), NOW).map(drop)
    };
    let overdue = Refusal::Overdue {
        pid: 7,
        runtime: Micros(1_000_000),
        limit: Millis(1000),
    };
    assert_eq!(ask(terms(1000)), Err(overdue));
    assert_eq!(ask(terms(1001)), Ok(()));
    let longer = Millis(LONGEST.0 + 1);
    for bad in [
        terms(0),
        terms(longer.0),
        Terms {
            stall_after: Some(Millis(999)),
            ..terms(60_000)
        },
        Terms {
            stall_after: Some(longer),
            ..terms(60_000)
        },
        Terms {
            grace: Millis(0),
            ..terms(60_000)
        },
        Terms {
            grace: Millis(3_600_001),
            ..terms(60_000)
        },
    ] {
        assert!(matches!(ask(bad), Err(Refusal::Limit { .. })), "{bad:?}");
    }
}

#[test]
fn a_process_is_watched_once_and_only_so_many_are() {
    let mut folded = Folded::default();
    for pid in [7, 8, 9] {
        let decided = decide::watch(
            &folded.processes,
            &candidate(pid),
            terms(60_000),
            &uid(1000),
            NOW,
        );
        folded.fold(&decided.unwrap());
        assert_eq!(refused(&folded, &candidate(pid)), Refusal::Watched(pid));
    }
    assert_eq!(refused(&folded, &candidate(10)), Refusal::Full(3));
    // The same number in another life is another process.
    let mut later = candidate(7);
    later.identity.start_time = 10;
    later.room = 9;
    let decided = decide::watch(&folded.processes, &later, terms(60_000), &uid(1000), NOW).unwrap();
    folded.fold(&decided);
    let unwatched = decide::unwatch(&folded.processes, "7").unwrap();
    assert_eq!(unwatched.subject, later_subject());
    let by_id = decide::unwatch(&folded.processes, &id(7)).unwrap();
    assert_eq!(by_id.subject.id(), id(7));
    let unknown = decide::unwatch(&folded.processes, "11").unwrap_err();
    assert_eq!(unknown, Refusal::NotWatched("11".into()));
    let due = Report::Due {
        cause: ReapCause::MaxRuntime,
        runtime: Micros(1),
        idle: None,
    };
    folded.fold(&decide::reported(&folded.processes, &id(8), &due).unwrap());
    let being_ended = decide::unwatch(&folded.processes, "8").unwrap_err();
    assert_eq!(being_ended, Refusal::BeingEnded(8));
    let forsaken = decide::forsake(&folded.processes, |process| process.pid != 9);
    assert_eq!(forsaken.len(), 3);
    let expected = decide::let_go(&id(7), UnwatchReason::Forsaken).unwrap();
    assert!(forsaken.contains(&expected));
}

fn later_subject() -> Entity {
    Entity::of("process", "boot.7.10").unwrap()
}
