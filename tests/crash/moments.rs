//! Shims that are killed at the moments that matter: before they have their claim, with it and nothing
//! begun, with the child started or over and nothing written, with the outcome written and nothing said.
//!
//! | killed | the attempt |
//! |---|---|
//! | before `claim` | was never begun: it is begun, once, under the same number |
//! | after `claim` | is lost, and so run again |
//! | before `started` | its child dies with it: lost, and run again |
//! | before `outcome` | nobody knows how it ended: lost, and run again |
//! | after `outcome` | has the outcome that was written |

use projections::tasks::{StateName, TaskView};

use crate::support::host::lacks;
use crate::support::tracer::{Moment, Trap};
use crate::support::{Ledger, Log, named, script};

struct Told {
    view: TaskView,
    log: Log,
    /// What the task itself has noted: a line each time that it ran, and when it came to its end.
    notes: String,
    /// What the node has said.
    said: String,
}

/// Runs a task whose first shim is killed. Nothing where that can't be done.
async fn killed_at(moment: Moment) -> Option<Told> {
    let ledger = Ledger::new();
    let notes = ledger.path("notes");
    let node = ledger.up().await;
    let Some(trap) = Trap::set(node.spawner(), moment) else {
        lacks("leave to trace processes");
        return None;
    };
    // What ends at once is announced with its end; the one that is killed before it is announced lasts.
    let lasts = match moment {
        Moment::Before("started") => "[ $LEDGER_ATTEMPT = 2 ] || exec sleep 600; ",
        _ => "",
    };
    let text = format!("echo $LEDGER_ATTEMPT >> {}; {lasts}exit 7", notes.display());
    node.submit(named("t", script(&text))).await;
    let shim = trap.caught();
    let view = node.end_of("t").await;
    assert!(crate::support::session_members(shim).is_empty());
    let ended = node.stop();
    assert_eq!(ended.status.code(), Some(0), "{ended:?}");
    let log = ledger.assert_sound();
    let notes = std::fs::read_to_string(notes).unwrap();
    Some(Told {
        view,
        log,
        notes,
        said: ended.stderr,
    })
}

fn assert_run_again(told: &Told) {
    assert_eq!((told.view.state, told.view.lost), (StateName::Dead, 1));
    let kinds = [
        "task.submitted",
        "task.started",
        "task.lost",
        "task.requeued",
        "task.started",
        "task.failed",
        "task.dead",
    ];
    assert_eq!(told.log.life("t"), kinds);
    // Whoever has the claim is watched long before an attempt counts as unheard of.
    assert!(!told.said.contains("nothing was heard"), "{}", told.said);
}

#[tokio::test]
async fn before_its_claim_the_attempt_is_begun_by_another() {
    let Some(told) = killed_at(Moment::Before("claim")).await else {
        return;
    };
    assert_eq!((told.view.state, told.view.lost), (StateName::Dead, 0));
    let kinds = ["task.submitted", "task.started", "task.failed", "task.dead"];
    assert_eq!(told.log.life("t"), kinds);
    assert_eq!(told.notes, "1\n", "begun once");
}

#[tokio::test]
async fn with_its_claim_and_no_child_the_attempt_is_lost() {
    let Some(told) = killed_at(Moment::After("claim")).await else {
        return;
    };
    assert_run_again(&told);
    assert_eq!(told.notes, "2\n", "the first never ran");
}

#[tokio::test]
async fn with_a_child_that_nobody_knows_of_the_attempt_is_lost_and_the_child_gone() {
    let Some(told) = killed_at(Moment::Before("started")).await else {
        return;
    };
    assert_run_again(&told);
    assert!(told.notes.ends_with("2\n"), "{}", told.notes);
}

#[tokio::test]
async fn without_an_outcome_an_attempt_that_has_ended_is_lost() {
    let Some(told) = killed_at(Moment::Before("outcome")).await else {
        return;
    };
    assert_run_again(&told);
    assert_eq!(told.notes, "1\n2\n");
}

#[tokio::test]
async fn an_outcome_that_was_written_counts_though_nobody_was_told() {
    let Some(told) = killed_at(Moment::After("outcome")).await else {
        return;
    };
    assert_eq!((told.view.state, told.view.lost), (StateName::Dead, 0));
    assert_eq!(told.view.exit_code, Some(7));
    assert_eq!(told.notes, "1\n", "run once");
}
