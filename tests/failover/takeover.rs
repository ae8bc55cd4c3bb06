//! A leader goes, and another node goes on with its work.

use std::os::unix::process::ExitStatusExt;

use ledger_core::ids::Term;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use opsledger::api::wire::{AcquireRequest, Acquired, Role, StepDownRequest};

use crate::support::Member;
use crate::support::{Follower, Ledger, exec, id, identity, is_gone, named, script, show, text};

#[tokio::test]
async fn a_killed_leader_is_replaced_and_its_work_goes_on() {
    let ledger = Ledger::new();
    let leader = Member::leader(&ledger, "a").await;
    let mut standby = Member::standby(&ledger, "b").await;
    let mut begun = ledger.fifo("begun");
    let go = ledger.fifo("go");
    let work = format!(
        "echo $$ > {}; read -r _ < {}; echo done",
        show(&begun.path),
        show(&go.path)
    );
    let client = leader.client().await;
    client.submit(&named("long", script(&work))).await.unwrap();
    let child = identity(begun.pid());
    client
        .submit(&named("short", exec(&["true"])))
        .await
        .unwrap();
    client.wait(&id("short")).await.unwrap();
    leader.crash();
    assert_eq!(standby.leads().await, 2);
    assert!(!is_gone(&child), "a takeover ends no work");
    let client = standby.client().await;
    go.tell("");
    let task = client.wait(&id("long")).await.unwrap();
    assert_eq!(task.exit_code, Some(0));
    standby.stop_well();
    let log = ledger.assert_sound();
    assert_eq!(log.count("task.started"), 2);
    assert_eq!(log.only("lease.lost").term, 2);
    assert_eq!(
        log.life("long"),
        ["task.submitted", "task.started", "task.completed"]
    );
}

#[tokio::test]
async fn whoever_followed_goes_on_from_there_and_whoever_did_not_from_a_checkpoint() {
    let ledger = Ledger::new();
    let leader = Member::leader(&ledger, "a").await;
    let client = leader.client().await;
    for task in ["one", "two"] {
        client.submit(&named(task, exec(&["true"]))).await.unwrap();
        client.wait(&id(task)).await.unwrap();
    }
    let made = ledger.cli(&["checkpoint", "create", "point"]);
    assert!(made.status.success(), "{made:?}");
    let mut standby = Member::standby(&ledger, "b").await;
    let head = client.head().await.unwrap();
    standby.stands(|s| s.seq >= head.seq).await;
    leader.crash();
    assert_eq!(standby.leads().await, 2);
    let checked = ledger.cli(&["rebuild", "--check"]);
    assert!(checked.status.success(), "{checked:?}");
    standby.crash();
    let cold = Member::leader(&ledger, "c").await;
    cold.stop_well();
    let log = ledger.assert_sound();
    let recoveries = log.of_kind("recovery.completed");
    let [_, warm, cold] = recoveries[..] else {
        panic!("{recoveries:?}");
    };
    assert!(warm.data["checkpoint"].is_null(), "{warm:?}");
    assert_eq!(warm.data["upto"], head.seq.0);
    assert_eq!(warm.data["replayed"], 0);
    assert_eq!(cold.data["checkpoint"]["name"], "point");
    let of = cold.data["checkpoint"]["seq"].as_u64().unwrap();
    let upto = cold.data["upto"].as_u64().unwrap();
    assert_eq!(cold.data["replayed"], upto - of);
}

/// With what a node that leads has held its state against, once it has.
async fn compared(leader: &Member, term: u64) -> Vec<String> {
    let mut events = Follower::of(&leader.client().await, 1).await;
    let verified = events
        .find(|e| e.kind == "recovery.verified" && e.term == term)
        .await;
    let compared = verified.data["compared"].as_array().unwrap();
    let with = compared.iter().map(|one| one["with"]["type"].as_str());
    with.map(|with| with.unwrap().to_owned()).collect()
}

#[tokio::test]
async fn after_each_takeover_state_is_held_against_other_folds() {
    let ledger = Ledger::configured("[checkpoint]\ncompare_after = \"1ms\"\n");
    let leader = Member::leader(&ledger, "a").await;
    let none: [&str; 0] = [];
    assert_eq!(compared(&leader, 1).await, none);
    let client = leader.client().await;
    client.submit(&named("one", exec(&["true"]))).await.unwrap();
    client.wait(&id("one")).await.unwrap();
    let made = ledger.cli(&["checkpoint", "create", "point"]);
    assert!(made.status.success(), "{made:?}");
    let mut standby = Member::standby(&ledger, "b").await;
    let head = client.head().await.unwrap();
    standby.stands(|s| s.seq >= head.seq).await;
    leader.crash();
    assert_eq!(standby.leads().await, 2);
    assert_eq!(compared(&standby, 2).await, ["checkpoint", "standby"]);
    let listed = ledger.cli(&["checkpoint", "list"]);
    let listed = text(&listed.stdout);
    let same = "is the same as checkpoint point and what it had as a standby";
    assert!(
        listed.contains("node b, ") && listed.contains(same),
        "{listed}"
    );
    standby.crash();
    let cold = Member::leader(&ledger, "c").await;
    assert_eq!(compared(&cold, 3).await, ["verified"]);
    cold.stop_well();
    let log = ledger.assert_sound();
    assert_eq!(log.count("recovery.diverged"), 0);
}

