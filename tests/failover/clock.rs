//! A wall clock that is set changes nothing about who leads: leases go by the time since boot.

use opsledger::api::wire::Role;

use crate::beats::Beats;
use crate::support::clock::{FakeClock, HOUR};
use crate::support::{Ledger, Member, exec, id, named};

const TIMES: &str = "[lease]\nheartbeat = \"100ms\"\nrenew_deadline = \"2s\"\nttl = \"3s\"\n";
/// More beats than go into a TTL.
const BEATS: usize = 40;

#[tokio::test]
async fn an_hour_forth_and_two_back_leave_the_lease_where_it_is() {
    let ledger = Ledger::configured(TIMES);
    let clock = FakeClock::make(&ledger);
    let node = |name: &str| {
        let mut command = clock.up(&ledger);
        command.args(["--node", name]);
        Member::of(command, &ledger, name)
    };
    let mut a = node("a");
    a.leads().await;
    let mut b = node("b");
    b.says(" stands by; ").await;
    let beats = Beats::of(&ledger);
    for by in [HOUR, -2 * HOUR] {
        clock.set(by);
        beats.wait(BEATS);
        assert_eq!(a.standing().await.role, Role::Leader);
        let standing = b.standing().await;
        assert_eq!((standing.role, standing.trouble), (Role::Standby, None));
    }
    let client = a.client().await;
    client.submit(&named("x", exec(&["true"]))).await.unwrap();
    client.wait(&id("x")).await.unwrap();
    b.stop_well();
    a.stop_well();
    let log = ledger.assert_sound();
    assert_eq!(log.count("lease.acquired"), 1);
}
