//! Findings about processes, of attempts and of others.

use super::*;

#[test]
fn a_process_of_others_is_watched_until_it_is_let_go_of() {
    let (begun, next) = (Some(NEXT), Some(NEXT + 1));
    for end in ["terminated", "ended", "unwatched"] {
        let life = [
            process(1, "watched"),
            process(1, "reaping"),
            process(1, end),
        ];
        finds_nothing(&life);
        finds_nothing(&life[..2]);
        finds(&life[2..], the_process(), None, begun, Problem::NotBegun);
    }
    let goes_on = [process(1, "survived")];
    finds(&goes_on, the_process(), None, begun, Problem::NotBegun);
    let twice = [process(1, "watched"), process(1, "watched")];
    finds(&twice, the_process(), begun, next, Problem::BegunTwice);
}

#[test]
fn a_process_is_for_an_open_attempt_and_ends_before_it() {
    let run = [
        task(1, "submitted", 0),
        task(1, "started", 1),
        process(1, "registered"),
    ];
    let on = |more: &[Told]| [&run[..], more].concat();
    let (begun, at) = (Some(NEXT + 2), Some(NEXT + 3));
    for over in [task(1, "completed", 1), task(1, "cancelled", 1)] {
        finds(&on(&[over]), the_process(), begun, at, Problem::NeverEnded);
    }
    finds_nothing(&on(&[process(1, "exited"), task(1, "completed", 1)]));
    finds(
        &[process(1, "exited")],
        the_process(),
        None,
        Some(NEXT),
        Problem::NotBegun,
    );
    let ended = Seq(NEXT + 3);
    let twice = [process(1, "reaped"), process(1, "lost")];
    let again = Problem::EndedTwice { ended };
    finds(&on(&twice), the_process(), None, Some(NEXT + 4), again);
    let no_attempt = || Problem::NoAttempt {
        task: "t".into(),
        attempt: 1,
    };
    finds(&run[2..], the_process(), None, Some(NEXT), no_attempt());
    // One attempt, two processes.
    let mut second = process(1, "registered");
    second.2 = "process/b.3.4".into();
    let other = Life::Process {
        process: "b.3.4".into(),
    };
    finds(&on(&[second]), other, None, at, no_attempt());
    let same = found(&on(&[process(1, "registered")]));
    assert!(
        same.iter().any(|f| f.problem == Problem::BegunTwice),
        "{same:?}"
    );
}

#[test]
fn what_outlives_sigkill_is_open_until_it_ends() {
    let run = [
        task(1, "submitted", 0),
        task(1, "started", 1),
        process(1, "registered"),
        process(1, "unkillable"),
    ];
    finds_nothing(&run);
    let end = [process(1, "reaped"), task(1, "completed", 1)];
    finds_nothing(&[&run[..], &end].concat());
    let late = [&run[..], &end, &[process(1, "unkillable")]].concat();
    let seq = Some(Seq(NEXT + 6));
    let findings = found(&late);
    assert_eq!(findings.len(), 1, "{findings:?}");
    assert_eq!((&findings[0].life, findings[0].seq), (&the_process(), seq));
}