#[tokio::test]
async fn of_two_standbys_one_leads_and_the_other_follows_it() {
    let ledger = Ledger::new();
    let leader = Member::leader(&ledger, "a").await;
    let mut b = Member::standby(&ledger, "b").await;
    let mut c = Member::standby(&ledger, "c").await;
    leader.crash();
    let (mut next, last) = tokio::select! {
        _ = b.leads() => (b, c),
        _ = c.leads() => (c, b),
    };
    let name = next.name.clone();
    let standing = last.stands(|s| s.leader.as_deref() == Some(&name)).await;
    assert_eq!(standing.role, Role::Standby);
    let head = next.client().await.head().await.unwrap();
    last.stands(|s| s.seq >= head.seq && s.term.0 == 2).await;
    next.signal(nix::sys::signal::Signal::SIGTERM);
    assert_eq!(next.wait().code(), Some(0));
    let mut last = last;
    assert_eq!(last.leads().await, 3);
    last.stop_well();
    let log = ledger.assert_sound();
    assert_eq!(
        (log.count("lease.lost"), log.count("lease.released")),
        (1, 2)
    );
}

#[tokio::test]
async fn a_leader_steps_down_for_a_standby_and_stands_by_itself() {
    let ledger = Ledger::new();
    let mut a = Member::leader(&ledger, "a").await;
    let client = a.client().await;
    let alone = client.step_down(&StepDownRequest::default()).await;
    assert!(alone.unwrap_err().message.contains("no node stands by"));
    let mut b = Member::standby(&ledger, "b").await;
    client.step_down(&StepDownRequest::default()).await.unwrap();
    assert_eq!(b.leads().await, 2);
    a.says(" stands by; ").await;
    a.stands(|s| s.leader.as_deref() == Some("b")).await;
    // And back.
    let client = b.client().await;
    client.step_down(&StepDownRequest::default()).await.unwrap();
    assert_eq!(a.leads().await, 3);
    b.says(" stands by; ").await;
    a.stop_well();
    b.leads().await;
    b.stop_well();
    let log = ledger.assert_sound();
    assert_eq!(log.count("lease.released"), 4);
    assert_eq!(log.count("lease.lost"), 0);
}

#[tokio::test]
async fn a_leader_alone_steps_down_and_leads_again() {
    let ledger = Ledger::configured("[lease]\nrenew_deadline = \"1s\"\nttl = \"2s\"\n");
    let mut a = Member::leader(&ledger, "a").await;
    let made = ledger.cli(&["checkpoint", "create", "point"]);
    assert!(made.status.success(), "{made:?}");
    let alone = StepDownRequest {
        alone: true,
        dry_run: false,
    };
    a.client().await.step_down(&alone).await.unwrap();
    a.says(" stands by; ").await;
    assert_eq!(a.leads().await, 2);
    a.stop_well();
    let log = ledger.assert_sound();
    // It had nobody to follow meanwhile: the checkpoint is the better beginning.
    let recovered = log.of_kind("recovery.completed");
    assert_eq!(recovered[1].data["checkpoint"]["name"], "point");
    let reasons: Vec<_> = log.of_kind("lease.released");
    assert_eq!(reasons[0].data["reason"], "step_down");
    assert_eq!(reasons[1].data["reason"], "shutdown");
}

#[tokio::test]
async fn an_operator_ends_a_leader_that_works() {
    let ledger = Ledger::new();
    let mut a = Member::leader(&ledger, "a").await;
    let mut b = Member::standby(&ledger, "b").await;
    let asked = AcquireRequest::default();
    let refused = b.client().await.acquire(&asked).await.unwrap_err();
    assert!(refused.hint.unwrap().contains("--force"));
    let held = a.client().await.acquire(&asked).await.unwrap();
    assert_eq!(held, Acquired::AlreadyHeld { term: Term(1) });
    let forced = AcquireRequest {
        force: true,
        reason: Some("it swaps".into()),
    };
    let coming = b.client().await.acquire(&forced).await.unwrap();
    let ended = Some(Term(1));
    assert_eq!(coming, Acquired::Coming { ended });
    assert_eq!(a.wait().signal(), Some(libc::SIGKILL));
    assert_eq!(b.leads().await, 2);
    b.stop_well();
    let log = ledger.assert_sound();
    let fenced = log.only("lease.fenced");
    assert_eq!(fenced.data["cause"], "forced");
    assert_eq!(fenced.data["reason"], "it swaps");
    assert_eq!(fenced.data["holder"], "a");
    assert_eq!(log.count("lease.lost"), 0);
}

/// How often a standby is killed in the middle.
const KILLED: usize = 5;

#[tokio::test]
async fn a_standby_killed_in_the_middle_of_a_takeover_is_followed_by_the_next() {
    let ledger = Ledger::new();
    for round in 0..KILLED {
        let leader = Member::leader(&ledger, "a").await;
        let client = leader.client().await;
        let task = format!("x{round}");
        client.submit(&named(&task, exec(&["true"]))).await.unwrap();
        client.wait(&id(&task)).await.unwrap();
        // The record is replaced right after the lock was taken and before anything is opened.
        let watch = Inotify::init(InitFlags::IN_CLOEXEC).unwrap();
        let run = ledger.dir.join("run");
        let first = Member::standby(&ledger, "b").await;
        watch.add_watch(&run, AddWatchFlags::IN_MOVED_TO).unwrap();
        leader.crash();
        watch.read_events().unwrap();
        first.crash();
        let mut second = Member::spawn(&ledger, "c");
        second.leads().await;
        second.stop_well();
    }
    let log = ledger.assert_sound();
    for round in 0..KILLED {
        assert_eq!(log.end_of(&format!("x{round}")).kind, "task.completed");
    }
}
