//! Who leads when several nodes come up.

use std::os::unix::process::ExitStatusExt;

use opsledger::api::wire::Role;

use crate::support::Member;
use crate::support::{Ledger, exec, named};

/// How often nodes race: the moment at which they meet differs each time.
const RACES: usize = 10;

#[tokio::test]
async fn of_two_that_start_in_the_same_moment_one_leads() {
    let ledger = Ledger::new();
    for race in 0..RACES {
        let mut a = Member::spawn(&ledger, "a");
        let mut b = Member::spawn(&ledger, "b");
        let (first, mut second) = tokio::select! {
            _ = a.leads() => (a, b),
            _ = b.leads() => (b, a),
        };
        second.says(" stands by; ").await;
        assert_eq!(first.standing().await.role, Role::Leader);
        let standing = second.standing().await;
        assert_eq!(standing.role, Role::Standby);
        assert_eq!(standing.trouble, None);
        first.crash();
        let term = second.leads().await;
        assert_eq!(term, 2 * race as u64 + 2);
        second.stop_well();
    }
    let log = ledger.assert_sound();
    assert_eq!(log.count("lease.acquired"), 2 * RACES);
    assert_eq!(log.count("lease.lost"), RACES);
}

#[tokio::test]
async fn of_two_of_one_name_one_is_refused() {
    let ledger = Ledger::new();
    for _ in 0..RACES {
        let mut a = Member::spawn(&ledger, "a");
        let mut b = Member::spawn(&ledger, "a");
        let (leader, mut other) = match a.leads_or_ends().await {
            true => (a, b),
            false => {
                b.leads().await;
                (b, a)
            }
        };
        other.says("a node named a runs").await;
        assert_eq!(other.wait().code(), Some(6));
        assert_eq!(leader.standing().await.role, Role::Leader);
        leader.stop_well();
    }
    ledger.assert_sound();
}

#[tokio::test]
async fn a_standby_stops_when_asked_and_leaves_the_leader_alone() {
    let ledger = Ledger::new();
    let leader = Member::leader(&ledger, "a").await;
    let mut standby = Member::standby(&ledger, "b").await;
    standby.signal(nix::sys::signal::Signal::SIGTERM);
    let status = standby.wait();
    assert_eq!((status.code(), status.signal()), (Some(0), None));
    assert!(!ledger.dir.join("run/b.sock").exists());
    let client = leader.client().await;
    client.submit(&named("x", exec(&["true"]))).await.unwrap();
    leader.stop_well();
    ledger.assert_sound();
}

#[tokio::test]
async fn a_standby_names_the_leader_and_follows_it() {
    let ledger = Ledger::new();
    let leader = Member::leader(&ledger, "a").await;
    let standby = Member::standby(&ledger, "b").await;
    let client = leader.client().await;
    let receipt = client.submit(&named("x", exec(&["true"]))).await.unwrap();
    client.wait(&receipt.task_id).await.unwrap();
    let head = client.head().await.unwrap();
    let standing = standby.stands(|s| s.seq >= head.seq).await;
    assert_eq!(standing.leader.as_deref(), Some("a"));
    assert_eq!(standing.term, head.term);
    let refused = standby.client().await.head().await.unwrap_err();
    assert!(refused.leader.unwrap().ends_with("run/a.sock"));
    let lease = client.lease().await.unwrap();
    assert_eq!((lease.holder.as_str(), lease.term.0), ("a", 1));
    let neighbor = &lease.standbys[0];
    assert_eq!((neighbor.node.as_str(), neighbor.behind), ("b", Some(0)));
    leader.stop_well();
}
